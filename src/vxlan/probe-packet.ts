// What agents send each other over the overlay: a question and its answer, UDP. Pure.
//
//   0  'podw'    4 bytes
//   4  version   1 byte, 1
//   5  kind      1 byte: 1 question, 2 answer
//   6  length    2 bytes, big endian: of the question as a whole, by the one who asks; an answer says it again
//   8  nonce     8 bytes: of the question; an answer has it again
//   16 zeros     of a question that is to be as large as a packet of a pod's
//
// The nonce is random: who has not seen a question cannot answer it, whatever source address he writes. An answer has the least length
// that there is, so nobody gets more out of an agent than he puts in.

export interface Packet {
  kind: 'question' | 'answer'
  /** Bytes of the question. */
  length: number
  /** 16 hexadecimal digits. */
  nonce: string
}

/** Bytes of an answer, and of the smallest question. */
export const LEAST = 16

const MAGIC = Buffer.from('podw')
const VERSION = 1
const KINDS: Record<Packet['kind'], number> = { question: 1, answer: 2 }

export function encode({ kind, length, nonce }: Packet): Buffer {
  const bytes = Buffer.alloc(kind === 'question' ? length : LEAST)
  MAGIC.copy(bytes)
  bytes[4] = VERSION
  bytes[5] = KINDS[kind]
  bytes.writeUInt16BE(length, 6)
  bytes.write(nonce, 8, 'hex')
  return bytes
}

/** Undefined for what is no packet of this kind, of this version, or not as long as it says. */
export function decode(bytes: Buffer): Packet | undefined {
  if (bytes.length < LEAST || !MAGIC.equals(bytes.subarray(0, 4)) || bytes[4] !== VERSION) return undefined
  const kind = (['question', 'answer'] as const).find((name) => KINDS[name] === bytes[5])
  const length = bytes.readUInt16BE(6)
  if (kind === undefined || length < LEAST || bytes.length !== (kind === 'question' ? length : LEAST)) return undefined
  return { kind, length, nonce: bytes.toString('hex', 8, LEAST) }
}
