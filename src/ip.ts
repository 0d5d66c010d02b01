// Addresses and prefixes of both families, as text, number and bytes. The arithmetic is ip-num's; what is ours is the
// strictness of a CNI plugin (no zone, no leading zeros) and the canonical text of RFC 5952, which is also a file name
// in a host-local directory and so must be the same for every writer.

import { IPv4, IPv6 } from 'ip-num'

export type Family = 4 | 6

/** An IP address: its family and its number (0 ≤ value < 2^32 or 2^128). */
export interface Address {
  family: Family
  value: bigint
}

/** An address with a prefix length, host bits kept: `10.1.2.3/24`. */
export interface Cidr extends Address {
  prefix: number
}

/** Number of bits in an address of the family. */
export const bits = (family: Family): number => (family === 4 ? 32 : 128)

/** An address, or undefined if the text is none. An IPv4-mapped IPv6 address is IPv4, as in Go's net.IP.To4. */
export function parseAddress(text: string): Address | undefined {
  try {
    if (/^[0-9.]+$/.test(text)) return { family: 4, value: new IPv4(text).value }
    if (!/^[0-9a-f:.]+$/i.test(text) || !wellFormed6(text)) return undefined
    const value = new IPv6(text).value
    return value >> 32n === 0xffffn ? { family: 4, value: value & 0xffffffffn } : { family: 6, value }
  } catch {
    return undefined
  }
}

/** A prefix in CIDR notation, or undefined if the text is none. */
export function parseCidr(text: string): Cidr | undefined {
  const [host, length, ...more] = text.split('/')
  const address = parseAddress(host ?? '')
  if (!address || more.length > 0 || !/^(0|[1-9][0-9]{0,2})$/.test(length ?? '')) return undefined
  const prefix = Number(length) - (address.family === 4 && host!.includes(':') ? 96 : 0)
  return prefix >= 0 && prefix <= bits(address.family) ? { ...address, prefix } : undefined
}

/** Canonical text: dotted quad, or RFC 5952 §4 (lower case, longest run of zero groups as `::`). */
export function addressText({ family, value }: Address): string {
  if (family === 4) return addressBytes({ family, value }).join('.')
  const groups = Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16))
  const runs = [...groups.map((g) => (g === '0' ? '0' : 'x')).join('').matchAll(/0{2,}/g)]
  const longest = runs.reduce<RegExpMatchArray | undefined>((a, b) => (a && a[0].length >= b[0].length ? a : b), undefined)
  if (!longest) return groups.join(':')
  const start = longest.index!
  return `${groups.slice(0, start).join(':')}::${groups.slice(start + longest[0].length).join(':')}`
}

export const cidrText = (cidr: Cidr): string => `${addressText(cidr)}/${cidr.prefix}`

/** Network byte order, 4 or 16 bytes. */
export function addressBytes({ family, value }: Address): Buffer {
  return Buffer.from(value.toString(16).padStart(bits(family) / 4, '0'), 'hex')
}

/** The reverse of addressBytes. */
export function bytesAddress(bytes: Uint8Array): Address {
  return { family: bytes.length === 4 ? 4 : 6, value: BigInt(`0x${Buffer.from(bytes).toString('hex') || '0'}`) }
}

/** The network of a prefix: host bits cleared. */
export function network(cidr: Cidr): Cidr {
  const host = BigInt(bits(cidr.family) - cidr.prefix)
  return { ...cidr, value: (cidr.value >> host) << host }
}

/** The highest address of a prefix: for IPv4 its broadcast address. */
export function lastAddress(cidr: Cidr): Address {
  const host = BigInt(bits(cidr.family) - cidr.prefix)
  return { family: cidr.family, value: network(cidr).value | ((1n << host) - 1n) }
}

export const contains = (cidr: Cidr, address: Address): boolean =>
  cidr.family === address.family && network(cidr).value <= address.value && address.value <= lastAddress(cidr).value

export const hostCidr = (address: Address): Cidr => ({ ...address, prefix: bits(address.family) })

export const sameAddress = (a: Address, b: Address): boolean => a.family === b.family && a.value === b.value

// ip-num takes `:::` and a group of five digits for an address; inet_pton(3) does not.
function wellFormed6(text: string): boolean {
  const [head, tail, ...more] = text.split('::')
  const part = (t: string | undefined) => (t ? t.split(':') : [])
  const groups = [...part(head), ...part(tail)]
  const embedded = groups.at(-1)?.includes('.') ? 1 : 0
  const full = groups.length + embedded
  return (
    more.length === 0 &&
    (tail === undefined ? full === 8 : full < 8) &&
    groups.every((g, i) => /^[0-9a-f]{1,4}$/i.test(g) || (i === groups.length - 1 && parseDotted(g)))
  )
}

const parseDotted = (text: string): boolean => /^[0-9.]+$/.test(text) && parseAddress(text) !== undefined
