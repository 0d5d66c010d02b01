// Neighbours and the forwarding database of VXLAN devices: the kernel keeps both as neighbours, the second of the bridge
// family. <linux/neighbour.h>, man 7 rtnetlink

import { addressBytes, bytesText, parseAddress, type Family } from '../ip.ts'
import type { Fdb, Neigh } from '../facts.ts'
import { differs, missing, type Difference } from './difference.ts'
import type { Digest } from './digest.ts'
import * as link from './link.ts'
import { attributes, NLM_F_CREATE, NLM_F_REPLACE, type NetlinkMessage, type Out, type Request } from './netlink.ts'
import type { Netns } from './netns.ts'

export const RTM_NEWNEIGH = 28
export const RTM_DELNEIGH = 29
const RTM_GETNEIGH = 30
const NDA_DST = 1
const NDA_LLADDR = 2
const NDA_CACHEINFO = 3
const NDA_PORT = 6
const NDA_VNI = 7
const NDA_IFINDEX = 8
const NUD_PERMANENT = 0x80
const NTF_SELF = 0x02
const AF_INET = 2
const AF_INET6 = 10
const AF_BRIDGE = 7

/** Makes a neighbour, in the place of one with that address. */
export const neighAddition = (netns: Netns, { dev, address, lladdr }: Neigh): Omit<Request, 'what'> => ({
  type: RTM_NEWNEIGH,
  flags: NLM_F_CREATE | NLM_F_REPLACE,
  header: ndmsg(address.includes(':') ? AF_INET6 : AF_INET, link.index(netns, dev), NUD_PERMANENT, 0),
  attrs: (out) => (out.push(NDA_DST, addressBytes(parseAddress(address)!)), out.push(NDA_LLADDR, link.macBytes(lladdr))),
})

export const neighDeletion = (netns: Netns, { dev, address }: Neigh): Omit<Request, 'what'> => ({
  type: RTM_DELNEIGH,
  header: ndmsg(address.includes(':') ? AF_INET6 : AF_INET, link.index(netns, dev), 0, 0),
  attrs: (out) => out.push(NDA_DST, addressBytes(parseAddress(address)!)),
})

/** Makes an entry, in the place of one for that MAC address. (Appended, it would silently not be: only multicast and zero addresses have several.) */
export const fdbAddition = (netns: Netns, fact: Fdb): Omit<Request, 'what'> => ({ ...fdb(netns, fact, NUD_PERMANENT), type: RTM_NEWNEIGH, flags: NLM_F_CREATE | NLM_F_REPLACE })

/** Deletes the entry with that dst. */
export const fdbDeletion = (netns: Netns, fact: Fdb): Omit<Request, 'what'> => ({ ...fdb(netns, fact, 0), type: RTM_DELNEIGH })

/** The permanent neighbours of a device, of both families. */
export const neighbours = (netns: Netns, dev: string): Neigh[] => collect(netns, dev, FAMILIES, (message) => parseNeigh(message, dev)).flatMap((fact) => (fact?.lladdr ? [fact] : []))

/** The forwarding database of a VXLAN device. */
export const fdbEntries = (netns: Netns, dev: string): Fdb[] => collect(netns, dev, [AF_BRIDGE], (message) => parseFdb(message, dev)).flatMap((fact) => fact ?? [])

/** Both, of each message what `take` makes of it. */
export const collectAll = <T>(netns: Netns, dev: string, take: (message: NetlinkMessage) => T): (T | undefined)[] => collect(netns, dev, [...FAMILIES, AF_BRIDGE], take)

const FAMILIES = [AF_INET, AF_INET6]

