// What other programs' plugins made for a pod in nf_tables' tables of theirs: iptables' nat, which iptables-nft keeps there, and
// tables of their own. <linux/netfilter/nf_tables.h>

import type { Former } from '../facts.ts'
import { isErrno } from './errno.ts'
import { attributes, type Attrs, type Out } from './attributes.ts'
import type { Request } from './netlink.ts'
import type { Netns } from './netns.ts'
import { cstring, generation, MSG, NFGENMSG, text, transaction } from './nft-message.ts'
import { decodeVerdict, expressions } from './nft-rule.ts'

const NFNL_SUBSYS_NFTABLES = 10
const NFPROTO = { inet: 1, ip: 2, bridge: 7, ip6: 10 } as const // <linux/netfilter.h>
const NFTA_TABLE_NAME = 1
const NFTA_CHAIN_NAME = 3
const NFTA_RULE_CHAIN = 2
const NFTA_RULE_HANDLE = 3
const NFTA_RULE_EXPRESSIONS = 4
const NFTA_RULE_USERDATA = 7
const NFTA_IMMEDIATE_DATA = 2
const NFTA_DATA_VERDICT = 2
const NFTNL_UDATA_RULE_COMMENT = 0 // <libnftnl/udata.h>

/** All tables that there are, such as `ip nat`. */
export function tables(netns: Netns): Set<string> {
  const names = Object.fromEntries(Object.entries(NFPROTO).map(([name, number]) => [number, name]))
  return new Set(dump(netns, 0, MSG.GETTABLE, 'nft list tables').map(({ nfproto, found }) => `${names[nfproto]} ${text(found.get(NFTA_TABLE_NAME))}`))
}

/** Takes it back; gone already is success. */
export function del(netns: Netns, fact: Former): void {
  const ATTEMPTS = 200 // each lost race means that somebody else made progress
  for (let attempt = 1; ; attempt++) {
    const premise = generation(netns)
    const refused = transaction(netns, deletions(netns, fact), premise)
    if (!refused) return
    if (!isErrno(refused, 'ERESTART', 'ENOENT', 'EINTR') || attempt === ATTEMPTS) throw refused
  }
}

/** Rules with the comment or that lead to the chains, what is in the chains, the chains. */
function deletions(netns: Netns, fact: Former): Request[] {
  const { family, table, comment } = fact
  const chains = (fact.chains ?? []).filter((name) => netns.nf.get(aboutChain(MSG.GETCHAIN, fact, name), 'ENOENT'))
  if (chains.length === 0 && comment === undefined) return []
  const rules = rulesOf(netns, fact).filter((rule) => !chains.includes(rule.chain) && (rule.leads.some((name) => chains.includes(name)) || isAbout(rule.comment, comment)))
  return [
    ...rules.map(({ chain, handle }) => aboutRules(fact, chain, `nft delete rule ${family} ${table} ${chain} handle ${handle.readBigUInt64BE()}`, handle)),
    ...chains.map((name) => aboutRules(fact, name, `nft flush chain ${family} ${table} ${name}`)),
    ...chains.map((name) => aboutChain(MSG.DELCHAIN, fact, name)),
  ]
}

/** A comment is the text, or begins with it and goes on behind a comma. */
const isAbout = (comment: string | undefined, wanted: string | undefined): boolean => wanted !== undefined && (comment === wanted || comment?.startsWith(`${wanted},`) === true)

interface Rule {
  chain: string
  handle: Buffer
  /** The chains that it goes to. */
  leads: string[]
  comment: string | undefined
}

const rulesOf = (netns: Netns, { family, table }: Former): Rule[] =>
  dump(netns, NFPROTO[family], MSG.GETRULE, `nft list table ${family} ${table}`, (out) => out.push(NFTA_TABLE_NAME, cstring(table))).map(({ found }) => ({
    chain: text(found.get(NFTA_RULE_CHAIN)) ?? '',
    handle: found.get(NFTA_RULE_HANDLE)!,
    leads: expressions(found.get(NFTA_RULE_EXPRESSIONS) ?? Buffer.alloc(0)).flatMap(({ name, data }) => (name === 'immediate' ? chainIn(data) : [])),
    comment: commentIn(found.get(NFTA_RULE_USERDATA)),
  }))

/** What an immediate verdict names behind jump or goto. */
function chainIn(data: Attrs): string[] {
  const verdict = attributes(data.get(NFTA_IMMEDIATE_DATA) ?? Buffer.alloc(0)).get(NFTA_DATA_VERDICT)
  return verdict ? decodeVerdict(verdict).split(' ').slice(1) : []
}

/** Type, length and value one behind the other. */
export function commentIn(data: Buffer | undefined): string | undefined {
  for (let at = 0; data && at + 2 <= data.length; at += 2 + data[at + 1]!) if (data[at] === NFTNL_UDATA_RULE_COMMENT) return text(data.subarray(at + 2, at + 2 + data[at + 1]!))
  return undefined
}

const aboutChain = (kind: number, { family, table }: Former, name: string): Request =>
  request(NFPROTO[family], kind, `nft ${kind === MSG.DELCHAIN ? 'delete' : 'list'} chain ${family} ${table} ${name}`, (out) => (out.push(NFTA_TABLE_NAME, cstring(table)), out.push(NFTA_CHAIN_NAME, cstring(name))))

/** Deletes one rule of a chain, or all of them. */
const aboutRules = ({ family, table }: Former, chain: string, what: string, handle?: Buffer): Request =>
  request(NFPROTO[family], MSG.DELRULE, what, (out) => {
    out.push(NFTA_TABLE_NAME, cstring(table))
    out.push(NFTA_RULE_CHAIN, cstring(chain))
    if (handle) out.push(NFTA_RULE_HANDLE, handle)
  })

const request = (nfproto: number, kind: number, what: string, attrs?: (out: Out) => void): Request => ({ what, type: (NFNL_SUBSYS_NFTABLES << 8) | kind, header: Buffer.from([nfproto, 0, 0, 0]), ...(attrs && { attrs }) })

/** What of a kind is there, by its family; nothing where there is no nf_tables. */
function dump(netns: Netns, nfproto: number, kind: number, what: string, attrs?: (out: Out) => void): { nfproto: number; found: Attrs }[] {
  try {
    return netns.nf.dump(request(nfproto, kind, what, attrs)).map(({ data }) => ({ nfproto: data[0]!, found: attributes(data.subarray(NFGENMSG)) }))
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EAFNOSUPPORT', 'EOPNOTSUPP')) return []
    throw error
  }
}
