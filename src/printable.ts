// What others said, where a person reads it: names and sentences of nodes, files and servers may hold what a terminal obeys.

/** Without control characters, and those that turn the direction of writing: each is written as its number. Of one line. */
export const printable = (text: string): string => text.replace(OBEYED, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`)

const OBEYED = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu // Unicode TR 9, TR 44
