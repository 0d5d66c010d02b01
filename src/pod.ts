// The facts of a pod's end that plugins share: its IPv6 settings, and the routes that IPAM asks for. Pure.

import type { ResultRoute } from './cni/result.ts'
import type { Schema } from './cni/schema.ts'
import type { Fact, Plan, Route } from './facts.ts'
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
export function ipamRoute(dev: string, route: ResultRoute, gateways: Map<number, string>): Route {
  const { dst, gw, mtu, advmss, priority, table, scope } = route
  const family = dst.includes(':') ? 6 : 4
  const via = gw ?? (isLocal(route) ? undefined : gateways.get(family))
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

/** Whether a route's scope is the link or the pod itself, so that no gateway is on its way. */
export const isLocal = ({ scope }: ResultRoute): boolean => scope === 253 || scope === 254

/** Facts once each: two addresses of one subnet share its gateway and its route. A second way to one dst is appended. */
export function distinct(plan: Plan): Plan {
  const seen = new Set<string>()
  const place = (fact: Fact) =>
    fact.fact === 'route' ? `${fact.in} route ${fact.dst} ${fact.table ?? 254} ${fact.metric ?? 0}` : JSON.stringify(fact)
  return plan.flatMap((fact): Fact[] => {
    if (fact.fact !== 'route') return seen.size < seen.add(place(fact)).size ? [fact] : []
    const way = `${place(fact)} via ${fact.via}`
    if (seen.has(way)) return []
    const another = seen.has(place(fact))
    seen.add(way).add(place(fact))
    return another && fact.via !== undefined ? [{ ...fact, append: true as const }] : another ? [] : [fact]
  })
}

export const podIPv6 = (dev: string): Fact[] =>
  [['disable_ipv6', '0'], ['keep_addr_on_down', '1'], ['accept_ra', '0']].map(([key, value]) => ({ ...sysctl(`net/ipv6/conf/${dev}/${key}`, value!), in: 'pod' as const }))

export const sysctl = (key: string, value: string) => ({ fact: 'sysctl', key, value }) as const
