// nf_tables over netlink, without the nft program. Everything podwire has is in one table of its own, `inet podwire`;
// what one operation needs goes in as one transaction, so no packet sees half of it.
//
// An element is taken back only while it still has its owner: a transaction may name the generation of the ruleset in
// which its premises were read (NFNL_BATCH_GENID), and the kernel refuses it (ERESTART) when somebody has changed
// something since. So reading the owner and deleting the element is one step. <linux/netfilter/nf_tables.h>

import { addressBytes, bytesText, parseAddress } from '../ip.ts'
import { ruleText, show, type Chain, type Element, type NetworkSet, type Table, type VerdictMap } from '../facts.ts'
import { differs, missing, type Difference } from './difference.ts'
import type { Digest } from './digest.ts'
import { isErrno, KernelError } from './errno.ts'
import { attributes, items, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, type Attrs, type Request, type Out } from './netlink.ts'
import { be32, cstring, decodeRule, encodeRule, gotoChain, verdictChain } from './nft-expr.ts'
import type { Netns } from './netns.ts'
import * as set from './nft-set.ts'

export type NftFact = Table | VerdictMap | NetworkSet | Chain | Element

const TABLE = 'podwire'
const NFPROTO_INET = 1
const NFNL_SUBSYS_NFTABLES = 10
const NFNL_MSG_BATCH_BEGIN = 16
const NFNL_MSG_BATCH_END = 17
const NFNL_BATCH_GENID = 1

const MSG = { NEWTABLE: 0, GETTABLE: 1, DELTABLE: 2, NEWCHAIN: 3, GETCHAIN: 4, NEWRULE: 6, GETRULE: 7, DELRULE: 8, DELCHAIN: 5, NEWSET: 9, GETSET: 10, DELSET: 11, NEWSETELEM: 12, GETSETELEM: 13, DELSETELEM: 14, NEWGEN: 15, GETGEN: 16 }
const NFTA_TABLE_FLAGS = 2
const NFTA_CHAIN_HOOK = 4
const NFTA_CHAIN_POLICY = 5
const NFTA_CHAIN_TYPE = 7
const NFTA_RULE_EXPRESSIONS = 4
const NFTA_SET_ELEM_KEY = 1
const NFTA_SET_ELEM_DATA = 2
const NFTA_SET_ELEM_USERDATA = 6
const NFTA_SET_ELEM_LIST_ELEMENTS = 3
const NFT_SET_INTERVAL = 4
const NFT_SET_MAP = 8
const NFT_DATA_VERDICT = 0xffffff00
const NF_INET_POST_ROUTING = 4
const NF_IP_PRI_NAT_SRC = 100
const NF_ACCEPT = 1

/**
 * Makes facts true in one transaction. Chains that are as they should be are left alone: their counters go on. An element
 * with our key that is there already is a former holder's, for the lease says that the address is ours now: replaced.
 */
export function add(netns: Netns, facts: NftFact[]): void {
  const ATTEMPTS = 20 // each lost race means that somebody else made progress
  const own = facts.filter((fact) => fact.fact === 'element')
  for (let attempt = 1; ; attempt++) {
    const shared = facts.filter((fact) => fact.fact !== 'element').flatMap((fact) => creation(netns, fact))
    const stale = attempt === 1 ? [] : own.filter(({ map, key }) => element(netns, map, key)).map(deletion)
    const refused = transaction(netns, [...shared, ...stale, ...own.flatMap((fact) => creation(netns, fact))])
    if (!refused) return
    const raced = isErrno(refused, 'EEXIST', 'EBUSY') || (isErrno(refused, 'ENOENT') && facts.some(({ fact }) => fact === 'set'))
    if (!raced || attempt === ATTEMPTS) throw refused
  }
}

/** Takes elements back: each only if its owner is still the one in the fact. Shared facts stay. */
export function del(netns: Netns, facts: NftFact[]): void {
  const ATTEMPTS = 200 // each lost race means that somebody else made progress
  const elements = facts.filter((fact) => fact.fact === 'element')
  for (let attempt = 1; elements.length > 0; attempt++) {
    const generation = currentGeneration(netns)
    const mine = elements.filter(({ map, key, owner }) => element(netns, map, key)?.owner === owner)
    if (mine.length === 0) return
    const refused = transaction(netns, mine.map(deletion), generation)
    if (!refused) return
    if (!isErrno(refused, 'ERESTART', 'ENOENT', 'EINTR') || attempt === ATTEMPTS) throw refused
  }
}

