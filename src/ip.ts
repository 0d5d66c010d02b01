// Addresses and prefixes of both families, as text, number and bytes. The text that comes out is the canonical one of
// RFC 5952, which is also a file name in a host-local directory and so must be the same for every writer.
//
// Read by hand, because this runs in a process that lives for milliseconds: a regular expression for IPv6 is compiled
// anew in each (ip-num's takes 14 ms). The tests hold it against ip-num and against Node.

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
  const value = text.includes(':') ? parse6(text) : parse4(text)
  if (value === undefined) return undefined
  if (!text.includes(':')) return { family: 4, value }
  return value >> 32n === 0xffffn ? { family: 4, value: value & 0xffffffffn } : { family: 6, value }
}

/** A prefix in CIDR notation, or undefined if the text is none. */
export function parseCidr(text: string): Cidr | undefined {
  const [host, length, ...more] = text.split('/')
  const address = parseAddress(host ?? '')
  const number = decimal(length ?? '', 3)
  if (!address || more.length > 0 || number === undefined) return undefined
  const prefix = number - (address.family === 4 && host!.includes(':') ? 96 : 0)
  return prefix >= 0 && prefix <= bits(address.family) ? { ...address, prefix } : undefined
}

/** Canonical text: dotted quad, or RFC 5952 §4 (lower case, longest run of zero groups as `::`). */
export const addressText = (address: Address): string => bytesText(addressBytes(address))

/** The same from bytes in network order, 4 or 16. */
export function bytesText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.')
  const groups = Array.from({ length: 8 }, (_, i) => ((bytes[2 * i]! << 8) | bytes[2 * i + 1]!).toString(16))
  const longest = longestZeros(groups)
  if (longest.length < 2) return groups.join(':')
  return `${groups.slice(0, longest.start).join(':')}::${groups.slice(longest.start + longest.length).join(':')}`
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

/** `10.0.0.0/24` if the range is a network, else `10.0.0.5-10.0.0.9`. */
export function rangeText(family: Family, from: bigint, to: bigint): string {
  const size = to - from + 1n
  const host = size.toString(2).length - 1
  if (size === 1n << BigInt(host) && from % size === 0n) return cidrText({ family, value: from, prefix: bits(family) - host })
  return `${addressText({ family, value: from })}-${addressText({ family, value: to })}`
}

export const contains = (cidr: Cidr, address: Address): boolean =>
  cidr.family === address.family && network(cidr).value <= address.value && address.value <= lastAddress(cidr).value

export const hostCidr = (address: Address): Cidr => ({ ...address, prefix: bits(address.family) })

export const sameAddress = (a: Address, b: Address): boolean => a.family === b.family && a.value === b.value

/** The first of the longest runs of zero groups. */
function longestZeros(groups: string[]): { start: number; length: number } {
  let longest = { start: 0, length: 0 }
  let run = { start: 0, length: 0 }
  for (const [i, group] of groups.entries()) {
    run = group !== '0' ? { start: i + 1, length: 0 } : { ...run, length: run.length + 1 }
    if (run.length > longest.length) longest = run
  }
  return longest
}

/** inet_pton(3): four decimal numbers without leading zeros. */
function parse4(text: string): bigint | undefined {
  const parts = text.split('.')
  if (parts.length !== 4) return undefined
  let value = 0
  for (const part of parts) {
    const byte = decimal(part, 3)
    if (byte === undefined || byte > 255) return undefined
    value = value * 256 + byte
  }
  return BigInt(value)
}

/** RFC 4291 §2.2: eight groups, or fewer around one `::`; the last two may be an IPv4 address. */
function parse6(text: string): bigint | undefined {
  const [head, tail, ...more] = text.split('::')
  const before = groups(head!, tail === undefined)
  const after = tail === undefined ? [] : groups(tail, true)
  if (!before || !after || more.length > 0) return undefined
  const gap = 8 - before.length - after.length
  if (tail === undefined ? gap !== 0 : gap < 1) return undefined
  return [...before, ...Array.from({ length: gap }, () => 0), ...after].reduce((value, group) => (value << 16n) | BigInt(group), 0n)
}

/** The groups in a part of an address; only at the end of the whole may they close with an IPv4 address. */
function groups(text: string, end: boolean): number[] | undefined {
  const list: number[] = []
  const parts = text === '' ? [] : text.split(':')
  for (const [i, part] of parts.entries()) {
    const embedded = end && i === parts.length - 1 && part.includes('.') ? parse4(part) : undefined
    const group = embedded === undefined ? hex(part) : 0
    if (group === undefined) return undefined
    if (embedded === undefined) list.push(group)
    else list.push(Number(embedded >> 16n), Number(embedded & 0xffffn))
  }
  return list
}

/** One to four hex digits. */
function hex(text: string): number | undefined {
  if (text.length < 1 || text.length > 4) return undefined
  for (const digit of text) if (!'0123456789abcdefABCDEF'.includes(digit)) return undefined
  return parseInt(text, 16)
}

/** A decimal number of at most so many digits, without leading zeros. */
function decimal(text: string, digits: number): number | undefined {
  if (text.length < 1 || text.length > digits || (text.length > 1 && text[0] === '0')) return undefined
  for (const digit of text) if (digit < '0' || digit > '9') return undefined
  return Number(text)
}
