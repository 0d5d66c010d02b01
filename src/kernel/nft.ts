// nf_tables over netlink, without the nft program. Everything podwire has is in tables of its own, `inet podwire` and, where a
// bridge is looked into, `bridge podwire`; what one operation needs goes in as one transaction, so no packet sees half of it.
//
// An element is taken back only while it still has its owner: a transaction may name the generation of the ruleset in
// which its premises were read (NFNL_BATCH_GENID), and the kernel refuses it (ERESTART) when somebody has changed
// something since. So reading the owner and deleting the element is one step. <linux/netfilter/nf_tables.h>

import { show, type Chain, type Element, type Family, type NetworkSet, type NftMap, type Table } from '../facts.ts'
import { differs, missing, type Difference } from './difference.ts'
import type { Digest } from './digest.ts'
import { isErrno } from './errno.ts'
import { attributes, AttrStream, items, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, type Attrs, type Out, type Request } from './netlink.ts'
import { decode, encode, partsIn, typeOf } from './nft-data.ts'
import { be32, creation, cstring, generation, get, isOurs, message, MSG, nameIn, NFGENMSG, transaction } from './nft-message.ts'
import { decodeVerdict, encodeRule, encodeVerdict, expressions, foreign, sameRule } from './nft-rule.ts'
import type { Netns } from './netns.ts'
import * as set from './nft-set.ts'

export type NftFact = Table | NftMap | NetworkSet | Chain | Element

const FAMILIES: Family[] = ['inet', 'bridge']
const familyOf = (fact: { family?: Family }): Family => fact.family ?? 'inet'
/** `inet podwire`, as nft names a table. */
const tableOf = (fact: { family?: Family }): string => `${familyOf(fact)} podwire`

const NFTA_TABLE_FLAGS = 2
const NFTA_CHAIN_HOOK = 4
const NFTA_CHAIN_POLICY = 5
const NFTA_CHAIN_TYPE = 7
const NFTA_RULE_EXPRESSIONS = 4
const NFTA_SET_FLAGS = 3
const NFTA_SET_KEY_TYPE = 4
const NFTA_SET_KEY_LEN = 5
const NFTA_SET_DATA_TYPE = 6
const NFTA_SET_DATA_LEN = 7
const NFTA_SET_ID = 10
const NFTA_SET_USERDATA = 13
const NFTA_SET_ELEM_LIST_ELEMENTS = 3
const NFTA_SET_ELEM_KEY = 1
const NFTA_SET_ELEM_DATA = 2
const NFTA_SET_ELEM_USERDATA = 6
const NFTA_DATA_VALUE = 1
const NFTA_DATA_VERDICT = 2
const NFT_SET_INTERVAL = 4
const NFT_SET_MAP = 8
const NFT_DATA_VERDICT = 0xffffff00
const NF_ACCEPT = 1
const HOOKS = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } // NF_INET_*, and NF_BR_*
const PRIORITIES: Record<string, number> = { raw: -300, dstnat: -100, filter: 0, srcnat: 100 } // NF_IP_PRI_*

/** Something that an element of somebody else's holds. */
export class Held extends Error {
  readonly code = 'EBUSY'
  readonly holder: Element

  constructor(element: Element, holder: Element) {
    super(`${show(element)}: ${holder.key} is held by ${holder.owner || 'nobody'}`)
    this.holder = holder
  }
}

/**
 * Makes facts true in one transaction. Chains that are as they should be are left alone: their counters go on. An element
 * with our key that is there already is a former holder's, for the lease says that the address is ours now: replaced. One
 * that is exclusive is not: Held.
 */
