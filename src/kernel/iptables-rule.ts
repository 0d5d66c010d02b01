// Rules of iptables in its own words, as iptables-nft writes them into nf_tables: a part of its language. Matches of xtables
// are structures within an expression, so that every iptables-nft lists them. <linux/netfilter/x_tables.h>

import { addressBytes, parseCidr, type Family } from '../ip.ts'
import { attributes, type Attrs, Out } from './attributes.ts'
import { text } from './nft-message.ts'
import { compare, decodeVerdict, expression, expressions, immediate, type Expression } from './nft-rule.ts'

const MATCH_NAME = 1 // NFTA_MATCH_NAME, NFTA_TARGET_NAME
const NFT_PAYLOAD_NETWORK_HEADER = 1
const ADDRESS = { 4: { '-s': 12, '-d': 16 }, 6: { '-s': 8, '-d': 24 } } as const // offsets in the headers: RFC 791 §3.1, RFC 8200 §3
const NF_DROP = 0
const NF_ACCEPT = 1
const NFT_JUMP = -3

/** Writes NFTA_RULE_EXPRESSIONS of `-s ADDRESS/32 -m mark --mark 1/1 -j ACCEPT` and the like. */
export function encodeRule(out: Out, family: Family, rule: string): void {
  const words = rule.match(/"[^"]*"|\S+/g) ?? []
  while (words.length > 0) {
    const [option = '', value = ''] = words.splice(0, 2)
    if (option === '-s' || option === '-d') {
      const bytes = addressBytes(parseCidr(value)!)
      expression(out, 'payload', [1, 1], [2, NFT_PAYLOAD_NETWORK_HEADER], [3, ADDRESS[family][option]], [4, bytes.length])
      compare(out, 0, bytes)
    } else if (option === '-m') {
      const { revision, info } = MATCHES[value as keyof typeof MATCHES]
      expression(out, 'match', [MATCH_NAME, Buffer.from(`${value}\0`)], [2, revision], [3, info(words.splice(0, 2)[1]!)])
    } else {
      expression(out, 'counter')
      immediate(out, value === 'ACCEPT' ? NF_ACCEPT : NFT_JUMP, value === 'ACCEPT' ? undefined : value)
    }
  }
}

/**
 * What a rule does, as text: the same for rules that iptables takes for equal, whichever of its versions has written them, but for
 * their comments. Newer ones compare a mark without xtables.
 */
export const essence = (rule: Expression[]): string => rule.map(essential).filter(Boolean).join(' ')

/** The essence of a rule in words. */
export function essenceOf(family: Family, rule: string): string {
  const out = new Out()
  encodeRule(out, family, rule)
  return essence(expressions(out.bytes))
}

function essential({ name, data }: Expression): string {
  const hex = (type: number, inner = attributes(data.get(type) ?? NOTHING).get(1)) => inner?.toString('hex') ?? ''
  const number = (type: number) => data.get(type)?.readUInt32BE(0)
  switch (name) {
    case 'counter':
      return ''
    case 'payload':
      return `payload ${number(2)} ${number(3)} ${number(4)}`
    case 'meta':
      return `meta ${number(2)}`
    case 'bitwise':
      return `& ${hex(4)} ^ ${hex(5)}`
    case 'cmp':
      return `${number(2) === 0 ? '==' : `op ${number(2)}`} ${hex(3)}`
    case 'match':
      return matchEssence(text(data.get(MATCH_NAME)) ?? '', data.get(3) ?? NOTHING)
    case 'immediate':
      return decodeVerdict(attributes(data.get(2) ?? NOTHING).get(2) ?? NOTHING) // NFTA_IMMEDIATE_DATA, NFTA_DATA_VERDICT
    default:
      return `${name} ${[...data.values()].map((value) => value.toString('hex')).join(' ')}`
  }
}

function matchEssence(name: string, info: Buffer): string {
  if (name === 'comment') return ''
  if (name !== 'mark' || info[8] !== 0) return `match ${name} ${info.toString('hex')}` // invert
  return `meta ${NFT_META_MARK} & ${info.toString('hex', 4, 8)} ^ 00000000 == ${info.toString('hex', 0, 4)}`
}

const NFT_META_MARK = 3

/** Matches with their one option, as the kernel's structures, to a multiple of 8 bytes (XT_ALIGN). */
const MATCHES = {
  comment: { revision: 0, info: (quoted: string) => padded(256, Buffer.from(quoted.slice(1, -1))) }, // struct xt_comment_info
  mark: { revision: 1, info: (mark: string) => padded(16, ...mark.split('/').map((number) => u32(Number(number)))) }, // struct xt_mark_mtinfo1
  conntrack: { revision: 3, info: (states: string) => conntrackInfo(states.split(',')) },
}

const STATES: Record<string, number> = { ESTABLISHED: 2, RELATED: 4 } // XT_CONNTRACK_STATE_BIT

/** struct xt_conntrack_mtinfo3, with nothing but states. */
function conntrackInfo(states: string[]): Buffer {
  const info = Buffer.alloc(168)
  info.writeUInt16LE(1, 146) // match_flags: XT_CONNTRACK_STATE
  info.writeUInt16LE(states.reduce((mask, state) => mask | STATES[state]!, 0), 150) // state_mask
  return info
}

const padded = (length: number, ...parts: Buffer[]): Buffer => Buffer.concat([...parts, Buffer.alloc(length)]).subarray(0, length)

function u32(number: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(number)
  return bytes
}

/** True if nothing passes a rule: it has no condition, and drops or rejects. */
export const stopsAll = (rule: Expression[]): boolean => rule.every(({ name, data }) => isUnconditional(name, data)) && rule.some(stops)

const isUnconditional = (name: string, data: Attrs): boolean => ['counter', 'immediate', 'reject', 'target'].includes(name) || (name === 'match' && text(data.get(MATCH_NAME)) === 'comment')

const stops = ({ name, data }: Expression): boolean => name === 'reject' || (name === 'target' && text(data.get(MATCH_NAME)) === 'REJECT') || (name === 'immediate' && verdictOf(data) === NF_DROP)

const verdictOf = (data: Attrs): number | undefined => attributes(attributes(data.get(2) ?? NOTHING).get(2) ?? NOTHING).get(1)?.readInt32BE(0) // NFTA_IMMEDIATE_DATA, NFTA_DATA_VERDICT, NFTA_VERDICT_CODE
const NOTHING = Buffer.alloc(0)

const NFT_CT_STATE = 0
const NF_CT_STATE_NEW = 8

/** False if a rule accepts nothing, or only what belongs to connections that there are. */
export function acceptsNew(rule: Expression[]): boolean {
  const decides = rule.some(({ name, data }) => (name === 'immediate' && verdictOf(data) !== NF_DROP) || ['target', 'queue', 'flow_offload'].includes(name) || (name === 'lookup' && data.has(3))) // NFTA_LOOKUP_DREG
  const at = rule.findIndex(({ name, data }) => name === 'ct' && data.get(2)?.readUInt32BE(0) === NFT_CT_STATE) // NFTA_CT_KEY
  const states = at >= 0 && rule[at + 1]?.name === 'bitwise' ? attributes(rule[at + 1]!.data.get(4) ?? NOTHING).get(1) : undefined // NFTA_BITWISE_MASK
  return decides && (states === undefined || (states.readUInt32LE(0) & NF_CT_STATE_NEW) !== 0)
}
