// Neighbours: the MAC address behind an address. <linux/neighbour.h>, man 7 rtnetlink, man 8 ip-neighbour

import { addressBytes, bytesText, parseAddress } from '../ip.ts'
import type { Neigh } from '../facts.ts'
import { differs, missing, type Difference } from './difference.ts'
import type { Digest } from './digest.ts'
import * as link from './link.ts'
import { attributeAt, attributes, type Out } from './attributes.ts'
import { NLM_F_CREATE, NLM_F_REPLACE, type NetlinkMessage, type Request } from './netlink.ts'
import type { Netns } from './netns.ts'

export const RTM_NEWNEIGH = 28
export const RTM_DELNEIGH = 29
const RTM_GETNEIGH = 30
export const NDA_DST = 1
export const NDA_LLADDR = 2
const NDA_CACHEINFO = 3
const NDA_IFINDEX = 8
export const NUD_PERMANENT = 0x80
export const AF_INET = 2
export const AF_INET6 = 10

/** Makes a neighbour, in the place of one with that address. */
export const addition = (netns: Netns, { dev, address, lladdr }: Neigh): Omit<Request, 'what'> => ({
  type: RTM_NEWNEIGH,
  flags: NLM_F_CREATE | NLM_F_REPLACE,
  header: ndmsg(familyOf(address), link.index(netns, dev), NUD_PERMANENT, 0),
  attrs: (out) => (out.push(NDA_DST, addressBytes(parseAddress(address)!)), out.push(NDA_LLADDR, link.macBytes(lladdr))),
})

export const deletion = (netns: Netns, { dev, address }: Neigh): Omit<Request, 'what'> => ({
  type: RTM_DELNEIGH,
  header: ndmsg(familyOf(address), link.index(netns, dev), 0, 0),
  attrs: (out) => out.push(NDA_DST, addressBytes(parseAddress(address)!)),
})

export function check(netns: Netns, { dev, address, lladdr, optional }: Neigh): Difference | undefined {
  const there = permanent(netns, dev).find((neigh) => neigh.address === address)
  if (!there) return optional ? undefined : missing(`neighbour ${address} is missing on ${dev}`)
  return there.lladdr === lladdr ? undefined : differs(`neighbour ${address} on ${dev} has lladdr ${there.lladdr}, not ${lladdr}`)
}

/** The neighbours on a device that somebody made. */
export const permanent = (netns: Netns, dev: string): Neigh[] => collect(netns, dev, (message) => parse(message, dev)).filter((neigh) => neigh !== undefined && neigh.lladdr !== '') as Neigh[]

/** Of the messages about neighbours of a device, of both families, what `take` makes of them. */
export const collect = <T>(netns: Netns, dev: string, take: (message: NetlinkMessage) => T): (T | undefined)[] => [AF_INET, AF_INET6].flatMap((family) => collectFamily(netns, dev, `ip neigh show dev ${dev}`, family, take))

/** The same of one address family; the forwarding database is one. */
export function collectFamily<T>(netns: Netns, dev: string, what: string, family: number, take: (message: NetlinkMessage) => T): (T | undefined)[] {
  const index = link.index(netns, dev)
  return netns.rt.collect(listing(what, family, index), (message) => (ifindex(message) === index ? take(message) : undefined))
}

const listing = (what: string, family: number, index: number): Request => ({ what, type: RTM_GETNEIGH, header: ndmsg(family, 0, 0, 0), attrs: (out: Out) => out.push(NDA_IFINDEX, link.u32(index)) })

/** Takes what lasts of the neighbours of a device, of these address families, into a digest. False if it could not be read whole. */
export function digest(netns: Netns, dev: string, families: number[], into: Digest): boolean {
  const index = link.index(netns, dev)
  return families.every((family) => netns.rt.scan(listing('ip neigh show', family, index), (buffer, start, end) => buffer.readInt32LE(start + 4) === index && into.add(buffer, start, lastingIn(buffer, start, end))))
}

/**
 * Where in a message that ends which stays the same as long as its neighbour does: at NDA_CACHEINFO, which says when it was
 * last used.
 */
export const lasting = ({ data }: NetlinkMessage): number => lastingIn(data, 0, data.length)

const lastingIn = (buffer: Buffer, start: number, end: number): number => attributeAt(buffer, start + 12, end, NDA_CACHEINFO)

/** The interface index in a message about a neighbour. */
export const ifindex = ({ data }: NetlinkMessage): number => data.readInt32LE(4)

/** What a message about a neighbour of `dev` says; `lladdr` is empty if it is not a permanent one. */
export function parse({ data }: NetlinkMessage, dev: string): Neigh | undefined {
  const found = attributes(data.subarray(12))
  const dst = found.get(NDA_DST)
  const lladdr = (data.readUInt16LE(8) & NUD_PERMANENT) !== 0 && found.get(NDA_LLADDR)
  return dst && { fact: 'neigh', dev, address: bytesText(dst), lladdr: lladdr ? link.macText(lladdr) : '', keep: true }
}

const familyOf = (address: string): number => (address.includes(':') ? AF_INET6 : AF_INET)

/** struct ndmsg */
export function ndmsg(family: number, index: number, state: number, flags: number): Buffer {
  const header = Buffer.alloc(12)
  header[0] = family
  header.writeInt32LE(index, 4)
  header.writeUInt16LE(state, 8)
  header[10] = flags
  return header
}
