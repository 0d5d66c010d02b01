// Which interface and address carry the overlay: what the operator says, else the node's own address, else the interface
// with the default route.

import { addressText, bits, cidrText, contains, network, parseAddress, parseCidr, sameAddress } from '../ip.ts'
import type { Address, Cidr, Family } from '../ip.ts'
import * as addr from '../kernel/addr.ts'
import * as link from '../kernel/link.ts'
import type { Netns } from '../kernel/netns.ts'
import * as route from '../kernel/route.ts'
import { word } from '../show.ts'
import type { Finding } from '../state.ts'
import type { Node } from './node.ts'
import type { Underlay } from './peers.ts'

const RT_SCOPE_UNIVERSE = 0 // <linux/rtnetlink.h>

/** An address of the node: where it is, and its network there. */
interface Own {
  ifindex: number
  cidr: Cidr
}

/** There is no underlay to be found; the message says what was looked for and what is there. */
export class NoUnderlay extends Error {}

export type FindUnderlay = (netns: Netns, self: Node, choice: string | undefined) => Underlay

/** `choice`: an interface, a CIDR or an address; undefined: the node's address, or the default route's interface. */
export const findUnderlay: FindUnderlay = (netns, self, choice) => {
  const own = addr.all(netns).flatMap(({ ifindex, address, scope }): Own[] => (scope === RT_SCOPE_UNIVERSE ? [{ ifindex, cidr: parseCidr(address)! }] : []))
  const said = self.addresses.flatMap((text) => parseAddress(text) ?? [])
  const preferred = (list: Own[]): Own | undefined => {
    const ofNode = said.flatMap((one) => list.filter(({ cidr }) => cidr.family === one.family && cidr.value === one.value))
    return ofNode[0] ?? list.find(({ cidr }) => cidr.family === said[0]?.family) ?? list[0]
  }
  const found = choice === undefined ? (preferredOwn(said, own) ?? preferred(onDefaultRoute(netns, own))) : preferred(chosen(netns, own, choice))
  if (!found) throw new NoUnderlay(choice === undefined ? `none of this node's addresses (${self.addresses.join(', ')}) is on an interface here, and there is no default route: choose with underlay` : `underlay ${choice}: ${nothing(own, choice)}`)
  return describe(netns, own, found)
}

function preferredOwn(said: { family: Family; value: bigint }[], own: Own[]): Own | undefined {
  return said.flatMap((one) => own.filter(({ cidr }) => cidr.family === one.family && cidr.value === one.value))[0]
}

function chosen(netns: Netns, own: Own[], choice: string): Own[] {
  const [address, cidr] = [parseAddress(choice), parseCidr(choice)]
  if (address) return own.filter((one) => one.cidr.family === address.family && one.cidr.value === address.value)
  if (cidr) return own.filter((one) => contains(cidr, one.cidr))
  const dev = link.get(netns, choice)
  return own.filter(({ ifindex }) => ifindex === dev?.index)
}

function onDefaultRoute(netns: Netns, own: Own[]): Own[] {
  const indexes = ([4, 6] as const).flatMap((family) => route.defaults(netns, family)).map(({ oif }) => oif)
  return own.filter(({ ifindex }) => indexes.includes(ifindex))
}

export interface UnderlayFinding extends Finding {
  state: 'missing' | 'down' | 'no carrier' | 'no address'
}

/** Why no other node can be reached, nor reach this one, and what repairs it; undefined if nothing is known to be wrong. */
export function underlayFinding(netns: Netns, { local, dev, onLink }: Underlay): UnderlayFinding | undefined {
  const name = dev ?? 'lo'
  const there = link.get(netns, name)
  const about = (state: UnderlayFinding['state'], what: string, repair = ''): UnderlayFinding =>
    ({ state, sentence: `interface ${name}, which carries the overlay, ${what}`, repair })
  if (!there) return about('missing', 'is missing')
  if (!there.up) return about('down', 'is down', `ip link set ${word(name)} up`)
  if ((there.flags & link.IFF_LOWER_UP) === 0) return about('no carrier', 'has no carrier: look at its cable, or at what is at the other end')
  if (hasAddress(netns, local)) return undefined
  const around = onLink.find((text) => contains(parseCidr(text)!, parseAddress(local)!))
  const prefix = around?.split('/')[1] ?? bits(local.includes(':') ? 6 : 4)
  const repair = `ip addr add ${local}/${prefix} dev ${word(name)}`
  return { state: 'no address', sentence: `address ${local}, to which other nodes send, is on no interface`, repair }
}

/**
 * Finds the underlay as findUnderlay does, but for a node whose address has been taken away since: as long as others are told to reach it
 * there, it is no help to send from elsewhere. `before`: the underlay until now.
 */
export function keepingUnderlay(before: Underlay | undefined): FindUnderlay {
  return (netns, self, choice) => {
    const said = before && parseAddress(before.local)
    const isSaid = said && self.addresses.some((text) => text === before.local || isSame(parseAddress(text), said))
    const lost = isSaid && !hasAddress(netns, before.local) && link.get(netns, before.dev ?? 'lo') !== undefined
    return lost ? before : findUnderlay(netns, self, choice)
  }
}

const isSame = (a: Address | undefined, b: Address): boolean => a !== undefined && sameAddress(a, b)

function hasAddress(netns: Netns, local: string): boolean {
  const wanted = parseAddress(local)!
  return addr.all(netns).some(({ address }) => sameAddress(parseCidr(address)!, wanted))
}

const nothing = (own: Own[], choice: string): string =>
  `no interface has that ${parseAddress(choice) ? 'address' : parseCidr(choice) ? 'network' : 'name and an address'}; this node has ${own.map(({ cidr }) => cidrText(cidr)).join(', ') || 'no address at all'}`

/** The addresses of an interface tell its networks; an address on lo is reached over whatever has the default route. */
function describe(netns: Netns, own: Own[], { ifindex, cidr }: Own): Underlay {
  const there = link.byIndex(netns, ifindex)
  const local = addressText(cidr)
  const onLink = own.filter((one) => one.ifindex === ifindex && one.cidr.prefix < bits(one.cidr.family)).map((one) => cidrText(network(one.cidr)))
  if (there && there.name !== 'lo') return { local, dev: there.name, mtu: there.mtu, onLink }
  const mtus = route.defaults(netns, cidr.family).flatMap(({ oif }) => link.byIndex(netns, oif)?.mtu ?? [])
  return { local, dev: undefined, mtu: Math.min(1500, ...mtus), onLink: [] }
}