/** Of each family's messages about the device. */
function collect<T>(netns: Netns, dev: string, families: number[], take: (message: NetlinkMessage) => T): (T | undefined)[] {
  const index = link.index(netns, dev)
  return families.flatMap((family) => {
    const what = family === AF_BRIDGE ? `bridge fdb show dev ${dev}` : `ip neigh show dev ${dev}`
    const attrs = (out: Out) => out.push(NDA_IFINDEX, link.u32(index))
    return netns.rt.collect({ what, type: RTM_GETNEIGH, header: ndmsg(family, 0, 0, 0), attrs }, (message) => (ifindex(message) === index ? take(message) : undefined))
  })
}

/**
 * Where in a message that ends which stays the same as long as its neighbour does: at NDA_CACHEINFO, which says when it was
 * last used.
 */
export function lasting({ data }: NetlinkMessage): number {
  let end = 12
  while (end + 4 <= data.length && data.readUInt16LE(end + 2) !== NDA_CACHEINFO) end += (Math.max(4, data.readUInt16LE(end)) + 3) & ~3
  return end
}

/** Takes all into a digest. */
export const digest = (netns: Netns, dev: string, into: Digest): void => void collectAll(netns, dev, (message) => into.add(message.data, 0, lasting(message)))

export function check(netns: Netns, { dev, address, lladdr }: Neigh): Difference | undefined {
  const there = neighbours(netns, dev).find((neigh) => neigh.address === address)
  if (!there) return missing(`neighbour ${address} is missing on ${dev}`)
  return there.lladdr === lladdr ? undefined : differs(`neighbour ${address} on ${dev} has lladdr ${there.lladdr}, not ${lladdr}`)
}

export function checkFdb(netns: Netns, { dev, lladdr, dst }: Fdb): Difference | undefined {
  return fdbEntries(netns, dev).some((entry) => entry.lladdr === lladdr && entry.dst === dst) ? undefined : missing(`fdb entry ${lladdr} dst ${dst} is missing on ${dev}`)
}

/** The interface index in a message about a neighbour. */
export const ifindex = ({ data }: NetlinkMessage): number => data.readInt32LE(4)

/** What a message about a neighbour of `dev` says; `lladdr` is empty if it is not a permanent one. */
export function parse(message: NetlinkMessage, dev: string): Neigh | Fdb | undefined {
  return message.data[0] === AF_BRIDGE ? parseFdb(message, dev) : parseNeigh(message, dev)
}

function parseNeigh({ data }: NetlinkMessage, dev: string): Neigh | undefined {
  const found = attributes(data.subarray(12))
  const dst = found.get(NDA_DST)
  const lladdr = (data.readUInt16LE(8) & NUD_PERMANENT) !== 0 && found.get(NDA_LLADDR)
  return dst && { fact: 'neigh', dev, address: bytesText(dst), lladdr: lladdr ? link.macText(lladdr) : '', keep: true }
}

function parseFdb({ data }: NetlinkMessage, dev: string): Fdb | undefined {
  const found = attributes(data.subarray(12))
  const [dst, lladdr] = [found.get(NDA_DST), found.get(NDA_LLADDR)]
  const other = [NDA_PORT, NDA_VNI, NDA_IFINDEX].some((type) => found.has(type)) // than the device's: not as ours are
  return dst && lladdr && { fact: 'fdb', dev, lladdr: link.macText(lladdr), dst: `${bytesText(dst)}${other ? ' with a port, VNI or interface of its own' : ''}`, keep: true }
}

const fdb = (netns: Netns, { dev, lladdr, dst }: Fdb, state: number) => ({
  header: ndmsg(AF_BRIDGE, link.index(netns, dev), state, NTF_SELF),
  attrs: (out: Out) => (out.push(NDA_LLADDR, link.macBytes(lladdr)), out.push(NDA_DST, addressBytes(parseAddress(dst)!))),
})

/** struct ndmsg */
function ndmsg(family: Family | number, index: number, state: number, flags: number): Buffer {
  const header = Buffer.alloc(12)
  header[0] = family
  header.writeInt32LE(index, 4)
  header.writeUInt16LE(state, 8)
  header[10] = flags
  return header
}
