// Tracked connections of an address, forgotten. Without it the next pod with the address would inherit, for as long as
// packets keep coming, what the kernel had decided for the last one. <linux/netfilter/nfnetlink_conntrack.h>

import { addressBytes, bytesText, parseAddress, type Address, type Family } from '../ip.ts'
import type { Flows, PortFlows } from '../facts.ts'
import { isErrno } from './errno.ts'
import { u32 } from './link.ts'
import { serves } from './listen.ts'
import { attributes, nest, type Attrs, type Out, type Request } from './netlink.ts'
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

/**
 * Deletes the connections of addresses, which they began (the source of the original direction) or answer (the source of the reply,
 * which is also where destination NAT had led), and those to ports that were led to a pod. Not those of a `pod` that goes on.
 */
export function forget(netns: Netns, facts: (Flows | PortFlows)[], pod?: Netns): void {
  const tracked = count(netns)
  if (tracked === 0) return
  const addresses = new Set(facts.flatMap((fact) => (fact.fact === 'flows' ? [fact.address] : [])))
  const ports = facts.flatMap((fact) => (fact.fact === 'port flows' ? fact.ports.filter(({ to }) => !addresses.has(to)) : [])) // others are among those of the address
  const all = tracked <= FEW_TRACKED || addresses.size + ports.length > FEW
  const found = all ? about(netns, [...addresses, ...ports.map(({ to }) => to)]) : [...[...addresses].flatMap((address) => ofSource(netns, parseAddress(address)!)), ...toPorts(netns, ports)]
  const goesOn = ongoing(pod)
  for (const connection of found) {
    const { began, answers } = ends(connection)
    const ours = addresses.has(began.src) || addresses.has(answers) || ports.some((port) => port.to === answers && isTo(port, began))
    if (ours && !goesOn(connection.attrs)) remove(netns, connection)
  }
}

// To look for connections walks the whole hash table, a dozen milliseconds on a usual node: once, while there are so few that all
// are told. Of more the kernel picks them out, at a walk for each question, if these are few.
const FEW_TRACKED = 4096
const FEW = 8

const count = (netns: Netns): number => Number(read(netns, 'net/netfilter/nf_conntrack_count') ?? 0)

const OPEN = [3, 4, 5] // TCP_CONNTRACK_ESTABLISHED, FIN_WAIT, CLOSE_WAIT: not yet ended by both. <linux/netfilter/nf_conntrack_tcp.h>

/**
 * Whether a connection goes on: by TCP, if there are servers in the pod still, because the runtime only makes its network anew
 * (`podman network reload`). Forgotten, the pod's next packet would seem to begin one, and get another port on its way out.
 */
function ongoing(pod: Netns | undefined): (connection: Attrs) => boolean {
  let lives: boolean | undefined
  return (connection) => pod !== undefined && OPEN.includes(tcpState(connection)) && (lives ??= serves(pod))
}

function tcpState(connection: Attrs): number {
  const tcp = attributes(connection.get(CTA_PROTOINFO) ?? Buffer.alloc(0)).get(CTA_PROTOINFO_TCP)
  return attributes(tcp ?? Buffer.alloc(0)).get(CTA_PROTOINFO_TCP_STATE)?.[0] ?? 0
}

type Port = PortFlows['ports'][number]

/**
 * Forgets what ports of the node, now that they are published, would not get: connections that are led elsewhere or to the node
 * itself, of protocols that never end one, and which would go on as long as packets come. Those of TCP end with their pod.
 */
export function redirect(netns: Netns, ports: Port[]): void {
  const endless = ports.filter(({ protocol }) => protocol !== 'tcp')
  if (endless.length === 0 || count(netns) === 0) return
  for (const connection of toPorts(netns, endless)) {
    const { began, answers } = ends(connection)
    const port = endless.find((one) => isTo(one, began) && one.to.includes(':') === (connection.family === 6))
    if (port && answers !== port.to && isLocal(netns, parseAddress(began.dst)!)) remove(netns, connection)
  }
}

const isTo = ({ protocol, port, address }: Port, tuple: Tuple): boolean => PROTOCOLS[protocol] === tuple.protocol && port === tuple.dport && (address === undefined || address === tuple.dst)

