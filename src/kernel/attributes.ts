// Attributes of netlink messages, read and written: length, type, value, padding to 4 bytes. A link has sixty of them and an ADD
// writes hundreds, in an interpreter: so they are cut out and put down in one loop each, without an object per attribute as
// the netlink package has them. https://docs.kernel.org/userspace-api/netlink/intro.html

const NLA_F_NESTED = 0x8000
const NLA_TYPE_MASK = 0x3fff // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
const LONGEST = 0xffff
const HEADER = 4

export type Attrs = Map<number, Buffer>

/** Attributes by type; of two with one type the last stays. */
export function attributes(data: Buffer): Attrs {
  const found: Attrs = new Map()
  each(data, (type, value) => found.set(type, value))
  return found
}

/** The values of attributes in their order, where all are of one type: a list. */
export function items(data: Buffer | undefined): Buffer[] {
  const list: Buffer[] = []
  if (data) each(data, (_, value) => list.push(value))
  return list
}

/** The same by where values are, between two places of a buffer: nothing is made of the thousands that are passed over. */
export function eachBetween(buffer: Buffer, start: number, end: number, take: (type: number, from: number, to: number) => void): void {
  for (let at = start; at + HEADER <= end; ) {
    const length = u16(buffer, at)
    if (length < HEADER || at + length > end) return
    take(u16(buffer, at + 2) & NLA_TYPE_MASK, at + HEADER, at + length)
    at += (length + 3) & ~3
  }
}

/** In the machine's byte order; an interpreter is three times as long at readUInt16LE. */
const u16 = (bytes: Buffer, at: number): number => bytes[at]! | (bytes[at + 1]! << 8)

function each(data: Buffer, take: (type: number, value: Buffer) => void): void {
  for (let at = 0; at + HEADER <= data.length; ) {
    const length = u16(data, at)
    if (length < HEADER || at + length > data.length) return
    take(u16(data, at + 2) & NLA_TYPE_MASK, data.subarray(at + HEADER, at + length))
    at += (length + 3) & ~3
  }
}

/** Where messages and their attributes are written, one behind the other. */
export class Out {
  #bytes = Buffer.allocUnsafeSlow(2048)
  /** How much is written. */
  length = 0

  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.length)
  }

  /** Bytes as they are. */
  emit(bytes: Uint8Array): void {
    this.#room(bytes.length)
    this.#bytes.set(bytes, this.length)
    this.length += bytes.length
  }

  /** Up to the next multiple of 4. */
  pad(): void {
    this.#room(3)
    while (this.length & 3) this.#bytes[this.length++] = 0
  }

  /** An attribute: bytes, or others that are written into it. Each begins at a multiple of 4; behind the last nothing is added. */
  push(type: number, value: Uint8Array | ((inner: Out) => void)): void {
    this.pad()
    const start = this.length
    this.#room(HEADER)
    this.length += HEADER
    if (typeof value === 'function') value(this)
    else this.emit(value)
    const length = this.length - start
    if (length > LONGEST) throw new Error(`a netlink attribute of ${length} bytes`)
    this.u16(start, length)
    this.u16(start + 2, type)
  }

  /** Writes over what is there. */
  u16(at: number, value: number): void {
    this.#bytes[at] = value
    this.#bytes[at + 1] = value >> 8
  }

  u32(at: number, value: number): void {
    this.u16(at, value)
    this.u16(at + 2, value >>> 16)
  }

  #room(length: number): void {
    if (this.length + length <= this.#bytes.length) return
    const more = Buffer.allocUnsafeSlow(2 * (this.length + length))
    more.set(this.bytes)
    this.#bytes = more
  }
}

/** An attribute that says that it has others in it, which newer parts of the kernel insist on. */
export const nest = (out: Out, type: number, fill: (inner: Out) => void): void => out.push(type | NLA_F_NESTED, fill)

/**
 * Where the first attribute of one of the types begins among those from `start` to `end`; `end` if there is none. For who reads
 * thousands, and makes nothing of the rest.
 */
export function attributeAt(buffer: Buffer, start: number, end: number, ...types: number[]): number {
  let at = start
  while (at + 4 <= end && !types.includes(buffer.readUInt16LE(at + 2) & NLA_TYPE_MASK)) at += (Math.max(4, buffer.readUInt16LE(at)) + 3) & ~3
  return Math.min(at, end)
}
