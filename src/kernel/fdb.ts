// The forwarding database of a VXLAN device: where frames for a MAC address go. The kernel keeps it as neighbours of the
// bridge family. <linux/neighbour.h>, drivers/net/vxlan, man 8 bridge

import { addressBytes, bytesText, parseAddress } from '../ip.ts'
import type { Fdb } from '../facts.ts'
import { differs, missing, type Difference } from './difference.ts'
import * as link from './link.ts'
import * as neigh from './neigh.ts'
import { attributes } from './attributes.ts'
import { NLM_F_CREATE, NLM_F_REPLACE, type NetlinkMessage, type Request } from './netlink.ts'
import type { Netns } from './netns.ts'

export const AF_BRIDGE = 7
const NTF_SELF = 0x02
const NDA_PORT = 6
const NDA_VNI = 7
const NDA_IFINDEX = 8

/** Makes an entry, in the place of one for that MAC address. (Appended, it would silently not be: only multicast and zero addresses have several.) */
export const addition = (netns: Netns, { dev, lladdr, dst }: Fdb): Omit<Request, 'what'> => ({
  type: neigh.RTM_NEWNEIGH,
  flags: NLM_F_CREATE | NLM_F_REPLACE,
  header: neigh.ndmsg(AF_BRIDGE, link.index(netns, dev), neigh.NUD_PERMANENT, NTF_SELF),
  attrs: (out) => (out.push(neigh.NDA_LLADDR, link.macBytes(lladdr)), out.push(neigh.NDA_DST, addressBytes(parseAddress(dst)!))),
})

/** Deletes what there is for the MAC address. */
export const deletion = (netns: Netns, { dev, lladdr }: Fdb): Omit<Request, 'what'> => ({
  type: neigh.RTM_DELNEIGH,
  header: neigh.ndmsg(AF_BRIDGE, link.index(netns, dev), 0, NTF_SELF),
  attrs: (out) => out.push(neigh.NDA_LLADDR, link.macBytes(lladdr)),
})

export function check(netns: Netns, { dev, lladdr, dst }: Fdb): Difference | undefined {
  const there = collect(netns, dev, (message) => parse(message, dev)).find((entry) => entry?.lladdr === lladdr)
  if (!there) return missing(`fdb entry ${lladdr} is missing on ${dev}`)
  return there.dst === dst ? undefined : differs(`fdb entry ${lladdr} on ${dev} has dst ${there.dst}, not ${dst}`)
}

/** Of the messages about entries of a device what `take` makes of them. */
export const collect = <T>(netns: Netns, dev: string, take: (message: NetlinkMessage) => T): (T | undefined)[] => neigh.collectFamily(netns, dev, `bridge fdb show dev ${dev}`, AF_BRIDGE, take)

/** True if a message about a neighbour is about such an entry. */
export const isFdb = ({ data }: NetlinkMessage): boolean => data[0] === AF_BRIDGE

/** What a message about an entry of `dev` says. One that has a port, VNI or interface of its own, and not the device's, says so. */
export function parse({ data }: NetlinkMessage, dev: string): Fdb | undefined {
  const found = attributes(data.subarray(12))
  const [dst, lladdr] = [found.get(neigh.NDA_DST), found.get(neigh.NDA_LLADDR)]
  const odd = [NDA_PORT, NDA_VNI, NDA_IFINDEX].some((type) => found.has(type))
  return dst && lladdr && { fact: 'fdb', dev, lladdr: link.macText(lladdr), dst: `${bytesText(dst)}${odd ? ' and a port, VNI or interface of its own' : ''}`, keep: true }
}
