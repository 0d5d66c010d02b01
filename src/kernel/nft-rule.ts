// Rules in nft's words, as the expressions that nf_tables runs: a part of nft's language, by a table of its fields. Written as
// nft(8) writes them, so that `nft list` shows ours as a person would have typed them. <linux/netfilter/nf_tables.h>; `nft
// --debug=netlink` prints the same.
//
//   ct status dnat ip saddr 127.0.0.0/8 oifname != "lo" masquerade
//   dnat ip to meta l4proto . th dport map @hostports_ip

import { addressBytes, bits, network, parseCidr } from '../ip.ts'
import { encode, ifname, PROTOCOLS } from './nft-data.ts'
import { be32, cstring, text } from './nft-message.ts'
import { attributes, items, type Attrs, Out } from './attributes.ts'

/** What is wrong with a rule, in a sentence. */
export class RuleError extends Error {}

const NFTA_LIST_ELEM = 1
const NFTA_EXPR_NAME = 1
const NFTA_EXPR_DATA = 2
const NFTA_DATA_VALUE = 1
const NFTA_DATA_VERDICT = 2
const NFT_REG_VERDICT = 0
const NFT_CMP_EQ = 0
const NFT_CMP_NEQ = 1

interface Field {
  /** Bytes. */
  length: number
  /** Writes the expression that brings it into a register: all of it, or of what is in a header the first bytes. */
  load: (out: Out, register: number, bytes: number) => void
  /** True if the first bytes alone can be brought. */
  shortens?: true
  /** NFPROTO_* that a packet must have for the field to be there. */
  nfproto?: number
  /** A value as bytes; flags are tested, anything else compared. */
  value: (text: string) => { bytes: Buffer; flags?: true; prefix?: number }
}

const [LINK_LAYER, NETWORK, TRANSPORT] = [0, 1, 2] // NFT_PAYLOAD_*_HEADER
const NFPROTO_IPV4 = 2
const NFPROTO_IPV6 = 10

type Value = number | Buffer | ((inner: Out) => void)

/**
 * Writes an expression: its name, and attributes of it as numbers, bytes or what is nested. In the order and with the padding in
 * which the kernel lists it, so that a rule that is there is mostly the same bytes.
 */
export function expression(out: Out, name: string, ...data: [number, Value][]): void {
  out.push(NFTA_LIST_ELEM, padded((e) => {
    e.push(NFTA_EXPR_NAME, cstring(name))
    e.push(NFTA_EXPR_DATA, padded((inner) => data.forEach(([type, value]) => attribute(inner, type, value))))
  }))
}

function attribute(out: Out, type: number, value: Value): void {
  if (typeof value === 'number') be32(out, type, value)
  else out.push(type, typeof value === 'function' ? padded(value) : value)
}

/** What is nested, with the padding of its last attribute, which the kernel counts in. */
const padded = (fill: (inner: Out) => void) => (inner: Out): void => {
  fill(inner)
  inner.pad()
}

type Load = Field['load']

const payload = (base: number, offset: number): { load: Load; shortens: true } => ({ load: (out, register, bytes) => expression(out, 'payload', [1, register], [2, base], [3, offset], [4, bytes]), shortens: true })
const meta = (key: number): { load: Load } => ({ load: (out, register) => expression(out, 'meta', [2, key], [1, register]) })
const ct = (key: number): { load: Load } => ({ load: (out, register) => expression(out, 'ct', [1, register], [2, key]) })
const fib = (flags: number): { load: Load } => ({ load: (out, register) => expression(out, 'fib', [1, register], [2, 3], [3, flags]) }) // NFT_FIB_RESULT_ADDRTYPE

/** Words as numbers in the machine's byte order. */
const words = (known: Record<string, number>, flags?: true) => (value: string) => {
  const bytes = Buffer.alloc(4)
  const numbers = value.split(',').map((word) => known[word])
  if (numbers.includes(undefined) || (!flags && numbers.length > 1)) throw new RuleError(`"${value}" is none of ${Object.keys(known).join(', ')}`)
  bytes.writeUInt32LE(numbers.reduce<number>((sum, number) => sum | number!, 0))
  return { bytes, ...(flags && { flags }) }
}

const networkOf = (family: 4 | 6) => (value: string) => {
  const cidr = parseCidr(value.includes('/') ? value : `${value}/${bits(family)}`)
  if (cidr?.family !== family) throw new RuleError(`"${value}" is no IPv${family} address or network`)
  return { bytes: addressBytes(network(cidr)), prefix: cidr.prefix }
}

const mac = (value: string) => {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(value)) throw new RuleError(`"${value}" is no MAC address`)
  return { bytes: encode(value) }
}

