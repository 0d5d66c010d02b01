// nf_tables over netlink, without the nft program. Everything podwire has is in tables of its own, `inet podwire` and, where a
// bridge is looked into, `bridge podwire`; what one operation needs goes in as one transaction, so no packet sees half of it.
//
// An element is taken back only while it still has its owner: a transaction may name the generation of the ruleset in
// which its premises were read (NFNL_BATCH_GENID), and the kernel refuses it (ERESTART) when somebody has changed
// something since. So reading the owner and deleting the element is one step. <linux/netfilter/nf_tables.h>

import type { Chain, Element, Fact, Family, NetworkSet, NftMap, Table } from '../facts.ts'
import { show } from '../show.ts'
import { differs, missing, type Difference } from './difference.ts'
import type { Digest } from './digest.ts'
import { isErrno } from './errno.ts'
import { attributes, type Out } from './attributes.ts'
import { NLM_F_CREATE, type Request } from './netlink.ts'
import { chainCreation, chainDifference, Chains } from './nft-chain.ts'
import { typeOf } from './nft-data.ts'
import { elementCreations, elementDeletions, elementDifferences, FAMILIES, isOf, isSeen, isUsed, requireFree } from './nft-element.ts'
import { elementList, listedElements, rawOf } from './nft-list.ts'
import { be32, creation, familyOf, generation, get, listed, message, MSG, nameIn, NFGENMSG, tableOf, transaction } from './nft-message.ts'
import type { Netns } from './netns.ts'
import * as set from './nft-set.ts'

export { elements, Held, holdersOf } from './nft-element.ts'
export { generation } from './nft-message.ts'
export type NftFact = Table | NftMap | NetworkSet | Chain | Element

const NFTA_TABLE_FLAGS = 2
const NFTA_SET_FLAGS = 3
const NFTA_SET_KEY_TYPE = 4
const NFTA_SET_KEY_LEN = 5
const NFTA_SET_DATA_TYPE = 6
const NFTA_SET_DATA_LEN = 7
const NFTA_SET_ID = 10
const NFTA_SET_USERDATA = 13
const NFT_SET_INTERVAL = 4
const NFT_SET_MAP = 8
const NFT_DATA_VERDICT = 0xffffff00

/**
 * Makes facts true in one transaction. Chains that are as they should be are left alone: their counters go on. An element
 * with our key that is there already is a former holder's, for the lease says that the address is ours now: replaced. One
 * that is exclusive is not: Held. `made` receives the elements that were not there as they should be: others an entry before in the
 * same list has made.
 */
export function add(netns: Netns, facts: NftFact[], made: Fact[] = []): void {
  const own = facts.filter((fact) => fact.fact === 'element')
  inParts(own, (part) => addAtOnce(netns, [...facts.filter((fact) => fact.fact !== 'element'), ...part]).forEach((element) => made.push(element)))
}

/**
 * Does something with all elements; in halves if that is more than a datagram may have (EMSGSIZE): who has no CAP_NET_ADMIN in the first
 * user namespace cannot widen the buffer beyond net.core.wmem_max. Of halves the first stays if the second fails: the caller takes it back.
 */
function inParts(list: Element[], work: (part: Element[]) => void): void {
  try {
    return work(list)
  } catch (error) {
    if (!isErrno(error, 'EMSGSIZE') || list.length < 2) throw error
  }
  const middle = list.length >> 1
  inParts(list.slice(0, middle), work)
  inParts(list.slice(middle), work)
}

/** Returns the elements that it made. */
function addAtOnce(netns: Netns, facts: NftFact[]): Element[] {
  const ATTEMPTS = 200 // each lost race means that somebody else made progress
  const own = facts.filter((fact) => fact.fact === 'element')
  const exclusive = own.filter((element) => element.exclusive)
  let shared = sharedBy(netns, facts)
  let making = own
  let there: Request[] = []
  for (let attempt = 1; ; attempt++) {
    const premise = exclusive.length > 0 ? generation(netns) : undefined
    requireFree(netns, exclusive)
    const refused = transaction(netns, [...shared, ...there, ...elementCreations(making)], premise)
    if (!refused) return making
    // What was there when it was read may be gone: once that is nobody's fault.
    const gone = isErrno(refused, 'ENOENT') && (attempt === 1 || there.length > 0 || facts.some(({ fact }) => fact === 'set'))
    if (!(gone || isErrno(refused, 'EEXIST', 'EBUSY', 'ERESTART')) || attempt === ATTEMPTS) throw refused
    if (isErrno(refused, 'ERESTART')) continue // somebody was faster; most likely with an element of their own
    shared = sharedBy(netns, facts)
    const found = [...rawOf(netns, own.filter((fact) => fact.users === undefined)).keys()]
    const differences = elementDifferences(netns, found)
    const standing = new Set(found.filter((_, i) => differences[i] === undefined))
    making = own.filter((element) => !standing.has(element))
    there = elementDeletions(found.filter((element) => !standing.has(element)))
  }
}

