// `podwire explain`: the error codes, from the one table of them.

import { CniError, CODES } from '../cni/error.ts'

export function explain([code]: string[]): string {
  const entries = Object.entries(CODES)
  if (code === undefined) return `${entries.map(([number, { meaning }]) => `${number.padStart(3)}  ${meaning}`).join('\n')}\n`
  const found = entries.find(([number]) => number === code)
  if (!found) throw new CniError(4, `there is no code ${JSON.stringify(code)}. Codes: ${entries.map(([number]) => number).join(', ')}`)
  const [number, { meaning, remedy }] = found
  return `code ${number}\n  meaning  ${meaning}\n  remedy   ${remedy}\n`
}
