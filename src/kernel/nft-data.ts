// Keys and values of sets and maps, in nft's words and as nf_tables keeps them. A concatenation `tcp . 8080` has each part in
// whole 32-bit words. The kernel stores the numbers of the types without knowing them; by them nft(8) prints what is there.
// <linux/netfilter/nf_tables.h>; the numbers are nft's, enum datatypes in its include/datatype.h

import { addressBytes, bytesText, parseAddress } from '../ip.ts'

interface Type {
  id: number
  /** Bytes. */
  length: number
  /** Of bytes from a place on. */
  text: (bytes: Buffer, at: number) => string
}

const ascii = (bytes: Buffer, at: number): string => bytes.toString('latin1', at, at + 16).replace(/\0.*$/s, '')

/** Of an address, remembered: what thousands of ports lead to is one. */
const address = (length: number) => (bytes: Buffer, at: number): string => {
  const key = bytes.toString('latin1', at, at + length)
  let text = addresses.get(key)
  if (text === undefined) {
    if (addresses.size > 10_000) addresses.clear()
    addresses.set(key, (text = bytesText(bytes.subarray(at, at + length))))
  }
  return text
}

const addresses = new Map<string, string>()

const TYPES: Record<string, Type> = {
  ipv4_addr: { id: 7, length: 4, text: address(4) },
  ipv6_addr: { id: 8, length: 16, text: address(16) },
  ether_addr: { id: 9, length: 6, text: (bytes, at) => bytes.toString('hex', at, at + 6).replace(/..(?!$)/g, '$&:') },
  inet_proto: { id: 12, length: 1, text: (bytes, at) => NAMES.get(bytes[at]!) ?? String(bytes[at]) },
  inet_service: { id: 13, length: 2, text: (bytes, at) => String((bytes[at]! << 8) | bytes[at + 1]!) },
  ifname: { id: 41, length: 16, text: (bytes, at) => JSON.stringify(ascii(bytes, at)) },
}

/** IPPROTO_*, <linux/in.h> */
export const PROTOCOLS: Record<string, number> = { icmp: 1, tcp: 6, udp: 17, 'ipv6-icmp': 58, sctp: 132 }
const NAMES = new Map(Object.entries(PROTOCOLS).map(([name, number]) => [number, name]))

const TYPE_BITS = 6
const padded = (length: number): number => (length + 3) & ~3
const BETWEEN = ' . '

/** The number and the bytes of a type such as `inet_proto . inet_service`. */
export function typeOf(text: string): { id: number; length: number } {
  const parts = text.split(BETWEEN).map((name) => TYPES[name]!)
  return { id: parts.reduce((id, part) => (id << TYPE_BITS) | part.id, 0), length: parts.length === 1 ? parts[0]!.length : parts.reduce((sum, { length }) => sum + padded(length), 0) }
}

/** `tcp . 8080 . 10.1.2.3` as bytes. */
export function encode(text: string): Buffer {
  if (!text.includes(BETWEEN)) return encodePart(text)
  const bytes = Buffer.allocUnsafe(LONGEST).fill(0)
  return bytes.subarray(0, encodeInto(text, bytes, 0))
}

const LONGEST = 64 // bytes; the kernel's own limit of a key or a value, NFT_DATA_VALUE_MAXLEN

/** Writes it over zeros, or over another of the same type. Returns where it ends, in whole words. Without an object for each port. */
export function encodeInto(text: string, into: Buffer, start: number): number {
  let at = start
  for (let from = 0, end = 0; end >= 0; from = end + BETWEEN.length) {
    end = text.indexOf(BETWEEN, from)
    const part = end < 0 ? text.slice(from) : text.slice(from, end)
    const number = Number(part) // of nothing but a port
    if (number >= 0) {
      into[at] = number >> 8
      into[at + 1] = number & 0xff
      at += padded(2)
    } else {
      const bytes = known(part)
      into.set(bytes, at)
      at += padded(bytes.length)
    }
  }
  return at
}

/** A part that is none of thousands: a protocol, an address. */
function known(part: string): Buffer {
  let bytes = parts.get(part)
  if (bytes === undefined) {
    if (parts.size > 10_000) parts.clear()
    parts.set(part, (bytes = encodePart(part)))
  }
  return bytes
}

const parts = new Map<string, Buffer>()

/** Bytes from a place on as text, by the number of their type; hex digits if it is none of ours. */
export function decode(bytes: Buffer, id: number, start = 0, end = bytes.length): string {
  let types = typesById.get(id)
  if (!types) typesById.set(id, (types = partsOf(id)))
  let [at, text] = [start, '']
  for (const part of types) {
    if (!part || at + part.length > end) return `0x${bytes.toString('hex', start, end)}`
    text += (at > start ? BETWEEN : '') + part.text(bytes, at)
    at += padded(part.length)
  }
  return text
}

const typesById = new Map<number, (Type | undefined)[]>()

/** How many parts a key has. */
export const partsIn = (key: string): number => key.split(BETWEEN).length

function partsOf(id: number): (Type | undefined)[] {
  const rest = id >> TYPE_BITS
  const last = Object.values(TYPES).find((type) => type.id === (id & ((1 << TYPE_BITS) - 1)))
  return rest === 0 ? [last] : [...partsOf(rest), last]
}

function encodePart(text: string): Buffer {
  if (text.startsWith('"')) return ifname(text)
  if (PROTOCOLS[text] !== undefined) return Buffer.from([PROTOCOLS[text]])
  if (/^\d+$/.test(text)) return port(Number(text))
  if (/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) return Buffer.from(text.replaceAll(':', ''), 'hex')
  return addressBytes(parseAddress(text)!)
}

/** `"eth0"`, as the 16 bytes that the kernel compares. IFNAMSIZ, <linux/if.h> */
export const ifname = (quoted: string): Buffer => Buffer.concat([Buffer.from(quoted.slice(1, -1)), Buffer.alloc(16)]).subarray(0, 16)

function port(number: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(number)
  return bytes
}