/** Takes back what is shared: chains and sets by name, and the table when nothing is left in it. Gone already is success. */
export function remove(netns: Netns, facts: NftFact[]): void {
  if (!exists(netns, MSG.GETTABLE, inTable)) return
  const chains = facts.filter((fact) => fact.fact === 'chain')
  const sets = facts.filter((fact) => fact.fact === 'set' || fact.fact === 'map')
  const there = (type: number, attribute: number) => ({ name }: { name: string }) => exists(netns, type, (out) => (out.push(1, cstring(TABLE)), out.push(attribute, cstring(name))))
  const refused = transaction(netns, [
    ...chains.filter(there(MSG.GETCHAIN, 3)).map(({ name }) => message(MSG.DELCHAIN, `nft delete chain inet podwire ${name}`, (out) => (out.push(1, cstring(TABLE)), out.push(3, cstring(name))))),
    ...sets.filter(there(MSG.GETSET, 2)).map(({ name }) => message(MSG.DELSET, `nft delete set inet podwire ${name}`, (out) => (out.push(1, cstring(TABLE)), out.push(2, cstring(name))))),
  ])
  if (refused) throw refused
  const own = ({ data }: { data: Buffer }) => attributes(data.subarray(4)).get(1)?.equals(cstring(TABLE))
  const left = [MSG.GETCHAIN, MSG.GETSET].some((type) => netns.nf.dump(message(type, 'nft list table inet podwire', (out) => type === MSG.GETSET && out.push(1, cstring(TABLE)))).some(own))
  if (!left) transaction(netns, [message(MSG.DELTABLE, 'nft delete table inet podwire', inTable)])
}

/** What is not as it should be, or undefined. */
export function check(netns: Netns, fact: NftFact): Difference | undefined {
  switch (fact.fact) {
    case 'table': {
      const there = get(netns, MSG.GETTABLE, inTable)
      if (!there) return missing('nft table inet podwire is missing')
      return there.get(NFTA_TABLE_FLAGS)?.readUInt32BE(0) === 0 ? undefined : differs('nft table inet podwire is dormant')
    }
    case 'map':
      return exists(netns, MSG.GETSET, (out) => (out.push(1, cstring(TABLE)), out.push(2, cstring(fact.name)))) ? undefined : missing(`nft map inet podwire ${fact.name} is missing`)
    case 'set':
      return setDifference(netns, fact)
    case 'chain':
      return chainDifference(netns, fact)
    case 'element': {
      const there = element(netns, fact.map, fact.key)
      const what = `nft element ${fact.key} in map inet podwire ${fact.map}`
      if (!there) return missing(`${what} is missing`)
      if (there.owner !== fact.owner) return differs(`${what} belongs to ${there.owner || 'nobody'}, not to ${fact.owner}`)
      return there.goto === fact.goto ? undefined : differs(`${what} goes to ${there.goto || 'no chain'}, not to ${fact.goto}`)
    }
  }
}

/** Takes the elements of a set into a digest; of each message what is behind its header, which counts all changes of nf_tables. */
export const digest = (netns: Netns, { name }: NetworkSet, into: Digest): boolean =>
  netns.nf.scan(message(MSG.GETSETELEM, `nft list set inet podwire ${name}`, (out) => (inTable(out), out.push(2, cstring(name)))), (buffer, start, end) => into.add(buffer, start + 4, end))

/** Whether a message of the kernel's is about podwire's table, and about which set or chain in it. */
export function aboutTable(type: number, found: Attrs): { name: string | undefined } | undefined {
  const kind = type & 0xff
  if (kind === MSG.NEWGEN || !found.get(1)?.equals(cstring(TABLE))) return undefined
  const name = kind <= MSG.DELTABLE ? undefined : found.get(kind === MSG.NEWCHAIN || kind === MSG.DELCHAIN ? 3 : 2)
  return { name: name?.toString('utf8').replace(/\0.*$/s, '') }
}

