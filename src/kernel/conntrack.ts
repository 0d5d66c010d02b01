// Tracked connections of an address, forgotten. Without it the next pod with the address would inherit, for as long as
// packets keep coming, what the kernel had decided for the last one. <linux/netfilter/nfnetlink_conntrack.h>

import { addressBytes, parseAddress, type Address } from '../ip.ts'
import { isErrno } from './errno.ts'
import { u32 } from './link.ts'
import { attributes, nest, type NetlinkMessage, type Out, type Request } from './netlink.ts'
import type { Netns } from './netns.ts'
import { read } from './sysctl.ts'

const NFNL_SUBSYS_CTNETLINK = 1
const IPCTNL_MSG_CT_GET = 1
const IPCTNL_MSG_CT_DELETE = 2
const CTA_TUPLE_ORIG = 1
const CTA_TUPLE_REPLY = 2
const CTA_ID = 12
const CTA_ZONE = 18
const CTA_FILTER = 25
const CTA_TUPLE_IP = 1
const CTA_IP_V4_SRC = 1
const CTA_IP_V6_SRC = 3
const CTA_FILTER_ORIG_FLAGS = 1
const CTA_FILTER_REPLY_FLAGS = 2
const CTA_FILTER_F_IP_SRC = 1

type Direction = typeof CTA_TUPLE_ORIG | typeof CTA_TUPLE_REPLY

/**
 * Deletes the connections that the address began (it is the source of the original direction) and those that it answers
 * (the source of the reply, which is also where destination NAT had led).
 */
export function flush(netns: Netns, address: string): void {
  // To look for one walks the whole hash table, a dozen milliseconds on a usual node.
  if (read(netns, 'net/netfilter/nf_conntrack_count') === '0') return
  const source = parseAddress(address)!
  for (const direction of [CTA_TUPLE_ORIG, CTA_TUPLE_REPLY] as const)
    for (const connection of list(netns, source, direction)) forget(netns, source, connection)
}

// The kernel filters IPv4 since Linux 5.8. For IPv6 its comparison is inverted (ctnetlink_filter_match_tuple: equal
// addresses do not match, seen up to 6.18), so it is not asked to. What it answers is looked at once more in any case.
function list(netns: Netns, source: Address, direction: Direction): Map<number, Buffer>[] {
  const filter = (out: Out) => {
    nest(out, direction, (tuple) => nest(tuple, CTA_TUPLE_IP, (ip) => ip.push(CTA_IP_V4_SRC, addressBytes(source))))
    nest(out, CTA_FILTER, (flags) => {
      flags.push(CTA_FILTER_ORIG_FLAGS, u32(direction === CTA_TUPLE_ORIG ? CTA_FILTER_F_IP_SRC : 0))
      flags.push(CTA_FILTER_REPLY_FLAGS, u32(direction === CTA_TUPLE_REPLY ? CTA_FILTER_F_IP_SRC : 0))
    })
  }
  const what = `conntrack -L --${direction === CTA_TUPLE_ORIG ? 'orig' : 'reply'}-src`
  try {
    return netns.nf
      .dump(request(source, what, IPCTNL_MSG_CT_GET, source.family === 4 ? filter : () => {}))
      .map(({ data }: NetlinkMessage) => attributes(data.subarray(4)))
      .filter((connection) => hasSource(connection.get(direction), source))
  } catch (error) {
    if (isErrno(error, 'EOPNOTSUPP', 'EPROTONOSUPPORT')) return [] // this kernel tracks no connections
    throw error
  }
}

function forget(netns: Netns, source: Address, connection: Map<number, Buffer>): void {
  const copy = [CTA_TUPLE_ORIG, CTA_ZONE, CTA_ID]
  try {
    netns.nf.change(request(source, 'conntrack -D', IPCTNL_MSG_CT_DELETE, (out) => copy.forEach((type) => connection.has(type) && out.push(type, connection.get(type)!))))
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
  }
}

function hasSource(tuple: Buffer | undefined, source: Address): boolean {
  const ip = tuple && attributes(tuple).get(CTA_TUPLE_IP)
  return ip !== undefined && (attributes(ip).get(sourceAttribute(source))?.equals(addressBytes(source)) ?? false)
}

const sourceAttribute = ({ family }: Address): number => (family === 4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC)

const request = ({ family }: Address, what: string, type: number, attrs: NonNullable<Request['attrs']>): Request => ({
  what,
  type: (NFNL_SUBSYS_CTNETLINK << 8) | type,
  header: Buffer.from([family === 4 ? 2 : 10, 0, 0, 0]),
  attrs,
})