export function add(netns: Netns, facts: NftFact[]): void {
  const ATTEMPTS = 200 // each lost race means that somebody else made progress
  const own = facts.filter((fact) => fact.fact === 'element')
  const exclusive = own.filter((element) => element.exclusive)
  for (let attempt = 1; ; attempt++) {
    const premise = exclusive.length > 0 ? generation(netns) : undefined
    requireFree(netns, exclusive)
    const shared = facts.filter((fact) => fact.fact !== 'element').flatMap((fact) => made(netns, fact))
    const there = attempt === 1 && premise === undefined ? [] : own.filter((fact) => fact.users === undefined && element(netns, fact)).map(deletion)
    const refused = transaction(netns, [...shared, ...there, ...own.flatMap((fact) => made(netns, fact))], premise)
    if (!refused) return
    const raced = isErrno(refused, 'EEXIST', 'EBUSY', 'ERESTART') || (isErrno(refused, 'ENOENT') && facts.some(({ fact }) => fact === 'set'))
    if (!raced || attempt === ATTEMPTS) throw refused
  }
}

/** Takes elements back: each only if its owner is still the one in the fact, and nobody else shares it. Shared facts stay. */
export function del(netns: Netns, facts: NftFact[]): void {
  const ATTEMPTS = 200
  const elements = [...new Map(facts.filter((fact) => fact.fact === 'element').map((fact) => [`${fact.family} ${fact.map} ${fact.key} ${fact.owner}`, fact])).values()]
  for (let attempt = 1; elements.length > 0; attempt++) {
    const premise = generation(netns)
    const mine = elements.filter((fact) => isOf(fact.owner, raw(netns, fact)) && !isUsed(netns, fact, elements))
    if (mine.length === 0) return
    const refused = transaction(netns, mine.map(deletion), premise)
    if (!refused) return
    if (!isErrno(refused, 'ERESTART', 'ENOENT', 'EINTR') || attempt === ATTEMPTS) throw refused
  }
}

/** Whether an element is shared by others than those that leave. */
function isUsed(netns: Netns, { key, users }: Element, leaving: Element[]): boolean {
  const first = (text: string) => text.split(' . ')[0]
  const leaves = (one: Element) => leaving.some(({ map, key: gone, owner }) => map === one.map && gone === one.key && owner === one.owner)
  return users !== undefined && elements(netns, (name) => name === users).some((one) => first(one.key) === first(key) && !leaves(one))
}

/** Takes back what is shared: chains and sets by name, and the table when nothing is left in it. Gone already is success. */
export function remove(netns: Netns, facts: NftFact[]): void {
  if (!get(netns, MSG.GETTABLE, 'inet')) return
  const there = (type: number) => ({ name }: { name: string }) => get(netns, type, 'inet', name) !== undefined
  const chains = facts.filter((fact) => fact.fact === 'chain').filter(there(MSG.GETCHAIN))
  const sets = facts.filter((fact) => fact.fact === 'set' || fact.fact === 'map').filter(there(MSG.GETSET))
  const refused = transaction(netns, [
    ...chains.map(({ name }) => message(MSG.DELCHAIN, 'inet', name, `nft delete chain inet podwire ${name}`)),
    ...sets.map(({ name }) => message(MSG.DELSET, 'inet', name, `nft delete set inet podwire ${name}`)),
  ])
  if (refused) throw refused
  const left = [MSG.GETCHAIN, MSG.GETSET].some((type) => listed(netns, type, 'inet').length > 0)
  if (!left) transaction(netns, [message(MSG.DELTABLE, 'inet', undefined, 'nft delete table inet podwire')])
}

/** What is not as it should be, or undefined. */
export function check(netns: Netns, fact: NftFact): Difference | undefined {
  switch (fact.fact) {
    case 'table': {
      const there = get(netns, MSG.GETTABLE, familyOf(fact))
      if (!there) return missing(`nft table ${tableOf(fact)} is missing`)
      return there.get(NFTA_TABLE_FLAGS)?.readUInt32BE(0) === 0 ? undefined : differs(`nft table ${tableOf(fact)} is dormant`)
    }
    case 'map':
      return get(netns, MSG.GETSET, familyOf(fact), fact.name) ? undefined : missing(`nft ${fact.data === undefined ? 'set' : 'map'} ${tableOf(fact)} ${fact.name} is missing`)
    case 'set':
      return setDifference(netns, fact)
    case 'chain':
      return chainDifference(netns, fact)
    case 'element':
      return elementDifference(netns, fact)
  }
}

