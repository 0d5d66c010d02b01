// sbr: source-based routing. What a pod sends from an address of this interface leaves by this interface, wherever the default
// route leads. What ADD makes, as facts; pure.
//
//   from 10.1.2.3  ── rule ──► table 100: the interface's routes, which main has no longer
//   from another   ──────────► main: the routes of the other interfaces
//
// A table for each address, the first ones from 100 on that nobody uses. Keys are the reference's; unlike there, routes of the
// other family, those to link-local addresses and those that belong to none of the addresses are not lost.
// https://www.cni.dev/plugins/current/meta/sbr/

import type { Pod } from '../chained.ts'
import { COMMON, type NetConf } from '../cni/conf.ts'
import type { Schema } from '../cni/schema.ts'
import type { Plan, Route, Rule } from '../facts.ts'
import { addressText, bits, cidrText, contains, network, parseAddress, parseCidr, type Cidr, type Family } from '../ip.ts'
import type { RuleState } from '../kernel/rule.ts'
import { ipamRoute, isConnected, isMain } from '../pod.ts'

export interface SbrConf extends NetConf {
  table?: number
  gateways?: string[]
  addSourceHints?: boolean
}

export const SBR: Schema = {
  $id: 'sbr',
  type: 'object',
  properties: {
    ...COMMON,
    table: { type: 'integer', minimum: 1, maximum: 4294967295, expected: 'the number of a routing table', description: 'only rules are made, which lead to this table; its routes are made by the plugin before, whose `ipam.routes[].table` says so. Without the key each address gets a table, and the routes are moved' },
    gateways: { type: 'array', items: { type: 'string', format: 'address', expected: 'an IP address' }, expected: 'a list of at most one IPv4 and one IPv6 address', description: 'where the default routes of the tables lead, one address of each family; default: what the plugin before says' },
    addSourceHints: { type: 'boolean', expected: 'true or false', default: false, description: "main keeps the routes to the interface's own networks, each with the address as source: who names no source reaches them by this interface" },
  },
}

/** What there is in the pod's namespace. */
export interface There {
  rules: RuleState[]
  /** Of the interface, in all tables. */
  routes: Route[]
  /** In which there are routes, of any interface. */
  tables: Set<number>
}

/** An address, and where its default route leads. */
interface Source {
  cidr: Cidr
  gateway: string | undefined
}

/** The facts of an interface that has rules and tables of its own. */
export function plan(pod: Pod, conf: SbrConf, there: There): Plan {
  const sources = sourcesOf(pod, conf)
  if (conf.table !== undefined) return sources.map(({ cidr }) => ruleOf(cidr, conf.table!))
  const free = unused(there)
  const leaving = inMain(there, sources)
  const kept = conf.addSourceHints ? hints(pod, sources, leaving) : []
  return [
    ...sources.flatMap((source) => {
      const table = free.next().value
      return [...ordered(tableOf(pod, conf, source, belonging(source, sources, leaving))).map((route) => ({ ...route, table })), ruleOf(source.cidr, table)]
    }),
    ...kept.filter((route) => !leaving.includes(route)).map((route) => ({ ...route, append: true as const })),
    ...ordered(leaving.filter((route) => !kept.includes(route))).reverse().map((route) => ({ ...route, absent: true as const })),
  ]
}

/** The same of an interface that has them: in which table each address has its routes is in its rule. */
export function expected(pod: Pod, conf: SbrConf, there: There): Plan {
  const sources = sourcesOf(pod, conf)
  const free = unused(there)
  const gateways = new Map(sources.flatMap(({ cidr, gateway }) => (gateway === undefined ? [] : [[cidr.family, gateway] as const])).reverse())
  const wanted = pod.routes.filter((route) => isMain(route) && !isConnected(route, pod.ips)).map((route) => ipamRoute(pod.attachment.ifname, route, gateways))
  const left = inMain(there, sources)
  const kept = conf.addSourceHints ? hints(pod, sources, left) : []
  const own = sources.flatMap((source): Plan => {
    const table = conf.table ?? there.rules.find(({ from }) => from === addressText(source.cidr))?.table ?? lost(there, source.cidr.family) ?? free.next().value
    const routes = conf.table !== undefined ? [] : tableOf(pod, conf, source, belonging(source, sources, wanted)).map((route) => ({ ...route, table }))
    return [...subnetOf(pod, conf, source, there, table), ...routes, ruleOf(source.cidr, table)]
  })
  if (conf.table !== undefined) return own
  return [...own, ...kept.filter((route) => !left.includes(route)).map((route) => ({ ...route, table: MAIN })), ...left.filter((route) => !kept.includes(route)).map((route) => ({ ...route, absent: true as const }))]
}

