// Elements of maps and sets, each with its owner as comment. <linux/netfilter/nf_tables.h>

import type { Element, Family } from '../facts.ts'
import { show } from '../show.ts'
import { differs, missing, type Difference } from './difference.ts'
import { eachBetween, Out, type Attrs } from './attributes.ts'
import { NLM_F_EXCL, type Request } from './netlink.ts'
import { decode, encode, encodeInto, typeOf } from './nft-data.ts'
import { begunWith, byMap, bytesOf, elementList, listedElements, pushKey, raw, rawOf } from './nft-list.ts'
import { creation, cstring, familyOf, generation, get, listed, message, MSG, nameIn, tableOf } from './nft-message.ts'
import { decodeVerdict, encodeVerdict } from './nft-rule.ts'
import type { Netns } from './netns.ts'

const NFTA_SET_KEY_TYPE = 4
const NFTA_SET_DATA_TYPE = 6
const NFTA_LIST_ELEM = 1
const NFTA_SET_ELEM_LIST_ELEMENTS = 3
const NFTA_SET_ELEM_KEY = 1
const NFTA_SET_ELEM_DATA = 2
const NFTA_SET_ELEM_USERDATA = 6
const NFTA_DATA_VALUE = 1
const NFTA_DATA_VERDICT = 2
export const FAMILIES: Family[] = ['inet', 'bridge']

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
 * The elements, in maps and sets of such names, whose owners begin with one of `whose`; all that have one if it is absent. In a
 * list of thousands that of one pod is found by its bytes. What is about addresses is not listed but asked for, if it is known
 * `of` which addresses it can be.
 */
export function elements(netns: Netns, maps: (name: string) => boolean, whose: string[] = [''], of: string[] = []): Element[] {
  const begins = (owner: string) => whose.some((begin) => owner.startsWith(begin))
  let at: number | undefined
  const all = FAMILIES.flatMap((family) =>
    listed(netns, MSG.GETSET, family).flatMap((found) => {
      const [map, types] = [nameIn(MSG.GETSET, found), typesOf(found)]
      if (!maps(map)) return []
      at ??= generation(netns)
      const ofAddresses = of.length > 0 && ADDRESSES.includes(types.key)
      const about = ofAddresses ? of.flatMap((key) => elementAt(netns, family, map, types, key)) : elementsAbout(netns, family, map, types, whose)
      return about.filter(({ owner }) => owner !== '' && begins(owner))
    }),
  )
  const now = { netns, at: at! }
  for (const one of all) seen.set(one, now)
  return all
}

const seen = new WeakMap<Element, { netns: Netns; at: number }>()

/** Whether an element was read as it is in a generation of the ruleset: who takes back what was just listed need not ask again. */
export function isSeen(netns: Netns, element: Element, at: number): boolean {
  const known = seen.get(element)
  return known !== undefined && known.at === at && known.netns === netns
}

const ADDRESSES = ['ipv4_addr', 'ipv6_addr'].map((name) => typeOf(name).id)

/** That with an address as its key; none if there is none, or the address is of the other family. */
function elementAt(netns: Netns, family: Family, map: string, types: Types, key: string): Element[] {
  const bytes = encode(key)
  const found = typeOf(bytes.length === 4 ? 'ipv4_addr' : 'ipv6_addr').id === types.key ? raw(netns, { fact: 'element', family, map, key, owner: '' }) : undefined
  return found ? parse(family, map, types, found) : []
}

/** Those of a map in which one of some texts is. */
function elementsAbout(netns: Netns, family: Family, map: string, types: Types, texts: (string | Buffer)[]): Element[] {
  const about = (bytes: Buffer) => texts.some((text) => bytes.includes(text))
  const those = (data: Buffer) => listedElements(data).filter(about).flatMap((one) => parse(family, map, types, one))
  return netns.nf.collect(message(MSG.GETSETELEM, family, map, `nft list map ${family} podwire ${map}`), ({ data }) => (about(data) ? those(data) : [])).flat()
}

/** Error Held if an element is somebody else's already, or one whose key contains it or is contained in it. */
export function requireFree(netns: Netns, list: Element[]): void {
  const [held] = holdersOf(netns, list)
  if (held) throw new Held(...held)
}

/** Which of exclusive elements are somebody else's, and whose: the same key, or in the sibling a longer or shorter one. */
export function holdersOf(netns: Netns, list: Element[]): [own: Element, holder: Element][] {
  const same = rawOf(netns, list)
  const those = (keys: 'shorter' | 'longer') => list.filter(({ exclusive }) => exclusive!.keys === keys)
  const sibling = new Map([...shorterOf(netns, those('shorter')), ...longerOf(netns, those('longer'))])
  if (same.size + sibling.size === 0) return []
  const parse = parser(netns)
  return list.flatMap((own): [Element, Element][] => {
    const holderIn = (map: string, data: Buffer | undefined) => (data && !isOf(own.owner, data) ? parse(own, map, data) : [])
    const [holder] = [...holderIn(own.map, same.get(own)), ...holderIn(own.exclusive!.map, sibling.get(own))]
    return holder ? [[own, holder]] : []
  })
}

