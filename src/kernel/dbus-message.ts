// Messages of D-Bus, as far as strings need them. Each value begins at a multiple of its size, counted from the beginning of the
// message. https://dbus.freedesktop.org/doc/dbus-specification.html, "Message Protocol"

export const METHOD_CALL = 1
export const METHOD_RETURN = 2
export const ERROR = 3
const NO_AUTO_START = 2 // a service that does not run is not started
const VERSION = 1
const LITTLE_ENDIAN = 0x6c // 'l'
export const FIELD = { PATH: 1, INTERFACE: 2, MEMBER: 3, ERROR_NAME: 4, REPLY_SERIAL: 5, DESTINATION: 6, SIGNATURE: 8 } as const

export interface Method {
  destination: string
  path: string
  interface: string
  member: string
}

export type Value = string | number | boolean | string[]

export interface Message {
  type: number
  fields: Map<number, Value>
  body: Value[]
}

/** A call of a method with strings as arguments. */
export function encodeCall(method: Method, serial: number, args: string[]): Buffer {
  const out = new Writer()
  out.bytes.push(LITTLE_ENDIAN, METHOD_CALL, NO_AUTO_START, VERSION)
  for (const number of [0, serial, 0]) out.u32(number) // the lengths of body and fields are told when they are known
  out.field(FIELD.PATH, 'o', method.path)
  out.field(FIELD.INTERFACE, 's', method.interface)
  out.field(FIELD.MEMBER, 's', method.member)
  out.field(FIELD.DESTINATION, 's', method.destination)
  if (args.length > 0) out.field(FIELD.SIGNATURE, 'g', 's'.repeat(args.length))
  const fields = out.bytes.length - HEADER
  out.align(8)
  const body = out.bytes.length
  for (const text of args) out.string(text)
  const message = Buffer.from(out.bytes)
  message.writeUInt32LE(message.length - body, 4)
  message.writeUInt32LE(fields, 12)
  return message
}

const HEADER = 16 // with the length of the fields

/** The length of the message that begins with these bytes; undefined if that cannot be told yet. */
export function lengthOf(bytes: Buffer): number | undefined {
  if (bytes.length < HEADER) return undefined
  return ((HEADER + bytes.readUInt32LE(12) + 7) & ~7) + bytes.readUInt32LE(4)
}

/** A whole message. */
export function decodeMessage(bytes: Buffer): Message {
  if (bytes[0] !== LITTLE_ENDIAN) throw new Error('a message of D-Bus in another byte order than this machine has')
  const fields = new Map<number, Value>()
  const reader = new Reader(bytes, HEADER)
  for (const end = HEADER + bytes.readUInt32LE(12); reader.at < end; ) {
    reader.align(8)
    const code = bytes[reader.at++]!
    fields.set(code, reader.value(reader.signature()))
  }
  reader.align(8)
  const types = String(fields.get(FIELD.SIGNATURE) ?? '').match(/a?[a-z]/g) ?? []
  return { type: bytes[1]!, fields, body: types.map((type) => reader.value(type)) }
}

class Writer {
  readonly bytes: number[] = []

  align(to: number): void {
    while (this.bytes.length % to !== 0) this.bytes.push(0)
  }

  u32(number: number): void {
    this.align(4)
    this.bytes.push(number & 0xff, (number >> 8) & 0xff, (number >> 16) & 0xff, number >>> 24)
  }

  string(text: string): void {
    const bytes = Buffer.from(text)
    this.u32(bytes.length)
    this.bytes.push(...bytes, 0)
  }

  signature(text: string): void {
    this.bytes.push(text.length, ...Buffer.from(text), 0)
  }

  /** A struct of code and variant. */
  field(code: number, type: 'o' | 's' | 'g', text: string): void {
    this.align(8)
    this.bytes.push(code)
    this.signature(type)
    if (type === 'g') this.signature(text)
    else this.string(text)
  }
}

class Reader {
  readonly #bytes: Buffer
  at: number

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes
    this.at = at
  }

  align(to: number): void {
    this.at += -this.at & (to - 1)
  }

  signature(): string {
    return this.#text(this.#bytes[this.at++]!)
  }

  value(type: string): Value {
    switch (type) {
      case 's':
      case 'o':
        return this.#text(this.#u32())
      case 'g':
        return this.signature()
      case 'u':
        return this.#u32()
      case 'b':
        return this.#u32() === 1
      case 'as': {
        const list: string[] = []
        for (const end = this.#u32() + this.at; this.at < end; ) list.push(this.#text(this.#u32()))
        return list
      }
      default:
        throw new Error(`a value of D-Bus of type ${type} is not understood`)
    }
  }

  #u32(): number {
    this.align(4)
    this.at += 4
    return this.#bytes.readUInt32LE(this.at - 4)
  }

  /** Behind it is a NUL. */
  #text(length: number): string {
    this.at += length + 1
    return this.#bytes.toString('utf8', this.at - length - 1, this.at - 1)
  }
}
