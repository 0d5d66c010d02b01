// Routes. <linux/rtnetlink.h>, man 7 rtnetlink

import { addressBytes, addressText, bits, bytesText, cidrText, contains, hostCidr, parseAddress, parseCidr, type Address, type Cidr, type Family } from '../ip.ts'
import type { Route } from '../facts.ts'
import { isOwner } from '../names.ts'
import { routeWords } from '../show.ts'
import { differs, missing, type Difference } from './difference.ts'
import type { Digest } from './digest.ts'
import { isErrno } from './errno.ts'
import * as link from './link.ts'
import { attributeAt, attributes, type Out } from './attributes.ts'
import { NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, type NetlinkMessage, type Request } from './netlink.ts'
import type { Netns } from './netns.ts'

export const RTM_NEWROUTE = 24
export const RTM_DELROUTE = 25
const RTM_GETROUTE = 26
const RTA_DST = 1
const RTA_OIF = 4
const RTA_GATEWAY = 5
const RTA_PRIORITY = 6
const RTA_PREFSRC = 7
const RTA_METRICS = 8
const RTA_MULTIPATH = 9
const RTA_CACHEINFO = 12
const RTA_TABLE = 15
const RTAX_MTU = 2
const RTAX_ADVMSS = 8
const RTNH_F_ONLINK = 4
const RTN_UNICAST = 1
const RTN_LOCAL = 2
const RT_TABLE_MAIN = 254
const RTPROT_BOOT = 3 // what `ip route add` says of itself
export const RTPROT_RA = 9
const RT_SCOPE_UNIVERSE = 0
const RT_SCOPE_LINK = 253
const RT_SCOPE_NOWHERE = 255
const RTM_F_FIB_MATCH = 0x2000

/** What the kernel tells of a route. */
export interface RouteState {
  family: Family
  dst: string
  via: string | undefined
  src: string | undefined
  oif: number
  table: number
  metric: number
  scope: number
  protocol: number
  mtu: number | undefined
  advmss: number | undefined
}

/** Makes a route; one that is kept may be there already. */
export function add(netns: Netns, route: Route, what: string): void {
  try {
    netns.rt.change({ what, type: RTM_NEWROUTE, flags: NLM_F_CREATE | (route.append ? NLM_F_APPEND : NLM_F_EXCL), ...encode(netns, route) })
  } catch (error) {
    if (!route.keep || !isErrno(error, 'EEXIST')) throw error
  }
}

/** Makes a route, in the place of one to that dst with that metric. */
export const addition = (netns: Netns, route: Route): Omit<Request, 'what'> => ({ type: RTM_NEWROUTE, flags: NLM_F_CREATE | NLM_F_REPLACE, ...encode(netns, route) })

export const deletion = (netns: Netns, route: Route): Omit<Request, 'what'> => ({ type: RTM_DELROUTE, ...encode(netns, route) })

/** Deletes a route; one that is gone, also with its interface, is success. */
export function del(netns: Netns, route: Route): void {
  try {
    netns.rt.change({ what: `ip route del ${routeWords(route)}`, ...deletion(netns, route) })
  } catch (error) {
    if (!isErrno(error, 'ESRCH', 'ENODEV', 'ENOENT')) throw error
  }
}

/** Makes a route again that was deleted, behind others to that dst; with its interface it is gone, too. */
export function restore(netns: Netns, { absent: _, ...route }: Route): void {
  try {
    add(netns, { ...route, append: true }, `ip route append ${routeWords(route)}`)
  } catch (error) {
    if (!isErrno(error, 'EEXIST', 'ENODEV')) throw error
  }
}

/** Routes of one interface in all tables, unicast or of another type. */
export function list(netns: Netns, dev: string, type = RTN_UNICAST): RouteState[] {
  const oif = link.index(netns, dev)
  const found = [4, 6].flatMap((family) =>
    netns.rt.dump({
      what: `ip route show dev ${dev}`,
      type: RTM_GETROUTE,
      header: rtmsg({ family: family as Family, prefix: 0, value: 0n }, { table: 0, protocol: 0, scope: 0, flags: 0, type: 0 }),
      attrs: (out) => out.push(RTA_OIF, link.u32(oif)),
    }),
  )
  return found.filter(({ data }) => data[7] === type).map(parse).filter((route) => route.oif === oif)
}

