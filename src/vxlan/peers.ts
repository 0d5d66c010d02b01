// The nodes as peers: to whom packets for which networks go. What a node says of itself is a claim. This node's own come first,
// then those that were heeded before, then the others, each time the older node's before the younger's; a claim on what is somebody's
// already is void, and named. So whatever a node says, it changes nothing for those that were there before it. Pure.
//
// Networks lie inside others where routes do: the longest prefix wins, so pods may have a part of the underlay's network. What
// none may contain is an address to which the underlay has to reach: a node's, this node's own, a router's.

import { addressText, bits, cidrText, contains, hostCidr, lastAddress, network, parseAddress, parseCidr } from '../ip.ts'
import type { Address, Cidr, Family } from '../ip.ts'
import { vtepMac } from '../names.ts'
import { Networks, type Holding } from './networks.ts'
import { MOST_ADDRESSES, MOST_NETWORKS, quoted, type Node, type Nodes } from './node.ts'
import { reservedOn, specialIn } from './special.ts'

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
  /** True if all of it is an example, the node being another machine. */
  example?: true
}

/** What claims are held against, beside other claims. */
export interface Bounds {
  /** The networks in which those of all pods lie; none: not said. */
  clusterCIDRs?: string[]
  /** Addresses of this node, beside those that it says of itself. */
  own?: string[]
  /** Addresses of the routers that this node sends to. */
  nextHops?: string[]
  /** Whether peers on the same link are reached without encapsulation, by any address they have there. */
  directRouting?: boolean
  /** The overlay's, on which MAC addresses depend; undefined: they are not compared. */
  vni?: number
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

/** Peers of a node, and what is wrong with the others. `before`: the peers that it had until now, which an older node's new claim takes nothing from. */
export function peersOf(self: Node, nodes: Nodes, underlay: Underlay, bounds: Bounds = {}, before: readonly Peer[] = []): { peers: Peer[]; problems: Problem[] } {
  const others = [...nodes.values()].filter(({ name }) => name !== self.name).map(read).sort(bySeniority)
  const claims = new Claims(read(self), others, underlay, bounds)
  const had = new Map(before.map((peer) => [peer.node.name, peer]))
  for (const other of had.size > 0 ? others : []) claims.hold(other, had.get(other.node.name))
  const peers = others.flatMap((other) => claims.peer(other) ?? [])
  claims.search()
  return { peers, problems: claims.problems }
}

/** What of this node's own networks and its address on the underlay cannot be: the first sentence, or undefined. */
export function ownProblem(self: Node, underlay: Underlay, bounds: Bounds = {}): string | undefined {
  const claims = new Claims(read(self), [], underlay, bounds)
  return claims.wrongOfThisNode ?? claims.wrongOf(underlay.local)
}

/** Who has which networks and addresses; asked node by node, the oldest first. */
class Claims {
  readonly problems: Problem[] = []
  /** What is wrong with this node's own networks, the first of it. */
  readonly wrongOfThisNode: string | undefined
  readonly #networks: Networks
  readonly #cluster: Networks | undefined
  readonly #clusterCIDRs: string[]
  readonly #onLink: Cidr[]
  /** The on-link networks as text, by which what was found of a node is remembered. */
  readonly #near: string
  readonly #directRouting: boolean
  /** The family of the underlay. */
  readonly #family: Family
  /** Whose an address is, for addresses that are used, and all of this node. */
  readonly #addresses = new Map<string, string>()
  readonly #vni: number | undefined
  /** Whose a MAC address in the overlay is: they are hashes of names, and names can be made until two have one. */
  readonly #macs = new Map<string, string>()
  /** Networks that nodes had before, and have again. */
  readonly #held = new Set<Cidr>()
  /** Addresses of nodes that are not used. */
  readonly #unused: { node: Node; address: Cidr }[] = []