/** The elements of a map; none if there is no such map. */
export function elements(netns: Netns, map: string): Element[] {
  try {
    return netns.nf.dump(message(MSG.GETSETELEM, `nft list map inet podwire ${map}`, (out) => (out.push(1, cstring(TABLE)), out.push(2, cstring(map))))).flatMap(({ data }) => parseElements(map, data))
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return []
    throw error
  }
}

/** The element with that key, or undefined. */
function element(netns: Netns, map: string, key: string): Element | undefined {
  const answer = netns.nf.get(
    message(MSG.GETSETELEM, `nft get element inet podwire ${map} { ${key} }`, (out) => elementList(out, map, (e) => e.push(NFTA_SET_ELEM_KEY, (k) => k.push(1, addressBytes(parseAddress(key)!))))),
    'ENOENT',
  )
  return answer && parseElements(map, answer.data)[0]
}

function parseElements(map: string, data: Buffer): Element[] {
  return listed(data).flatMap((found) => {
    const key = attributes(found.get(NFTA_SET_ELEM_KEY) ?? Buffer.alloc(0)).get(1)
    return key ? [{ fact: 'element' as const, map, key: bytesText(key), goto: verdictChain(found.get(NFTA_SET_ELEM_DATA)) ?? '', owner: comment(found.get(NFTA_SET_ELEM_USERDATA)) }] : []
  })
}

/** The attributes of each element in a message. */
const listed = (data: Buffer): Attrs[] => items(attributes(data.subarray(4)).get(NFTA_SET_ELEM_LIST_ELEMENTS)).map(attributes)

/** Messages that create a fact. Table, map and chain may be there; a chain's rules are sent only if they differ. */
function creation(netns: Netns, fact: NftFact): Request[] {
  const what = show(fact)
  switch (fact.fact) {
    case 'table':
      return [message(MSG.NEWTABLE, what, (out) => (out.push(1, cstring(TABLE)), be32(out, 2, 0)), NLM_F_CREATE)]
    case 'map':
      return [message(MSG.NEWSET, what, (out) => newSet(out, fact), NLM_F_CREATE)]
    case 'set':
      return [message(MSG.NEWSET, what, (out) => newSet(out, fact), NLM_F_CREATE), ...filling(fact.name, setState(netns, fact))]
    case 'chain':
      return chainDifference(netns, fact) ? [...unhooked(netns, fact), message(MSG.NEWCHAIN, what, (out) => newChain(out, fact), NLM_F_CREATE), ...rules(fact)] : []
    case 'element':
      return [message(MSG.NEWSETELEM, what, (out) => newElement(out, fact), NLM_F_CREATE | NLM_F_EXCL)]
  }
}

/** Messages that make way for a chain whose hook is not that of the one there. */
function unhooked(netns: Netns, { name, base }: Chain): Request[] {
  const there = get(netns, MSG.GETCHAIN, (out) => (inTable(out), out.push(3, cstring(name))))
  if (!there || sameHook(there, base)) return []
  return [
    message(MSG.DELRULE, `nft flush chain inet podwire ${name}`, (out) => (inTable(out), out.push(2, cstring(name)))),
    message(MSG.DELCHAIN, `nft delete chain inet podwire ${name}`, (out) => (inTable(out), out.push(3, cstring(name)))),
  ]
}

const deletion = ({ map, key }: Element): Request =>
  message(MSG.DELSETELEM, `nft delete element inet podwire ${map} { ${key} }`, (out) => elementList(out, map, (e) => e.push(NFTA_SET_ELEM_KEY, (k) => k.push(1, addressBytes(parseAddress(key)!)))))

const AT_ONCE = 1000 // elements in one message: the attribute that holds them has at most 64 KiB