/** Messages that make what is shared. */
function sharedBy(netns: Netns, facts: NftFact[]): Request[] {
  const chains = new Chains(netns)
  return facts.flatMap((fact) => (fact.fact === 'element' ? [] : made(netns, chains, fact)))
}

/** Takes elements back: each only if its owner is still the one in the fact, and nobody else shares it. Shared facts stay. */
export function del(netns: Netns, facts: NftFact[]): void {
  const elements = [...new Map(facts.filter((fact) => fact.fact === 'element').map((fact) => [`${fact.family} ${fact.map} ${fact.key} ${fact.owner}`, fact])).values()]
  inParts(elements, (part) => delAtOnce(netns, part))
}

function delAtOnce(netns: Netns, elements: Element[]): void {
  const ATTEMPTS = 200
  for (let attempt = 1; elements.length > 0; attempt++) {
    const premise = generation(netns)
    const found = rawOf(netns, elements.filter((fact) => !isSeen(netns, fact, premise)))
    const there = elements.filter((fact) => isSeen(netns, fact, premise) || isOf(fact.owner, found.get(fact)))
    const mine = there.filter((fact) => !isUsed(netns, fact, there))
    if (mine.length === 0) return
    const refused = transaction(netns, elementDeletions(mine), premise)
    if (!refused) return
    if (!isErrno(refused, 'ERESTART', 'ENOENT', 'EINTR') || attempt === ATTEMPTS) throw refused
  }
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

/**
 * Deletes the tables in which pods have no element any more and nobody has rules but in chains that podwire fills, which
 * `filled` knows by family and name. Whoever comes meanwhile is seen. Returns those that are deleted, as `inet podwire`.
 */
export function removeIdle(netns: Netns, filled: (family: Family, chain: string) => boolean): string[] {
  return FAMILIES.flatMap((family) => {
    const premise = generation(netns)
    if (!get(netns, MSG.GETTABLE, family)) return []
    const used =
      listed(netns, MSG.GETSET, family).some((found) => isFilled(netns, family, nameIn(MSG.GETSET, found))) ||
      listed(netns, MSG.GETRULE, family).some((rule) => !filled(family, nameIn(MSG.GETRULE, rule)))
    const refused = used ? undefined : transaction(netns, [message(MSG.DELTABLE, family, undefined, `nft delete table ${family} podwire`)], premise)
    if (refused && !isErrno(refused, 'ERESTART', 'ENOENT')) throw refused
    return used || refused ? [] : [`${family} podwire`]
  })
}

/** podwire's tables that there are, as `inet podwire`. */
export const tables = (netns: Netns): string[] =>
  FAMILIES.filter((family) => get(netns, MSG.GETTABLE, family)).map((family) => `${family} podwire`)

const isFilled = (netns: Netns, family: Family, name: string): boolean =>
  netns.nf.collect(message(MSG.GETSETELEM, family, name, `nft list set ${family} podwire ${name}`), ({ data }) => listedElements(data)).flat().length > 0

/** What of facts is not as it should be, in their order; undefined of each that is. Chains and maps are read once. */
export function differences(netns: Netns, facts: NftFact[]): (Difference | undefined)[] {
  const elements = facts.filter((fact) => fact.fact === 'element')
  const found = elementDifferences(netns, elements)
  const ofElements = new Map(elements.map((fact, i) => [fact, found[i]]))
  const chains = new Chains(netns)
  return facts.map((fact) => (fact.fact === 'element' ? ofElements.get(fact) : sharedDifference(netns, chains, fact)))
}

/** The same of one fact. */
export const check = (netns: Netns, fact: NftFact): Difference | undefined => differences(netns, [fact])[0]

function sharedDifference(netns: Netns, chains: Chains, fact: Exclude<NftFact, Element>): Difference | undefined {
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
      return chainDifference(chains, fact)
  }
}

/** Takes the elements of a set into a digest; of each message what is behind its header, which counts all changes of nf_tables. */
export const digest = (netns: Netns, { name }: NetworkSet, into: Digest): boolean =>
  netns.nf.scan(message(MSG.GETSETELEM, 'inet', name, `nft list set inet podwire ${name}`), (buffer, start, end) => into.add(buffer, start + NFGENMSG, end))

/** Messages that create what is shared. Table, map and chain may be there. */
function made(netns: Netns, chains: Chains, fact: Exclude<NftFact, Element>): Request[] {
  const [what, family] = [show(fact), fact.fact === 'set' ? 'inet' : familyOf(fact)]
  switch (fact.fact) {
    case 'table':
      return [creation(MSG.NEWTABLE, family, undefined, what, (out) => be32(out, NFTA_TABLE_FLAGS, 0))]
    case 'map':
      return [creation(MSG.NEWSET, family, fact.name, what, (out) => mapAttrs(out, fact))]
    case 'set':
      return [creation(MSG.NEWSET, family, fact.name, what, (out) => setAttrs(out, NFT_SET_INTERVAL, fact.type)), ...filling(fact.name, setState(netns, fact))]
    case 'chain':
      return chainCreation(chains, fact)
  }
}

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