const port = (value: string) => {
  if (!/^\d{1,5}$/.test(value) || Number(value) > 65535) throw new RuleError(`"${value}" is no port`)
  return { bytes: encode(value) }
}

const protocol = (value: string) => {
  if (PROTOCOLS[value] === undefined) throw new RuleError(`"${value}" is none of ${Object.keys(PROTOCOLS).join(', ')}`)
  return { bytes: encode(value) }
}

const name = (value: string) => {
  const [, plain] = /^"?([^"*]{1,15})"?$/.exec(value) ?? []
  if (plain === undefined) throw new RuleError(`${value} is no name of an interface`)
  return { bytes: ifname(`"${plain}"`) }
}

const CT_STATUS = { expected: 1, 'seen-reply': 2, assured: 4, confirmed: 8, snat: 16, dnat: 32 } // enum ip_conntrack_status
const CT_STATE = { invalid: 1, established: 2, related: 4, new: 8, untracked: 64 } // NF_CT_STATE_*_BIT
const TYPES = { unicast: 1, local: 2, broadcast: 3, anycast: 4, multicast: 5 } // RTN_*, <linux/rtnetlink.h>

const FIELDS: Record<string, Field> = {
  'ip saddr': { length: 4, ...payload(NETWORK, 12), nfproto: NFPROTO_IPV4, value: networkOf(4) },
  'ip daddr': { length: 4, ...payload(NETWORK, 16), nfproto: NFPROTO_IPV4, value: networkOf(4) },
  'ip6 saddr': { length: 16, ...payload(NETWORK, 8), nfproto: NFPROTO_IPV6, value: networkOf(6) },
  'ip6 daddr': { length: 16, ...payload(NETWORK, 24), nfproto: NFPROTO_IPV6, value: networkOf(6) },
  'ether saddr': { length: 6, ...payload(LINK_LAYER, 6), value: mac },
  'th dport': { length: 2, ...payload(TRANSPORT, 2), value: port },
  'th sport': { length: 2, ...payload(TRANSPORT, 0), value: port },
  'meta l4proto': { length: 1, ...meta(16), value: protocol },
  iifname: { length: 16, ...meta(6), value: name },
  oifname: { length: 16, ...meta(7), value: name },
  'ct state': { length: 4, ...ct(0), value: words(CT_STATE, true) },
  'ct status': { length: 4, ...ct(2), value: words(CT_STATUS, true) },
  'fib daddr type': { length: 4, ...fib(2), value: words(TYPES) }, // NFTA_FIB_F_DADDR
  'fib saddr type': { length: 4, ...fib(1), value: words(TYPES) }, // NFTA_FIB_F_SADDR
}

const META_NFPROTO = meta(15) // NFT_META_NFPROTO
const NFPROTO: Record<string, number> = { ipv4: NFPROTO_IPV4, ipv6: NFPROTO_IPV6 }

const VERDICTS: Record<string, number> = { accept: 1, drop: 0, return: -5 } // NF_*, NFT_RETURN
const CHAINED: Record<string, number> = { jump: -3, goto: -4 } // NFT_JUMP, NFT_GOTO

const known = new Map<string, Buffer>()

/** A rule as the payload of NFTA_RULE_EXPRESSIONS. Throws a RuleError that says what of it is not understood. */
export function encodeRule(rule: string): Buffer {
  const before = known.get(rule)
  if (before) return before
  const out = new Out()
  write(out, rule)
  const bytes = Buffer.from(out.bytes)
  known.set(rule, bytes)
  return bytes
}

function write(out: Out, rule: string): void {
  const tokens = rule.match(/"[^"]*"|\S+/g) ?? []
  let nfproto: number | undefined
  const need = (wanted: number | undefined) => {
    if (wanted === undefined || wanted === nfproto) return
    META_NFPROTO.load(out, registerAt(0), 1)
    compare(out, NFT_CMP_EQ, Buffer.from([wanted]))
    nfproto = wanted
  }
  while (tokens.length > 0) {
    if (statement(out, tokens, need)) continue
    const fields = fieldsFrom(tokens)
    fields.forEach((field) => need(field.nfproto))
    match(out, fields, tokens)
  }
}

