// Tracked connections of an address, forgotten. Without it the next pod with the address would inherit, for as long as
// packets keep coming, what the kernel had decided for the last one. <linux/netfilter/nfnetlink_conntrack.h>

import { addressBytes, addressText, bytesText, parseAddress, type Address, type Family } from '../ip.ts'
import type { Flows, PortFlows } from '../facts.ts'
import { isErrno } from './errno.ts'
import { u32 } from './link.ts'
import { serves } from './listen.ts'
import { attributes, nest, type Attrs, type Out } from './attributes.ts'
import type { Request } from './netlink.ts'
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
const CTA_FILTER_F_IP_DST = 2
const CTA_FILTER_F_PROTO_NUM = 8
const CTA_FILTER_F_PROTO_DST_PORT = 32

type Port = PortFlows['ports'][number]

/** What is said of connections: who began them, where they were going, who answers. */
interface Question {
  source?: Address
  port?: Port
  answers?: Address
}

/**
 * Deletes the connections of addresses, which they began or answer (which is also where destination NAT had led), and those to
 * ports that were led to a pod. Not those of a `pod` that goes on.
 */
export function forget(netns: Netns, facts: (Flows | PortFlows)[], pod?: Netns): void {
  const total = count(netns)
  if (total === 0) return
  const goesOn = pod !== undefined && serves(pod)
  const asked = questions(facts)
  const open = asked.length > FEW ? asked : asked.filter((question) => goesOn || !flush(netns, question))
  if (open.length === 0) return
  const ours = chooser(open)
  const all = total <= FEW_TRACKED || open.length > FEW
  for (const connection of all ? dump(netns, AF.any, open) : open.flatMap((question) => ask(netns, question)))
    if (ours(connection) && !(goesOn && isOpen(connection))) remove(netns, connection)
}

function questions(facts: (Flows | PortFlows)[]): Question[] {
  const addresses = new Set(facts.flatMap((fact) => (fact.fact === 'flows' ? [fact.address] : [])))
  // Those of ports of an address that is asked about are among its own.
  const ports = facts.flatMap((fact) => (fact.fact === 'port flows' ? fact.ports : [])).filter(({ to }) => !addresses.has(to))
  return [
    ...[...addresses].map((address) => parseAddress(address)!).flatMap((address) => [{ source: address }, { answers: address }]),
    ...ports.map((port) => ({ port, answers: parseAddress(port.to)! })),
  ]
}

/** Tells of a connection whether one of many questions is about it, by a look or two. */
function chooser(list: Question[]): (connection: Tracked) => boolean {
  const ports = Map.groupBy(list.filter(({ port }) => port), ({ port }) => portKey(PROTOCOLS[port!.protocol]!, port!.port))
  const [sources, answerers] = [ends(list, 'source', addressText), ends(list, 'answers', addressText)]
  return (connection) => {
    const { began, answers } = connection
    if (sources.has(began.src) || answerers.has(answers)) return true
    return ports.get(portKey(began.protocol, began.dport))?.some((one) => satisfies(one, connection)) === true
  }
}

/** The addresses of questions that are about no port. */
const ends = (list: Question[], end: 'source' | 'answers', as: (address: Address) => string): Set<string> =>
  new Set(list.flatMap((one) => (one[end] && !one.port ? [as(one[end])] : [])))

const portKey = (protocol: number, port: number): number => (protocol << 16) | port

// To list connections walks the whole hash table, a dozen milliseconds on a usual node: once, while there are so few that all are
// told. Of more the kernel picks them out, at a walk for each question, if these are few.
const FEW_TRACKED = 4096
const FEW = 8

const count = (netns: Netns): number => Number(read(netns, 'net/netfilter/nf_conntrack_count') ?? 0)

/** TCP_CONNTRACK_ESTABLISHED, FIN_WAIT, CLOSE_WAIT: not yet ended by both. <linux/netfilter/nf_conntrack_tcp.h> */
const OPEN = [3, 4, 5]

/**
 * Whether a connection goes on with its pod, if the runtime only makes its network anew (`podman network reload`): one of TCP.
 * Forgotten, the pod's next packet would seem to begin one, and get another port on its way out.
 */
function isOpen({ attrs }: Tracked): boolean {
  const tcp = attributes(attrs.get(CTA_PROTOINFO) ?? Buffer.alloc(0)).get(CTA_PROTOINFO_TCP)
  return OPEN.includes(attributes(tcp ?? Buffer.alloc(0)).get(CTA_PROTOINFO_TCP_STATE)?.[0] ?? 0)
}

/**
 * Forgets what ports of the node, now that they are published, would not get: connections that are led elsewhere or to the node
 * itself, of protocols that never end one, and which would go on as long as packets come. Those of TCP end with their pod.
 */