/** The connections to ports, or more of them. */
function toPorts(netns: Netns, ports: Port[]): Tracked[] {
  return ([4, 6] as const).flatMap((family) => {
    const own = ports.filter(({ to }) => to.includes(':') === (family === 6))
    const filters = own.length > FEW ? [() => {}] : own.map(({ protocol, port }) => (out: Out) => {
      nest(out, CTA_TUPLE_ORIG, (tuple) => nest(tuple, CTA_TUPLE_PROTO, (inner) => (inner.push(CTA_PROTO_NUM, Buffer.from([PROTOCOLS[protocol]!])), inner.push(CTA_PROTO_DST_PORT, Buffer.from([port >> 8, port & 0xff])))))
      nest(out, CTA_FILTER, (flags) => (flags.push(CTA_FILTER_ORIG_FLAGS, u32(CTA_FILTER_F_PROTO_NUM | CTA_FILTER_F_PROTO_DST_PORT)), flags.push(CTA_FILTER_REPLY_FLAGS, u32(0))))
    })
    return filters.flatMap((filter) => dump(netns, AF[family], 'conntrack -L --orig-port-dst', () => true, filter))
  })
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

interface Tracked {
  family: Family
  attrs: Attrs
}

/** The tuple with which a connection began, and who answers. */
const ends = ({ family, attrs }: Tracked) => ({ began: tupleOf(attrs.get(CTA_TUPLE_ORIG), family), answers: tupleOf(attrs.get(CTA_TUPLE_REPLY), family).src })

const AF = { 4: 2, 6: 10, any: 0 } // <bits/socket.h>
const NFGENMSG = 4

/** Connections of a family whose bytes are taken; none if this kernel tracks none. */
function dump(netns: Netns, family: number, what: string, takes: (bytes: Buffer) => boolean, filter: (out: Out) => void): Tracked[] {
  try {
    return netns.nf.collect(request(family, what, IPCTNL_MSG_CT_GET, filter), ({ data }): Tracked[] => (takes(data) ? [{ family: data[0] === AF[4] ? 4 : 6, attrs: attributes(Buffer.from(data.subarray(NFGENMSG))) }] : [])).flat()
  } catch (error) {
    if (isErrno(error, 'EOPNOTSUPP', 'EPROTONOSUPPORT')) return []
    throw error
  }
}

/** Connections in which one of these addresses is; if these are many, all. */
function about(netns: Netns, addresses: string[]): Tracked[] {
  const texts = addresses.map((address) => addressBytes(parseAddress(address)!))
  return dump(netns, AF.any, 'conntrack -L', (bytes) => texts.length > FEW || texts.some((text) => bytes.includes(text)), () => {})
}

// The kernel filters IPv4 since Linux 5.8. For IPv6 its comparison is inverted (ctnetlink_filter_match_tuple: equal
// addresses do not match, seen up to 6.18), so it is not asked to. What it answers is looked at once more in any case.
function ofSource(netns: Netns, source: Address): Tracked[] {
  if (source.family === 6) return dump(netns, AF[6], 'conntrack -L', (bytes) => bytes.includes(addressBytes(source)), () => {})
  return ([CTA_TUPLE_ORIG, CTA_TUPLE_REPLY] as const).flatMap((direction) =>
    dump(netns, AF[4], `conntrack -L --${direction === CTA_TUPLE_ORIG ? 'orig' : 'reply'}-src`, () => true, (out) => {
      nest(out, direction, (tuple) => nest(tuple, CTA_TUPLE_IP, (ip) => ip.push(CTA_IP_V4_SRC, addressBytes(source))))
      nest(out, CTA_FILTER, (flags) => {
        flags.push(CTA_FILTER_ORIG_FLAGS, u32(direction === CTA_TUPLE_ORIG ? CTA_FILTER_F_IP_SRC : 0))
        flags.push(CTA_FILTER_REPLY_FLAGS, u32(direction === CTA_TUPLE_REPLY ? CTA_FILTER_F_IP_SRC : 0))
      })
    }),
  )
}

function remove(netns: Netns, { family, attrs }: Tracked): void {
  const copy = [CTA_TUPLE_ORIG, CTA_ZONE, CTA_ID]
  try {
    netns.nf.change(request(AF[family], 'conntrack -D', IPCTNL_MSG_CT_DELETE, (out) => copy.forEach((type) => attrs.has(type) && out.push(type, attrs.get(type)!))))
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
  }
}

const request = (family: number, what: string, type: number, attrs: NonNullable<Request['attrs']>): Request => ({
  what,
  type: (NFNL_SUBSYS_CTNETLINK << 8) | type,
  header: Buffer.from([family, 0, 0, 0]),
  attrs,
})