/** Takes the elements of a set into a digest; of each message what is behind its header, which counts all changes of nf_tables. */
export const digest = (netns: Netns, { name }: NetworkSet, into: Digest): boolean =>
  netns.nf.scan(message(MSG.GETSETELEM, 'inet', name, `nft list set inet podwire ${name}`), (buffer, start, end) => into.add(buffer, start + NFGENMSG, end))

/**
 * The elements, in maps and sets of such names, whose owners begin with one of `whose`; all that have one if it is absent. In a
 * list of thousands that of one pod is found by its bytes.
 */
export function elements(netns: Netns, maps: (name: string) => boolean, whose: string[] = ['']): Element[] {
  const begins = (owner: string) => whose.some((begin) => owner.startsWith(begin))
  return FAMILIES.flatMap((family) =>
    listed(netns, MSG.GETSET, family).flatMap((found) => {
      const map = nameIn(MSG.GETSET, found)
      if (!maps(map)) return []
      const types = typesOf(found)
      const list = message(MSG.GETSETELEM, family, map, `nft list map ${family} podwire ${map}`)
      const about = (element: Buffer) => whose.some((begin) => element.includes(begin))
      return netns.nf.collect(list, ({ data }) => listedElements(data).filter(about).flatMap((one) => parse(family, map, types, one))).flat().filter(({ owner }) => owner !== '' && begins(owner))
    }),
  )
}

/** What of a kind is in one of podwire's tables; nothing if there is no such table. */
function listed(netns: Netns, type: number, family: Family): Attrs[] {
  try {
    return netns.nf.dump(message(type, family, undefined, `nft list table ${family} podwire`)).map(({ data }) => attributes(data.subarray(NFGENMSG))).filter(isOurs)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EAFNOSUPPORT', 'EOPNOTSUPP')) return []
    throw error
  }
}

/** Error Held if an element is somebody else's already, or one whose key contains it or is contained in it. */
function requireFree(netns: Netns, list: Element[]): void {
  for (const own of list) {
    const holder = holderOf(netns, own)
    if (holder) throw new Held(own, holder)
  }
}

/** Who holds what an exclusive element would: the same key, or in its sibling a longer or shorter one. */
export function holderOf(netns: Netns, own: Element): Element | undefined {
  const same = element(netns, own)
  const sibling = own.exclusive!
  const shorter = own.key.split(' . ').slice(0, -1).join(' . ')
  const related = isLonger(netns, own, sibling)
    ? elements(netns, (name) => name === sibling).filter(({ key }) => key.startsWith(`${own.key} . `))
    : [element(netns, { ...own, map: sibling, key: shorter })].filter((found) => found !== undefined)
  return [...(same ? [same] : []), ...related].find(({ owner }) => owner !== own.owner)
}

/** True if the keys of a sibling have more parts. */
function isLonger(netns: Netns, { family = 'inet', key }: Element, sibling: string): boolean {
  const found = get(netns, MSG.GETSET, family, sibling)
  return found !== undefined && partsIn(decode(Buffer.alloc(found.get(NFTA_SET_KEY_LEN)!.readUInt32BE(0)), typesOf(found).key)) > partsIn(key)
}

/** The element with that key as the kernel tells it, or undefined. */
function raw(netns: Netns, { family = 'inet', map, key }: Element): Buffer | undefined {
  const asked = message(MSG.GETSETELEM, family, map, `nft get element ${family} podwire ${map} { ${key} }`, (out) => elementList(out, (e) => pushKey(e, key)))
  const answer = netns.nf.get(asked, 'ENOENT')
  return answer && listedElements(answer.data)[0]
}

/** The same, read. */
function element(netns: Netns, fact: Element): Element | undefined {
  const { family = 'inet', map } = fact
  const found = raw(netns, fact)
  const types = found && get(netns, MSG.GETSET, family, map)
  return types && parse(family, map, typesOf(types), found)[0]
}

interface Types {
  key: number
  data: number
}