/** A verdict or a translation, taken from the front of the tokens; false if there is none. */
function statement(out: Out, tokens: string[], need: (nfproto: number | undefined) => void): boolean {
  const [first = '', second] = tokens
  if (VERDICTS[first] !== undefined) {
    tokens.shift()
    immediate(out, VERDICTS[first])
  } else if (CHAINED[first] !== undefined && second !== undefined) {
    tokens.splice(0, 2)
    immediate(out, CHAINED[first], second)
  } else if (first === 'meta' && second === 'nfproto' && NFPROTO[tokens[2] ?? '']) {
    need(NFPROTO[tokens[2]!]) // nft, too, says it once, whoever needs it
    tokens.splice(0, 3)
  } else if (first === 'masquerade') {
    tokens.shift()
    const random = tokens[0] === 'fully-random' && tokens.shift() !== undefined
    expression(out, 'masq', ...(random ? [[NFTA_MASQ_FLAGS, PROTO_RANDOM_FULLY] as [number, number]] : []))
  } else if (tokens.slice(0, 5).join(' ') === 'meta mark set meta mark') {
    const [, , , , , operator, bits] = tokens.splice(0, 7) // meta mark set meta mark or 0x80000000
    setMark(out, operator === 'or', Number(bits))
  } else if (first === 'dnat') {
    const family = second === 'ip' ? 4 : 6
    tokens.splice(0, 3) // dnat ip to
    const key = fieldsFrom(tokens)
    key.forEach((field) => need(field.nfproto))
    load(out, key)
    const [, map = ''] = tokens.splice(0, 2) // map @name
    expression(out, 'lookup', [1, cstring(map.slice(1))], [2, registerAt(0)], [3, registerAt(0)], [5, 0])
    const [address, port] = [registerAt(0), registerAt(family === 4 ? 1 : 4)]
    expression(out, 'nat', [1, NFT_NAT_DNAT], [2, family === 4 ? NFPROTO_IPV4 : NFPROTO_IPV6], [3, address], [4, address], [5, port], [6, port], [7, MAP_IPS | PROTO_SPECIFIED])
  } else return false
  return true
}

const NFTA_MASQ_FLAGS = 1
const NFT_NAT_DNAT = 1
const [MAP_IPS, PROTO_SPECIFIED, PROTO_RANDOM_FULLY] = [1, 2, 16] // NF_NAT_RANGE_*, <linux/netfilter/nf_nat.h>
const NFT_META_MARK = 3

/** Sets bits of a packet's mark, or clears all but these. */
function setMark(out: Out, or: boolean, bits: number): void {
  const [mask, xor] = [Buffer.alloc(4), Buffer.alloc(4)]
  mask.writeInt32LE(or ? ~bits : bits | 0)
  xor.writeInt32LE(or ? bits | 0 : 0)
  expression(out, 'meta', [1, registerAt(0)], [2, NFT_META_MARK])
  bitwise(out, mask, xor)
  expression(out, 'meta', [2, NFT_META_MARK], [3, registerAt(0)]) // NFTA_META_SREG
}

/** `field . field …` from the front of the tokens. */
function fieldsFrom(tokens: string[]): Field[] {
  for (const length of [3, 2, 1]) {
    const field = FIELDS[tokens.slice(0, length).join(' ')]
    if (!field) continue
    tokens.splice(0, length)
    if (tokens[0] !== '.') return [field]
    tokens.shift()
    return [field, ...fieldsFrom(tokens)]
  }
  throw new RuleError(`"${tokens[0]}" is not understood: expected one of ${Object.keys(FIELDS).join(', ')}`)
}

/** What the fields are held against: a set, a map of verdicts, or a value. */
function match(out: Out, fields: Field[], tokens: string[]): void {
  const not = tokens[0] === '!='
  if (not || tokens[0] === '==') tokens.shift()
  const against = tokens.shift() ?? ''
  if (against === 'vmap' || against.startsWith('@')) {
    load(out, fields)
    const set = cstring((against === 'vmap' ? (tokens.shift() ?? '') : against).slice(1))
    return expression(out, 'lookup', [1, set], [2, registerAt(0)], ...(against === 'vmap' ? [[3, NFT_REG_VERDICT] as [number, number]] : []), [5, not ? 1 : 0]) // NFT_LOOKUP_F_INV
  }
  const [field] = fields as [Field]
  const { bytes, flags, prefix } = field.value(against)
  if (flags) {
    load(out, fields)
    bitwise(out, bytes)
    return compare(out, not ? NFT_CMP_EQ : NFT_CMP_NEQ, Buffer.alloc(bytes.length))
  }
  matchBytes(out, field, bytes, prefix ?? bytes.length * 8, not ? NFT_CMP_NEQ : NFT_CMP_EQ)
}

/** A prefix of whole bytes is compared by bringing just these; any other through a mask. */
function matchBytes(out: Out, field: Field, bytes: Buffer, prefix: number, op: number): void {
  const whole = prefix / 8
  const short = field.shortens && Number.isInteger(whole) && whole > 0
  field.load(out, registerAt(0), short ? whole : field.length)
  if (!short && prefix < field.length * 8) bitwise(out, mask(bytes.length, prefix))
  compare(out, op, short ? bytes.subarray(0, whole) : bytes)
}