/** Of all unicast routes of a protocol in the main table, what `take` makes of their messages. */
export const collectProtocol = <T>(netns: Netns, proto: number, take: (message: NetlinkMessage) => T): T[] =>
  FAMILIES.flatMap((family) => {
    try {
      return netns.rt.collect(listing(proto, family), take)
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return [] // a namespace that never had a route has no table
      throw error
    }
  })

/** Takes them into a digest. False if they could not be read whole. */
export const digest = (netns: Netns, proto: number, into: Digest): boolean => FAMILIES.every((family) => netns.rt.scan(listing(proto, family), (buffer, start, end) => into.add(buffer, start, end)))

/** Hands over the routes that no protocol has made, of all tables, with their interface. False if they changed while they were read. */
export const scan = (netns: Netns, take: (index: number, buffer: Buffer, start: number, end: number) => void): boolean =>
  FAMILIES.every((family) => {
    const header = rtmsg({ family, prefix: 0, value: 0n }, { table: 0, protocol: RTPROT_BOOT, scope: 0, flags: 0, type: 0 })
    return netns.rt.scan({ what: 'ip route show proto boot', type: RTM_GETROUTE, header }, (buffer, start, end) => {
      const oif = attributeAt(buffer, start + 12, end, RTA_OIF)
      if (oif < end) take(buffer.readInt32LE(oif + 4), buffer, start, attributeAt(buffer, start + 12, end, RTA_CACHEINFO))
    })
  })

const FAMILIES: Family[] = [4, 6]

const listing = (proto: number, family: Family): Request => ({
  what: `ip route show proto ${proto}`,
  type: RTM_GETROUTE,
  header: rtmsg({ family, prefix: 0, value: 0n }, { table: RT_TABLE_MAIN, protocol: proto, scope: 0, flags: 0, type: RTN_UNICAST }),
})

/** True if a message is about a route of the main table, of whatever type. */
export const isMain = ({ data }: NetlinkMessage): boolean => data[4] === RT_TABLE_MAIN

/** Deletes whatever route to that dst comes first in the main table. */
export const clearance = (route: Route): Omit<Request, 'what'> => {
  const dst = parseCidr(route.dst)!
  const header = rtmsg(dst, { table: RT_TABLE_MAIN, protocol: 0, scope: RT_SCOPE_NOWHERE, flags: 0, type: 0 })
  return { type: RTM_DELROUTE, header, attrs: (out) => out.push(RTA_DST, addressBytes(dst)) }
}

const METRIC_6 = 1024 // what an IPv6 route has if nobody says another. IP6_RT_PRIO_USER, <linux/ipv6_route.h>

/** A route of the main table as the fact that would make it. */
export function fact(message: NetlinkMessage, name: (ifindex: number) => string): Route {
  const { dst, via, oif, metric, protocol, src, mtu, advmss, family } = parse(message)
  const plain = metric === 0 || (family === 6 && metric === METRIC_6)
  return {
    fact: 'route', dev: name(oif), dst,
    ...(via !== undefined && { via }), ...(src !== undefined && { src }), ...(!plain && { metric }), ...(mtu !== undefined && { mtu }), ...(advmss !== undefined && { advmss }),
    ...((message.data.readUInt32LE(8) & RTNH_F_ONLINK) !== 0 && { onlink: true as const }), proto: protocol, keep: true,
  }
}

/** The unicast routes of an interface in all tables, each way to a dst by itself, as facts of the pod. */
export function of(netns: Netns, dev: string): Route[] {
  const oif = link.index(netns, dev)
  return everywhere(netns, (out) => out.push(RTA_OIF, link.u32(oif))).filter(isUnicast).flatMap((message) => ways(message).filter((way) => way.oif === oif).map((way) => podFact(parse(message), way, dev)))
}

/** The gateways of an interface's routes in all tables, but for those of a protocol. */
export const gateways = (netns: Netns, ifindex: number, proto: number): string[] =>
  everywhere(netns, (out) => out.push(RTA_OIF, link.u32(ifindex)))
    .filter((message) => isUnicast(message) && message.data[5] !== proto)
    .flatMap((message) => ways(message).flatMap(({ oif, via }) => (oif === ifindex && via !== undefined ? [via] : [])))

