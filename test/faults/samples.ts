// How much of all that can go wrong is tried: some of it in every run, all of it with FAULTS=all, which takes some minutes.

const ALL = process.env.FAULTS === 'all'

/** At how many moments something is killed. */
export const moments = (some: number): number => (ALL ? 100 : some)

/** Numbers from 1 to `count`, the first and the last among them: at most `some`, unless all are wanted. */
export function sample(count: number, some: number): number[] {
  const most = ALL ? count : Math.min(some, count)
  return [...new Set(Array.from({ length: most }, (_, i) => (most === 1 ? 1 : 1 + Math.round((i * (count - 1)) / (most - 1)))))]
}
