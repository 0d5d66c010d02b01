// The nodes as peers: to whom packets for which networks go. What a node says of itself is bad input until it fits to what
// the others say; what does not fit hurts only that node, and is named. Pure.

import { addressText, bits, cidrText, contains, hostCidr, network, parseAddress, parseCidr, type Address, type Cidr, type Family } from '../ip.ts'
import type { Node, Nodes } from './node.ts'

/** This node's end of the underlay. */
export interface Underlay {
  /** The address that peers send to. */
  local: string
  /** The interface with that address; undefined if it is lo. */
  dev: string | undefined
  /** The least MTU on the way out, bytes. */
  mtu: number
  /** The networks that are reached through the interface without a router. */
  onLink: string[]
}

export interface Peer {
  node: Node
  /** Its address on the underlay. */
  address: string
  podCIDRs: string[]
  /** Its addresses by family, where no router is between. */
  onLink: Partial<Record<Family, string>>
}

/** What of a node cannot be used. */
export interface Problem {
  node: string
  sentence: string
}

/** Peers of a node, and what is wrong with the others. Of two that claim the same, the older keeps it. */
export function peersOf(self: Node, nodes: Nodes, underlay: Underlay): { peers: Peer[]; problems: Problem[] } {
  const problems: Problem[] = []
  const others = [...nodes.values()].filter(({ name }) => name !== self.name).sort(bySeniority).map(read)
  const onLink = underlay.onLink.map((text) => parseCidr(text)!)
  const near = underlay.onLink.join()
  const me = read(self)
  const networks = new Networks([me, ...others].flatMap(({ cidrs }) => cidrs).concat(onLink))
  const addresses = new Map<string, string>()
  for (const { addresses: list, node } of [me, ...others]) for (const address of list) networks.address(address, node.name === self.name ? 'an address of this node' : node)
  for (const cidr of onLink) networks.add(cidr, 'the underlay')
  for (const cidr of me.cidrs) networks.add(cidr, 'this node')
  for (const address of me.addresses) addresses.set(textOf(address), 'this node')
  const family: Family = underlay.local.includes(':') ? 6 : 4

  const peers = others.flatMap((other): Peer[] => {
    const { node } = other
    const say = (sentence: string) => void problems.push({ node: node.name, sentence })
    for (const text of other.unreadable.addresses) say(`its address ${JSON.stringify(text)} is no IP address`)
    for (const text of other.unreadable.podCIDRs) say(`its podCIDR ${JSON.stringify(text)} is no network in CIDR notation`)
    const endpoint = other.addresses.find((address) => address.family === family)
    if (!endpoint) return say(node.addresses.length === 0 ? 'it has no address' : other.addresses.length === 0 ? 'none of its addresses can be read' : `it has no IPv${family} address (but ${other.addresses.map(textOf).join(', ')}), and the underlay of this node is IPv${family}`), []
    const address = textOf(endpoint)
    const holder = addresses.get(address)
    if (holder) return say(`its address ${address} is that of ${holder}`), []
    addresses.set(address, `node ${node.name}`)
    const podCIDRs = other.cidrs.filter((cidr) => {
      const overlap = networks.overlapping(cidr)
      if (overlap) say(`its podCIDR ${cidrText(cidr)} overlaps ${overlap}`)
      else networks.add(cidr, node)
      return !overlap
    })
    if (node.podCIDRs.length === 0) say('it has no podCIDR')
    if (podCIDRs.length === 0) return []
    return [{ node, address, podCIDRs: podCIDRs.map((cidr) => `${textOf(cidr)}/${cidr.prefix}`), onLink: nearOf(other, onLink, near) }]
  })
  return { peers, problems }
}

/** What a node says, parsed once: a node that stays the same is the same object. */
interface Read {
  node: Node
  /** As networks of one address. */
  addresses: Cidr[]
  cidrs: Cidr[]
  unreadable: { addresses: string[]; podCIDRs: string[] }
  near?: { about: string; onLink: Peer['onLink'] }
}

