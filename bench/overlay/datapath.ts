// Traffic through several overlays in turns: in each round everybody has one sample of each kind, beginning with another
// one each time.

import { reporting } from '../progress.ts'
import { median, ratio, type Estimate } from '../statistics.ts'
import { interval, markdown } from '../report.ts'
import type { Pair, Pod } from './pair.ts'
import { Servers, traffics, type Traffic } from './traffic.ts'
import { sleep } from '../../src/kernel/libc.ts'

export interface Contestant {
  name: string
  pair: Pair
  /** The name of whom it is held against; absent: nobody. */
  against?: string
}

export type Where = 'across' | 'on one node'

export interface Flow {
  traffic: string
  unit: Traffic['unit']
  where: Where
  cells: Record<string, { median: number; samples: number[]; against?: string; ratio?: Estimate }>
}

const SETTLE = 700 // ms; until the servers listen

export function compareTraffic(contestants: Contestant[], { rounds, cpu }: { rounds: number; cpu: boolean }, places: Where[]): Flow[] {
  const ends = contestants.map(({ pair: { a, b } }) => ({ across: [a.pods[0]!, b.pods[0]!], 'on one node': [a.pods[0]!, a.pods[1]!] }) as Record<Where, [Pod, Pod]>)
  const servers = ends.flatMap((end) => places.map((where) => new Servers(end[where][1])))
  try {
    sleep(SETTLE)
    return traffics(cpu).flatMap((traffic) => places.map((where) => reporting(`${traffic.name}, ${where}`, () => flow(traffic, where, contestants, ends.map((end) => end[where]), rounds))))
  } finally {
    servers.forEach((server) => server.stop())
  }
}

const WARM_UP = 1 // rounds that do not count

function flow(traffic: Traffic, where: Where, contestants: Contestant[], ends: [Pod, Pod][], rounds: number): Flow {
  const samples: number[][] = contestants.map(() => [])
  for (let round = -WARM_UP; round < rounds; round++)
    for (let turn = 0; turn < ends.length; turn++) {
      const who = (round + WARM_UP + turn) % ends.length
      const sample = traffic.sample(...ends[who]!)
      if (round >= 0) samples[who]!.push(sample)
    }
  // More is better in all ratios: how fast this one is by the other.
  const by = (who: number, other: number): Estimate => (traffic.better === 'more' ? ratio(samples[who]!, samples[other]!) : ratio(samples[other]!, samples[who]!))
  const cells = contestants.map(({ name, against }, who): [string, Flow['cells'][string]] => {
    const other = contestants.findIndex((one) => one.name === against)
    return [name, { median: median(samples[who]!), samples: samples[who]!.map((value) => Number(value.toFixed(3))), ...(other >= 0 && { against: against!, ratio: by(who, other) }) }]
  })
  return { traffic: traffic.name, unit: traffic.unit, where, cells: Object.fromEntries(cells) }
}

/** Figures, and how fast each is by whom it is held against. */
export function trafficTable(flows: Flow[]): string {
  const names = Object.keys(flows[0]?.cells ?? {})
  const lines = flows.map(({ traffic, unit, where, cells }) => [
    `${traffic}, ${where}, ${unit}`,
    ...names.flatMap((name) => [figure(cells[name]!.median), ...(cells[name]!.against === undefined ? [] : [interval(cells[name]!.ratio, 2)])]),
  ])
  const head = ['traffic', ...names.flatMap((name) => [name, ...(flows[0]!.cells[name]!.against === undefined ? [] : ['ratio'])])]
  return markdown(head, lines)
}

const figure = (value: number): string => value.toFixed(value < 100 ? 1 : 0)