  constructor(me: Read, others: Read[], underlay: Underlay, { clusterCIDRs = [], own = [], nextHops = [], directRouting = false, vni }: Bounds) {
    this.#clusterCIDRs = clusterCIDRs
    this.#cluster = clusterCIDRs.length > 0 ? clusterOf(clusterCIDRs) : undefined
    this.#onLink = underlay.onLink.map((text) => parseCidr(text)!)
    this.#near = underlay.onLink.join()
    this.#directRouting = directRouting
    this.#vni = vni
    this.#macOf(me.node, 'this node')
    this.#family = underlay.local.includes(':') ? 6 : 4
    this.#networks = new Networks([me, ...others].flatMap(({ cidrs }) => cidrs))
    for (const address of [...me.addresses, ...hosts([underlay.local, ...own])]) {
      this.#networks.keep(address, () => 'an address of this node')
      this.#addresses.set(textOf(address), 'this node')
    }
    for (const address of hosts(nextHops)) this.#networks.keep(address, () => `the router ${textOf(address)}`)
    // Of a network on the link somebody hears its first address (all routers, RFC 4291 §2.6.1) and its last (broadcast).
    const ends = this.#onLink.flatMap((cidr) => [network(cidr), lastAddress(cidr)]).map(hostCidr)
    for (const held of [...this.#onLink, ...ends]) this.#networks.keep(held, () => 'the underlay')
    this.wrongOfThisNode = me.cidrs.flatMap((cidr) => this.#claim(me, cidr, () => 'this node') ?? [])[0]
    // A network of ours that is wrong makes this node not ready; meanwhile nobody else gets it.
    for (const cidr of me.cidrs) this.#networks.add(cidr, () => 'this node')
  }

  /** What a node had as a peer, and still claims, is its own, before any claim is looked at that is new. */
  hold(other: Read, had: Peer | undefined): void {
    const owner = () => `node ${other.node.name}`
    for (const cidr of had ? other.cidrs : []) if (had!.podCIDRs.includes(`${textOf(cidr)}/${cidr.prefix}`) && !this.#claim(other, cidr, owner)) this.#held.add(cidr)
    const address = had && other.addresses.find((one) => textOf(one) === had.address)
    if (!address || this.#unfit(address) || this.#taken(address) || this.#networks.around(address)) return
    this.#networks.keep(address, () => `the address of ${owner()}`)
    this.#addresses.set(textOf(address), owner())
  }

  /** The node as a peer, or undefined. What is wrong with it becomes a problem, what is right its own. */
  peer(other: Read): Peer | undefined {
    const { node } = other
    for (const sentence of other.wrong) this.#say(node, sentence)
    const podCIDRs = other.cidrs.filter((cidr) => {
      const wrong = this.#held.has(cidr) ? undefined : this.#claim(other, cidr, () => `node ${node.name}`)
      if (wrong) this.#say(node, wrong)
      return !wrong
    })
    const near = this.#nearOf(other)
    const usable = other.addresses.filter((address) => this.#passes(node, address, this.#refusal(address, podCIDRs, near)))
    const endpoint = usable.find((address) => address.family === this.#family && this.#passes(node, address, this.#taken(address, node)))
    if (!endpoint) this.#sayWhy(other)
    const onLink = firsts(near.addresses.filter((address) => usable.includes(address) && !this.#taken(address, node)))
    const used = [...(endpoint ? [endpoint] : []), ...(endpoint && this.#directRouting ? Object.values(onLink) : [])]
    for (const address of used) this.#networks.keep(address, () => `the address of node ${node.name}`)
    for (const address of usable) if (!used.includes(address)) this.#unused.push({ node, address })
    if (!endpoint) return undefined
    const address = textOf(endpoint)
    this.#addresses.set(address, `node ${node.name}`)
    const twin = podCIDRs.length > 0 ? this.#macOf(node, `node ${node.name}`) : undefined
    if (twin) this.#say(node, `its name gives it the MAC address of ${twin} in the overlay: it needs another name`)
    if (podCIDRs.length === 0 || twin) return undefined
    return { node, address, podCIDRs: podCIDRs.map((cidr) => `${textOf(cidr)}/${cidr.prefix}`), onLink: texted(onLink) }
  }

  /** Looks for addresses that nobody uses, inside networks of others: they hurt nobody, but whoever says them errs, or lies. */
  search(): void {
    for (const { node, address } of this.#unused) {
      const around = this.#networks.around(address)
      if (around) this.#say(node, `its address ${textOf(address)} is inside ${heldText(around)}`)
    }
  }

  /** Makes a network the node's; the sentence if it cannot be. */
  #claim({ unfit }: Read, cidr: Cidr, owner: () => string): string | undefined {
    const said = (wrong: string) => `its podCIDR ${cidrText(cidr)} ${wrong}`
    const alone = unfit.get(cidr)
    if (alone) return said(alone)
    if (this.#cluster && !this.#cluster.around(cidr)) return said(`is not inside the cluster's networks ${this.#clusterCIDRs.join(', ')}`)
    const overlap = this.#networks.overlapping(cidr)
    if (overlap) return said(`overlaps ${overlap}`)
    this.#networks.add(cidr, owner)
    return undefined
  }

  /** Why this node's own address on the underlay cannot be one. */
  wrongOf(local: string): string | undefined {
    const wrong = hosts([local]).flatMap((address) => this.#unfit(address) ?? [])[0]
    return wrong && `its address ${local} ${wrong}`
  }

  /** Why no node can have the address. */
  #unfit(address: Cidr): string | undefined {
    const special = specialOf(address)
    if (special) return `is in ${special}, where no node can be`
    return this.#cluster?.around(address) && `is inside the cluster's networks ${this.#clusterCIDRs.join(', ')}, where pods are`
  }

  /** Why no node can have the address, or not this one. */
  #refusal(address: Cidr, podCIDRs: Cidr[], near: Near): string | undefined {
    const unfit = this.#unfit(address)
    if (unfit) return unfit
    if (this.#addresses.get(textOf(address)) === 'this node') return 'is that of this node'
    if (near.reserved.has(address)) return near.reserved.get(address)
    const around = this.#networks.around(address)
    return around && `is inside ${podCIDRs.includes(around.cidr) ? `its own podCIDR ${cidrText(around.cidr)}` : heldText(around)}`
  }

  /** Makes the MAC address of a name the node's; who has it already, if somebody does. */
  #macOf({ name }: Node, owner: string): string | undefined {
    if (this.#vni === undefined) return undefined
    const mac = vtepMac(name, this.#vni)
    const holder = this.#macs.get(mac)
    if (holder === undefined) this.#macs.set(mac, owner)
    return holder
  }

  /** Whose the address is, if it is not the node's own. */
  #taken(address: Cidr, node?: Node): string | undefined {
    const holder = this.#addresses.get(textOf(address))
    return holder !== undefined && holder !== `node ${node?.name}` ? `is that of ${holder}` : undefined
  }

  #passes(node: Node, address: Cidr, wrong: string | undefined): boolean {
    if (wrong) this.#say(node, `its address ${textOf(address)} ${wrong}`)
    return !wrong
  }

  /** Why there is no address to send to, where what was said of each does not tell already. */
  #sayWhy({ node, addresses }: Read): void {
    const family = `IPv${this.#family}`
    if (addresses.some((address) => address.family === this.#family)) return
    if (addresses.length > 0) this.#say(node, `it has no ${family} address (but ${addresses.map(textOf).join(', ')}), and the underlay of this node is ${family}`)
    else if (node.addresses.length > 0) this.#say(node, 'none of its addresses can be read')
    else if (!node.wrong) this.#say(node, 'it has no address')
  }

  #say({ name }: Node, sentence: string): void {
    this.problems.push({ node: name, sentence })
  }

  /** What of a node's addresses is on the underlay's networks; looked for once. */
  #nearOf(other: Read): Near {
    if (other.near?.about === this.#near) return other.near
    const near: Near = { about: this.#near, addresses: [], reserved: new Map() }
    for (const address of other.addresses) {
      const links = this.#onLink.filter((link) => contains(link, address))
      if (links.length > 0) near.addresses.push(address)
      const reserving = links.find((link) => reservedOn(link, address))
      if (reserving) near.reserved.set(address, `is ${reservedOn(reserving, address)} of ${cidrText(network(reserving))}`)
    }
    return (other.near = near)
  }
}

interface Near {
  /** The underlay's networks as text. */
  about: string
  addresses: Cidr[]
  /** Why no node can have one of them. */
  reserved: Map<Cidr, string>
}

/** What a node says, parsed once: a node that stays the same is the same object. */
interface Read {
  node: Node
  /** When it came to be, milliseconds; Infinity if it does not say: whoever does is older. */
  created: number
  /** As networks of one address. */
  addresses: Cidr[]
  cidrs: Cidr[]
  /** Why a network cannot be anybody's; undefined if it can. */
  unfit: Map<Cidr, string | undefined>
  /** What of it cannot be read, sentences. */
  wrong: string[]
  near?: Near
}

function read(node: Node): Read {
  const known = parsed.get(node)
  if (known) return known
  const wrong = [...(node.wrong ?? [])]
  const addresses = each(node.addresses, MOST_ADDRESSES, 'addresses', wrong).flatMap((text) => {
    const address = parseAddress(text)
    if (!address) wrong.push(`its address ${quoted(text)} is no IP address`)
    return address ? [hostCidr(address)] : []
  })
  const cidrs = each(node.podCIDRs, MOST_NETWORKS, 'podCIDRs', wrong).flatMap((text) => {
    const cidr = parseCidr(text)
    if (!cidr) wrong.push(`its podCIDR ${quoted(text)} is no network in CIDR notation`)
    return cidr ? [network(cidr)] : []
  })
  if (node.podCIDRs.length === 0 && !node.wrong) wrong.push('it has no podCIDR')
  const unfit = new Map(cidrs.map((cidr) => [cidr, unfitness(cidr)]))
  const time = Date.parse(node.created ?? '')
  const made: Read = { node, created: Number.isNaN(time) ? Infinity : time, addresses, cidrs, unfit, wrong }
  parsed.set(node, made)
  return made
}

const parsed = new WeakMap<Node, Read>()

/** Why no pods can be in a network, whoever has it. */
function unfitness(cidr: Cidr): string | undefined {
  const special = specialIn(cidr)
  if (special) return `overlaps ${special}, where no pod can be`
  const least = 2 // bits: the address of the overlay's device, the pods' gateway, a pod, and IPv4's broadcast
  if (bits(cidr.family) - cidr.prefix >= least) return undefined
  return `is too small: /${bits(cidr.family) - least} is the smallest that has an address for a pod`
}

function clusterOf(texts: string[]): Networks {
  const cidrs = texts.map((text) => network(parseCidr(text)!))
  const cluster = new Networks(cidrs)
  for (const cidr of cidrs) cluster.add(cidr, () => 'the cluster')
  return cluster
}

const heldText = ({ cidr, owner }: Holding): string => `${cidrText(cidr)} of ${owner()}`

/** So many of a list, and a word about the others. */
function each(list: string[], most: number, what: string, wrong: string[]): string[] {
  if (list.length > most) wrong.push(`it has more than ${most} ${what}: only the first ${most} are heeded`)
  return list.slice(0, most)
}

/** The older before the younger; of two of one age the name decides, so that all nodes decide alike. */
const bySeniority = (a: Read, b: Read): number => compare(a.created, b.created) || compare(a.node.name, b.node.name)
const compare = <T extends string | number>(a: T, b: T): number => (a < b ? -1 : a > b ? 1 : 0)

/** The first address of each family. */
const firsts = (addresses: Cidr[]): Partial<Record<Family, Cidr>> =>
  Object.fromEntries(addresses.toReversed().map((address) => [address.family, address]))

const hosts = (texts: string[]): Cidr[] => texts.flatMap((text) => parseAddress(text) ?? []).map(hostCidr)
const texted = (addresses: Partial<Record<Family, Cidr>>): Peer['onLink'] =>
  Object.fromEntries(Object.entries(addresses).map(([family, address]) => [family, textOf(address)]))

/** What is special about an address, looked for once. */
function specialOf(address: Cidr): string | undefined {
  let words = specials.get(address)
  if (words === undefined) specials.set(address, (words = specialIn(address) ?? ''))
  return words || undefined
}

const specials = new WeakMap<Cidr, string>()

/** An address as text, made once. */
function textOf(address: Address): string {
  let text = texts.get(address)
  if (text === undefined) texts.set(address, (text = addressText(address)))
  return text
}

const texts = new WeakMap<Address, string>()