function mask(length: number, prefix: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => (0xff00 >> Math.max(0, Math.min(8, prefix - i * 8))) & 0xff))
}

/** Loads fields one behind the other, each into whole 32-bit registers. */
function load(out: Out, fields: Field[]): void {
  let word = 0
  for (const { load: into, length } of fields) {
    into(out, registerAt(word), length)
    word += Math.ceil(length / 4)
  }
}

/** A register by its 32-bit word, as the kernel tells it: NFT_REG_1 … where one of 128 bits begins, else NFT_REG32_00 … */
const registerAt = (word: number): number => (word % 4 === 0 ? 1 + word / 4 : 8 + word)

export const compare = (out: Out, op: number, value: Buffer): void => expression(out, 'cmp', [1, registerAt(0)], [2, op], [3, (data) => data.push(NFTA_DATA_VALUE, value)])

const NFT_BITWISE_MASK_XOR = 0

const bitwise = (out: Out, keep: Buffer, flip: Buffer = Buffer.alloc(keep.length)): void =>
  expression(out, 'bitwise', [1, registerAt(0)], [2, registerAt(0)], [3, keep.length], [6, NFT_BITWISE_MASK_XOR], [4, (data) => data.push(NFTA_DATA_VALUE, keep)], [5, (data) => data.push(NFTA_DATA_VALUE, flip)])

export const immediate = (out: Out, code: number, chain?: string): void => expression(out, 'immediate', [1, NFT_REG_VERDICT], [2, (data) => verdict(data, code, chain)])

const NFTA_VERDICT_CODE = 1
const NFTA_VERDICT_CHAIN = 2

/** NFTA_SET_ELEM_DATA or an immediate's data. */
function verdict(out: Out, code: number, chain?: string): void {
  out.push(NFTA_DATA_VERDICT, padded((v) => {
    be32(v, NFTA_VERDICT_CODE, code)
    if (chain !== undefined) v.push(NFTA_VERDICT_CHAIN, cstring(chain))
  }))
}

/** `goto outside`, as data. */
export function encodeVerdict(out: Out, value: string): void {
  const [word = '', chain] = value.split(' ')
  verdict(out, CHAINED[word] ?? VERDICTS[word]!, chain)
}

/** What a verdict of an element is, in nft's words. */
export function decodeVerdict(data: Buffer): string {
  const inner = attributes(data)
  const code = inner.get(NFTA_VERDICT_CODE)?.readInt32BE(0)
  const [word = String(code)] = Object.entries({ ...CHAINED, ...VERDICTS }).find(([, number]) => number === code) ?? []
  const chain = text(inner.get(NFTA_VERDICT_CHAIN))
  return chain === undefined ? word : `${word} ${chain}`
}

export interface Expression {
  name: string
  data: Attrs
}

/** A rule's expressions. */
export const expressions = (encoded: Buffer): Expression[] =>
  items(encoded).map(attributes).map((found) => ({ name: text(found.get(NFTA_EXPR_NAME)) ?? '', data: attributes(found.get(NFTA_EXPR_DATA) ?? Buffer.alloc(0)) }))

/**
 * True if the kernel's expressions are those of a rule of ours: it tells what we have said, and its defaults beside; a 0 that we have
 * said an older one may not know (NFTA_BITWISE_OP).
 */
export function sameRule(ours: Expression[], theirs: Expression[]): boolean {
  const same = (one: Buffer, other: Buffer | undefined) => (other === undefined ? one.every((byte) => byte === 0) : one.equals(other) || sameData(attributes(one), attributes(other)))
  return ours.length === theirs.length && ours.every(({ name: kind, data }, i) => kind === theirs[i]!.name && [...data].every(([type, value]) => same(value, theirs[i]!.data.get(type))))
}

/** NFTA_DATA_VALUE or NFTA_DATA_VERDICT: the kernel counts the padding within, we don't. */
function sameData(ours: Attrs, theirs: Attrs): boolean {
  const [value, verdictOf] = [ours.get(NFTA_DATA_VALUE), ours.get(NFTA_DATA_VERDICT)]
  if (value) return theirs.get(NFTA_DATA_VALUE)?.equals(value) ?? false
  return verdictOf !== undefined && theirs.has(NFTA_DATA_VERDICT) && decodeVerdict(verdictOf) === decodeVerdict(theirs.get(NFTA_DATA_VERDICT)!)
}

/** What a rule that is none of ours does, roughly. */
export const foreign = (list: Expression[]): string => `[ ${list.map((e) => e.name).join(' ')} ]`