/** What of these addresses of an interface is to be taken back. */
export function remains(addresses: string[], conf: SbrConf, there: There): Plan {
  const rules = there.rules.filter(({ from, table }) => from !== undefined && addresses.includes(from) && (conf.table === undefined || table === conf.table))
  const tables = new Set(rules.map(({ table }) => table).filter((table) => !RESERVED.has(table)))
  const routes = conf.table !== undefined ? [] : there.routes.filter(({ table }) => table !== undefined && tables.has(table))
  return [...ordered(routes), ...rules.map(({ from, table }): Rule => ({ fact: 'rule', in: 'pod', from: from!, table }))]
}

/** What there will be when others' facts are true, in a namespace that has nothing else. */
export function thereAfter(plan: Plan, dev: string): There {
  const made = plan
    .filter((fact): fact is Route => fact.fact === 'route' && fact.in === 'pod' && fact.dev === dev)
    .map(({ scope, ...route }) => (scope === undefined || (scope === RT_SCOPE_LINK && route.via === undefined) ? route : { ...route, scope }))
  const own = plan.flatMap((fact): Route[] => {
    if (fact.fact !== 'addr' || fact.in !== 'pod' || fact.dev !== dev || fact.noprefixroute) return []
    const cidr = parseCidr(fact.address)!
    return [{ fact: 'route', in: 'pod', dev, dst: subnet(cidr), proto: RTPROT_KERNEL, ...(cidr.family === 4 ? { src: addressText(cidr) } : { metric: 256 }) }] // IP6_RT_PRIO_ADDRCONF, <linux/ipv6_route.h>
  })
  return { rules: [], routes: [...own, ...made], tables: new Set() }
}

/** Sentences about keys and addresses that do not fit together; none if the plan can be made. */
export function problems({ attachment, ips }: Pod, { gateways = [] }: SbrConf): string[] {
  const of = (family: Family) => gateways.filter((gateway) => parseAddress(gateway)!.family === family)
  return [
    ...(ips.length === 0 ? [`No IP addresses supplied on interface: ${attachment.ifname} has none in prevResult`] : []),
    ...([4, 6] as const).filter((family) => of(family).length > 1).map((family) => `gateways is ${JSON.stringify(of(family))}: expected at most one IPv${family} address`),
  ]
}

const FIRST = 100
const RTPROT_KERNEL = 2 // <linux/rtnetlink.h>
const RT_SCOPE_LINK = 253
const MAIN = 254 // RT_TABLE_MAIN
const RESERVED = new Set([0, 253, MAIN, 255])

function* unused({ rules, tables }: There): Generator<number, never> {
  const used = new Set([...rules.map(({ table }) => table), ...tables, ...RESERVED])
  for (let table = FIRST; ; table++) if (!used.has(table)) yield table
}

/** A table of the interface's to which no rule leads. */
const lost = ({ rules, routes }: There, family: Family): number | undefined =>
  routes.find(({ table, dst }) => table !== undefined && !RESERVED.has(table) && familyOf(dst) === family && !rules.some((rule) => rule.table === table && rule.family === family))?.table

const sourcesOf = ({ ips }: Pod, { gateways = [] }: SbrConf): Source[] =>
  ips.map(({ address, gateway }) => {
    const cidr = parseCidr(address)!
    return { cidr, gateway: gateways.find((one) => parseAddress(one)!.family === cidr.family) ?? gateway }
  })

const ruleOf = (cidr: Cidr, table: number): Rule => ({ fact: 'rule', in: 'pod', from: addressText(cidr), table })