const typesOf = (found: Attrs): Types => ({ key: found.get(NFTA_SET_KEY_TYPE)?.readUInt32BE(0) ?? 0, data: found.get(NFTA_SET_DATA_TYPE)?.readUInt32BE(0) ?? 0 })

/** One element; none if it has no key. */
function parse(family: Family, map: string, types: Types, data: Buffer): Element[] {
  const found = attributes(data)
  const key = attributes(found.get(NFTA_SET_ELEM_KEY) ?? Buffer.alloc(0)).get(NFTA_DATA_VALUE)
  if (!key) return []
  const value = found.get(NFTA_SET_ELEM_DATA)
  return [{ fact: 'element', ...(family !== 'inet' && { family }), map, key: decode(key, types.key), ...(value && { value: valueText(value, types) }), owner: ownerOf(data) }]
}

const isOf = (owner: string, data: Buffer | undefined): boolean => data !== undefined && ownerOf(data) === owner
const ownerOf = (data: Buffer): string => comment(attributes(data).get(NFTA_SET_ELEM_USERDATA))

function valueText(data: Buffer, types: Types): string {
  const inner = attributes(data)
  const verdict = inner.get(NFTA_DATA_VERDICT)
  return verdict ? decodeVerdict(verdict) : decode(inner.get(NFTA_DATA_VALUE) ?? Buffer.alloc(0), types.data)
}

/** Each element in a message. */
const listedElements = (data: Buffer): Buffer[] => items(attributes(data.subarray(NFGENMSG)).get(NFTA_SET_ELEM_LIST_ELEMENTS))

function elementDifference(netns: Netns, fact: Element): Difference | undefined {
  const there = element(netns, fact)
  const what = `nft element ${fact.key} in ${fact.value === undefined ? 'set' : 'map'} ${tableOf(fact)} ${fact.map}`
  if (!there) return missing(`${what} is missing`)
  if (there.owner !== fact.owner) return differs(`${what} belongs to ${there.owner || 'nobody'}, not to ${fact.owner}`)
  return there.value === fact.value ? undefined : differs(`${what} is ${there.value}, not ${fact.value}`)
}

/** Messages that create a fact. Table, map and chain may be there; a chain's rules are sent only if they differ. */
function made(netns: Netns, fact: NftFact): Request[] {
  const [what, family] = [show(fact), fact.fact === 'set' ? 'inet' : familyOf(fact)]
  switch (fact.fact) {
    case 'table':
      return [creation(MSG.NEWTABLE, family, undefined, what, (out) => be32(out, NFTA_TABLE_FLAGS, 0))]
    case 'map':
      return [creation(MSG.NEWSET, family, fact.name, what, (out) => mapAttrs(out, fact))]
    case 'set':
      return [creation(MSG.NEWSET, family, fact.name, what, (out) => setAttrs(out, NFT_SET_INTERVAL, fact.type)), ...filling(fact.name, setState(netns, fact))]
    case 'chain':
      return chainDifference(netns, fact) ? [...unhooked(netns, fact), creation(MSG.NEWCHAIN, family, fact.name, what, (out) => chainAttrs(out, fact)), ...(fact.open ? [] : rules(fact))] : []
    case 'element':
      return [creation(MSG.NEWSETELEM, family, fact.map, what, (out) => elementList(out, (e) => elementAttrs(e, fact)), fact.users === undefined ? NLM_F_EXCL : 0)]
  }
}

/** Messages that make way for a chain whose hook is not that of the one there. */
function unhooked(netns: Netns, chain: Chain): Request[] {
  const [family, name] = [familyOf(chain), chain.name]
  const there = get(netns, MSG.GETCHAIN, family, name)
  if (!there || sameHook(there, chain.base)) return []
  return [flushChain(chain), message(MSG.DELCHAIN, family, name, `nft delete chain ${tableOf(chain)} ${name}`)]
}

const flushChain = (chain: Chain): Request => message(MSG.DELRULE, familyOf(chain), chain.name, `nft flush chain ${tableOf(chain)} ${chain.name}`)

