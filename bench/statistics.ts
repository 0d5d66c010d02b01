// Medians, and how sure they are: by the bootstrap over rounds, in which whatever disturbed the machine disturbed all who
// were measured. https://en.wikipedia.org/wiki/Bootstrapping_(statistics)

/** A figure and the interval that holds it with 95 % confidence. */
export interface Estimate {
  value: number
  low: number
  high: number
}

/** The value below which a part of the values lies, 0 to 1, between two of them by proportion. */
export function quantile(values: number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (sorted.length - 1) * part
  const below = sorted[Math.floor(at)]!
  return below + (sorted[Math.ceil(at)]! - below) * (at % 1)
}

export const median = (values: number[]): number => quantile(values, 0.5)

/** The ratio of two medians. */
export const ratio = (a: number[], b: number[]): Estimate => estimate(a, b, (x, y) => x / y)

/** The difference of two medians. */
export const difference = (a: number[], b: number[]): Estimate => estimate(a, b, (x, y) => x - y)

/** The ratio of two medians of rounds that were not the same ones. */
export const growth = (a: number[], b: number[]): Estimate => estimate(a, b, (x, y) => x / y, false)

const RESAMPLES = 1000

// Rounds are drawn, not samples: a[i] and b[i] belong together, where they are of the same rounds.
function estimate(a: number[], b: number[], compare: (a: number, b: number) => number, together = true): Estimate {
  const draw = random()
  const drawn = ({ length }: number[]) => Array.from({ length }, () => Math.floor(draw() * length))
  const resampled = Array.from({ length: RESAMPLES }, () => {
    const rounds = drawn(a)
    return compare(median(rounds.map((i) => a[i]!)), median((together ? rounds : drawn(b)).map((i) => b[i]!)))
  })
  return { value: compare(median(a), median(b)), low: quantile(resampled, 0.025), high: quantile(resampled, 0.975) }
}

/** Numbers from 0 to below 1, the same ones each time, so that a report can be computed again. Numerical Recipes' generator. */
function random(): () => number {
  let state = 1
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32
}
