// JSON from outside: bytes to a value, or an error that says what is wrong with them and where.

import { CniError } from './error.ts'

/** Bytes; of the largest request that a runtime can mean: all ports of two protocols, each at an address of IPv6. */
export const LARGEST = 16 * 1024 * 1024
const DEEPEST = 128

/** Decodes a JSON object. Errors: 6. A byte order mark is skipped; of two equal keys the last counts, as in Go. */
export function decodeObject(bytes: Uint8Array, what: string): Record<string, unknown> {
  if (bytes.length > LARGEST) throw new CniError(6, `${what} has more than ${LARGEST} bytes`)
  const text = decodeText(bytes, what)
  if (text.trim() === '') throw new CniError(6, `${what} is empty: expected a JSON object`)
  limitDepth(text, what)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new CniError(6, `${what} is not JSON: ${(error as Error).message}`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new CniError(6, `${what} is ${excerpt(value)}: expected a JSON object`)
  return value as Record<string, unknown>
}

/** A value as JSON for a sentence, cut after 100 characters. A number too large for JavaScript (1e400) is Infinity. */
export function excerpt(value: unknown): string {
  const text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value))
  return text.length <= 100 ? text : `${text.slice(0, 99)}…`
}

function decodeText(bytes: Uint8Array, what: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new CniError(6, `${what} is not UTF-8`)
  }
}

// JSON.parse goes to any depth, but what later walks the value (and prints it again) is recursive. One pass over the text;
// a regular expression for strings would begin anew at each quote of one that does not end.
function limitDepth(text: string, what: string): void {
  let depth = 0
  let inString = false
  for (let i = 0; i < text.length; i++) {
    const char = text[i]
    if (char === '"') inString = !inString
    else if (inString && char === '\\') i++
    else if (!inString && (char === '[' || char === '{') && ++depth > DEEPEST) throw new CniError(6, `${what} is nested deeper than ${DEEPEST} levels`)
    else if (!inString && (char === ']' || char === '}')) depth--
  }
}