/** What is lacking in, what is too much out: in one transaction no packet sees half of it. */
function filling(name: string, { lacking, extra, empty }: set.SetDifference): Request[] {
  const list = (type: number, what: string, writers: ((element: Out) => void)[], flags: number) =>
    Array.from({ length: Math.ceil(writers.length / AT_ONCE) }, (_, i) =>
      message(type, `nft ${what} element inet podwire ${name}`, (out) => (inTable(out), out.push(2, cstring(name)), out.push(NFTA_SET_ELEM_LIST_ELEMENTS, (all) => writers.slice(i * AT_ONCE, (i + 1) * AT_ONCE).forEach((writer) => all.push(1, writer)))), flags),
    )
  return [...list(MSG.DELSETELEM, 'delete', set.writers(extra, false), 0), ...list(MSG.NEWSETELEM, 'add', set.writers(lacking, empty), NLM_F_CREATE)]
}

/** What of the set's elements is not as it should be; all, if there is no such set. */
function setState(netns: Netns, { name, elements }: NetworkSet): set.SetDifference & { missing: boolean } {
  const inSet = (out: Out) => (inTable(out), out.push(2, cstring(name)))
  const missing = !exists(netns, MSG.GETSET, inSet)
  const listing = missing ? [] : netns.nf.dump(message(MSG.GETSETELEM, `nft list set inet podwire ${name}`, inSet)).flatMap(({ data }) => listed(data))
  return { ...set.compare(elements, listing), missing }
}

function setDifference(netns: Netns, fact: NetworkSet): Difference | undefined {
  const what = `nft set inet podwire ${fact.name}`
  const { lacking: [lacking], extra: [extra], missing: absent } = setState(netns, fact)
  if (absent) return missing(`${what} is missing`)
  if (lacking !== undefined) return differs(`${what} lacks ${set.text(lacking)}`)
  return extra === undefined ? undefined : differs(`${what} has ${set.text(extra)}, which does not belong there`)
}

/** Flush and fill: in one transaction no packet sees the chain empty. */
function rules(chain: Chain): Request[] {
  const inChain = (out: Out) => (out.push(1, cstring(TABLE)), out.push(2, cstring(chain.name)))
  return [
    message(MSG.DELRULE, `nft flush chain inet podwire ${chain.name}`, inChain),
    ...chain.rules.map((rule) =>
      message(MSG.NEWRULE, `nft add rule inet podwire ${chain.name} ${ruleText(rule)}`, (out) => (inChain(out), out.push(NFTA_RULE_EXPRESSIONS, (list) => encodeRule(list, rule))), NLM_F_CREATE | NLM_F_APPEND),
    ),
  ]
}

function chainDifference(netns: Netns, chain: Chain): Difference | undefined {
  const name = `nft chain inet podwire ${chain.name}`
  const dump = netns.nf.dump(message(MSG.GETRULE, `nft list chain inet podwire ${chain.name}`, (out) => (out.push(1, cstring(TABLE)), out.push(2, cstring(chain.name)))))
  const there = dump.map(({ data }) => attributes(data.subarray(4))).filter((rule) => rule.get(2)?.equals(cstring(chain.name)))
  const wanted = chain.rules.map(ruleText)
  const found = there.map((rule) => decodeRule(rule.get(NFTA_RULE_EXPRESSIONS) ?? Buffer.alloc(0)))
  const itself = get(netns, MSG.GETCHAIN, (out) => (inTable(out), out.push(3, cstring(chain.name))))
  if (!itself) return missing(`${name} is missing`)
  if (!sameHook(itself, chain.base)) return differs(`${name} has another hook`)
  const lacking = wanted.find((rule) => !found.includes(rule))
  if (lacking !== undefined) return differs(`${name} lacks the rule "${lacking}"`)
  const foreign = found.find((rule, i) => rule !== wanted[i])
  return foreign === undefined ? undefined : differs(`${name} has a rule too many, or out of place: "${foreign}"`)
}


/** What makes a chain a base chain cannot be changed: it is made anew. */
function sameHook(there: Attrs, base: Chain['base']): boolean {
  const hook = there.get(NFTA_CHAIN_HOOK)
  if (!base || !hook) return base === undefined && hook === undefined
  const found = attributes(hook)
  const number = (type: number) => found.get(type)?.readInt32BE(0)
  return number(1) === NF_INET_POST_ROUTING && number(2) === NF_IP_PRI_NAT_SRC && there.get(NFTA_CHAIN_POLICY)?.readInt32BE(0) === NF_ACCEPT && there.get(NFTA_CHAIN_TYPE)?.equals(cstring(base.type)) === true
}