/** Of each element that in the sibling with its key less the last part. */
function shorterOf(netns: Netns, list: Element[]): Map<Element, Buffer> {
  const asked = list.map((own): Element => ({ ...own, map: own.exclusive!.map, key: own.key.split(' . ').slice(0, -1).join(' . ') }))
  const found = rawOf(netns, asked)
  return new Map(list.flatMap((own, i) => (found.has(asked[i]!) ? [[own, found.get(asked[i]!)!] as const] : [])))
}

/** Of each element one in the sibling whose key begins with its own, somebody else's if there is one. */
function longerOf(netns: Netns, list: Element[]): Map<Element, Buffer> {
  const found = new Map<Element, Buffer>()
  for (const group of byMap(list)) {
    const [{ exclusive, owner }] = group as [Element]
    if (!get(netns, MSG.GETSET, familyOf(group[0]!), exclusive!.map)) continue
    const begun = begunWith(netns, group, exclusive!.map, (data) => !isOf(owner, data))
    for (const own of begun.size > 0 ? group : []) if (begun.has(bytesOf(own))) found.set(own, begun.get(bytesOf(own))!)
  }
  return found
}

/**
 * Whether a shared element is in use by others than `leaving`, all of which are there. Of a list of thousands, of which one is
 * enough, nothing is made: keys are counted by their first bytes.
 */
export function isUsed(netns: Netns, { family = 'inet', key, users }: Element, leaving: Element[]): boolean {
  if (users === undefined) return false
  const [first = ''] = key.split(' . ')
  const begin = encode(first)
  const leave = leaving.filter((one) => one.map === users && one.key.startsWith(`${first} . `)).length
  let count = 0
  netns.nf.scanWhole(message(MSG.GETSETELEM, family, users, `nft list set ${family} podwire ${users}`), () => {
    count = 0
    return (buffer, start, end) => {
      for (let at = buffer.indexOf(begin, start); at >= 0 && at < end && count <= leave; at = buffer.indexOf(begin, at + begin.length)) if (buffer.readUInt16LE(at - 2) === NFTA_DATA_VALUE) count++
    }
  }, 'ENOENT')
  return count > leave
}

/** True if what the kernel tells of an element is there, and has that owner: with its length and its NUL it is all of a comment. */
export const isOf = (owner: string, data: Buffer | undefined): boolean => data?.includes(userdata(owner)) === true

/** Makes facts of what the kernel tells of elements; it asks once for the types of each map. */
function parser(netns: Netns): (one: Element, map: string, data: Buffer) => Element[] {
  const known = new Map<string, Types | undefined>()
  return ({ family = 'inet' }, map, data) => {
    const name = `${family} ${map}`
    if (!known.has(name)) {
      const found = get(netns, MSG.GETSET, family, map)
      known.set(name, found && typesOf(found))
    }
    const types = known.get(name)
    return types ? parse(family, map, types, data) : []
  }
}

/** What of elements is not as it should be, in their order; undefined of each that is. */
export function elementDifferences(netns: Netns, facts: Element[]): (Difference | undefined)[] {
  const there = rawOf(netns, facts)
  const parse = parser(netns)
  return facts.map((fact) => {
    const data = there.get(fact)
    if (data && isOf(fact.owner, data) && hasValue(data, fact.value)) return undefined
    const what = `nft element ${fact.key} in ${fact.value === undefined ? 'set' : 'map'} ${tableOf(fact)} ${fact.map}`
    const [found] = data ? parse(fact, fact.map, data) : []
    if (!found) return missing(`${what} is missing`)
    if (found.owner !== fact.owner) return differs(`${what} belongs to ${found.owner || 'nobody'}, not to ${fact.owner}`)
    return differs(`${what} is ${found.value}, not ${fact.value}`)
  })
}

function hasValue(data: Buffer, wanted: string | undefined): boolean {
  const is = (text: string, from: number, to: number) =>
    isVerdict(text) ? decodeVerdict(data.subarray(from, to)) === text : encode(text).compare(data, from, to) === 0
  let same = wanted === undefined
  eachBetween(data, 0, data.length, (type, from, to) => {
    if (type === NFTA_SET_ELEM_DATA) same = wanted !== undefined && is(wanted, from + HEADER, to)
  })
  return same
}

// The attribute that holds the elements of a message has at most 64 KiB. One has at most 250 bytes: an address and two ports for its
// key, an address and a port or the name of a chain for its value, an owner.
const AT_ONCE = 200