/** The tables in which there are routes. */
export const tables = (netns: Netns): Set<number> => new Set(everywhere(netns).map((message) => parse(message).table))

const everywhere = (netns: Netns, attrs?: (out: Out) => void): NetlinkMessage[] =>
  FAMILIES.flatMap((family) => netns.rt.dump({ what: 'ip route show table all', type: RTM_GETROUTE, header: rtmsg({ family, prefix: 0, value: 0n }, { table: 0, protocol: 0, scope: 0, flags: 0, type: 0 }), ...(attrs && { attrs }) }))

interface Way {
  oif: number
  via: string | undefined
  onlink: boolean
}

/** By which interfaces and gateways a route goes: one, or several (struct rtnexthop). */
function ways({ data }: NetlinkMessage): Way[] {
  const found = attributes(data.subarray(12))
  const way = (oif: number, flags: number, via: Buffer | undefined): Way => ({ oif, via: via && bytesText(via), onlink: (flags & RTNH_F_ONLINK) !== 0 })
  const several = found.get(RTA_MULTIPATH)
  if (!several) return [way(found.get(RTA_OIF)?.readUInt32LE(0) ?? 0, data.readUInt32LE(8), found.get(RTA_GATEWAY))]
  const list: Way[] = []
  for (let at = 0; at + 8 <= several.length; at += (several.readUInt16LE(at) + 3) & ~3)
    list.push(way(several.readInt32LE(at + 4), several[at + 2]!, attributes(several.subarray(at + 8, at + several.readUInt16LE(at))).get(RTA_GATEWAY)))
  return list
}

function podFact({ family, dst, table, src, metric, scope, protocol, mtu, advmss }: RouteState, { via, onlink }: Way, dev: string): Route {
  const usual = via === undefined ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE
  return {
    fact: 'route', in: 'pod', dev, dst,
    ...(via !== undefined && { via }), ...(src !== undefined && { src }), ...(onlink && { onlink: true as const }),
    ...(table !== RT_TABLE_MAIN && { table }), ...(metric !== 0 && !(family === 6 && metric === METRIC_6) && { metric }),
    ...(family === 4 && scope !== usual && { scope }), ...(mtu !== undefined && { mtu }), ...(advmss !== undefined && { advmss }),
    ...(protocol !== RTPROT_BOOT && { proto: protocol }),
  }
}

/** The default routes of a family in the main table, found without reading the whole table where that is possible. */
export function defaults(netns: Netns, family: Family): RouteState[] {
  const answer = lookup(netns, family === 4 ? PROBE_4 : PROBE_6)
  if (!answer) return []
  const match = parse(answer)
  if (match.dst.endsWith('/0') && isUnicast(answer)) return [match]
  // Somebody has a route to the probe's own network: look at all routes.
  const all = netns.rt.dump({
    what: 'ip route show table main',
    type: RTM_GETROUTE,
    header: rtmsg({ family, prefix: 0, value: 0n }, { table: RT_TABLE_MAIN, protocol: 0, scope: 0, flags: 0, type: RTN_UNICAST }),
  })
  return all.map(parse).filter((route) => route.dst.endsWith('/0'))
}

/** The interface by which packets to an address leave, if a route of its own says so. */
export function ownWay(netns: Netns, dst: string): link.LinkState | undefined {
  const cidr = parseCidr(dst)!
  const answer = lookup(netns, cidr)
  const there = answer && parse(answer)
  return there && there.dst === cidrText(cidr) ? link.byIndex(netns, there.oif) : undefined
}

/** Who has a route to the dst of one that the kernel refuses, EEXIST, in a sentence; undefined where it goes nowhere. */
export function rival(netns: Netns, { dst, dev, table = RT_TABLE_MAIN }: Route): string | undefined {
  const wanted = cidrText(parseCidr(dst)!)
  const there = everywhere(netns).map(parse).find((route) => route.dst === wanted && route.table === table)
  const other = there && link.byIndex(netns, there.oif)
  if (!other || other.name === dev) return undefined
  const [mine, theirs] = [link.get(netns, dev)?.alias, other.alias].map((alias = '') => (isOwner(alias) ? alias : undefined))
  const why = mine === undefined || theirs === undefined ? '' : networkOf(mine) === networkOf(theirs) ? ': one address, two pods' : ': two networks share a subnet'
  return `${dst.replace(/\/(?:32|128)$/, '')} has a route already, to ${other.name}${theirs === undefined ? '' : ` (${theirs})`}${why}`
}

