// The command line.

import { parseArgs } from 'node:util'

export const USAGE = `npm run bench:overlay -- [OPTION]...: the overlay at scale, and what passes through it

  --part scale|traffic|variations   only this; given again, this too; scale and traffic
  --nodes N,...                     among how many nodes; 100,1000,5000
  --repeat N                        how often from nothing; 3; changes and damage twice as often
  --rounds N                        samples of each kind of traffic; 60
  --cpu                             throughput by CPU time instead of wall time: steadier where other work disturbs
  --quick                           100 and 5000 nodes once, 8 samples: two minutes
  --variation NAME                  what is tried, see variations.ts; given again, this too; all, which takes long
  --ours DIR                        podwire's executables; dist/bin
  --plot FILE                       how cost grows, as SVG
  --json FILE                       the figures, every sample included
`

export type Part = 'scale' | 'traffic' | 'variations'

export interface Options {
  parts: Part[]
  nodes: number[]
  repeat: number
  rounds: number
  cpu: boolean
  quick: boolean
  variations: string[] | undefined
  ours: string
  plot: string | undefined
  json: string | undefined
}

const PARTS: readonly string[] = ['scale', 'traffic', 'variations'] satisfies Part[]

/** Throws with a sentence about what is wrong. */
export function parseOptions(argv: string[]): Options {
  const { values } = parseArgs({
    args: argv,
    options: {
      part: { type: 'string', multiple: true, default: ['scale', 'traffic'] },
      nodes: { type: 'string' },
      repeat: { type: 'string' },
      rounds: { type: 'string' },
      cpu: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      variation: { type: 'string', multiple: true },
      ours: { type: 'string', default: 'dist/bin' },
      plot: { type: 'string' },
      json: { type: 'string' },
    },
  })
  const { quick, cpu, part, variation: variations, ours, plot, json } = values
  const unknown = part.find((name) => !PARTS.includes(name))
  if (unknown !== undefined) throw new Error(`--part ${unknown}: expected one of ${PARTS.join(', ')}`)
  const nodes = (values.nodes ?? (quick ? '100,5000' : '100,1000,5000')).split(',').map((text) => number(text, 'nodes', 3, 65_000))
  const repeat = number(values.repeat ?? (quick ? '1' : '3'), 'repeat', 1, 100)
  const rounds = number(values.rounds ?? (quick ? '8' : '60'), 'rounds', 1, 1000)
  return { parts: part as Part[], nodes: nodes.toSorted((a, b) => a - b), repeat, rounds, cpu, quick, variations, ours, plot, json }
}

function number(text: string, option: string, least: number, most: number): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < least || value > most) throw new Error(`--${option} ${text}: expected a number from ${least} to ${most}`)
  return value
}
