// Tracked connections of an address, forgotten. Without it the next pod with the address would inherit, for as long as
// packets keep coming, what the kernel had decided for the last one. <linux/netfilter/nfnetlink_conntrack.h>

import { addressBytes, bytesText, parseAddress, type Address, type Family } from '../ip.ts'
import type { PortFlows } from '../facts.ts'
import { isErrno } from './errno.ts'
import { u32 } from './link.ts'
import { serves } from './listen.ts'
import { attributes, nest, type NetlinkMessage, type Out, type Request } from './netlink.ts'
import type { Netns } from './netns.ts'
import { PROTOCOLS } from './nft-data.ts'
import { isLocal } from './route.ts'
import { read } from './sysctl.ts'

const NFNL_SUBSYS_CTNETLINK = 1
const IPCTNL_MSG_CT_GET = 1
const IPCTNL_MSG_CT_DELETE = 2
const CTA_TUPLE_ORIG = 1
const CTA_TUPLE_REPLY = 2
const CTA_PROTOINFO = 4
const CTA_ID = 12
const CTA_ZONE = 18
const CTA_FILTER = 25
const CTA_TUPLE_IP = 1
const CTA_TUPLE_PROTO = 2
const CTA_PROTOINFO_TCP = 1
const CTA_PROTOINFO_TCP_STATE = 1
const CTA_IP_V4_SRC = 1
const CTA_IP_V4_DST = 2
const CTA_IP_V6_SRC = 3
const CTA_IP_V6_DST = 4
const CTA_PROTO_NUM = 1
const CTA_PROTO_DST_PORT = 3
const CTA_FILTER_ORIG_FLAGS = 1
const CTA_FILTER_REPLY_FLAGS = 2
const CTA_FILTER_F_IP_SRC = 1 // net/netfilter/nf_internals.h
const CTA_FILTER_F_PROTO_NUM = 8
const CTA_FILTER_F_PROTO_DST_PORT = 32

type Direction = typeof CTA_TUPLE_ORIG | typeof CTA_TUPLE_REPLY

/**
 * Deletes the connections that the address began (it is the source of the original direction) and those that it answers
 * (the source of the reply, which is also where destination NAT had led). Not those of a `pod` that goes on.
 */
export function flush(netns: Netns, address: string, pod?: Netns): void {
  // To look for one walks the whole hash table, a dozen milliseconds on a usual node.
  if (read(netns, 'net/netfilter/nf_conntrack_count') === '0') return
  const [source, goesOn] = [parseAddress(address)!, ongoing(pod)]
  for (const direction of [CTA_TUPLE_ORIG, CTA_TUPLE_REPLY] as const)
    for (const connection of list(netns, source, direction)) if (!goesOn(connection)) forget(netns, source, connection)
}

const OPEN = [3, 4, 5] // TCP_CONNTRACK_ESTABLISHED, FIN_WAIT, CLOSE_WAIT: not yet ended by both. <linux/netfilter/nf_conntrack_tcp.h>

/**
 * Whether a connection goes on: by TCP, if there are servers in the pod still, because the runtime only makes its network anew
 * (`podman network reload`). Forgotten, the pod's next packet would seem to begin one, and get another port on its way out.
 */
function ongoing(pod: Netns | undefined): (connection: Map<number, Buffer>) => boolean {
  let lives: boolean | undefined
  return (connection) => pod !== undefined && OPEN.includes(tcpState(connection)) && (lives ??= serves(pod))
}

function tcpState(connection: Map<number, Buffer>): number {
  const tcp = attributes(connection.get(CTA_PROTOINFO) ?? Buffer.alloc(0)).get(CTA_PROTOINFO_TCP)
  return attributes(tcp ?? Buffer.alloc(0)).get(CTA_PROTOINFO_TCP_STATE)?.[0] ?? 0
}

type Port = PortFlows['ports'][number]

/**
 * Forgets connections to ports of the node. When ports are published: those led to another pod, and of protocols that never end
 * a connection also those to the node itself, which would go on as long as packets come. When they are taken back: those
 * led to the pod, but for those that go on.
 */
