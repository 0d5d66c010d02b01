// Keys and values of sets and maps, in nft's words and as nf_tables keeps them. A concatenation `tcp . 8080` has each part in
// whole 32-bit words. The kernel stores the numbers of the types without knowing them; by them nft(8) prints what is there.
// <linux/netfilter/nf_tables.h>; the numbers are nft's, enum datatypes in its include/datatype.h

import { addressBytes, bytesText, parseAddress } from '../ip.ts'

interface Type {
  id: number
  /** Bytes. */
  length: number
  text: (bytes: Buffer) => string
}

const ascii = (bytes: Buffer): string => bytes.toString('latin1').replace(/\0.*$/s, '')

const TYPES: Record<string, Type> = {
  ipv4_addr: { id: 7, length: 4, text: bytesText },
  ipv6_addr: { id: 8, length: 16, text: bytesText },
  ether_addr: { id: 9, length: 6, text: (bytes) => bytes.toString('hex').replace(/..(?!$)/g, '$&:') },
  inet_proto: { id: 12, length: 1, text: ([number]) => Object.entries(PROTOCOLS).find(([, one]) => one === number)?.[0] ?? String(number) },
  inet_service: { id: 13, length: 2, text: (bytes) => String(bytes.readUInt16BE(0)) },
  ifname: { id: 41, length: 16, text: (bytes) => JSON.stringify(ascii(bytes)) },
}

/** IPPROTO_*, <linux/in.h> */
export const PROTOCOLS: Record<string, number> = { icmp: 1, tcp: 6, udp: 17, 'ipv6-icmp': 58, sctp: 132 }

const TYPE_BITS = 6
const padded = (length: number): number => (length + 3) & ~3
const BETWEEN = ' . '

/** The number and the bytes of a type such as `inet_proto . inet_service`. */
export function typeOf(text: string): { id: number; length: number } {
  const parts = text.split(BETWEEN).map((name) => TYPES[name]!)
  return { id: parts.reduce((id, part) => (id << TYPE_BITS) | part.id, 0), length: parts.length === 1 ? parts[0]!.length : parts.reduce((sum, { length }) => sum + padded(length), 0) }
}

/** `tcp . 8080 . 10.1.2.3` as bytes; remembered, since of a pod's thousands of ports each is looked up, made and told of. */
export function encode(text: string): Buffer {
  let bytes = encoded.get(text)
  if (bytes === undefined) {
    if (encoded.size > 300_000) encoded.clear()
    const parts = text.split(BETWEEN)
    encoded.set(text, (bytes = parts.length === 1 ? encodePart(text) : concatenation(parts.map(encode))))
  }
  return bytes
}

const encoded = new Map<string, Buffer>()

function concatenation(parts: Buffer[]): Buffer {
  const bytes = Buffer.alloc(parts.reduce((length, part) => length + padded(part.length), 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += padded(part.length)
  }
  return bytes
}

/** Bytes as text, by the number of their type; hex digits if it is none of ours. */
export function decode(bytes: Buffer, id: number): string {
  const parts = partsOf(id)
  if (parts.some((part) => part === undefined)) return `0x${bytes.toString('hex')}`
  let at = 0
  return parts
    .map((part) => {
      const own = bytes.subarray(at, at + part!.length)
      at += padded(part!.length)
      return part!.text(own)
    })
    .join(BETWEEN)
}

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