export function redirect(netns: Netns, ports: Port[]): void {
  const endless = ports.filter(({ protocol }) => protocol !== 'tcp')
  if (endless.length === 0 || count(netns) === 0) return
  const asked = endless.map((port): Question => ({ port }))
  const led = Map.groupBy(endless, ({ protocol, port }) => portKey(PROTOCOLS[protocol]!, port))
  for (const connection of asked.length > FEW ? dump(netns, AF.any, asked) : asked.flatMap((question) => ask(netns, question))) {
    const { began, answers } = connection
    const port = led.get(portKey(began.protocol, began.dport))?.find((one) => isTo(one, connection))
    if (port && answers !== port.to && isLocal(netns, parseAddress(began.dst)!)) remove(netns, connection)
  }
}

/** As bytes, which a connection that a question is about has in it. */
const addressesIn = ({ source, answers }: Question): Uint8Array[] => [source, answers].flatMap((address) => (address ? [addressBytes(address)] : []))

const familyOf = ({ source, port, answers }: Question): Family => source?.family ?? answers?.family ?? (port!.to.includes(':') ? 6 : 4)

/** Of a port, and who answers there. */
const satisfies = ({ port, answers }: Question, connection: Tracked): boolean =>
  (!port || isTo(port, connection)) && (!answers || addressText(answers) === connection.answers)

const isTo = ({ protocol, port, address, to }: Port, { family, began }: Tracked): boolean =>
  PROTOCOLS[protocol] === began.protocol && port === began.dport && (address === undefined || address === began.dst) && to.includes(':') === (family === 6)

interface Tracked {
  family: Family
  attrs: Attrs
  /** The tuple with which it began. */
  began: Tuple
  /** The source of the answers. */
  answers: string
}

interface Tuple {
  src: string
  dst: string
  protocol: number
  dport: number
}

function tracked(data: Buffer): Tracked {
  const family = data[0] === AF[4] ? 4 : 6
  const attrs = attributes(Buffer.from(data.subarray(NFGENMSG)))
  return { family, attrs, began: tupleOf(attrs.get(CTA_TUPLE_ORIG), family), answers: tupleOf(attrs.get(CTA_TUPLE_REPLY), family).src }
}

function tupleOf(tuple: Buffer | undefined, family: Family): Tuple {
  const inner = attributes(tuple ?? Buffer.alloc(0))
  const [ip, proto] = [attributes(inner.get(CTA_TUPLE_IP) ?? Buffer.alloc(0)), attributes(inner.get(CTA_TUPLE_PROTO) ?? Buffer.alloc(0))]
  const text = (type: number) => bytesText(ip.get(type) ?? Buffer.alloc(family === 4 ? 4 : 16))
  return { src: text(family === 4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC), dst: text(family === 4 ? CTA_IP_V4_DST : CTA_IP_V6_DST), protocol: proto.get(CTA_PROTO_NUM)?.[0] ?? 0, dport: proto.get(CTA_PROTO_DST_PORT)?.readUInt16BE(0) ?? 0 }
}

/**
 * Has the kernel delete what a question is about: it passes over empty buckets, and needs half a millisecond. False if it can't: it
 * does since Linux 6.11 (CTA_FILTER of a deletion; before, it asks for a whole tuple), and not for IPv6.
 */
function flush(netns: Netns, question: Question): boolean {
  if (familyOf(question) === 6) return false
  try {
    netns.nf.change(request(AF[4], 'conntrack -D', IPCTNL_MSG_CT_DELETE, (out) => filter(out, question)))
    return true
  } catch (error) {
    if (isErrno(error, 'EINVAL', 'EOPNOTSUPP', 'EPROTONOSUPPORT')) return false
    throw error
  }
}

/** The connections that a question is about, or more of them. */
function ask(netns: Netns, question: Question): Tracked[] {
  const family = familyOf(question)
  return dump(netns, AF[family], [question], family === 4 || addressesIn(question).length === 0 ? (out) => filter(out, question) : undefined)
}

/**
 * Writes a question. The kernel filters IPv4 since Linux 5.8. For IPv6 its comparison of addresses is inverted (equal ones do not match,
 * ctnetlink_filter_match_tuple, seen up to 6.18), so it is never asked for any. What it lists is looked at once more in any case.
 */
