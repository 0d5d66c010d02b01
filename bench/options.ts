// The command line.

import { parseArgs } from 'node:util'

export const USAGE = `npm run bench -- [OPTION]...: podwire side by side with the reference plugins

  --rounds N               rounds of each scenario; 30
  --pods N,...             how many pods are there already; 0,110,1000
  --family NAME            only these: single (plugins), bridge, kind, long (lists of plugins); given again, this too
  --rows REGEX             only these rows, such as 'ipMasq ADD, 1000 pods'
  --quick                  6 rounds, without pods: two minutes
  --cpu                    CPU time instead of wall time: steadier where other work disturbs
  --reference [NAME=]DIR   plugins to compare with, the newest first; given again, another column; Debian's
  --ours DIR               podwire's plugins; dist/bin
  --json FILE              the figures, every sample included
`

export interface Options {
  rounds: number
  pods: number[]
  families: string[]
  rows: RegExp
  cpu: boolean
  references: Reference[] | undefined
  ours: string
  json: string | undefined
}

/** A directory of plugins and what to call it. */
export interface Reference {
  name: string
  bin: string
}

const MOST_ROUNDS = 500
const FAMILIES = ['single', 'bridge', 'kind', 'long']

/** Throws with a sentence about what is wrong. */
export function parseOptions(argv: string[]): Options {
  const { values } = parseArgs({
    args: argv,
    options: {
      rounds: { type: 'string' },
      pods: { type: 'string' },
      family: { type: 'string', multiple: true, default: FAMILIES },
      rows: { type: 'string', default: '' },
      quick: { type: 'boolean', default: false },
      cpu: { type: 'boolean', default: false },
      reference: { type: 'string', multiple: true },
      ours: { type: 'string', default: 'dist/bin' },
      json: { type: 'string' },
    },
  })
  const { quick, family: families, rows, cpu, ours, json } = values
  const unknown = families.find((name) => !FAMILIES.includes(name))
  if (unknown !== undefined) throw new Error(`--family ${unknown}: expected one of ${FAMILIES.join(', ')}`)
  const rounds = number(values.rounds ?? (quick ? '6' : '30'), 'rounds', 1, MOST_ROUNDS)
  const pods = (values.pods ?? (quick ? '0' : '0,110,1000')).split(',').map((text) => number(text, 'pods', 0, 20_000))
  return { rounds, pods: pods.toSorted((a, b) => a - b), families, rows: new RegExp(rows), cpu, references: values.reference?.map(named), ours, json }
}

function number(text: string, option: string, least: number, most: number): number {
  const value = Number(text)
  if (text === '' || !Number.isInteger(value) || value < least || value > most) throw new Error(`--${option} ${text}: expected a number from ${least} to ${most}`)
  return value
}

function named(text: string, index: number): Reference {
  const [, name, bin] = /^(?:([^=/]+)=)?(.+)$/.exec(text)!
  return { name: name ?? `reference${index > 0 ? ` ${index + 1}` : ''}`, bin: bin! }
}
