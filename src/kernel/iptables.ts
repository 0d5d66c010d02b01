// iptables' table filter, as iptables-nft keeps it in nf_tables: `ip filter` and `ip6 filter`. What is dropped there no table
// of podwire's can accept, so what has to pass is said there, too, in rules that iptables lists and deletes as its own. The
// tables of iptables-legacy are not nf_tables', and not reached. <linux/netfilter/nf_tables.h>

import { readFileSync } from 'node:fs'
import type { Iptables } from '../facts.ts'
import { show } from '../show.ts'
import type { Family } from '../ip.ts'
import { differs, missing, type Difference } from './difference.ts'
import { isErrno } from './errno.ts'
import { acceptsNew, encodeRule, essence, essenceOf, stopsAll } from './iptables-rule.ts'
import { attributes, type Out } from './attributes.ts'
import { NLM_F_APPEND, NLM_F_CREATE, type Request } from './netlink.ts'
import { be32, cstring, generation, MSG, NFGENMSG, text, transaction } from './nft-message.ts'
import { expressions, type Expression } from './nft-rule.ts'
import type { Netns } from './netns.ts'

const NFNL_SUBSYS_NFTABLES = 10
const NFPROTO = { 4: 2, 6: 10 } as const // NFPROTO_IPV4, NFPROTO_IPV6
const NAMES: Record<number, string> = { 1: 'inet', 2: 'ip', 10: 'ip6' }
const PROGRAMS = { 4: 'iptables', 6: 'ip6tables' } as const
const NFTA_TABLE = 1
const NFTA_CHAIN_NAME = 3
const NFTA_CHAIN_HOOK = 4
const NFTA_CHAIN_POLICY = 5
const NFTA_CHAIN_TYPE = 7
const NFTA_RULE_CHAIN = 2
const NFTA_RULE_HANDLE = 3
const NFTA_RULE_EXPRESSIONS = 4
const NF_DROP = 0
const NF_ACCEPT = 1
const NF_INET_FORWARD = 2

/** iptables' table filter of a family, as iptables-nft has it: whether chain FORWARD drops what no rule accepts. */
export function drops(netns: Netns, family: Family): boolean {
  const found = chain(netns, { family, chain: 'FORWARD' })
  return found?.hook === NF_INET_FORWARD && (found.drops || rulesOf(netns, found).some(({ list }) => stopsAll(list)))
}

/** Whether that table has a chain. */
export const hasChain = (netns: Netns, family: Family, name: string): boolean => chain(netns, { family, chain: name }) !== undefined

/** Whether iptables-legacy has a table filter here. */
export function hasLegacy(netns: Netns): boolean {
  return ['ip_tables_names', 'ip6_tables_names'].some((file) => {
    try {
      return netns.inside(() => readFileSync(`/proc/thread-self/net/${file}`, 'utf8')).split('\n').includes('filter')
    } catch {
      return false // no such module, or nothing for us to read
    }
  })
}

/**
 * Chains of others that let nothing pass which is forwarded, in nft's words (`inet filter forward`): their policy is drop, and no
 * rule of theirs accepts what is new. What a rule with conditions accepts is not known here.
 */
export function barriers(netns: Netns): string[] {
  const others = dropping(netns).filter(({ nfproto, hook, table, name }) => hook === NF_INET_FORWARD && NAMES[nfproto] && !(table === 'filter' && name === 'FORWARD'))
  return others.filter((one) => !rulesOf(netns, one).some(({ list }) => acceptsNew(list))).map(({ nfproto, table, name }) => `${NAMES[nfproto]} ${table} ${name}`)
}

const POLICY_DROP = Buffer.from([8, 0, NFTA_CHAIN_POLICY, 0, 0, 0, 0, NF_DROP])

/** All chains with that policy. Of thousands, which kube-proxy makes, these few are found by their bytes. */
function dropping(netns: Netns): Chain[] {
  const request = { what: 'nft list chains', type: (NFNL_SUBSYS_NFTABLES << 8) | MSG.GETCHAIN, header: Buffer.alloc(NFGENMSG) }
  let found: Chain[] = []
  netns.nf.scanWhole(request, () => {
    let [hit, last] = [0, Infinity]
    found = []
    return (buffer, start, end) => {
      if (start < last || hit < start) hit = buffer.indexOf(POLICY_DROP, start) >>> 0 // -1 is behind every end
      last = start
      if (hit < end) found.push(chainOf(Buffer.from(buffer.subarray(start, end))))
    }
  }, 'ENOENT', 'EAFNOSUPPORT', 'EOPNOTSUPP')
  return found
}

/** Makes a chain or a rule unless it is there. */
export function add(netns: Netns, fact: Iptables): void {
  const ATTEMPTS = 200 // each lost race means that somebody else made progress
  for (let attempt = 1; ; attempt++) {
    const premise = generation(netns)
    if (!check(netns, fact)) return
    const refused = transaction(netns, [...(fact.chain === 'FORWARD' && !exists(netns, fact) ? [forward(fact)] : []), creation(fact)], premise)
    if (!refused) return
    if (!isErrno(refused, 'ERESTART', 'EINTR') || attempt === ATTEMPTS) throw refused
  }
}

/** Takes a rule back. Chains stay: others have rules in them. */
export function del(netns: Netns, fact: Iptables): void {
  const ATTEMPTS = 200
  for (let attempt = 1; ; attempt++) {
    const premise = generation(netns)
    const there = alike(netns, fact)
    if (there.length === 0) return
    const refused = transaction(netns, there.map(({ handle }) => message(MSG.DELRULE, fact, show(fact).replace(/ -[AI] /, ' -D '), (out) => out.push(NFTA_RULE_HANDLE, handle))), premise)
    if (!refused) return
    if (!isErrno(refused, 'ERESTART', 'ENOENT', 'EINTR') || attempt === ATTEMPTS) throw refused
  }
}

