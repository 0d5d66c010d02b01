// Where a text stops being JSON, and why, in words for who wrote it. Asked only of what JSON.parse has refused, whose own words name
// a token or nothing. RFC 8259 §2 to §7

import { printable } from '../printable.ts'

export interface Fault {
  /** Of the first character that cannot be: from 1. */
  line: number
  column: number
  reason: string
}

/** The first fault of a text; undefined if it is JSON. */
export function faultIn(text: string): Fault | undefined {
  const reader = new Reader(text)
  try {
    reader.read()
    return undefined
  } catch (error) {
    if (!(error instanceof Unfit)) throw error
    return { ...placeOf(text, error.at), reason: error.message }
  }
}

class Unfit extends Error {
  readonly at: number

  constructor(at: number, reason: string) {
    super(reason)
    this.at = at
  }
}

/** What may come: in an object a key, behind it a colon, a value, a comma; the first of a list or an object may be its end. */
type Next = 'value' | 'first value' | 'key' | 'first key' | 'colon' | 'comma' | 'end'

const OPEN = { '{': { next: 'first key', name: 'an object' }, '[': { next: 'first value', name: 'a list' } } as const

/** Not recursive: a text may be nested to any depth. */
class Reader {
  readonly #text: string
  readonly #open: { bracket: '{' | '['; at: number }[] = []
  #next: Next = 'value'
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  read(): void {
    for (this.#skip(); this.#at < this.#text.length; this.#skip()) this.#token(this.#text[this.#at]!)
    const inner = this.#open.at(-1)
    const begins = inner && `${OPEN[inner.bracket].name} that begins in line ${placeOf(this.#text, inner.at).line}`
    if (begins) throw this.#unfit(`the JSON ends within ${begins}`)
    if (this.#next !== 'end') throw this.#unfit('the JSON ends before there is a value')
  }

  #skip(): void {
    while (' \t\n\r'.includes(this.#text[this.#at] ?? '?')) this.#at++
  }

  #token(char: string): void {
    if (/^(?:\/[/*]|#)/.test(this.#text.slice(this.#at, this.#at + 2))) throw this.#unfit('a comment, and JSON has none')
    if (this.#next === 'end') throw this.#unfit(`${this.#word()} stands behind the end of the JSON`)
    if (char === '}' || char === ']') this.#close(char)
    else if (this.#next === 'comma') this.#comma(char)
    else if (this.#next === 'colon') this.#colon(char)
    else if (this.#next === 'key' || this.#next === 'first key') this.#key(char)
    else this.#value(char)
  }

  #close(char: string): void {
    const inner = this.#open.at(-1)
    if (!inner) throw this.#unfit(`"${char}" closes what is not open`)
    if ((inner.bracket === '{') !== (char === '}')) throw this.#unfit(`"${char}" stands within ${OPEN[inner.bracket].name}`)
    const after = this.#before() === ',' ? 'after a comma: JSON allows none' : 'where a value belongs'
    if (this.#next === 'key' || this.#next === 'value') throw this.#unfit(`"${char}" ${after}`)
    if (this.#next === 'colon') throw this.#unfit(`"${char}" where ":" and a value belong`)
    this.#open.pop()
    this.#at++
    this.#done()
  }

  #before(): string | undefined {
    return this.#text.slice(0, this.#at).trimEnd().at(-1)
  }

  #comma(char: string): void {
    if (char !== ',') throw this.#unfit(`a comma is missing before ${this.#word()}`)
    this.#at++
    this.#next = this.#open.at(-1)!.bracket === '{' ? 'key' : 'value'
  }

  #colon(char: string): void {
    if (char !== ':') throw this.#unfit(`":" is missing before ${this.#word()}`)
    this.#at++
    this.#next = 'value'
  }

  #key(char: string): void {
    const word = this.#word()
    const wrong = /[\w$]/.test(char) ? `the key ${word} has no quotes` : `${word} where a key in double quotes belongs`
    if (char !== '"') throw this.#unfit(wrong)
    this.#string()
    this.#next = 'colon'
  }

  #value(char: string): void {
    if (char === '{' || char === '[') {
      this.#open.push({ bracket: char, at: this.#at++ })
      this.#next = OPEN[char].next
      return
    }
    if (char === '"') this.#string()
    else this.#literal()
    this.#done()
  }

  #done(): void {
    this.#next = this.#open.length === 0 ? 'end' : 'comma'
  }

  #literal(): void {
    const word = /[^\s,:[\]{}"]*/y
    word.lastIndex = this.#at
    const found = word.exec(this.#text)![0]
    const number = /^[-+.\d]/.test(found)
    if (number && !NUMBER.test(found)) throw this.#unfit(`${this.#word()} is no number as JSON has them`)
    if (!number && !['true', 'false', 'null'].includes(found)) throw this.#unfit(`${this.#word()} where a value belongs`)
    this.#at += found.length
  }

  #string(): void {
    const start = this.#at++
    const special = /["\\\0-\x1f]/g
    for (;;) {
      special.lastIndex = this.#at
      const found = special.exec(this.#text)
      if (!found) throw new Unfit(start, 'the string that begins here does not end')
      this.#at = found.index
      if (found[0] === '"') return void this.#at++
      if (found[0] === '\n' || found[0] === '\r') throw this.#unfit('a line ends within a string: is its closing quote missing?')
      if (found[0] !== '\\') throw this.#unfit(`${this.#word()} within a string: it is written ${JSON.stringify(found[0]).slice(1, -1)}`)
      const escape = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y
      escape.lastIndex = this.#at
      const two = printable(this.#text.slice(this.#at, this.#at + 2))
      if (!escape.test(this.#text)) throw this.#unfit(`"${two}" within a string: a backslash itself is written "\\\\"`)
      this.#at = escape.lastIndex
    }
  }

  /** What stands here, as far as one looks at once. */
  #word(): string {
    const [word = ''] = /^(?:["']?[\w$.+-]+["']?|[^]?)/u.exec(this.#text.slice(this.#at, this.#at + MOST)) ?? []
    const shown = printable(word)
    return /^["']/.test(shown) && shown.length > 1 ? shown : `"${shown}"`
  }

  #unfit(reason: string): Unfit {
    return new Unfit(this.#at, reason)
  }
}

const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?$/ // RFC 8259 §6
const MOST = 40 // characters

function placeOf(text: string, at: number): { line: number; column: number } {
  const before = text.slice(0, at)
  const start = before.lastIndexOf('\n') + 1
  return { line: before.split('\n').length, column: at - start + 1 }
}
