// The facts of a pod's end that plugins share: its IPv6 settings, and the routes that IPAM asks for. Pure.

import type { ResultRoute } from './cni/result.ts'
import type { Schema } from './cni/schema.ts'
import type { Fact, Route } from './facts.ts'
import { cidrText, network, parseCidr } from './ip.ts'

/** The keys of a plugin that masquerades. */
export const MASQUERADE_KEYS: Record<string, Schema> = {
  ipMasq: { type: 'boolean', expected: 'true or false', default: false, description: 'masquerade what the pod sends to the outside' },
  ipMasqBackend: { type: 'string', enum: ['', 'nftables', 'iptables'], expected: '"nftables" or "iptables" (both mean nf_tables over netlink)', description: 'accepted for compatibility; podwire speaks nf_tables itself and needs neither program' },
  nonMasqueradeCIDRs: { type: ['array', 'null'], expected: 'a list of networks such as ["10.0.0.0/8"]', items: { type: 'string', format: 'cidr', expected: 'a network in CIDR notation such as "10.0.0.0/8"' }, description: "destinations that keep the pod's address, beside its own subnet and multicast" },
}

/**
 * A route of IPAM's. A next hop other than the gateway is not on the link by the kernel's reckoning; the reference adds such
 * routes while the subnet still is.
 */
export function ipamRoute(dev: string, { dst, gw, mtu, advmss, priority, table, scope }: ResultRoute, gateways: Map<number, string>): Route {
  const family = dst.includes(':') ? 6 : 4
  const local = scope === 253 || scope === 254
  const via = gw ?? (local ? undefined : gateways.get(family))
  return {
    fact: 'route', in: 'pod', dev, dst: cidrText(network(parseCidr(dst)!)),
    ...(via !== undefined && { via }),
    ...(gw !== undefined && gw !== gateways.get(family) && { onlink: true as const }),
    ...(table !== undefined && { table }),
    ...(priority !== undefined && { metric: priority }),
    ...(family === 4 && scope !== undefined && { scope }),
    ...(mtu !== undefined && { mtu }),
    ...(advmss !== undefined && { advmss }),
  }
}

export const podIPv6 = (dev: string): Fact[] =>
  [['disable_ipv6', '0'], ['keep_addr_on_down', '1'], ['accept_ra', '0']].map(([key, value]) => ({ ...sysctl(`net/ipv6/conf/${dev}/${key}`, value!), in: 'pod' as const }))

export const sysctl = (key: string, value: string) => ({ fact: 'sysctl', key, value }) as const