export function check(netns: Netns, fact: Iptables): Difference | undefined {
  const what = `${PROGRAMS[fact.family]} chain ${fact.chain}`
  if (!exists(netns, fact)) return missing(`${what} is missing`)
  return fact.rule === undefined || alike(netns, fact).length > 0 ? undefined : missing(`${what} lacks the rule "${fact.rule}"`)
}

/** What keeps pods from being forwarded to, though all that podwire has made is there. */
export function checkPassage(netns: Netns): Difference | undefined {
  const [first, ...more] = barriers(netns)
  return first === undefined ? undefined : differs(`nft chain ${[first, ...more].join(' and ')} drops all that is forwarded to pods and from them: its policy is drop, and no rule of it accepts what is new`)
}

const exists = (netns: Netns, fact: Iptables): boolean => chain(netns, fact) !== undefined

function chain(netns: Netns, fact: Pick<Iptables, 'family' | 'chain'>): Chain | undefined {
  const answer = netns.nf.get(message(MSG.GETCHAIN, fact, `${PROGRAMS[fact.family]} -S ${fact.chain}`), 'ENOENT', 'EAFNOSUPPORT', 'EOPNOTSUPP')
  return answer && chainOf(answer.data)
}

/** Rules of a chain that are the fact's. */
function alike(netns: Netns, { family, chain: name, rule }: Iptables): Rule[] {
  if (rule === undefined) return []
  const wanted = essenceOf(family, rule)
  return rulesOf(netns, { nfproto: NFPROTO[family], table: 'filter', name }).filter(({ list }) => essence(list) === wanted)
}

function creation(fact: Iptables): Request {
  const { rule, family, first } = fact
  if (rule === undefined) return { ...message(MSG.NEWCHAIN, fact, show(fact)), flags: NLM_F_CREATE }
  return { ...message(MSG.NEWRULE, fact, show(fact), (out) => out.push(NFTA_RULE_EXPRESSIONS, (list) => encodeRule(list, family, rule))), flags: NLM_F_CREATE | (first ? 0 : NLM_F_APPEND) }
}

/** The chain FORWARD, which iptables makes when it first needs it. */
const forward = (fact: Iptables): Request => ({
  ...message(MSG.NEWCHAIN, fact, `${PROGRAMS[fact.family]} -L FORWARD`, (out) => {
    out.push(NFTA_CHAIN_HOOK, (hook) => (be32(hook, 1, NF_INET_FORWARD), be32(hook, 2, 0))) // NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY: NF_IP_PRI_FILTER
    be32(out, NFTA_CHAIN_POLICY, NF_ACCEPT)
    out.push(NFTA_CHAIN_TYPE, cstring('filter'))
  }),
  flags: NLM_F_CREATE,
})

/** A message about a chain of iptables', or a rule in it. */
const message = (kind: number, { family, chain }: Pick<Iptables, 'family' | 'chain'>, what: string, attrs?: (out: Out) => void): Request => ({
  what,
  type: (NFNL_SUBSYS_NFTABLES << 8) | kind,
  header: Buffer.from([NFPROTO[family], 0, 0, 0]),
  attrs: (out) => {
    out.push(NFTA_TABLE, cstring('filter'))
    out.push(kind <= MSG.DELCHAIN ? NFTA_CHAIN_NAME : NFTA_RULE_CHAIN, cstring(chain))
    attrs?.(out)
  },
})

interface Chain {
  nfproto: number
  table: string
  name: string
  hook: number | undefined
  drops: boolean
}

interface Rule {
  handle: Buffer
  list: Expression[]
}

/** A chain as the kernel tells it, from struct nfgenmsg on. */
function chainOf(data: Buffer): Chain {
  const found = attributes(data.subarray(NFGENMSG))
  return {
    nfproto: data[0]!,
    table: text(found.get(NFTA_TABLE)) ?? '',
    name: text(found.get(NFTA_CHAIN_NAME)) ?? '',
    hook: attributes(found.get(NFTA_CHAIN_HOOK) ?? Buffer.alloc(0)).get(1)?.readInt32BE(0), // NFTA_HOOK_HOOKNUM
    drops: found.get(NFTA_CHAIN_POLICY)?.readInt32BE(0) === NF_DROP,
  }
}

function rulesOf(netns: Netns, { nfproto, table, name }: Pick<Chain, 'nfproto' | 'table' | 'name'>): Rule[] {
  const request: Request = { what: `nft list chain ${NAMES[nfproto]} ${table} ${name}`, type: (NFNL_SUBSYS_NFTABLES << 8) | MSG.GETRULE, header: Buffer.from([nfproto, 0, 0, 0]), attrs: (out) => (out.push(NFTA_TABLE, cstring(table)), out.push(NFTA_RULE_CHAIN, cstring(name))) }
  try {
    const rules = netns.nf.dump(request).map(({ data }) => attributes(data.subarray(NFGENMSG)))
    return rules.filter((found) => text(found.get(NFTA_TABLE)) === table && text(found.get(NFTA_RULE_CHAIN)) === name).map((found) => ({ handle: found.get(NFTA_RULE_HANDLE)!, list: expressions(found.get(NFTA_RULE_EXPRESSIONS) ?? Buffer.alloc(0)) }))
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EAFNOSUPPORT', 'EOPNOTSUPP')) return []
    throw error
  }
}