const deletion = (fact: Element): Request => message(MSG.DELSETELEM, familyOf(fact), fact.map, `nft delete element ${tableOf(fact)} ${fact.map} { ${fact.key} }`, (out) => elementList(out, (e) => pushKey(e, fact.key)))

const AT_ONCE = 1000 // elements in one message: the attribute that holds them has at most 64 KiB

/** What is lacking in, what is too much out: in one transaction no packet sees half of it. */
function filling(name: string, { lacking, extra, empty }: set.SetDifference): Request[] {
  const list = (type: number, what: string, writers: ((element: Out) => void)[], flags: number) =>
    Array.from({ length: Math.ceil(writers.length / AT_ONCE) }, (_, i) => message(type, 'inet', name, `nft ${what} element inet podwire ${name}`, (out) => elementList(out, ...writers.slice(i * AT_ONCE, (i + 1) * AT_ONCE)), flags))
  return [...list(MSG.DELSETELEM, 'delete', set.writers(extra, false), 0), ...list(MSG.NEWSETELEM, 'add', set.writers(lacking, empty), NLM_F_CREATE)]
}

/** What of the set's elements is not as it should be; all, if there is no such set. */
function setState(netns: Netns, { name, elements: wanted }: NetworkSet): set.SetDifference & { missing: boolean } {
  const absent = get(netns, MSG.GETSET, 'inet', name) === undefined
  const listing = absent ? [] : netns.nf.dump(message(MSG.GETSETELEM, 'inet', name, `nft list set inet podwire ${name}`)).flatMap(({ data }) => listedElements(data).map(attributes))
  return { ...set.compare(wanted, listing), missing: absent }
}

function setDifference(netns: Netns, fact: NetworkSet): Difference | undefined {
  const what = `nft set inet podwire ${fact.name}`
  const { lacking: [lacking], extra: [extra], missing: absent } = setState(netns, fact)
  if (absent) return missing(`${what} is missing`)
  if (lacking !== undefined) return differs(`${what} lacks ${set.text(lacking)}`)
  return extra === undefined ? undefined : differs(`${what} has ${set.text(extra)}, which does not belong there`)
}

/** Flush and fill: in one transaction no packet sees the chain empty. */
const rules = (chain: Chain): Request[] => [
  flushChain(chain),
  ...chain.rules.map((rule) => creation(MSG.NEWRULE, familyOf(chain), chain.name, `nft add rule ${tableOf(chain)} ${chain.name} ${rule}`, (out) => out.push(NFTA_RULE_EXPRESSIONS, (list) => encodeRule(list, rule)), NLM_F_APPEND)),
]

function chainDifference(netns: Netns, chain: Chain): Difference | undefined {
  const [family, name] = [familyOf(chain), `nft chain ${tableOf(chain)} ${chain.name}`]
  const itself = get(netns, MSG.GETCHAIN, family, chain.name)
  if (!itself) return missing(`${name} is missing`)
  if (chain.open) return undefined
  if (!sameHook(itself, chain.base)) return differs(`${name} has another hook`)
  const dump = netns.nf.dump(message(MSG.GETRULE, family, chain.name, `nft list chain ${tableOf(chain)} ${chain.name}`))
  const there = dump.map(({ data }) => attributes(data.subarray(NFGENMSG))).filter((rule) => nameIn(MSG.GETRULE, rule) === chain.name)
  const found = there.map((rule) => expressions(rule.get(NFTA_RULE_EXPRESSIONS) ?? Buffer.alloc(0)))
  const wanted = chain.rules.map((rule) => expressions(encoded(rule)))
  const lacking = wanted.findIndex((rule) => !found.some((one) => sameRule(rule, one)))
  if (lacking >= 0) return differs(`${name} lacks the rule "${chain.rules[lacking]}"`)
  const odd = found.findIndex((rule, i) => !wanted[i] || !sameRule(wanted[i], rule))
  return odd < 0 ? undefined : differs(`${name} has a rule too many, or out of place: "${chain.rules[wanted.findIndex((rule) => sameRule(rule, found[odd]!))] ?? foreign(found[odd]!)}"`)
}

