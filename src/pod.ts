// The facts of a pod that plugins share: settings of its ends and of the node, and the routes that IPAM asks for. Pure.

import type { IP, Result, ResultRoute } from './cni/result.ts'
import type { Schema } from './cni/schema.ts'
import type { Condition, Fact, Plan, Route, Sysctl } from './facts.ts'
import { bits, cidrText, network, parseCidr, type Cidr, type Family } from './ip.ts'

/** The keys of a plugin that masquerades. */
export const MASQUERADE_KEYS: Record<string, Schema> = {
  ipMasq: { type: 'boolean', expected: 'true or false', default: false, description: 'masquerade what the pod sends to the outside' },
  ipMasqBackend: { type: 'string', enum: ['nftables', 'iptables'], expected: '"nftables" or "iptables" (both mean nf_tables over netlink)', description: 'accepted for compatibility; podwire speaks nf_tables itself and needs neither program' },
  nonMasqueradeCIDRs: { type: 'array', expected: 'a list of networks such as ["10.0.0.0/8"]', items: { type: 'string', format: 'cidr', expected: 'a network in CIDR notation such as "10.0.0.0/8"' }, description: "destinations that keep the pod's address, beside its own subnet and multicast" },
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
    ...(!isMain(route) && table !== undefined && { table }),
    ...(priority !== undefined && { metric: priority }),
    ...(family === 4 && scope !== undefined && { scope }),
    ...(mtu !== undefined && { mtu }),
    ...(advmss !== undefined && { advmss }),
  }
}

/** Whether a route is in main, which the kernel takes 0 for, too (fib_new_table, net/ipv4/fib_frontend.c). */
export const isMain = ({ table }: Pick<ResultRoute, 'table'>): boolean => table === undefined || table === 0 || table === RT_TABLE_MAIN

const RT_TABLE_MAIN = 254 // <linux/rtnetlink.h>

/**
 * Whether a route is the one that the kernel makes with an address, to its own network: who asks for nothing else has it already.
 * flannel asks for it where a node's pods are all of the cluster's.
 */
export function isConnected({ dst, gw, mtu, advmss, priority, ...rest }: ResultRoute, ips: IP[]): boolean {
  const networkOf = (text: string) => cidrText(network(parseCidr(text)!))
  return !gw && !mtu && !advmss && !priority && isMain(rest) && rest.scope === undefined && ips.some(({ address }) => networkOf(address) === networkOf(dst))
}

/** Sentences about gateways of the other family than what they lead to; of their bytes the kernel takes the first, or too few. */
export function misled({ ips, routes }: Pick<Result, 'ips' | 'routes'>): string[] {
  const isOther = (a: string, b: string | undefined) => b !== undefined && a.includes(':') !== b.includes(':')
  const family = (text: string) => (text.includes(':') ? 6 : 4)
  return [
    ...ips.filter(({ address, gateway }) => isOther(address, gateway)).map(({ address, gateway }) => `${address} has gateway ${gateway}: expected an IPv${family(address)} address`),
    ...routes.filter(({ dst, gw }) => isOther(dst, gw)).map(({ dst, gw }) => `the route to ${dst} has gw ${gw}: expected an IPv${family(dst)} address`),
  ]
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

/** Settings of a pod's end that has IPv6 addresses. */
export const podIPv6 = (dev: string): Fact[] => [
  { ...sysctl(`net/ipv6/conf/${dev}/disable_ipv6`, '0'), in: 'pod' },
  { ...optional(`net/ipv6/conf/${dev}/keep_addr_on_down`, '1'), in: 'pod' },
  { ...optional(`net/ipv6/conf/${dev}/accept_ra`, '0'), in: 'pod' },
]

/**
 * Settings of an interface of the node to which pods are next, before it is up. Whether what comes in is forwarded, each interface
 * has to itself. The node asks pods for their MAC addresses: by ARP from the interface's own address, because others need not be
 * answered (arp_ignore), and by neighbour discovery from its link-local one, or for what it forwards not at all.
 */
export const nextToPods = (dev: string, has: (family: Family) => boolean, dad = false): Sysctl[] => [
  ...(has(4) ? [sysctl(`net/ipv4/conf/${dev}/forwarding`, '1'), { ...optional(`net/ipv4/conf/${dev}/arp_announce`, '2'), or: ['1'] }] : []),
  ...(has(6) ? [sysctl(`net/ipv6/conf/${dev}/disable_ipv6`, '0'), ...(dad ? [] : [unhesitant(dev)]), linkLocal(dev)] : []),
]

/** The interface makes itself a link-local address, of whatever kind. */
const linkLocal = (dev: string): Sysctl => ({ ...optional(`net/ipv6/conf/${dev}/addr_gen_mode`, '0'), or: ['2', '3'] })

/** The link-local address can be used at once: for the second that duplicate address detection takes the node would ask nobody. */
const unhesitant = (dev: string): Sysctl => optional(`net/ipv6/conf/${dev}/accept_dad`, '0')

/** Of the interfaces with the node's default routes (kernel/uplink.ts): */
interface Uplinks {
  /** Those of IPv4, or only the ones that do not forward. */
  uplinks: string[]
  /** Those whose IPv6 default route came by router advertisement. */
  advertised: string[]
}

/** The node forwards for pods. It then ignores router advertisements, and would lose its own default route, unless told otherwise. */
export const forwarding = ({ uplinks, advertised }: Uplinks, has: (family: Family) => boolean): Plan => [
  ...(has(4) ? [kept(sysctl('net/ipv4/ip_forward', '1')), ...uplinks.map(forwards)] : []),
  ...(has(6) ? advertised.map((dev) => kept(optional(`net/ipv6/conf/${dev}/accept_ra`, '2'))) : []),
  ...(has(6) ? [kept(sysctl('net/ipv6/conf/all/forwarding', '1'))] : []),
]

/** An interface of others forwards what comes in there. */
export const forwards = (dev: string): Condition => ({ fact: 'condition', dev, name: 'forwarding' })

/** A pod answers the node, and others on its link, which ask for its address by ARP. */
export const answers = (dev: string, { prefix }: Cidr): Condition =>
  ({ fact: 'condition', in: 'pod', dev, name: 'arp_ignore', not: prefix === bits(4) ? [2, 8] : [8] })

export const kept = (fact: Sysctl): Sysctl => ({ ...fact, keep: true })
export const sysctl = (key: string, value: string): Sysctl => ({ fact: 'sysctl', key, value })
export const optional = (key: string, value: string): Sysctl => ({ ...sysctl(key, value), optional: true })