/** Messages that make elements, many in each; refused if one is there, unless others share it. */
export const elementCreations = (facts: Element[]): Request[] =>
  alike(facts).flatMap((group) => {
    const [{ map, owner, value, users }] = group as [Element]
    const plain = value !== undefined && !isVerdict(value) && group.every((one) => one.owner === owner)
    const model = plain ? attributesOf(group[0]!) : undefined
    return pieces(group).map((list) => {
      const write = (out: Out) => (model ? writePattern(out, list, model) : elementList(out, ...list.map(attributesOf)))
      return creation(MSG.NEWSETELEM, familyOf(list[0]!), map, together(show(list[0]!), list), write, users === undefined ? NLM_F_EXCL : 0)
    })
  })

export const elementDeletions = (facts: Element[]): Request[] =>
  alike(facts).flatMap((group) => {
    const model = attributesWith((e) => pushKey(e, group[0]!.key))
    return pieces(group).map((list) => {
      const [first] = list as [Element]
      const what = together(`nft delete element ${tableOf(first)} ${first.map} { ${first.key} }`, list)
      return message(MSG.DELSETELEM, familyOf(first), first.map, what, (out) => writePattern(out, list, model))
    })
  })

/** Elements in groups: of one map, all shared or none. */
const alike = (facts: Element[]): Element[][] =>
  byMap(facts).flatMap((group) => [...Map.groupBy(group, ({ users }) => users === undefined).values()])

/** And these in lists that go into one message each. */
const pieces = (group: Element[]): Element[][] =>
  Array.from({ length: Math.ceil(group.length / AT_ONCE) }, (_, i) => group.slice(i * AT_ONCE, (i + 1) * AT_ONCE))

const together = (what: string, { length }: Element[]): string => (length === 1 ? what : `${what}, or one of ${length - 1} beside it`)

interface Types {
  key: number
  data: number
}

const typesOf = (found: Attrs): Types => ({ key: found.get(NFTA_SET_KEY_TYPE)?.readUInt32BE(0) ?? 0, data: found.get(NFTA_SET_DATA_TYPE)?.readUInt32BE(0) ?? 0 })

/** One element; none if it has no key. */
function parse(family: Family, map: string, types: Types, data: Buffer): Element[] {
  let [key, value, owner]: [string | undefined, string | undefined, string] = [undefined, undefined, '']
  eachBetween(data, 0, data.length, (type, from, to) => {
    const inner = from + HEADER // a value has a header of its own
    if (type === NFTA_SET_ELEM_KEY) key = decode(data, types.key, inner, to)
    else if (type === NFTA_SET_ELEM_DATA && data[from + 2] === NFTA_DATA_VERDICT) value = decodeVerdict(data.subarray(inner, to))
    else if (type === NFTA_SET_ELEM_DATA) value = decode(data, types.data, inner, to)
    else if (type === NFTA_SET_ELEM_USERDATA && data[from] === 0) owner = data.toString('utf8', from + 2, from + 1 + data[from + 1]!)
  })
  if (key === undefined) return []
  return [{ fact: 'element', ...(family !== 'inet' && { family }), map, key, ...(value !== undefined && { value }), owner }]
}

/** Writes elements that differ in key and value only, of one length each: the attributes of one again and again, and over them these. */
function writePattern(out: Out, list: Element[], model: Buffer): void {
  const size = HEADER + ((model.length + 3) & ~3)
  const one = Buffer.alloc(size)
  one.writeUInt16LE(HEADER + model.length)
  one[2] = NFTA_LIST_ELEM
  one.set(model, HEADER)
  const all = Buffer.alloc(list.length * size).fill(one)
  const hasValues = model.length > HEADER + model.readUInt16LE(0)
  list.forEach(({ key, value }, i) => {
    const end = encodeInto(key, all, i * size + 3 * HEADER) // of the element, of NFTA_SET_ELEM_KEY, of NFTA_DATA_VALUE
    if (hasValues) encodeInto(value!, all, end + 2 * HEADER)
  })
  out.push(NFTA_SET_ELEM_LIST_ELEMENTS, all)
}

const HEADER = 4 // struct nlattr

const attributesOf = ({ key, value, owner }: Element): Buffer =>
  attributesWith((e) => {
    pushKey(e, key)
    const into = (text: string) => (data: Out) => (isVerdict(text) ? encodeVerdict(data, text) : data.push(NFTA_DATA_VALUE, encode(text)))
    if (value !== undefined) e.push(NFTA_SET_ELEM_DATA, into(value))
    e.push(NFTA_SET_ELEM_USERDATA, userdata(owner))
  })

function attributesWith(write: (e: Out) => void): Buffer {
  const e = new Out()
  write(e)
  return Buffer.from(e.bytes)
}

const isVerdict = (value: string): boolean => /^[a-z]+( \w+)?$/.test(value)

// A comment is a type-length-value of libnftnl's: type 0, length with the NUL. <libnftnl/udata.h>
function userdata(text: string): Buffer {
  if (text === last.text) return last.bytes
  const value = cstring(text)
  last = { text, bytes: Buffer.concat([Buffer.from([0, value.length]), value]) }
  return last.bytes
}

let last = { text: '', bytes: Buffer.from([0, 1, 0]) } // thousands of elements are one owner's