function read(node: Node): Read {
  let known = parsed.get(node)
  if (!known) {
    const cidrs = node.podCIDRs.map((text) => ({ text, cidr: parseCidr(text) }))
    known = {
      node,
      addresses: node.addresses.flatMap((text) => parseAddress(text) ?? []).map(hostCidr),
      cidrs: cidrs.flatMap(({ cidr }) => (cidr ? [network(cidr)] : [])),
      unreadable: { addresses: node.addresses.filter((text) => !parseAddress(text)), podCIDRs: cidrs.flatMap(({ text, cidr }) => (cidr ? [] : [text])) },
    }
    parsed.set(node, known)
  }
  return known
}

const parsed = new WeakMap<Node, Read>()

/** Its addresses by family that are on these networks, the first of each; looked for once. */
function nearOf(other: Read, onLink: Cidr[], about: string): Peer['onLink'] {
  if (other.near?.about !== about) {
    const list = other.addresses.filter((one) => onLink.some((cidr) => contains(cidr, one))).reverse()
    other.near = { about, onLink: Object.fromEntries(list.map((one) => [one.family, textOf(one)])) }
  }
  return other.near.onLink
}

/** An address as text, made once. */
function textOf(address: Address): string {
  let text = texts.get(address)
  if (text === undefined) texts.set(address, (text = addressText(address)))
  return text
}

const texts = new WeakMap<Address, string>()

const bySeniority = (a: Node, b: Node): number => compare(a.created ?? '', b.created ?? '') || compare(a.name, b.name)
const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/**
 * Networks, asked which one overlaps another. Two overlap if one contains the other, so it is enough to look a network up
 * under each prefix length that occurs: the cost does not grow with their number.
 */
class Networks {
  readonly #lengths: Record<Family, number[]>
  /** Who has the network, by its key. */
  readonly #whole = new Map<string, Node | string>()
  /** Who has something inside the network, by its key. */
  readonly #inside = new Map<string, { whose: Node | string; what: string }>()

  constructor(all: Cidr[]) {
    const of = (family: Family) => [...new Set(all.filter((cidr) => cidr.family === family).map(({ prefix }) => prefix))]
    this.#lengths = { 4: of(4), 6: of(6) }
  }

  add(cidr: Cidr, whose: Node | string): void {
    this.#whole.set(key(cidr, cidr.prefix), whose)
    this.#enter(cidr, whose, '')
  }

  /** Something that no network may contain, though it is none itself. */
  address(address: Cidr, whose: Node | string): void {
    this.#enter(address, whose, 'the address of ')
  }

  #enter(cidr: Cidr, whose: Node | string, what: string): void {
    const entry = { whose, what }
    for (const length of this.#lengths[cidr.family]) if (length <= cidr.prefix && !this.#inside.has(key(cidr, length))) this.#inside.set(key(cidr, length), entry)
  }

  /** Whose network contains this one, or what lies inside it. */
  overlapping(cidr: Cidr): string | undefined {
    for (const length of this.#lengths[cidr.family]) {
      const whose = length <= cidr.prefix ? this.#whole.get(key(cidr, length)) : undefined
      if (whose !== undefined) return nameOf(whose, '')
    }
    const inside = this.#inside.get(key(cidr, cidr.prefix))
    return inside && nameOf(inside.whose, inside.what)
  }
}

const nameOf = (whose: Node | string, what: string): string => (typeof whose === 'string' ? whose : `${what}node ${whose.name}`)

/** The first bits of an address, `prefix` of them, as text behind its family. */
function key(address: Address, prefix: number): string {
  let digits = binary.get(address)
  if (digits === undefined) binary.set(address, (digits = address.family + address.value.toString(2).padStart(bits(address.family), '0')))
  return digits.slice(0, prefix + 1)
}

const binary = new WeakMap<Address, string>()