function encoded(rule: string): Buffer {
  const out = new AttrStream()
  encodeRule(out, rule)
  return Buffer.concat(out.bufs)
}

/** What makes a chain a base chain cannot be changed: it is made anew. */
function sameHook(there: Attrs, base: Chain['base']): boolean {
  const hook = there.get(NFTA_CHAIN_HOOK)
  if (!base || !hook) return base === undefined && hook === undefined
  const found = attributes(hook)
  const number = (type: number) => found.get(type)?.readInt32BE(0)
  return number(1) === HOOKS[base.hook] && number(2) === priority(base.priority) && there.get(NFTA_CHAIN_POLICY)?.readInt32BE(0) === NF_ACCEPT && there.get(NFTA_CHAIN_TYPE)?.equals(cstring(base.type)) === true
}

/** `srcnat - 5` as a number. */
function priority(text: string): number {
  const [, name = '', sign, digits] = /^(\w+|-?\d+)(?: ([+-]) (\d+))?$/.exec(text) ?? []
  return (PRIORITIES[name] ?? Number(name)) + (sign === '-' ? -1 : 1) * Number(digits ?? 0)
}

// Tells nft(8) in which order the bytes of a key are: NFTNL_UDATA_SET_KEYBYTEORDER, 4 bytes, BYTEORDER_HOST_ENDIAN. <libnftnl/udata.h>
const HOST_ENDIAN = Buffer.from([0, 4, 1, 0, 0, 0])

function setAttrs(out: Out, flags: number, type: string): void {
  const { id, length } = typeOf(type)
  be32(out, NFTA_SET_FLAGS, flags)
  be32(out, NFTA_SET_KEY_TYPE, id)
  be32(out, NFTA_SET_KEY_LEN, length)
  if (type === 'ifname') out.push(NFTA_SET_USERDATA, HOST_ENDIAN)
  be32(out, NFTA_SET_ID, 1) // wanted by the kernel though nothing in the transaction refers to it
}

function mapAttrs(out: Out, { type, data }: NftMap): void {
  setAttrs(out, data === undefined ? 0 : NFT_SET_MAP, type)
  if (data === undefined) return
  const { id, length } = data === 'verdict' ? { id: NFT_DATA_VERDICT, length: 0 } : typeOf(data)
  be32(out, NFTA_SET_DATA_TYPE, id)
  be32(out, NFTA_SET_DATA_LEN, length)
}

function chainAttrs(out: Out, { base }: Chain): void {
  if (!base) return
  out.push(NFTA_CHAIN_HOOK, (hook) => (be32(hook, 1, HOOKS[base.hook]), be32(hook, 2, priority(base.priority))))
  be32(out, NFTA_CHAIN_POLICY, NF_ACCEPT)
  out.push(NFTA_CHAIN_TYPE, cstring(base.type))
}

function elementAttrs(e: Out, { key, value, owner }: Element): void {
  pushKey(e, key)
  if (value !== undefined) e.push(NFTA_SET_ELEM_DATA, (data) => (/^[a-z]+( \w+)?$/.test(value) ? encodeVerdict(data, value) : data.push(NFTA_DATA_VALUE, encode(value))))
  e.push(NFTA_SET_ELEM_USERDATA, userdata(owner))
}

const pushKey = (e: Out, key: string): void => e.push(NFTA_SET_ELEM_KEY, (k) => k.push(NFTA_DATA_VALUE, encode(key)))

const elementList = (out: Out, ...elements: ((out: Out) => void)[]): void => out.push(NFTA_SET_ELEM_LIST_ELEMENTS, (list) => elements.forEach((one) => list.push(1, one)))

// A comment is a type-length-value of libnftnl's: type 0, length with the NUL. <libnftnl/udata.h>
function userdata(text: string): Buffer {
  const value = cstring(text)
  return Buffer.concat([Buffer.from([0, value.length]), value])
}

const comment = (data: Buffer | undefined): string => (data && data[0] === 0 ? data.toString('utf8', 2, 1 + data[1]!) : '')
