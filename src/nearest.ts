// "Did you mean …?": the word that a mistyped one was probably to be. Pure.

/**
 * Letters to insert, delete, change, or swap with their neighbour, until `a` is `b`: the Damerau-Levenshtein distance in which no
 * letter is touched twice (optimal string alignment).
 */
export function distance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)]
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1
      row.push(Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + same))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) row[j] = Math.min(row[j]!, rows[i - 2]![j - 2]! + 1)
    }
    rows.push(row)
  }
  return rows[a.length]![b.length]!
}

/** The word next to a mistyped one, whatever their case; undefined if none is within `most` edits: by default one for three letters. */
export function nearest(typed: string, words: Iterable<string>, most = Math.max(1, Math.floor(typed.length / 3))): string | undefined {
  let [found, least]: [string | undefined, number] = [undefined, most + 1]
  for (const word of words) {
    if (Math.abs(word.length - typed.length) >= least) continue
    const edits = distance(typed.toLowerCase(), word.toLowerCase())
    if (edits < least) [found, least] = [word, edits]
  }
  return found
}

/** `: did you mean bridge?`, or nothing. */
export function didYouMean(typed: string, words: Iterable<string>): string {
  const found = nearest(typed, words)
  return found === undefined ? '' : `: did you mean ${found}?`
}
