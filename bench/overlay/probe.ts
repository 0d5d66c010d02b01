// Whether one entry is in the kernel, asked for by itself, so that it can be asked every millisecond.

import type { Listed } from '../../src/facts.ts'
import { addressBytes, parseAddress, parseCidr, bits } from '../../src/ip.ts'
import * as addr from '../../src/kernel/addr.ts'
import * as link from '../../src/kernel/link.ts'
import { attributes, type Out } from '../../src/kernel/attributes.ts'
import type { Netns } from '../../src/kernel/netns.ts'

// <linux/rtnetlink.h>, <linux/neighbour.h>
const RTM_GETROUTE = 26
const RTM_GETNEIGH = 30
const RTM_F_FIB_MATCH = 0x2000
const RTA_DST = 1
const NDA_DST = 1
const NDA_LLADDR = 2
const AF = { 4: 2, 6: 10 }
const AF_BRIDGE = 7
const NTF_SELF = 2
const NUD_PERMANENT = 0x80
const ABSENT = ['ENOENT', 'ENETUNREACH', 'EHOSTUNREACH', 'ESRCH', 'ENODEV']

export function isThere(netns: Netns, fact: Listed): boolean {
  switch (fact.fact) {
    case 'addr':
      return addr.list(netns, fact.dev).includes(fact.address)
    case 'route':
      return hasRoute(netns, fact.dst)
    case 'neigh':
      return hasNeigh(netns, fact.dev, fact.address.includes(':') ? AF[6] : AF[4], (out) => out.push(NDA_DST, addressBytes(parseAddress(fact.address)!)))
    case 'fdb': {
      const answer = neighbour(netns, fact.dev, AF_BRIDGE, (out) => out.push(NDA_LLADDR, link.macBytes(fact.lladdr)))
      return answer !== undefined && addressBytes(parseAddress(fact.dst)!).equals(attributes(answer.data.subarray(12)).get(NDA_DST)!)
    }
  }
}

/** The network's own address is looked up: the route to it is the one to the network. */
function hasRoute(netns: Netns, dst: string): boolean {
  const cidr = parseCidr(dst)!
  const header = Buffer.from([AF[cidr.family], bits(cidr.family), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
  header.writeUInt32LE(RTM_F_FIB_MATCH, 8)
  const answer = netns.rt.get({ what: `ip route get fibmatch ${dst}`, type: RTM_GETROUTE, header, attrs: (out) => out.push(RTA_DST, addressBytes(cidr)) }, ...ABSENT)
  return answer?.data[1] === cidr.prefix
}

const hasNeigh = (...args: Parameters<typeof neighbour>): boolean => ((neighbour(...args)?.data.readUInt16LE(8) ?? 0) & NUD_PERMANENT) !== 0

function neighbour(netns: Netns, dev: string, family: number, attrs: (out: Out) => void) {
  const header = Buffer.alloc(12) // struct ndmsg
  header[0] = family
  header.writeInt32LE(link.index(netns, dev), 4)
  if (family === AF_BRIDGE) header[10] = NTF_SELF
  return netns.rt.get({ what: `ip neigh get dev ${dev}`, type: RTM_GETNEIGH, header, attrs }, ...ABSENT)
}