const networkOf = (owner: string): string => owner.slice(0, owner.indexOf('/'))

/** The interfaces to whose networks an address belongs, by routes of the main table other than the default. */
export function onWay(netns: Netns, address: string): link.LinkState[] {
  const wanted = parseAddress(address)!
  const routes = everywhere(netns).filter(isUnicast).map(parse).filter(({ dst, table }) => table === RT_TABLE_MAIN && !dst.endsWith('/0') && contains(parseCidr(dst)!, wanted))
  return routes.flatMap(({ oif }) => link.byIndex(netns, oif) ?? [])
}

/** True if an address is one of the namespace's own. */
export const isLocal = (netns: Netns, address: Address): boolean => lookup(netns, hostCidr(address))?.data[7] === RTN_LOCAL

/** The route that the kernel takes to an address, as it stands in the table; undefined if there is none. */
function lookup(netns: Netns, address: Cidr): NetlinkMessage | undefined {
  return netns.rt.get(
    {
      what: `ip route get fibmatch ${addressText(address)}`,
      type: RTM_GETROUTE,
      header: rtmsg(address, { table: 0, protocol: 0, scope: 0, flags: RTM_F_FIB_MATCH, type: 0 }),
      attrs: (out) => out.push(RTA_DST, addressBytes(address)),
    },
    'ENETUNREACH', 'EHOSTUNREACH', 'EINVAL', 'EACCES', 'EOPNOTSUPP', 'EAFNOSUPPORT', 'ESRCH', 'ENONET', 'ENETDOWN',
  )
}

// Documentation addresses (RFC 5737, RFC 3849), to which hardly anybody has a route of their own.
const PROBE_4 = parseCidr('192.0.2.1/32')!
const PROBE_6 = parseCidr('2001:db8::1/128')!

/**
 * What of a route is not as it should be, or undefined. A route of main that a later plugin moved into another table is there,
 * by whatever gateway (CNI 1.1 §2 CHECK: "must allow for changes by subsequent plugins"): sbr does that.
 */
export function check(netns: Netns, route: Route): Difference | undefined {
  const wanted = parseCidr(route.dst)!
  const dst = `${addressText(wanted)}/${wanted.prefix}`
  if (route.absent) return of(netns, route.dev).some((r) => routeWords(r) === routeWords(route)) ? missing(`route ${routeWords(route)} is there, and should not be`) : undefined
  const there = list(netns, route.dev, typeOf(route)).filter((r) => r.dst === dst && (route.metric === undefined || r.metric === route.metric) && (route.table === undefined || r.table === route.table))
  if (there.length === 0) return missing(`route ${routeWords(route)} is missing`)
  if (route.table === undefined && there.every(({ table }) => table !== RT_TABLE_MAIN)) return undefined
  const differences = there.map((r) => difference(followed(netns, route, r), r))
  return differences.includes(undefined) ? undefined : differs(`route to ${route.dst} dev ${route.dev} ${differences[0]}`)
}

/**
 * The route as it may have become: when an interface's MTU is set, IPv6 routes that had a larger one, or the same, get it
 * (rt6_mtu_change_route, net/ipv6/route.c).
 */
function followed(netns: Netns, route: Route, { family, mtu }: RouteState): Route {
  if (family === 4 || !route.mtu || mtu === undefined || mtu === route.mtu) return route
  const own = link.get(netns, route.dev)?.mtu
  return own !== undefined && [own, Math.min(own, MOST_MTU)].includes(mtu) ? { ...route, mtu } : route
}

