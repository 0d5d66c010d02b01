// Rules by which the reference's portmap leads a port of the node to a pod, read as far as is needed to know which port: those of
// iptables-nft, whose matches are xtables' structures or, in newer versions, nft's expressions, and those of nft.
// <linux/netfilter/x_tables.h>, <linux/netfilter/xt_multiport.h>, <linux/netfilter/nf_nat.h>

import { bytesText, type Family } from '../ip.ts'
import { attributes, type Attrs } from './attributes.ts'
import { PROTOCOLS } from './nft-data.ts'
import { text } from './nft-message.ts'
import { decodeVerdict, type Expression } from './nft-rule.ts'

/** What a rule says of packets, and where it leads them. */
export interface PortRule {
  protocol?: string
  ports: number[]
  /** The node's address to which packets come; absent: any. */
  address?: string
  /** The pod's address. */
  to?: string
  /** The chain that it jumps to. */
  chain?: string
  /** Of iptables. */
  comment?: string
  /** It says something else, too: a condition. */
  conditional?: true
}

const NFT_META_L4PROTO = 16
const NFT_CMP_EQ = 0
const [NETWORK, TRANSPORT] = [1, 2] // NFT_PAYLOAD_*_HEADER
const DADDR = { 4: { offset: 16, length: 4 }, 6: { offset: 24, length: 16 } } // RFC 791 §3.1, RFC 8200 §3
const DPORT = { offset: 2, length: 2 }
const NOTHING = Buffer.alloc(0)

type Field = 'protocol' | 'address' | 'port' | undefined

export function readPortRule(rule: Expression[], family: Family): PortRule {
  const read: PortRule = { ports: [] }
  const registers = new Map<number, Buffer>()
  let loaded: Field
  for (const { name, data } of rule) {
    if (name === 'meta' || name === 'payload') loaded = fieldOf(name, data, family)
    else if (name === 'cmp') compared(read, loaded, data)
    else if (name === 'match') matched(read, text(data.get(1)) ?? '', data.get(3) ?? NOTHING)
    else if (name === 'immediate') immediate(read, registers, data)
    else if (name === 'target') leads(read, dnatTo(data, family))
    else if (name === 'nat') leads(read, registers.get(data.get(3)?.readUInt32BE(0) ?? -1)) // NFTA_NAT_REG_ADDR_MIN
    else if (name !== 'counter') read.conditional = true
  }
  return read
}

function fieldOf(name: string, data: Attrs, family: Family): Field {
  const number = (type: number) => data.get(type)?.readUInt32BE(0)
  if (name === 'meta') return number(2) === NFT_META_L4PROTO ? 'protocol' : undefined
  const is = (base: number, { offset, length }: typeof DPORT) => [base, offset, length].every((one, i) => number(2 + i) === one)
  return is(TRANSPORT, DPORT) ? 'port' : is(NETWORK, DADDR[family]) ? 'address' : undefined
}

function compared(read: PortRule, field: Field, data: Attrs): void {
  const value = attributes(data.get(3) ?? NOTHING).get(1) ?? NOTHING
  if (field === undefined || data.get(2)?.readUInt32BE(0) !== NFT_CMP_EQ) read.conditional = true
  else if (field === 'protocol') read.protocol = NAMES.get(value[0]!) ?? String(value[0])
  else if (field === 'port') read.ports.push(value.readUInt16BE(0))
  else read.address = bytesText(value)
}

const NAMES = new Map(Object.entries(PROTOCOLS).map(([name, number]) => [number, name]))

function matched(read: PortRule, name: string, info: Buffer): void {
  const port = (at: number) => (at + 2 <= info.length ? info.readUInt16LE(at) : 0)
  const range = name === 'sctp' ? 0 : 4 // where dpts are: struct xt_sctp_info, xt_tcp, xt_udp
  if (name === 'comment') read.comment = text(info) ?? ''
  else if (name === 'multiport' && info[0] === XT_MULTIPORT_DESTINATION) for (let i = 0; i < info[1]!; i++) read.ports.push(port(2 + 2 * i))
  else if (['tcp', 'udp', 'sctp'].includes(name) && port(range) === port(range + 2)) read.ports.push(port(range))
  else read.conditional = true
}

const XT_MULTIPORT_DESTINATION = 1

/** A verdict, or bytes for a register. */
function immediate(read: PortRule, registers: Map<number, Buffer>, data: Attrs): void {
  const inner = attributes(data.get(2) ?? NOTHING)
  const [verdict, value] = [inner.get(2), inner.get(1)]
  if (value) registers.set(data.get(1)?.readUInt32BE(0) ?? -1, value)
  const [, chain] = verdict ? decodeVerdict(verdict).split(' ') : []
  if (chain !== undefined) read.chain = chain
}

function leads(read: PortRule, address: Buffer | undefined): void {
  if (address?.length === 4 || address?.length === 16) read.to = bytesText(address)
}

/** The address in struct nf_nat_range2 of revision 2, nf_nat_range of 1; before that in struct nf_nat_ipv4_multi_range_compat. */
function dnatTo(data: Attrs, family: Family): Buffer | undefined {
  const from = (data.get(2)?.readUInt32BE(0) ?? 0) > 0 ? 4 : 8
  return text(data.get(1)) === 'DNAT' ? data.get(3)?.subarray(from, from + DADDR[family].length) : undefined
}
