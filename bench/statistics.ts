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

/** What was measured in the same rounds, and what takes nothing but the machine's time. */
export interface Rounds {
  values: number[]
  floor: number[]
}

/**
 * The ratio of two medians of rounds that are minutes apart: each in terms of the floor of its own rounds, because how fast the
 * machine is changes by more than what is looked for.
 */
export const growth = (now: Rounds, before: Rounds): Estimate => bootstrap([[now.values, now.floor], [before.values, before.floor]], ([a, floor, b, past]) => a! / floor! / (b! / past!))

const RESAMPLES = 1000

const estimate = (a: number[], b: number[], compare: (a: number, b: number) => number): Estimate => bootstrap([[a, b]], ([x, y]) => compare(x!, y!))

/** Of lists that belong together rounds are drawn, not samples: a[i] and b[i] are of one. */
function bootstrap(together: number[][][], compare: (medians: number[]) => number): Estimate {
  const draw = random()
  const resampled = Array.from({ length: RESAMPLES }, () =>
    compare(
      together.flatMap((lists) => {
        const rounds = lists[0]!.map(() => Math.floor(draw() * lists[0]!.length))
        return lists.map((list) => median(rounds.map((i) => list[i]!)))
      }),
    ),
  )
  return { value: compare(together.flat().map(median)), low: quantile(resampled, 0.025), high: quantile(resampled, 0.975) }
}

/** Numbers from 0 to below 1, the same ones each time, so that a report can be computed again. Numerical Recipes' generator. */
function random(): () => number {
  let state = 1
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32
}
