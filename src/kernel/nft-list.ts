// Elements by their keys, as bytes that the kernel tells of them. Few are asked for one by one, so that what a pod costs does not
// grow with what others have. Of many the map is listed once, and looked through where it lies in the receive buffer: what thousands
// cost grows with their number, and not with its square. <linux/netfilter/nf_tables.h>

import type { Element, Family } from '../facts.ts'
import { attributes, eachBetween, items, type Out } from './attributes.ts'
import { KernelError } from './errno.ts'
import { encode } from './nft-data.ts'
import { familyOf, get, message, MSG, NFGENMSG } from './nft-message.ts'
import type { Netns } from './netns.ts'

const NFTA_SET_ELEM_LIST_ELEMENTS = 3
const NFTA_SET_ELEM_KEY = 1
const NFTA_DATA_VALUE = 1
const HEADER = 4 // struct nlattr

/** So many are asked for; to list a map of ten thousand costs as much as a few hundred questions. */
const FEW = 64

/** What the kernel tells of each of a list that is there, whoever's it is. */
export function rawOf(netns: Netns, list: Element[]): Map<Element, Buffer> {
  const found = new Map<Element, Buffer>()
  for (const group of byMap(list)) {
    const listed = group.length > FEW ? listedOf(netns, group) : undefined
    for (const one of listed?.size === 0 ? [] : group) {
      const data = listed ? listed.get(bytesOf(one)) : raw(netns, one)
      if (data) found.set(one, data)
    }
  }
  return found
}

/** What the kernel tells of the element with that key, or undefined. */
export function raw(netns: Netns, { family = 'inet', map, key }: Element): Buffer | undefined {
  const what = `nft get element ${family} podwire ${map} { ${key} }`
  const asked = message(MSG.GETSETELEM, family, map, what, (out) => elementList(out, (e) => pushKey(e, key)))
  const answer = netns.nf.get(asked, 'ENOENT')
  return answer && listedElements(answer.data)[0]
}

/** Elements map by map. */
export function byMap(list: Element[]): Element[][] {
  const groups = new Map<string, Element[]>()
  for (const one of list) {
    const name = `${familyOf(one)} ${one.map}`
    const group = groups.get(name)
    if (group) group.push(one)
    else groups.set(name, [one])
  }
  return [...groups.values()]
}

/** The same by the bytes of keys, of a map that is read once; undefined if it went on changing while it was read. */
function listedOf(netns: Netns, group: Element[]): Map<string, Buffer> | undefined {
  const [{ map }] = group as [Element]
  const family = familyOf(group[0]!)
  let wanted: Set<string> | undefined // by the first element: mostly there is none
  const ATTEMPTS = 3
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const found = new Map<string, Buffer>()
    if (!get(netns, MSG.GETSET, family, map)) return found
    const whole = scanElements(netns, family, map, (buffer, start, end, key, keyEnd) => {
      const bytes = buffer.toString('latin1', key, keyEnd)
      wanted ??= new Set(group.map(bytesOf))
      if (wanted.has(bytes)) found.set(bytes, Buffer.from(buffer.subarray(start, end)))
    })
    if (whole) return found
  }
  return undefined
}

/**
 * Of elements of another map of the family, which is there, that are `of` somebody: one for each key of a list with which theirs begins,
 * by the bytes of that. Error EINTR if the map went on changing while it was read.
 */
export function begunWith(netns: Netns, list: Element[], map: string, of: (data: Buffer) => boolean): Map<string, Buffer> {
  const [family, { length }] = [familyOf(list[0]!), encode(list[0]!.key)]
  let wanted: Set<string> | undefined
  const ATTEMPTS = 10
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const found = new Map<string, Buffer>()
    const whole = scanElements(netns, family, map, (buffer, start, end, key) => {
      const bytes = buffer.toString('latin1', key, key + length)
      wanted ??= new Set(list.map(bytesOf))
      if (wanted.has(bytes) && of(buffer.subarray(start, end))) found.set(bytes, Buffer.from(buffer.subarray(start, end)))
    })
    if (whole) return found
  }
  throw new KernelError(`nft list map ${family} podwire ${map}`, EINTR, `the list changed under way ${ATTEMPTS} times`)
}

const EINTR = 4

type Visit = (buffer: Buffer, start: number, end: number, key: number, keyEnd: number) => void

/** Visits the elements of a map by where each and its key are. False if the map changed while it was read, or is not there. */
function scanElements(netns: Netns, family: Family, map: string, visit: Visit): boolean {
  return netns.nf.scan(message(MSG.GETSETELEM, family, map, `nft list map ${family} podwire ${map}`), (buffer, start, end) => {
    eachBetween(buffer, start + NFGENMSG, end, (type, at, to) => {
      if (type === NFTA_SET_ELEM_LIST_ELEMENTS) eachBetween(buffer, at, to, (_, from, until) => visitKey(buffer, from, until, visit))
    })
  })
}

/** The key comes first (nf_tables_fill_setelem); an element that has none is nobody's. */
function visitKey(buffer: Buffer, start: number, end: number, visit: Visit): void {
  const value = start + HEADER // NFTA_DATA_VALUE within NFTA_SET_ELEM_KEY
  if (buffer[start + 2] === NFTA_SET_ELEM_KEY) visit(buffer, start, end, value + HEADER, value + buffer[value]!)
}

/** An element's key as the kernel has it, in a form that can be looked up. */
export const bytesOf = ({ key }: Element): string => encode(key).toString('latin1')

/** Each element in a message. */
export const listedElements = (data: Buffer): Buffer[] => items(attributes(data.subarray(NFGENMSG)).get(NFTA_SET_ELEM_LIST_ELEMENTS))

/** Writes elements into a message. */
export const elementList = (out: Out, ...elements: (Uint8Array | ((out: Out) => void))[]): void =>
  out.push(NFTA_SET_ELEM_LIST_ELEMENTS, (list) => elements.forEach((one) => list.push(1, one)))

export const pushKey = (e: Out, key: string): void => e.push(NFTA_SET_ELEM_KEY, (k) => k.push(NFTA_DATA_VALUE, encode(key)))