function newSet(out: Out, { fact, name, type }: VerdictMap | NetworkSet): void {
  out.push(1, cstring(TABLE))
  out.push(2, cstring(name))
  be32(out, 3, fact === 'map' ? NFT_SET_MAP : NFT_SET_INTERVAL)
  be32(out, 4, type === 'ipv4_addr' ? 7 : 8) // nft's datatype numbers, by which it prints keys
  be32(out, 5, type === 'ipv4_addr' ? 4 : 16)
  if (fact === 'map') {
    be32(out, 6, NFT_DATA_VERDICT)
    be32(out, 7, 0)
  }
  be32(out, 10, 1) // NFTA_SET_ID, wanted by the kernel though nothing in the transaction refers to it
}

function newChain(out: Out, { name, base }: Chain): void {
  out.push(1, cstring(TABLE))
  out.push(3, cstring(name))
  if (!base) return
  out.push(4, (hook) => (be32(hook, 1, NF_INET_POST_ROUTING), be32(hook, 2, NF_IP_PRI_NAT_SRC)))
  be32(out, 5, NF_ACCEPT)
  out.push(7, cstring(base.type))
}

const newElement = (out: Out, { map, key, goto, owner }: Element): void =>
  elementList(out, map, (e) => {
    e.push(NFTA_SET_ELEM_KEY, (k) => k.push(1, addressBytes(parseAddress(key)!)))
    e.push(NFTA_SET_ELEM_DATA, (data) => gotoChain(data, goto))
    e.push(NFTA_SET_ELEM_USERDATA, userdata(owner))
  })

function elementList(out: Out, map: string, element: (out: Out) => void): void {
  out.push(1, cstring(TABLE))
  out.push(2, cstring(map))
  out.push(NFTA_SET_ELEM_LIST_ELEMENTS, (list) => list.push(1, element))
}

// A comment is a type-length-value of libnftnl's: type 0, length with the NUL. <libnftnl/udata.h>
function userdata(text: string): Buffer {
  const value = cstring(text)
  return Buffer.concat([Buffer.from([0, value.length]), value])
}

const comment = (data: Buffer | undefined): string => (data && data[0] === 0 ? data.toString('utf8', 2, 1 + data[1]!) : '')

/** Runs a transaction and returns the first refusal, or undefined when all of it is done. */
function transaction(netns: Netns, requests: Request[], generation?: number): KernelError | undefined {
  if (requests.length === 0) return undefined
  const bound = { what: 'nft transaction', header: nfgenmsg(0, NFNL_SUBSYS_NFTABLES) }
  const begin: Request = { ...bound, type: NFNL_MSG_BATCH_BEGIN, ...(generation !== undefined && { attrs: (out: Out) => be32(out, NFNL_BATCH_GENID, generation) }) }
  const refusals = netns.nf.batch([begin, ...requests, { ...bound, type: NFNL_MSG_BATCH_END }])
  return refusals.size === 0 ? undefined : refusals.get(Math.min(...refusals.keys()))
}

function currentGeneration(netns: Netns): number {
  const answer = netns.nf.get(message(MSG.GETGEN, 'nft generation', () => {}))
  return answer ? attributes(answer.data.subarray(4)).get(1)!.readUInt32BE(0) : 0
}

const inTable = (out: Out): void => out.push(1, cstring(TABLE))

/** The attributes of a table, chain or set; undefined if it is not there. */
function get(netns: Netns, type: number, attrs: (out: Out) => void): Attrs | undefined {
  const answer = netns.nf.get(message(type, 'nft list', attrs), 'ENOENT')
  return answer && attributes(answer.data.subarray(4))
}

const exists = (netns: Netns, type: number, attrs: (out: Out) => void): boolean => get(netns, type, attrs) !== undefined

function message(type: number, what: string, attrs: (out: Out) => void, flags = 0): Request {
  return { what, type: (NFNL_SUBSYS_NFTABLES << 8) | type, flags, header: nfgenmsg(NFPROTO_INET, 0), attrs }
}

/** struct nfgenmsg */
function nfgenmsg(family: number, resource: number): Buffer {
  return Buffer.from([family, 0, resource >> 8, resource & 0xff])
}

