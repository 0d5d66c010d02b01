// Ranges of host-local: which addresses a network may lease, and in which order. Pure. The keys, their defaults and the
// order (round robin behind the last reserved one, through all ranges of a set, without gateways) are host-local's.
// https://www.cni.dev/plugins/current/ipam/host-local/

import { addressText, bits, cidrText, contains, lastAddress, network, parseAddress, parseCidr, sameAddress, type Address, type Cidr } from '../ip.ts'

/** As configured. */
export interface RangeConf {
  subnet?: string
  rangeStart?: string
  rangeEnd?: string
  gateway?: string
}

export interface Range {
  subnet: Cidr
  start: Address
  end: Address
  gateway: Address
}

/** Ranges that are alternatives to each other: one address is leased from each set. */
export type RangeSet = Range[]

/** A problem of a configuration: where, and the sentence. */
export class RangeProblem extends Error {}

/** Makes a range of its configuration, defaults filled in. Throws a RangeProblem with a sentence for each key, which begins with its path. */
export function parseRange(conf: RangeConf, path: string): Range {
  const wrong: string[] = []
  const sentence = (key: keyof RangeConf, why: string) => `${path}.${key} is ${JSON.stringify(conf[key])}: ${why}`
  const problem = (key: keyof RangeConf, why: string) => new RangeProblem(sentence(key, why))
  if (conf.subnet === undefined) throw new RangeProblem(`${path}.subnet is missing: expected a network in CIDR notation such as "10.1.2.0/24"`)
  const subnet = parseCidr(conf.subnet)
  if (!subnet) throw problem('subnet', 'expected a network in CIDR notation such as "10.1.2.0/24"')
  const net = network(subnet)
  if (net.value !== subnet.value) throw problem('subnet', `Network has host bits set. For a subnet mask of length ${subnet.prefix} the network address is ${addressText(net)}`)
  if (subnet.prefix > bits(subnet.family) - 2) throw problem('subnet', `Network ${cidrText(subnet)} too small to allocate from: expected a prefix of at most /${bits(subnet.family) - 2}`)
  const last = lastAddress(subnet)
  const one = (key: 'rangeStart' | 'rangeEnd' | 'gateway', value: bigint): Address => {
    const address = conf[key] ? parseAddress(conf[key]) : { family: subnet.family, value }
    if (!address) wrong.push(sentence(key, 'expected an IP address'))
    else if (key !== 'gateway' && !contains(subnet, address)) wrong.push(sentence(key, `${key === 'rangeStart' ? 'RangeStart' : 'RangeEnd'} not in network ${cidrText(subnet)}`))
    else if (address.family !== subnet.family) wrong.push(sentence(key, `expected an IPv${subnet.family} address, as subnet is one`))
    return address ?? subnet // which nobody sees
  }
  const start = one('rangeStart', subnet.value + 1n)
  const end = one('rangeEnd', subnet.family === 4 ? last.value - 1n : last.value)
  if (wrong.length === 0 && start.value > end.value) wrong.push(sentence('rangeStart', `it is behind rangeEnd ${addressText(end)}`))
  const gateway = one('gateway', subnet.value + 1n)
  if (wrong.length > 0) throw new RangeProblem(wrong.join('; '))
  return { subnet, start, end, gateway }
}

/** Problems between ranges: families mixed within a set, overlaps within and between sets. */
export function* conflicts(sets: { path: string; set: RangeSet }[]): Generator<string> {
  const all = sets.flatMap(({ path, set }) => set.map((range, i) => ({ path: set.length > 1 ? `${path}[${i}]` : path, range })))
  for (const { path, set } of sets) if (set.some((range) => range.subnet.family !== set[0]!.subnet.family)) yield `${path}: mixed address families in one range set`
  for (const [a, b] of overlaps(all)) yield `${b.path}: ${rangeText(b.range)} overlaps with ${a.path}: ${rangeText(a.range)}`
}

/**
 * Pairs that overlap, each in the order of the configuration; every range that begins within another is in one of them. In the order of
 * their beginnings it is enough to hold each against the one before it that goes furthest.
 */
function overlaps<T extends { range: Range }>(all: T[]): [T, T][] {
  const position = new Map(all.map((one, i) => [one, i]))
  const behind = (a: T, b: T) => position.get(a)! - position.get(b)!
  const begins = ({ range: { start } }: T, { range: { start: other } }: T) => start.family - other.family || compare(start.value, other.value)
  const ordered = [...all].sort((a, b) => begins(a, b) || behind(a, b))
  const pairs: [T, T][] = []
  let furthest: T | undefined
  for (const one of ordered) {
    const apart = !furthest || furthest.range.start.family !== one.range.start.family || furthest.range.end.value < one.range.start.value
    if (!apart) pairs.push([furthest!, one].sort(behind) as [T, T])
    if (apart || furthest!.range.end.value < one.range.end.value) furthest = one
  }
  return pairs.sort(([, a], [, b]) => behind(a, b))
}

const compare = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0)

/** Every address that may be leased, once each, beginning behind `last`. */
export function* candidates(set: RangeSet, last?: Address): Generator<{ address: Cidr; range: Range }> {
  const first = last ? set.findIndex((range) => inRange(range, last)) : -1
  const turns = first < 0 ? set.map((range) => [range, range.start.value, range.end.value] as const) : turnsBehind(set, first, last!.value)
  for (const [range, from, to] of turns)
    for (let value = from; value <= to; value++)
      if (value !== range.gateway.value || range.gateway.family !== range.subnet.family) yield { address: { family: range.subnet.family, value, prefix: range.subnet.prefix }, range }
}

/** The range of a set that an address may be leased from. */
export const rangeFor = (set: RangeSet, address: Address): Range | undefined => set.find((range) => inRange(range, address))

export const isGateway = (range: Range, address: Address): boolean => sameAddress(range.gateway, address)

/** How many addresses a set has to give; gateways do not count. */
export const capacity = (set: RangeSet): bigint =>
  set.reduce((sum, range) => sum + range.end.value - range.start.value + 1n - (inRange(range, range.gateway) ? 1n : 0n), 0n)

export const rangeText = ({ start, end }: Range): string => `${addressText(start)}-${addressText(end)}`

const inRange = (range: Range, address: Address): boolean => range.start.family === address.family && range.start.value <= address.value && address.value <= range.end.value

// The rest of the range that `last` is in, the other ranges, and that range's beginning up to `last` itself.
function turnsBehind(set: RangeSet, first: number, last: bigint): (readonly [Range, bigint, bigint])[] {
  const current = set[first]!
  const others = [...set.slice(first + 1), ...set.slice(0, first)]
  return [[current, last + 1n, current.end.value], ...others.map((range) => [range, range.start.value, range.end.value] as const), [current, current.start.value, last]]
}
