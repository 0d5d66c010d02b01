// A rule as the expressions that nf_tables runs, and back. Written as nft(8) writes them, so that `nft list` shows ours
// as a person would have typed them. <linux/netfilter/nf_tables.h>; `nft --debug=netlink` prints the same.

import { addressBytes, addressText, bits, bytesAddress, network, parseCidr } from '../ip.ts'
import { ruleText, type Rule } from '../facts.ts'
import { attributes, items, type Out } from './netlink.ts'


const NFTA_LIST_ELEM = 1
const NFTA_EXPR_NAME = 1
const NFTA_EXPR_DATA = 2
const NFTA_DATA_VALUE = 1
const NFTA_DATA_VERDICT = 2
const NFTA_VERDICT_CODE = 1
const NFTA_VERDICT_CHAIN = 2
const NFT_REG_VERDICT = 0
const NFT_REG_1 = 1
const NFT_META_NFPROTO = 15
const NFT_PAYLOAD_NETWORK_HEADER = 1
const NFPROTO_IPV4 = 2
const NFPROTO_IPV6 = 10
const NFT_RETURN = -5
const NFT_GOTO = -4

/** Where a field stands in the network header. struct iphdr, struct ipv6hdr */
const FIELDS = {
  'ip saddr': { nfproto: NFPROTO_IPV4, offset: 12, length: 4 },
  'ip daddr': { nfproto: NFPROTO_IPV4, offset: 16, length: 4 },
  'ip6 saddr': { nfproto: NFPROTO_IPV6, offset: 8, length: 16 },
  'ip6 daddr': { nfproto: NFPROTO_IPV6, offset: 24, length: 16 },
} as const

/** The payload of NFTA_RULE_EXPRESSIONS. */
export function encodeRule(out: Out, rule: Rule): void {
  if ('match' in rule) {
    const field = FIELDS[rule.match]
    expression(out, 'meta', (data) => (be32(data, 1, NFT_REG_1), be32(data, 2, NFT_META_NFPROTO)))
    compare(out, Buffer.from([field.nfproto]))
    if ('cidr' in rule) matchPrefix(out, field.offset, rule.cidr)
    else {
      payload(out, field.offset, field.length)
      const verdicts = 'vmap' in rule
      expression(out, 'lookup', (data) => (data.push(1, cstring(verdicts ? rule.vmap : rule.set)), be32(data, 2, NFT_REG_1), verdicts && be32(data, 3, NFT_REG_VERDICT)))
    }
  }
  if (!('verdict' in rule)) return
  if (rule.verdict === 'masquerade') expression(out, 'masq')
  else expression(out, 'immediate', (data) => (be32(data, 1, NFT_REG_VERDICT), data.push(2, (d) => verdict(d, NFT_RETURN))))
}

/** A rule in nft's words from its expressions; what is not one of ours becomes the names of its expressions. */
export function decodeRule(expressions: Buffer): string {
  const list = expressionList(expressions)
  const [meta, cmp, load, ...rest] = list
  if (meta?.name !== 'meta') return list.length === 1 && meta?.name === 'masq' ? ruleText({ verdict: 'masquerade' }) : foreign(list)
  const nfproto = cmp?.data.get(3) && attributes(cmp.data.get(3)!).get(NFTA_DATA_VALUE)?.[0]
  const offset = load?.data.get(3)?.readUInt32BE(0)
  const match = Object.entries(FIELDS).find(([, field]) => field.nfproto === nfproto && field.offset === offset)?.[0] as keyof typeof FIELDS | undefined
  const last = rest.at(-1)
  if (!match || !last) return foreign(list)
  const lookup = rest.find(({ name }) => name === 'lookup')
  const set = lookup?.data.get(1)?.toString('utf8').replace('\0', '')
  if (set && last === lookup) return ruleText({ match: match as 'ip saddr', vmap: set })
  const does = last.name === 'masq' ? 'masquerade' : isReturn(last) ? 'return' : undefined
  if (!does) return foreign(list)
  return set ? `${match} @${set} ${does}` : `${match} ${prefix(FIELDS[match].length, rest)} ${does}`
}

