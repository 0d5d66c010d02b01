// Elements of maps and sets, each with its owner as comment. <linux/netfilter/nf_tables.h>

import type { Element, Family } from '../facts.ts'
import { show } from '../show.ts'
import { differs, missing, type Difference } from './difference.ts'
import { isErrno } from './errno.ts'
import { attributes, items, type Attrs, type Out } from './attributes.ts'
import { NLM_F_EXCL, type Request } from './netlink.ts'
import { decode, encode, typeOf } from './nft-data.ts'
import { creation, cstring, familyOf, get, listed, message, MSG, nameIn, NFGENMSG, tableOf } from './nft-message.ts'
import { decodeVerdict, encodeVerdict } from './nft-rule.ts'
import type { Netns } from './netns.ts'

const NFTA_SET_KEY_TYPE = 4
const NFTA_SET_DATA_TYPE = 6
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
  return FAMILIES.flatMap((family) =>
    listed(netns, MSG.GETSET, family).flatMap((found) => {
      const [map, types] = [nameIn(MSG.GETSET, found), typesOf(found)]
      if (!maps(map)) return []
      const ofAddresses = of.length > 0 && ADDRESSES.includes(types.key)
      const about = ofAddresses ? of.flatMap((key) => elementAt(netns, family, map, types, key)) : elementsAbout(netns, family, map, types, whose)
      return about.filter(({ owner }) => owner !== '' && begins(owner))
    }),
  )
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
  for (const own of list) {
    const holder = holderOf(netns, own)
    if (holder) throw new Held(own, holder)
  }
}

/** Who holds what an exclusive element would: the same key, or in its sibling a longer or shorter one. */
export function holderOf(netns: Netns, own: Element): Element | undefined {
  const { map: sibling, keys } = own.exclusive!
  const shorter = (): Element => ({ ...own, map: sibling, key: own.key.split(' . ').slice(0, -1).join(' . ') })
  return [element(netns, own), ...(keys === 'longer' ? longer(netns, own, sibling) : [element(netns, shorter())])].find((found) => found !== undefined && found.owner !== own.owner)
}

/** The elements of a map whose keys begin with that of an element. */
function longer(netns: Netns, { family = 'inet', key }: Element, map: string): Element[] {
  try {
    const [first] = elementsAbout(netns, family, map, { key: 0, data: 0 }, [encode(key)])
    const types = first && get(netns, MSG.GETSET, family, map)
    return types ? elementsAbout(netns, family, map, typesOf(types), [encode(key)]).filter((found) => found.key.startsWith(`${key} . `)) : []
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return []
    throw error
  }
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
  const ATTEMPTS = 10
  let count = 0
  for (let attempt = 1, whole = false; !whole && attempt <= ATTEMPTS; attempt++) {
    count = 0
    whole = netns.nf.scan(message(MSG.GETSETELEM, family, users, `nft list set ${family} podwire ${users}`), (buffer, start, end) => {
      for (let at = buffer.indexOf(begin, start); at >= 0 && at < end && count <= leave; at = buffer.indexOf(begin, at + begin.length)) if (buffer.readUInt16LE(at - 2) === NFTA_DATA_VALUE) count++
    })
  }
  return count > leave
}

/** What the kernel tells of the element with that key, or undefined. */
export function raw(netns: Netns, { family = 'inet', map, key }: Element): Buffer | undefined {
  const asked = message(MSG.GETSETELEM, family, map, `nft get element ${family} podwire ${map} { ${key} }`, (out) => elementList(out, (e) => pushKey(e, key)))
  const answer = netns.nf.get(asked, 'ENOENT')
  return answer && listedElements(answer.data)[0]
}

/** True if what the kernel tells of an element is there, and has that owner. */
export const isOf = (owner: string, data: Buffer | undefined): boolean => data !== undefined && ownerOf(data) === owner

/** The same as a fact. */
function element(netns: Netns, fact: Element): Element | undefined {
  const { family = 'inet', map } = fact
  const found = raw(netns, fact)
  const types = found && get(netns, MSG.GETSET, family, map)
  return types && parse(family, map, typesOf(types), found)[0]
}

export function elementDifference(netns: Netns, fact: Element): Difference | undefined {
  const there = element(netns, fact)
  const what = `nft element ${fact.key} in ${fact.value === undefined ? 'set' : 'map'} ${tableOf(fact)} ${fact.map}`
  if (!there) return missing(`${what} is missing`)
  if (there.owner !== fact.owner) return differs(`${what} belongs to ${there.owner || 'nobody'}, not to ${fact.owner}`)
  return there.value === fact.value ? undefined : differs(`${what} is ${there.value}, not ${fact.value}`)
}

/** The message that makes an element; refused if it is there, unless others share it. */
export const elementCreation = (fact: Element): Request => creation(MSG.NEWSETELEM, familyOf(fact), fact.map, show(fact), (out) => elementList(out, (e) => elementAttrs(e, fact)), fact.users === undefined ? NLM_F_EXCL : 0)

export const elementDeletion = (fact: Element): Request => message(MSG.DELSETELEM, familyOf(fact), fact.map, `nft delete element ${tableOf(fact)} ${fact.map} { ${fact.key} }`, (out) => elementList(out, (e) => pushKey(e, fact.key)))

/** Each element in a message. */
export const listedElements = (data: Buffer): Buffer[] => items(attributes(data.subarray(NFGENMSG)).get(NFTA_SET_ELEM_LIST_ELEMENTS))

/** Writes elements into a message. */
export const elementList = (out: Out, ...elements: ((out: Out) => void)[]): void => out.push(NFTA_SET_ELEM_LIST_ELEMENTS, (list) => elements.forEach((one) => list.push(1, one)))

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

const ownerOf = (data: Buffer): string => comment(attributes(data).get(NFTA_SET_ELEM_USERDATA))

function valueText(data: Buffer, types: Types): string {
  const inner = attributes(data)
  const verdict = inner.get(NFTA_DATA_VERDICT)
  return verdict ? decodeVerdict(verdict) : decode(inner.get(NFTA_DATA_VALUE) ?? Buffer.alloc(0), types.data)
}

function elementAttrs(e: Out, { key, value, owner }: Element): void {
  pushKey(e, key)
  if (value !== undefined) e.push(NFTA_SET_ELEM_DATA, (data) => (/^[a-z]+( \w+)?$/.test(value) ? encodeVerdict(data, value) : data.push(NFTA_DATA_VALUE, encode(value))))
  e.push(NFTA_SET_ELEM_USERDATA, userdata(owner))
}

const pushKey = (e: Out, key: string): void => e.push(NFTA_SET_ELEM_KEY, (k) => k.push(NFTA_DATA_VALUE, encode(key)))

// A comment is a type-length-value of libnftnl's: type 0, length with the NUL. <libnftnl/udata.h>
function userdata(text: string): Buffer {
  const value = cstring(text)
  return Buffer.concat([Buffer.from([0, value.length]), value])
}

const comment = (data: Buffer | undefined): string => (data && data[0] === 0 ? data.toString('utf8', 2, 1 + data[1]!) : '')
