// The elements of a set of networks as nf_tables keeps them: each range is two elements, its first address and, marked as
// an end, the address behind its last. As nft(8) does, an end at zero opens a set that does not begin there.
// <linux/netfilter/nf_tables.h>, NFT_SET_ELEM_INTERVAL_END

import { addressBytes, bits, bytesAddress, lastAddress, network, parseAddress, parseCidr, rangeText, type Family } from '../ip.ts'
import { attributes, type Attrs, type Out } from './attributes.ts'

const NFTA_SET_ELEM_KEY = 1
const NFTA_SET_ELEM_FLAGS = 3
const NFT_SET_ELEM_INTERVAL_END = 1

/** A range by the hex digits of its first address and of the one behind its last (none if that is the last of all). */
export type Range = `${string}-${string}`

/** What of a set is not as it should be. */
export interface SetDifference {
  lacking: Range[]
  extra: Range[]
  /** True if the set has no element at all. */
  empty: boolean
}

/** Compares elements with what the kernel listed, in any order. */
export function compare(elements: string[], listed: Attrs[]): SetDifference {
  const there = new Set(ranges(listed))
  const wanted = new Set(elements.map(rangeOf))
  return { lacking: [...wanted].filter((range) => !there.has(range)), extra: [...there].filter((range) => !wanted.has(range)), empty: listed.length === 0 }
}

/** Writers of the NFTA_LIST_ELEM of ranges, with the opening end if the set has none yet. */
export function writers(list: Range[], open: boolean): ((element: Out) => void)[] {
  const boundaries = list.flatMap((range): Boundary[] => {
    const [from = '', end] = range.split('-')
    return [{ hex: from, end: false }, ...(end ? [{ hex: end, end: true }] : [])]
  })
  const [first] = boundaries
  const opening = open && first && !/^0*$/.test(first.hex) ? [{ hex: first.hex.replace(/./g, '0'), end: true }] : []
  return [...opening, ...boundaries].map(({ hex, end }) => (element) => {
    if (end) element.push(NFTA_SET_ELEM_FLAGS, Buffer.from([0, 0, 0, NFT_SET_ELEM_INTERVAL_END]))
    element.push(NFTA_SET_ELEM_KEY, (key) => key.push(1, Buffer.from(hex, 'hex')))
  })
}

/** `10.0.0.0/24`, or `10.0.0.5-10.0.0.9`. */
export function text(range: Range): string {
  const [from = '', end] = range.split('-')
  const first = bytesAddress(Buffer.from(from, 'hex'))
  const behind = end ? bytesAddress(Buffer.from(end, 'hex')).value : 1n << BigInt(bits(first.family))
  return rangeText(first.family, first.value, behind - 1n)
}

interface Boundary {
  hex: string
  end: boolean
}

function ranges(listed: Attrs[]): Range[] {
  const list = listed.flatMap((found): Boundary[] => {
    const key = attributes(found.get(NFTA_SET_ELEM_KEY) ?? Buffer.alloc(0)).get(1)
    return key ? [{ hex: key.toString('hex'), end: found.get(NFTA_SET_ELEM_FLAGS)?.[3] === NFT_SET_ELEM_INTERVAL_END }] : []
  })
  list.sort((a, b) => (a.hex < b.hex ? -1 : a.hex > b.hex ? 1 : Number(b.end) - Number(a.end)))
  return list.flatMap(({ hex, end }, i): Range[] => (end ? [] : [`${hex}-${list[i + 1]?.hex ?? ''}`]))
}

/** An element as a range, remembered: of thousands one changes. */
function rangeOf(element: string): Range {
  let range = known.get(element)
  if (range === undefined) {
    if (known.size > 100_000) known.clear()
    known.set(element, (range = parse(element)))
  }
  return range
}

const known = new Map<string, Range>()

function parse(element: string): Range {
  const [from, to] = element.split('-')
  const cidr = to === undefined ? parseCidr(element)! : undefined
  const first = cidr ? network(cidr) : parseAddress(from!)!
  const behind = (cidr ? lastAddress(cidr) : parseAddress(to!)!).value + 1n
  return `${hex(first.family, first.value)}-${behind < 1n << BigInt(bits(first.family)) ? hex(first.family, behind) : ''}`
}

const hex = (family: Family, value: bigint): string => addressBytes({ family, value }).toString('hex')