/** The routes in main of the families of the addresses, but for those that every IPv6 interface has of itself. */
const inMain = ({ routes }: There, sources: Source[]): Route[] =>
  routes.filter(({ table, dst }) => table === undefined && sources.some(({ cidr }) => cidr.family === familyOf(dst)) && !contains(LINK_LOCAL, parseCidr(dst)!))

const LINK_LOCAL = parseCidr('fe80::/10')! // RFC 4291 §2.5.6

/** Those of the routes that belong to an address: by source or next hop, because they have neither, or because they belong to no other. */
function belonging({ cidr }: Source, sources: Source[], routes: Route[]): Route[] {
  const near = (of: Cidr, { src, via }: Route) => (src === undefined && via === undefined) || [src, via].some((text) => text !== undefined && contains(of, parseAddress(text)!))
  return routes.filter((route) => familyOf(route.dst) === cidr.family && (near(cidr, route) || !sources.some((other) => near(other.cidr, route))))
}

/** The routes of an address, with the default route by its gateway if there is none. */
function tableOf({ attachment }: Pod, { gateways = [] }: SbrConf, { cidr, gateway }: Source, routes: Route[]): Route[] {
  const dst = cidr.family === 4 ? '0.0.0.0/0' : '::/0'
  const given = gateways.some((one) => parseAddress(one)!.family === cidr.family)
  const own = given ? routes.filter((route) => route.dst !== dst || route.metric !== undefined) : routes
  if (gateway === undefined || own.some((route) => route.dst === dst && route.metric === undefined)) return repeated(own)
  return repeated([...own, { fact: 'route', in: 'pod', dev: attachment.ifname, dst, via: gateway }])
}

/** Of several ways to one dst, all but the first are put behind it. */
const repeated = (routes: Route[]): Route[] =>
  routes.map((route, i) => (routes.slice(0, i).some(({ dst, metric }) => dst === route.dst && metric === route.metric) ? { ...route, append: true as const } : route))

/** What main keeps for those who name no source: routes on the link, and those to the addresses' own networks, by their addresses. */
function hints({ attachment }: Pod, sources: Source[], routes: Route[]): Route[] {
  const subnets = sources.filter(({ cidr }, i) => cidr.prefix < bits(cidr.family) && !sources.slice(0, i).some((other) => subnet(other.cidr) === subnet(cidr)))
  const own = subnets.flatMap(({ cidr }): Route[] => {
    const there = routes.filter(({ dst }) => dst === subnet(cidr))
    const { proto: _, metric: __, ...plain } = there[0] ?? { fact: 'route', in: 'pod', dev: attachment.ifname, dst: subnet(cidr) }
    return [there.find(({ src }) => src !== undefined) ?? { ...plain, src: addressText(cidr) }]
  })
  return [...own, ...routes.filter((route) => route.via === undefined && !subnets.some(({ cidr }) => subnet(cidr) === route.dst))]
}

/** The route to an address's own network, if its table has none. With a route to the gateway alone, the plugin before was ptp. */
function subnetOf({ attachment }: Pod, conf: SbrConf, { cidr, gateway }: Source, { routes }: There, table: number): Route[] {
  const has = (dst: string) => routes.some((route) => route.table === table && route.dst === dst)
  if (conf.table !== undefined || cidr.prefix === bits(cidr.family) || has(subnet(cidr))) return []
  const alone = gateway !== undefined && has(`${gateway}/${bits(cidr.family)}`)
  return [{ fact: 'route', in: 'pod', dev: attachment.ifname, dst: subnet(cidr), ...(alone && { via: gateway }), src: addressText(cidr), table }]
}

/** Those on the link before those by a gateway, which must be reached; the default routes last. */
function ordered(routes: Route[]): Route[] {
  const place = ({ via, dst }: Route) => `${via === undefined ? 0 : dst.endsWith('/0') ? 2 : 1} ${dst}`
  return routes.toSorted((a, b) => (place(a) < place(b) ? -1 : place(a) > place(b) ? 1 : 0))
}

const subnet = (cidr: Cidr): string => cidrText(network(cidr))
const familyOf = (text: string): Family => (text.includes(':') ? 6 : 4)