function isReturn({ name, data }: Expression): boolean {
  const code = name === 'immediate' && attributes(attributes(data.get(2) ?? Buffer.alloc(0)).get(NFTA_DATA_VERDICT) ?? Buffer.alloc(0)).get(NFTA_VERDICT_CODE)
  return code ? code.readInt32BE(0) === NFT_RETURN : false
}

/** NFTA_SET_ELEM_DATA or an immediate's data: goto a chain, or return. */
export function verdict(out: Out, code: number, chain?: string): void {
  out.push(NFTA_DATA_VERDICT, (v) => {
    be32(v, NFTA_VERDICT_CODE, code)
    if (chain !== undefined) v.push(NFTA_VERDICT_CHAIN, cstring(chain))
  })
}

export const gotoChain = (out: Out, chain: string): void => verdict(out, NFT_GOTO, chain)

/** The chain that a verdict goes to, or undefined. */
export function verdictChain(data: Buffer | undefined): string | undefined {
  const inner = data && attributes(data).get(NFTA_DATA_VERDICT)
  return inner && attributes(inner).get(NFTA_VERDICT_CHAIN)?.toString('utf8').replace('\0', '')
}

export const cstring = (text: string): Buffer => Buffer.from(`${text}\0`)

/** An attribute with a number in network byte order, as all of nf_tables' are. */
export function be32(out: Out, type: number, value: number): void {
  const buffer = Buffer.alloc(4)
  buffer.writeInt32BE(value | 0)
  out.push(type, buffer)
}

function expression(out: Out, name: string, data?: (out: Out) => void): void {
  out.push(NFTA_LIST_ELEM, (e) => {
    e.push(NFTA_EXPR_NAME, cstring(name))
    if (data) e.push(NFTA_EXPR_DATA, data)
  })
}

const payload = (out: Out, offset: number, length: number): void =>
  expression(out, 'payload', (data) => (be32(data, 1, NFT_REG_1), be32(data, 2, NFT_PAYLOAD_NETWORK_HEADER), be32(data, 3, offset), be32(data, 4, length)))

const compare = (out: Out, value: Uint8Array): void =>
  expression(out, 'cmp', (data) => (be32(data, 1, NFT_REG_1), be32(data, 2, 0), data.push(3, (d) => d.push(NFTA_DATA_VALUE, value))))

// A prefix of whole bytes is compared by loading just these; any other through a mask.
function matchPrefix(out: Out, offset: number, cidr: string): void {
  const { prefix: length, ...net } = network(parseCidr(cidr)!)
  const value = addressBytes(net)
  const whole = length / 8
  payload(out, offset, Number.isInteger(whole) ? whole : value.length)
  if (!Number.isInteger(whole)) {
    const mask = addressBytes(network({ family: net.family, value: (1n << BigInt(bits(net.family))) - 1n, prefix: length }))
    expression(out, 'bitwise', (data) => {
      be32(data, 1, NFT_REG_1)
      be32(data, 2, NFT_REG_1)
      be32(data, 3, value.length)
      data.push(4, (d) => d.push(NFTA_DATA_VALUE, mask))
      data.push(5, (d) => d.push(NFTA_DATA_VALUE, Buffer.alloc(value.length)))
    })
  }
  compare(out, Number.isInteger(whole) ? value.subarray(0, whole) : value)
}

interface Expression {
  name: string
  data: Map<number, Buffer>
}

const expressionList = (expressions: Buffer): Expression[] =>
  items(expressions).map(attributes).map((found) => ({ name: found.get(NFTA_EXPR_NAME)?.toString('utf8').replace('\0', '') ?? '', data: attributes(found.get(NFTA_EXPR_DATA) ?? Buffer.alloc(0)) }))

function prefix(length: number, rest: Expression[]): string {
  const value = (name: string, attribute: number) => {
    const data = rest.find((e) => e.name === name)?.data.get(attribute)
    return data && attributes(data).get(NFTA_DATA_VALUE)
  }
  const loaded = value('cmp', 3) ?? Buffer.alloc(0)
  const mask = value('bitwise', 4)
  const ones = mask ? [...mask].map((byte) => byte.toString(2)).join('').replace(/0*$/, '').length : loaded.length * 8
  return `${addressText(bytesAddress(Buffer.concat([loaded, Buffer.alloc(length - loaded.length)])))}/${ones}`
}

const foreign = (list: Expression[]): string => `[ ${list.map((e) => e.name).join(' ')} ]`
