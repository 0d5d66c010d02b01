// `podwire explain`: the error codes, from the one table of them.

import { CODES } from '../cni/error.ts'
import { didYouMean } from '../nearest.ts'
import { parse, Usage } from './args.ts'

/** All codes, or one of them. Errors: Usage. */
export function explain(args: string[]): string {
  const [code] = parse(args, {}, 1).positionals
  const entries = Object.entries(CODES)
  if (code === undefined) return `${entries.map(([number, { meaning }]) => `${number.padStart(3)}  ${meaning}`).join('\n')}\n`
  const found = entries.find(([number]) => number === code)
  const codes = Object.keys(CODES)
  if (!found) throw new Usage(`there is no code ${JSON.stringify(code)}${didYouMean(code, codes) || '.'} Codes: ${codes.join(', ')}.`)
  const [number, { meaning, remedy }] = found
  return `code ${number}\n  meaning  ${meaning}\n  remedy   ${remedy}\n`
}
