// Addresses on interfaces. <linux/if_addr.h>, man 7 rtnetlink

import { addressBytes, addressText, bytesAddress, parseCidr, type Cidr } from '../ip.ts'
import type { Addr } from '../facts.ts'
import { missing, type Difference } from './difference.ts'
import { isErrno } from './errno.ts'
import * as link from './link.ts'
import { attributes, NLM_F_CREATE, NLM_F_EXCL, type Out } from './netlink.ts'
import type { Netns } from './netns.ts'
import * as route from './route.ts'

const RTM_NEWADDR = 20
const RTM_DELADDR = 21
const RTM_GETADDR = 22
const IFA_ADDRESS = 1
const IFA_LOCAL = 2
const IFA_FLAGS = 8
const IFA_F_NODAD = 0x02
const IFA_F_NOPREFIXROUTE = 0x200

/** Adds an address. One that is there already is refused with EEXIST, as by `ip addr add`. */
export function add(netns: Netns, fact: Addr, what: string): void {
  const cidr = parseCidr(fact.address)!
  const flags = (cidr.family === 6 ? IFA_F_NODAD : 0) | (fact.noprefixroute ? IFA_F_NOPREFIXROUTE : 0)
  netns.rt.change({
    what,
    type: RTM_NEWADDR,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    header: ifaddrmsg(netns, fact.dev, cidr),
    attrs: (out) => (identity(out, cidr), out.push(IFA_FLAGS, link.u32(flags))),
  })
}

/** Deletes an address; one that is gone is success. */
export function del(netns: Netns, { dev, address }: Addr): void {
  const cidr = parseCidr(address)!
  try {
    netns.rt.change({ what: `ip addr del ${address} dev ${dev}`, type: RTM_DELADDR, header: ifaddrmsg(netns, dev, cidr), attrs: (out) => identity(out, cidr) })
  } catch (error) {
    if (!isErrno(error, 'EADDRNOTAVAIL', 'ENODEV')) throw error
  }
}

/** True if the kernel takes packets for the address: an IPv6 one gets its local route from a work queue, NODAD or not. */
export function usable(netns: Netns, { address }: Addr): boolean {
  const cidr = parseCidr(address)!
  return cidr.family === 4 || route.isLocal(netns, cidr)
}

/** Addresses of one interface, with prefix length. */
export function list(netns: Netns, dev: string): string[] {
  const header = Buffer.alloc(8)
  header.writeInt32LE(link.index(netns, dev), 4)
  return netns.rt.dump({ what: `ip addr show dev ${dev}`, type: RTM_GETADDR, header }).map(({ data }) => {
    const found = attributes(data.subarray(8))
    const bytes = found.get(IFA_LOCAL) ?? found.get(IFA_ADDRESS) ?? Buffer.alloc(4)
    return `${addressText(bytesAddress(bytes))}/${data[1]}`
  })
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
