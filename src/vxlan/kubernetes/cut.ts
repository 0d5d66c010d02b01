// Bytes of an answer, as they come in, cut into JSON values: the lines of a watch, the items of a list. A page of 500 Nodes
// is 5 to 10 MB, and as one string and one value it would cost the agent 150 MiB; item by item it costs what one Node does.

import { Failure } from './failure.ts'

/** The lines of a watch: one event each. What follows the last newline is half an event, and never handed out. */
export class Lines {
  readonly #bytes = new Bytes(LONGEST_LINE)
  readonly #depth = new Depth()

  push(chunk: Buffer): unknown[] {
    const values: unknown[] = []
    this.#depth.follow(chunk)
    this.#bytes.append(chunk)
    for (let end; (end = this.#bytes.indexOf('\n')) >= 0; ) {
      const line = this.#bytes.take(end + 1)
      if (line.trim() !== '') values.push(parse(line))
    }
    return values
  }
}

const HEAD = '"items":['
const BETWEEN = '},{"metadata":'

/**
 * The items of a list. The API server writes `…"items":[{"metadata":…},{"metadata":…}]}` without blanks, and a quote in a
 * string is escaped, so BETWEEN stands between two items or deeper inside of one; JSON.parse tells which. Searching for it
 * is a hundred times faster than walking over the bytes. Where it does not occur (another formatting), the whole page is
 * one piece: slower, the same result.
 *
 * Where it turns out to be inside of an item, the next attempt is made with at least twice as many bytes, which may be several
 * items: so all attempts together read no more than three times what came, whatever it is.
 */
export class Items {
  readonly #bytes = new Bytes(LARGEST_PIECE)
  readonly #depth = new Depth()
  #head: string | undefined
  /** How many bytes the next attempt has at least. */
  #least = 0

  push(chunk: Buffer): unknown[] {
    const items: unknown[] = []
    this.#depth.follow(chunk)
    this.#bytes.append(chunk)
    if (this.#head === undefined) {
      const at = this.#bytes.indexOf(HEAD)
      if (at < 0) return items
      this.#head = this.#bytes.take(at + HEAD.length)
    }
    for (let at; (at = this.#bytes.indexOf(BETWEEN, this.#least)) >= 0; ) {
      const whole = tryParse(`[${this.#bytes.peek(at + 1)}]`)
      this.#least = whole === undefined ? 2 * (at + 1) : 0
      if (whole === undefined) continue
      this.#bytes.take(at + ','.length + 1)
      for (const item of whole as unknown[]) items.push(item)
    }
    return items
  }

  /** When all bytes are there: the list without its items, and the items that are left. */
  end(): { list: unknown; items: unknown[] } {
    const rest = this.#bytes.take()
    if (this.#head === undefined) {
      const list = parse(rest) as { items?: unknown }
      return { list, items: Array.isArray(list?.items) ? list.items : [] }
    }
    const end = rest.lastIndexOf(']')
    return { list: parse(this.#head + rest.slice(Math.max(end, 0))), items: parse(`[${rest.slice(0, end)}]`) as unknown[] }
  }
}

const LONGEST_LINE = 8 * 1024 * 1024 // bytes; etcd takes objects of up to 1.5 MiB
const LARGEST_PIECE = 64 * 1024 * 1024 // a page of 500 objects in another formatting is one piece

/** Bytes that came and are not used yet, in one piece that grows by doubling. No byte is searched twice. */
class Bytes {
  readonly #most: number
  #buffer = Buffer.allocUnsafeSlow(64 * 1024)
  #start = 0
  #end = 0
  #searched = 0

  constructor(most: number) {
    this.#most = most
  }

  append(chunk: Buffer): void {
    if (this.#end + chunk.length > this.#buffer.length) this.#makeRoom(chunk.length)
    this.#end += chunk.copy(this.#buffer, this.#end)
  }

  /** Where the text next occurs, `least` bytes or more behind the first one not taken, and counted from it; -1 if it does not, as yet. */
  indexOf(text: string, least = 0): number {
    const at = this.#buffer.subarray(0, this.#end).indexOf(text, Math.max(this.#searched, this.#start + least))
    this.#searched = at >= 0 ? at + 1 : Math.max(this.#searched, this.#end - text.length + 1)
    return at >= 0 ? at - this.#start : -1
  }

  peek(length: number): string {
    return this.#buffer.toString('utf8', this.#start, this.#start + length)
  }

  take(length = this.#end - this.#start): string {
    const text = this.peek(length)
    this.#start += length
    this.#searched = Math.max(this.#searched, this.#start)
    return text
  }

  #makeRoom(more: number): void {
    const length = this.#end - this.#start
    if (length + more > this.#most) throw new Failure('garbled', `the API server's answer has a piece of more than ${this.#most} bytes`)
    const buffer = length + more > this.#buffer.length / 2 ? Buffer.allocUnsafeSlow(2 * Math.max(this.#buffer.length, length + more)) : this.#buffer
    this.#buffer.copy(buffer, 0, this.#start, this.#end)
    this.#buffer = buffer
    this.#searched -= this.#start
    this.#start = 0
    this.#end = length
  }
}

const DEEPEST = 128 // levels; a Node has about ten
const TOO_DEEP = `what the API server sent is nested deeper than ${DEEPEST} levels`

/** How deep values are nested in bytes that come in pieces; what is deeper than anybody means is not given to a parser. */
class Depth {
  #depth = 0
  #inString = false
  #escaped = false

  follow(chunk: Buffer): void {
    const { length } = chunk
    let [i, depth, inString] = [this.#escaped ? 1 : 0, this.#depth, this.#inString]
    for (; i < length; i++) {
      const byte = chunk[i]!
      if (byte === QUOTE) inString = !inString
      else if (inString) i += byte === BACKSLASH ? 1 : 0
      else if (byte > LAST_LETTER && STEP[byte] !== 0 && (depth += STEP[byte]!) > DEEPEST) throw new Failure('garbled', TOO_DEEP)
    }
    ;[this.#depth, this.#inString, this.#escaped] = [depth, inString, i > length]
  }
}

const [QUOTE, BACKSLASH, LAST_LETTER] = Buffer.from('"\\Z') as unknown as [number, number, number]

/** What a byte does to the depth. */
const STEP = new Int8Array(256)
for (const [bytes, step] of [['[{', 1], [']}', -1]] as const) for (const byte of Buffer.from(bytes)) STEP[byte] = step

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new Failure('garbled', `what the API server sent is not JSON: ${(error as Error).message.slice(0, 200)}`)
  }
}

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
