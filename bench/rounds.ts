// The rounds of a scenario. In each one everybody does the same work once, beginning with another one each time, and an
// executable that does nothing runs as well: so ratios, and what we cost above that floor, are of the same moments.

import { isCost, Refused, type Implementation, type Sample } from './implementation.ts'
import { note } from './progress.ts'
import { floor, FLOOR, type Scenario } from './scenarios.ts'

const WARM_UP = 2 // rounds that do not count

/** Samples by row and column. Who refuses in the warm-up is left out. */
export type Samples = Record<string, Record<string, Sample[]>>

export function run(scenario: Scenario, implementations: Implementation[], empty: string, asked: number): Samples {
  const rounds = part(asked, scenario)
  const samples: Samples = Object.fromEntries(scenario.works.map((work) => [work, {}]))
  const add = (work: string, column: string, sample: Sample | undefined) => sample && (samples[work]![column] ??= []).push(sample)
  const { unit } = scenario
  const present = implementations.filter((someone) => warmedUp(scenario, someone, empty))
  const turns = [
    ...present.map((someone) => (round: number) => {
      const taken = scenario.round(someone, round)
      for (const work of scenario.works) add(work, someone.column, taken[work])
    }),
    ...(isCost(unit) ? [() => {
      const taken = floor(empty, unit)
      for (const work of scenario.works) add(work, FLOOR, taken)
    }] : []),
  ]
  try {
    for (let round = 0; round < rounds; round++) for (let i = 0; i < turns.length; i++) turns[(round + i) % turns.length]!(round)
  } finally {
    present.forEach((someone) => scenario.tearDown?.(someone))
  }
  return samples
}

function warmedUp(scenario: Scenario, someone: Implementation, empty: string): boolean {
  try {
    scenario.setUp?.(someone)
    for (let round = 0; round < part(WARM_UP, scenario); round++) {
      if (isCost(scenario.unit)) floor(empty, scenario.unit)
      scenario.round(someone, round)
    }
    return true
  } catch (error) {
    scenario.tearDown?.(someone)
    if (!(error instanceof Refused)) throw error
    note(`left out: ${someone.name}: ${error.message}`)
    return false
  }
}

const part = (rounds: number, { share = 1 }: Scenario): number => Math.ceil(rounds * share)
