// Addresses on interfaces. <linux/if_addr.h>, man 7 rtnetlink

import { addressBytes, bytesText, contains, parseCidr, type Cidr } from '../ip.ts'
import type { Addr } from '../facts.ts'
import { missing, type Difference } from './difference.ts'
import { isErrno } from './errno.ts'
import * as link from './link.ts'
import { attributeAt, attributes, type Out } from './attributes.ts'
import { NLM_F_CREATE, NLM_F_EXCL, type NetlinkMessage, type Request } from './netlink.ts'
import type { Netns } from './netns.ts'
import * as route from './route.ts'

export const RTM_NEWADDR = 20
export const RTM_DELADDR = 21
const RTM_GETADDR = 22
const IFA_ADDRESS = 1
const IFA_LOCAL = 2
const IFA_CACHEINFO = 6
const IFA_FLAGS = 8
const IFA_F_NODAD = 0x02
const IFA_F_DADFAILED = 0x08
const IFA_F_NOPREFIXROUTE = 0x200

/** Adds an address. One that is there already is refused with EEXIST, as by `ip addr add`. */
export function add(netns: Netns, fact: Addr, what: string): void {
  netns.rt.change({ what, ...addition(netns, fact) })
}

export function addition(netns: Netns, fact: Addr): Omit<Request, 'what'> {
  const cidr = parseCidr(fact.address)!
  const flags = (cidr.family === 6 && !fact.dad ? IFA_F_NODAD : 0) | (fact.noprefixroute ? IFA_F_NOPREFIXROUTE : 0)
  return {
    type: RTM_NEWADDR,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    header: ifaddrmsg(netns, fact.dev, cidr),
    attrs: (out) => (identity(out, cidr), out.push(IFA_FLAGS, link.u32(flags))),
  }
}

export function deletion(netns: Netns, { dev, address }: Addr): Omit<Request, 'what'> {
  const cidr = parseCidr(address)!
  return { type: RTM_DELADDR, header: ifaddrmsg(netns, dev, cidr), attrs: (out) => identity(out, cidr) }
}

/** Adds an address that others may have added before; `instead` takes others of its network away. */
export function ensure(netns: Netns, fact: Addr, what: string): void {
  const own = parseCidr(fact.address)!
  const there = list(netns, fact.dev)
  const others = fact.instead ? there.filter((address) => address !== fact.address && overlap(own, parseCidr(address)!)) : []
  // Before, because with the first address of a network the kernel deletes the others.
  for (const address of others) del(netns, { ...fact, address })
  try {
    if (!(others.length > 0 ? list(netns, fact.dev) : there).includes(fact.address)) add(netns, fact, what)
  } catch (error) {
    if (!isErrno(error, 'EEXIST') || !list(netns, fact.dev).includes(fact.address)) throw error // one address with another prefix
  }
}

const overlap = (a: Cidr, b: Cidr): boolean => contains(a, b) || contains(b, a)

/** Deletes an address; one that is gone is success. */
export function del(netns: Netns, fact: Addr): void {
  try {
    netns.rt.change({ what: `ip addr del ${fact.address} dev ${fact.dev}`, ...deletion(netns, fact) })
  } catch (error) {
    if (!isErrno(error, 'EADDRNOTAVAIL', 'ENODEV')) throw error
  }
}

/**
 * True if the kernel takes packets for the address, or has found that somebody else does. An IPv6 address gets its local route
 * from a work queue, NODAD or not; one that waits for duplicate address detection gets it then.
 */
export function settled(netns: Netns, fact: Addr): boolean {
  const cidr = parseCidr(fact.address)!
  return cidr.family === 4 || route.isLocal(netns, cidr) || (fact.dad === true && isDuplicate(netns, fact))
}

/** An address as the kernel tells of it. */
export interface AddrState {
  ifindex: number
  /** With prefix length. */
  address: string
  /** RT_SCOPE_*: 0 global, 253 link, 254 host. */
  scope: number
  /** IFA_F_* */
  flags: number
}

/** Addresses of one interface, with prefix length. */
export function list(netns: Netns, dev: string): string[] {
  const index = link.index(netns, dev)
  return dump(netns, `ip addr show dev ${dev}`, index).filter(({ ifindex }) => ifindex === index).map(({ address }) => address)
}

/** The addresses of all interfaces. */
export const all = (netns: Netns): AddrState[] => dump(netns, 'ip addr show', 0)

/** Hands over each address with its interface, without its times. False if that changed while it was read. */
export const scan = (netns: Netns, take: (index: number, buffer: Buffer, start: number, end: number) => void): boolean =>
  netns.rt.scan({ what: 'ip addr show', type: RTM_GETADDR, header: Buffer.alloc(8) }, (buffer, start, end) => take(buffer.readInt32LE(start + 4), buffer, start, attributeAt(buffer, start + 8, end, IFA_CACHEINFO)))

function dump(netns: Netns, what: string, index: number): AddrState[] {
  const header = Buffer.alloc(8)
  header.writeInt32LE(index, 4)
  return netns.rt.dump({ what, type: RTM_GETADDR, header }).map(parse)
}

/** What a message about an address says. */
export function parse({ data }: NetlinkMessage): AddrState {
  const found = attributes(data.subarray(8))
  const bytes = found.get(IFA_LOCAL) ?? found.get(IFA_ADDRESS) ?? Buffer.alloc(4)
  return { ifindex: data.readInt32LE(4), address: `${bytesText(bytes)}/${data[1]}`, scope: data[3]!, flags: found.get(IFA_FLAGS)?.readUInt32LE(0) ?? data[2]! }
}

/** Throws if somebody else has the address. */
export function requireUnique(netns: Netns, fact: Addr): void {
  if (isDuplicate(netns, fact)) throw new Error(`somebody else on the link has ${fact.address}: duplicate address detection failed`)
}

function isDuplicate(netns: Netns, { dev, address }: Addr): boolean {
  const index = link.index(netns, dev)
  return dump(netns, `ip addr show dev ${dev}`, index).some((there) => there.ifindex === index && there.address === address && (there.flags & IFA_F_DADFAILED) !== 0)
}

export function check(netns: Netns, { dev, address }: Addr): Difference | undefined {
  return list(netns, dev).includes(address) ? undefined : missing(`address ${address} is missing on ${dev}`)
}

function identity(out: Out, cidr: Cidr): void {
  out.push(IFA_LOCAL, addressBytes(cidr))
  out.push(IFA_ADDRESS, addressBytes(cidr))
}

/** struct ifaddrmsg */
function ifaddrmsg(netns: Netns, dev: string, { family, prefix }: Cidr): Buffer {
  const header = Buffer.alloc(8)
  header[0] = family === 4 ? 2 : 10 // AF_INET, AF_INET6
  header[1] = prefix
  header.writeInt32LE(link.index(netns, dev), 4)
  return header
}