function difference(wanted: Route, there: RouteState): string | undefined {
  const canonical = (text: string | undefined) => text && addressText(parseAddress(text)!)
  if (there.via !== canonical(wanted.via)) return `goes via ${there.via ?? 'no gateway'}, not via ${wanted.via ?? 'none'}`
  if (wanted.src && there.src !== canonical(wanted.src)) return `has src ${there.src ?? 'none'}, not ${wanted.src}`
  if (wanted.mtu && ![wanted.mtu, Math.min(wanted.mtu, MOST_MTU)].includes(there.mtu ?? 0)) return `has mtu ${there.mtu ?? 'none'}, not ${wanted.mtu}`
  if (wanted.advmss && there.advmss !== Math.min(wanted.advmss, MOST_ADVMSS)) return `has advmss ${there.advmss ?? 'none'}, not ${wanted.advmss}`
  if (there.family === 4 && wanted.scope !== undefined && there.scope !== wanted.scope) return `has scope ${there.scope}, not ${wanted.scope}`
  return undefined
}

// What the kernel makes of larger ones. ip_metrics_convert, net/ipv4/metrics.c
const MOST_MTU = 65535 - 15
const MOST_ADVMSS = 65535 - 40

function encode(netns: Netns, route: Route) {
  const dst = parseCidr(route.dst)!
  const scope = dst.family === 6 ? RT_SCOPE_UNIVERSE : (route.scope ?? (route.via ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK))
  const header = rtmsg(dst, { table: RT_TABLE_MAIN, protocol: route.proto ?? RTPROT_BOOT, scope, flags: route.onlink ? RTNH_F_ONLINK : 0, type: typeOf(route) })
  const oif = link.index(netns, route.dev)
  const address = (text: string) => addressBytes(parseAddress(text)!)
  return {
    header,
    attrs: (out: Out) => {
      if (dst.prefix > 0) out.push(RTA_DST, addressBytes(dst))
      out.push(RTA_OIF, link.u32(oif))
      out.push(RTA_TABLE, link.u32(route.table ?? RT_TABLE_MAIN))
      if (route.via) out.push(RTA_GATEWAY, address(route.via))
      if (route.src) out.push(RTA_PREFSRC, address(route.src))
      if (route.metric) out.push(RTA_PRIORITY, link.u32(route.metric))
      if (route.mtu || route.advmss)
        out.push(RTA_METRICS, (metrics: Out) => {
          if (route.mtu) metrics.push(RTAX_MTU, link.u32(route.mtu))
          if (route.advmss) metrics.push(RTAX_ADVMSS, link.u32(route.advmss))
        })
    },
  }
}

const typeOf = ({ type }: Route): number => (type === 'local' ? RTN_LOCAL : RTN_UNICAST)

/** struct rtmsg */
function rtmsg(dst: Cidr, { table, protocol, scope, flags, type }: { table: number; protocol: number; scope: number; flags: number; type: number }): Buffer {
  const header = Buffer.from([dst.family === 4 ? 2 : 10, dst.prefix, 0, 0, table, protocol, scope, type, 0, 0, 0, 0])
  header.writeUInt32LE(flags, 8)
  return header
}

const isUnicast = ({ data }: NetlinkMessage): boolean => data[7] === RTN_UNICAST

function parse({ data }: NetlinkMessage): RouteState {
  const found = attributes(data.subarray(12))
  const metrics = attributes(found.get(RTA_METRICS) ?? Buffer.alloc(0))
  const family: Family = data[0] === 2 ? 4 : 6
  const dst = found.get(RTA_DST) ?? Buffer.alloc(bits(family) / 8)
  const text = (bytes: Buffer | undefined) => bytes && bytesText(bytes)
  return {
    family,
    dst: `${text(dst)}/${data[1]}`,
    via: text(found.get(RTA_GATEWAY)),
    src: text(found.get(RTA_PREFSRC)),
    oif: found.get(RTA_OIF)?.readUInt32LE(0) ?? found.get(RTA_MULTIPATH)?.readInt32LE(4) ?? 0, // struct rtnexthop
    table: found.get(RTA_TABLE)?.readUInt32LE(0) ?? data[4]!,
    metric: found.get(RTA_PRIORITY)?.readUInt32LE(0) ?? 0,
    scope: data[6] ?? RT_SCOPE_NOWHERE,
    protocol: data[5]!,
    mtu: metrics.get(RTAX_MTU)?.readUInt32LE(0),
    advmss: metrics.get(RTAX_ADVMSS)?.readUInt32LE(0),
  }
}
