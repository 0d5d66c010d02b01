// The nft facts that plugins share. Masquerading: a pod's address leads to the chain of its network by one map lookup,
// so the cost of a packet and of an ADD is the same for one pod and for a thousand; the chain lets through untranslated
// what its network names, and translates the rest. Only the first packet of a connection comes here.
//
//   ip saddr vmap @masquerade_ip ──► chain outside_<hash>: ip daddr 10.1.2.0/24 return … masquerade

import type { Belongings } from './chained.ts'
import { addressText, cidrText, lastAddress, network as networkOf, parseCidr, rangeText, type Cidr, type Family } from './ip.ts'
import type { Element, Fact, Plan } from './facts.ts'
import { hash } from './names.ts'

/**
 * What masquerades. The kernel would keep a packet's source port where that is free: two pods that send from one port to one server at
 * the same instant both find it so, and the packet that is tracked second is dropped (NF_NAT_RANGE_PROTO_RANDOM_FULLY, Linux 3.14).
 */
export const MASQUERADE = 'masquerade fully-random'

/** Multicast keeps the pod's address: RFC 5771, RFC 4291 §2.7. */
const MULTICAST = ['224.0.0.0/4', 'ff00::/8']

export const MASQUERADE_MAPS = { 4: 'masquerade_ip', 6: 'masquerade_ip6' } as const satisfies Record<Family, string>

/** What of that is a pod's, and the connections of the address. */
export const MASQUERADED: Belongings = {
  maps: (name) => Object.values<string>(MASQUERADE_MAPS).includes(name),
  with: (elements) => elements.map(({ key }) => ({ fact: 'flows', address: key })),
}

/**
 * Facts that masquerade a pod's addresses towards everything but their own subnets, multicast and `except` (CIDRs).
 * The elements belong to `owner`; the rest is shared by all pods, the last chain by those with the same list.
 */
export function masquerade(addresses: Cidr[], except: string[], owner: string): Plan {
  const own = addresses.map((address) => cidrText(networkOf(address)))
  const cidrs = [...new Set([...own, ...except.map((text) => cidrText(networkOf(parseCidr(text)!))), ...MULTICAST])]
  const outside = `outside_${hash(8, ...cidrs)}`
  return [
    { fact: 'table', keep: true },
    { fact: 'map', name: MASQUERADE_MAPS[4], type: 'ipv4_addr', data: 'verdict', keep: true },
    { fact: 'map', name: MASQUERADE_MAPS[6], type: 'ipv6_addr', data: 'verdict', keep: true },
    {
      fact: 'chain',
      name: 'postrouting',
      base: { type: 'nat', hook: 'postrouting', priority: 'srcnat' },
      rules: [`ip saddr vmap @${MASQUERADE_MAPS[4]}`, `ip6 saddr vmap @${MASQUERADE_MAPS[6]}`],
      keep: true,
    },
    { fact: 'chain', name: outside, rules: [...cidrs.map((cidr) => `${daddr(cidr)} ${cidr} return`), MASQUERADE], keep: true },
    ...addresses.map((address): Element => ({ fact: 'element', map: MASQUERADE_MAPS[address.family], key: addressText(address), value: `goto ${outside}`, owner })),
  ]
}

const SETS = { 4: 'cluster_ip', 6: 'cluster_ip6' } as const satisfies Record<Family, string>

/**
 * Facts that masquerade the pods of a node once for all of them, towards everything but `cluster` (the networks of all
 * pods), multicast and `except`: the overlay's, in the place of ipMasq for each pod.
 */
export function clusterMasquerade(own: string[], cluster: string[], except: string[]): Plan {
  const ranges = [...cluster, ...except, ...MULTICAST].map(rangeOf)
  const set = (family: Family): Fact => ({ fact: 'set', name: SETS[family], type: family === 4 ? 'ipv4_addr' : 'ipv6_addr', elements: merged(ranges.filter((range) => range.family === family)), keep: true })
  return [
    { fact: 'table', keep: true },
    set(4),
    set(6),
    {
      fact: 'chain',
      name: 'overlay',
      base: { type: 'nat', hook: 'postrouting', priority: 'srcnat' },
      rules: [
        `ip daddr @${SETS[4]} return`,
        `ip6 daddr @${SETS[6]} return`,
        ...own.map((cidr) => `${cidr.includes(':') ? 'ip6' : 'ip'} saddr ${cidr} ${MASQUERADE}`),
      ],
      keep: true,
    },
  ]
}

interface Range {
  family: Family
  from: bigint
  to: bigint
}

/** A network as a range, remembered: of thousands one changes. */
function rangeOf(network: string): Range {
  let range = known.get(network)
  if (range === undefined) {
    if (known.size > 100_000) known.clear()
    const cidr = parseCidr(network)!
    known.set(network, (range = { family: cidr.family, from: networkOf(cidr).value, to: lastAddress(cidr).value }))
  }
  return range
}

const known = new Map<string, Range>()

/** Ranges of one family as the fewest, in order: networks where they are. */
function merged(ranges: Range[]): string[] {
  const list: Range[] = []
  for (const range of ranges.toSorted((a, b) => (a.from < b.from ? -1 : a.from > b.from ? 1 : 0))) {
    const last = list.at(-1)
    if (last && range.from <= last.to + 1n) list[list.length - 1] = { ...last, to: range.to > last.to ? range.to : last.to }
    else list.push(range)
  }
  return list.map(textOf)
}

/** The same object has the same text. */
function textOf(range: Range): string {
  let text = texts.get(range)
  if (text === undefined) texts.set(range, (text = rangeText(range.family, range.from, range.to)))
  return text
}

const texts = new WeakMap<Range, string>()

const daddr = (cidr: string): string => (cidr.includes(':') ? 'ip6 daddr' : 'ip daddr')