export function flushPorts(netns: Netns, ports: Port[], published: boolean, pod?: Netns): void {
  if (read(netns, 'net/netfilter/nf_conntrack_count') === '0') return
  const goesOn = ongoing(pod)
  for (const family of [4, 6] as const) {
    const own = ports.filter(({ to }) => to.includes(':') === (family === 6))
    for (const connection of toPorts(netns, family, own)) {
      const found = tupleOf(connection.get(CTA_TUPLE_ORIG), family)
      const answers = tupleOf(connection.get(CTA_TUPLE_REPLY), family).src
      const port = own.find((one) => PROTOCOLS[one.protocol] === found.protocol && one.port === found.dport && (one.address === undefined || one.address === found.dst))
      if (port && (published ? isStale(netns, port, found, answers) : answers === port.to && !goesOn(connection))) forget(netns, parseAddress(port.to)!, connection)
    }
  }
}

function isStale(netns: Netns, { protocol, to }: Port, { dst }: Tuple, answers: string): boolean {
  const led = answers !== dst
  return answers !== to && (led || protocol !== 'tcp') && isLocal(netns, parseAddress(dst)!)
}

const FEW = 8 // ports that are asked for one by one: each time the kernel looks through all connections

/** The connections of a family to ports, or more of them. */
function toPorts(netns: Netns, family: Family, ports: Port[]): Map<number, Buffer>[] {
  if (ports.length === 0) return []
  const one = ({ protocol, port }: Port) => (out: Out) => {
    nest(out, CTA_TUPLE_ORIG, (tuple) => nest(tuple, CTA_TUPLE_PROTO, (inner) => (inner.push(CTA_PROTO_NUM, Buffer.from([PROTOCOLS[protocol]!])), inner.push(CTA_PROTO_DST_PORT, Buffer.from([port >> 8, port & 0xff])))))
    nest(out, CTA_FILTER, (flags) => (flags.push(CTA_FILTER_ORIG_FLAGS, u32(CTA_FILTER_F_PROTO_NUM | CTA_FILTER_F_PROTO_DST_PORT)), flags.push(CTA_FILTER_REPLY_FLAGS, u32(0))))
  }
  return (ports.length > FEW ? [() => {}] : ports.map(one)).flatMap((filter) => dump(netns, family, 'conntrack -L --orig-port-dst', filter))
}

interface Tuple {
  src: string
  dst: string
  protocol: number
  dport: number
}

function tupleOf(tuple: Buffer | undefined, family: Family): Tuple {
  const inner = attributes(tuple ?? Buffer.alloc(0))
  const [ip, proto] = [attributes(inner.get(CTA_TUPLE_IP) ?? Buffer.alloc(0)), attributes(inner.get(CTA_TUPLE_PROTO) ?? Buffer.alloc(0))]
  const text = (type: number) => bytesText(ip.get(type) ?? Buffer.alloc(family === 4 ? 4 : 16))
  return { src: text(family === 4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC), dst: text(family === 4 ? CTA_IP_V4_DST : CTA_IP_V6_DST), protocol: proto.get(CTA_PROTO_NUM)?.[0] ?? 0, dport: proto.get(CTA_PROTO_DST_PORT)?.readUInt16BE(0) ?? 0 }
}

/** Connections of a family; none if this kernel tracks none. */
function dump(netns: Netns, family: Family, what: string, filter: (out: Out) => void): Map<number, Buffer>[] {
  try {
    return netns.nf.dump(request(family, what, IPCTNL_MSG_CT_GET, filter)).map(({ data }: NetlinkMessage) => attributes(data.subarray(4)))
  } catch (error) {
    if (isErrno(error, 'EOPNOTSUPP', 'EPROTONOSUPPORT')) return []
    throw error
  }
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
  return dump(netns, source.family, what, source.family === 4 ? filter : () => {}).filter((connection) => hasSource(connection.get(direction), source))
}

function forget(netns: Netns, source: Address, connection: Map<number, Buffer>): void {
  const copy = [CTA_TUPLE_ORIG, CTA_ZONE, CTA_ID]
  try {
    netns.nf.change(request(source.family, 'conntrack -D', IPCTNL_MSG_CT_DELETE, (out) => copy.forEach((type) => connection.has(type) && out.push(type, connection.get(type)!))))
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
  }
}

function hasSource(tuple: Buffer | undefined, source: Address): boolean {
  const ip = tuple && attributes(tuple).get(CTA_TUPLE_IP)
  return ip !== undefined && (attributes(ip).get(sourceAttribute(source))?.equals(addressBytes(source)) ?? false)
}

const sourceAttribute = ({ family }: Address): number => (family === 4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC)

const request = (family: Family, what: string, type: number, attrs: NonNullable<Request['attrs']>): Request => ({
  what,
  type: (NFNL_SUBSYS_CTNETLINK << 8) | type,
  header: Buffer.from([family === 4 ? 2 : 10, 0, 0, 0]),
  attrs,
})
