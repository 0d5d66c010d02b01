// JSON from outside: text to a value, or an error that says what is wrong with it and where.

import { printable } from '../printable.ts'
import { CniError } from './error.ts'
import { faultIn } from './json-fault.ts'

/** Bytes; of the largest request that a runtime can mean: all ports of two protocols, each at an address of IPv6. */
export const LARGEST = 16 * 1024 * 1024
const DEEPEST = 128
const MOST = 20 // repeated keys in one message

/** How an error names a place: of a file as compilers do. Lines and columns count from 1. */
type Place = (what: string, line: number, column: number) => string
export const inFile: Place = (file, line, column) => `${file}:${line}:${column}`
const inText: Place = (what, line, column) => `${what} is not JSON: line ${line}, column ${column}`

/** Decodes a JSON object of at most LARGEST bytes; a byte order mark is skipped. Errors: as decodeText. */
export function decodeObject(bytes: Uint8Array, what: string, twice?: string[], place?: Place): Record<string, unknown> {
  if (bytes.length > LARGEST) throw new CniError(6, `${what} has more than ${LARGEST} bytes`)
  return decodeText(utf8(bytes, what), what, twice, place)
}

/**
 * The same of text of any length. A key that stands twice in one object is refused: which of them was meant, nobody can know.
 * Who judges that later passes `twice`, which receives a sentence for each; then the last counts, as in Go. Errors: 6 it is none,
 * 7 a key stands twice.
 */
export function decodeText(text: string, what: string, twice?: string[], place = inText): Record<string, unknown> {
  if (text.trim() === '') throw new CniError(6, `${what} is empty: expected a JSON object`) // trim takes a byte order mark, too
  const repeated = repeatedKeys(text, what)
  const value = parse(text.startsWith('\ufeff') ? text.slice(1) : text, what, place)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new CniError(6, `${what} is ${excerpt(value)}: expected a JSON object`)
  if (repeated.length > 0 && !twice) throw new CniError(7, `${what}: ${repeated.join('; ')}`)
  twice?.push(...repeated)
  return value as Record<string, unknown>
}

function parse(text: string, what: string, place: Place): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    const { line, column, reason } = faultIn(text) ?? { line: 1, column: 1, reason: printable((error as Error).message) }
    throw new CniError(6, `${place(what, line, column)}: ${reason}`)
  }
}

/** A value as JSON for a sentence, cut after 100 characters. A number too large for JavaScript (1e400) is Infinity. */
export function excerpt(value: unknown): string {
  const text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value))
  return text.length <= 100 ? text : `${text.slice(0, 99)}…`
}

function utf8(bytes: Uint8Array, what: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new CniError(6, `${what} is not UTF-8`)
  }
}

/** An object or a list that is open: where in it the text is. */
interface Level {
  /** Of an object: those that there were. */
  keys?: Set<string>
  /** The key or index at which the text is; undefined: a key is next. */
  at: string | number | undefined
}

/**
 * Sentences about keys that stand twice. Error 6 if something is nested too deep: JSON.parse goes to any depth, but what later walks
 * the value (and prints it again) is recursive. One pass over the text, which may be no JSON.
 */
function repeatedKeys(text: string, what: string): string[] {
  const levels: Level[] = []
  const found: string[] = []
  for (let i = 0; i < text.length; i++) {
    const char = text[i]
    const level = levels.at(-1)
    if (char === '"') {
      const end = endOfString(text, i)
      if (level?.keys && level.at === undefined) {
        level.at = decoded(text.slice(i, end + 1))
        if (level.keys.size === level.keys.add(level.at).size && found.length < MOST) found.push(pathOf(levels))
      }
      i = end
    } else if (char === '{' || char === '[') {
      if (levels.length === DEEPEST) throw new CniError(6, `${what} is nested deeper than ${DEEPEST} levels`)
      levels.push(char === '{' ? { keys: new Set(), at: undefined } : { at: 0 })
    } else if (char === '}' || char === ']') levels.pop()
    else if (char === ',' && level) level.at = typeof level.at === 'number' ? level.at + 1 : undefined
  }
  return [...new Set(found)].map((path) => `${path} stands twice`)
}

/** Where a string ends that begins at `start`: at the next quote with an even number of backslashes before it. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let from = end
    while (text[from - 1] === '\\') from--
    if ((end - from) % 2 === 0) return end
  }
  return text.length
}

/** A string with its quotes and escapes as the text that it says; of what is no JSON anything. */
function decoded(string: string): string {
  if (!string.includes('\\')) return string.slice(1, -1)
  try {
    return String(JSON.parse(string))
  } catch {
    return string
  }
}

/** `ipam.ranges[0][0].subnet` */
const pathOf = (levels: Level[]): string => levels.reduce((path, { at }) => (typeof at === 'number' ? `${path}[${at}]` : path ? `${path}.${at}` : String(at)), '')