function filter(out: Out, { source, port, answers }: Question): void {
  const address = port?.address === undefined || port.address.includes(':') ? undefined : parseAddress(port.address)!
  nest(out, CTA_TUPLE_ORIG, (tuple) => {
    if (source || address) nest(tuple, CTA_TUPLE_IP, (ip) => (source && ip.push(CTA_IP_V4_SRC, addressBytes(source)), address && ip.push(CTA_IP_V4_DST, addressBytes(address))))
    if (port) nest(tuple, CTA_TUPLE_PROTO, (inner) => (inner.push(CTA_PROTO_NUM, Buffer.from([PROTOCOLS[port.protocol]!])), inner.push(CTA_PROTO_DST_PORT, Buffer.from([port.port >> 8, port.port & 0xff]))))
  })
  if (answers) nest(out, CTA_TUPLE_REPLY, (tuple) => nest(tuple, CTA_TUPLE_IP, (ip) => ip.push(CTA_IP_V4_SRC, addressBytes(answers))))
  nest(out, CTA_FILTER, (flags) => {
    flags.push(CTA_FILTER_ORIG_FLAGS, u32((source ? CTA_FILTER_F_IP_SRC : 0) | (address ? CTA_FILTER_F_IP_DST : 0) | (port ? CTA_FILTER_F_PROTO_NUM | CTA_FILTER_F_PROTO_DST_PORT : 0)))
    flags.push(CTA_FILTER_REPLY_FLAGS, u32(answers ? CTA_FILTER_F_IP_SRC : 0))
  })
}

const AF = { 4: 2, 6: 10, any: 0 } // <bits/socket.h>
const NFGENMSG = 4

/** Connections of a family that one of some questions may be about; none if this kernel tracks none. */
function dump(netns: Netns, family: number, asked: Question[], attrs?: (out: Out) => void): Tracked[] {
  const listing = request(family, 'conntrack -L', IPCTNL_MSG_CT_GET, attrs)
  const about = asked.length > FEW ? among(asked) : withBytes(asked)
  const found: Tracked[] = []
  // Of tens of thousands nothing is made but of those that count. What a scan does not say of an error, the second list does.
  const look = (buffer: Buffer, start: number, end: number) => about(buffer, start, end) && found.push(tracked(buffer.subarray(start, end)))
  if (asked.length > FEW && netns.nf.scan(listing, look)) return found
  try {
    return netns.nf.collect(listing, ({ data }) => (about(data, 0, data.length) ? [tracked(data)] : [])).flat()
  } catch (error) {
    if (isErrno(error, 'EOPNOTSUPP', 'EPROTONOSUPPORT')) return []
    throw error
  }
}

/** Whether a message that lies in a buffer is worth a closer look. */
type About = (buffer: Buffer, start: number, end: number) => boolean

function withBytes(asked: Question[]): About {
  const needles = asked.map(addressesIn)
  return (buffer, start, end) => needles.some((addresses) => addresses.every((address) => buffer.subarray(start, end).includes(address)))
}

/**
 * Whether one of many questions may be about a connection, by its ends where the kernel writes them: the tuple with which it began
 * comes first, in it the addresses, the protocol, the ports; then that of the answers (ctnetlink_fill_info). Written otherwise, it may be.
 */
function among(asked: Question[]): About {
  const ports = new Set(asked.flatMap(({ port }) => (port ? [portKey(PROTOCOLS[port.protocol]!, port.port)] : [])))
  const [sources, answerers] = [ends(asked, 'source', latin1), ends(asked, 'answers', latin1)]
  return (buffer, start, end) => {
    const length = buffer[start] === AF[4] ? 4 : 16
    const tuple = start + NFGENMSG
    const [address, protocol] = [tuple + 3 * HEADER, tuple + 6 * HEADER + 2 * length]
    const answers = address + (buffer[tuple]! | (buffer[tuple + 1]! << 8)) // the tuple's length
    if (end < Math.max(protocol + 18, answers + length) || buffer[protocol - 2] !== CTA_PROTO_NUM) return true
    if (ports.has(portKey(buffer[protocol]!, (buffer[protocol + 16]! << 8) | buffer[protocol + 17]!))) return true
    const bytesAt = (at: number) => buffer.toString('latin1', at, at + length)
    return (sources.size > 0 && sources.has(bytesAt(address))) || (answerers.size > 0 && answerers.has(bytesAt(answers)))
  }
}

const latin1 = (address: Address): string => addressBytes(address).toString('latin1')

const HEADER = 4 // struct nlattr

function remove(netns: Netns, { family, attrs }: Tracked): void {
  const copy = [CTA_TUPLE_ORIG, CTA_ZONE, CTA_ID]
  try {
    netns.nf.change(request(AF[family], 'conntrack -D', IPCTNL_MSG_CT_DELETE, (out) => copy.forEach((type) => attrs.has(type) && out.push(type, attrs.get(type)!))))
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
  }
}

const request = (family: number, what: string, type: number, attrs: Request['attrs']): Request => ({ what, type: (NFNL_SUBSYS_CTNETLINK << 8) | type, header: Buffer.from([family, 0, 0, 0]), ...(attrs && { attrs }) })
