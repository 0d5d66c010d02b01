// The elements of a set of networks as nf_tables keeps them: each range is two elements, its first address and, marked as
// an end, the address behind its last. As nft(8) does, an end at zero opens a set that does not begin there.
// <linux/netfilter/nf_tables.h>, NFT_SET_ELEM_INTERVAL_END

import { addressBytes, bits, bytesAddress, lastAddress, network, parseAddress, parseCidr, rangeText, type Family } from '../ip.ts'
import { attributes, type Attrs, type Out } from './netlink.ts'

const NFTA_SET_ELEM_KEY = 1
const NFTA_SET_ELEM_FLAGS = 3
const NFT_SET_ELEM_INTERVAL_END = 1

interface Boundary {
  value: bigint
  end: boolean
}

/** The boundaries of elements in their order, each a writer of its NFTA_LIST_ELEM. */
export function boundaries(elements: string[]): ((element: Out) => void)[] {
  const [first] = elements
  if (first === undefined) return []
  const family: Family = first.includes(':') ? 6 : 4
  const list = elements.flatMap((text): Boundary[] => {
    const { from, to } = range(text)
    return [{ value: from, end: false }, ...(to + 1n < 1n << BigInt(bits(family)) ? [{ value: to + 1n, end: true }] : [])]
  })
  if (list[0]!.value !== 0n) list.unshift({ value: 0n, end: true })
  return list.map(({ value, end }) => (element) => {
    if (end) element.push(NFTA_SET_ELEM_FLAGS, Buffer.from([0, 0, 0, NFT_SET_ELEM_INTERVAL_END]))
    element.push(NFTA_SET_ELEM_KEY, (key) => key.push(1, addressBytes({ family, value })))
  })
}

/** What the kernel listed, in any order, as elements in theirs. */
export function elements(listed: Attrs[]): string[] {
  const list = listed.flatMap((found) => {
    const key = attributes(found.get(NFTA_SET_ELEM_KEY) ?? Buffer.alloc(0)).get(1)
    return key ? [{ ...bytesAddress(key), end: found.get(NFTA_SET_ELEM_FLAGS)?.[3] === NFT_SET_ELEM_INTERVAL_END }] : []
  })
  list.sort((a, b) => (a.value < b.value ? -1 : a.value > b.value ? 1 : Number(b.end) - Number(a.end)))
  return list.flatMap(({ family, value, end }, i) => (end ? [] : [rangeText(family, value, (list[i + 1]?.value ?? 1n << BigInt(bits(family))) - 1n)]))
}

/** The first and the last address of an element. */
function range(text: string): { from: bigint; to: bigint } {
  const [from, to] = text.split('-')
  if (to !== undefined) return { from: parseAddress(from!)!.value, to: parseAddress(to)!.value }
  const cidr = parseCidr(text)!
  return { from: network(cidr).value, to: lastAddress(cidr).value }
}
