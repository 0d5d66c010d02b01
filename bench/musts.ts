// What must come out: the project's own demands, and whether they are met.

import { interval, markdown, type Row } from './report.ts'
import { FLOOR } from './scenarios.ts'
import type { Estimate } from './statistics.ts'

interface Must {
  work: string
  /** Absent: at each number of pods. */
  pods?: number
  /** Ours by the newest reference's; ours above the empty executable, in the row's unit; ours by ours without pods, each by the empty executable. */
  of: 'ratio' | 'above' | 'growth'
  most: number
}

const GROWTH = 1.15 // from no pods to 1000

const MUSTS: Must[] = [
  { work: 'ptp + ipMasq ADD', pods: 0, of: 'ratio', most: 1.3 },
  { work: 'ptp + ipMasq ADD', pods: 1000, of: 'ratio', most: 0.5 },
  { work: 'ptp + ipMasq DEL', pods: 0, of: 'ratio', most: 0.7 },
  { work: 'ptp + ipMasq DEL', pods: 1000, of: 'ratio', most: 0.5 },
  { work: 'dual-stack ADD', pods: 0, of: 'ratio', most: 0.1 },
  { work: 'dual-stack ADD', pods: 1000, of: 'ratio', most: 0.1 },
  { work: 'host-local ADD, 16000 leases', of: 'ratio', most: 0.3 },
  { work: 'ptp + ipMasq ADD', of: 'above', most: 10 },
  { work: 'memory of ptp + ipMasq ADD', of: 'above', most: 20 },
  { work: 'VERSION', of: 'above', most: 3 },
  { work: 'loopback ADD', of: 'above', most: 3 },
  { work: 'ptp + ipMasq STATUS', of: 'above', most: 3 },
  ...chain('bridge + ipMasq', { 0: [1.2, 0.7], 1000: [0.6, 0.5] }),
  ...chain("kind's chain", { 0: [0.7, 0.5], 1000: [0.6, 0.4] }),
  ...chain("kind's chain + loopback", { 0: [1, 0.8], 1000: [0.9, 0.7] }),
  ...chain('bridge + portmap + firewall + bandwidth + tuning', { 0: [0.35, 0.35], 1000: [0.25, 0.25] }),
]

/** By the number of pods: ratios of ADD and DEL; and growth of all commands. */
function chain(name: string, ratios: Record<number, [add: number, del: number]>): Must[] {
  const commands = ['ADD', 'DEL'] as const
  const ratio = Object.entries(ratios).flatMap(([pods, most]) => commands.map((command, i): Must => ({ work: `${name} ${command}`, pods: Number(pods), of: 'ratio', most: most[i]! })))
  return [...ratio, ...['ADD', 'CHECK', 'DEL'].map((command): Must => ({ work: `${name} ${command}`, pods: 1000, of: 'growth', most: GROWTH }))]
}

export interface Verdict extends Must {
  pods: number
  /** What it was compared with. */
  by: string
  unit: string
  came: Estimate
  met: boolean
}

/** The musts that these rows can tell of. */
export function verdicts(rows: Row[], newest: string | undefined): Verdict[] {
  return MUSTS.flatMap((must) =>
    rows
      .filter(({ work, pods }) => work === must.work && (must.pods ?? pods) === pods)
      .flatMap(({ pods, unit, above, growth, cells }) => {
        const [by, came, measure] = { above: [FLOOR, above, ` ${unit}`], ratio: [newest, cells[newest ?? '']?.ratio, ''], growth: ['no pods', growth, ''] }[must.of] as [string?, Estimate?, string?]
        return by && came ? [{ ...must, pods, by, unit: measure!, came, met: came.value <= must.most }] : []
      }),
  )
}

export function verdictTable(list: Verdict[]): string {
  const lines = list.map(({ work, pods, of, by, unit, most, came, met }) => {
    const measured = of === 'above' ? `above ${by}` : `by ${by}`
    return [work, String(pods), measured, `≤ ${most}${unit}`, `${interval(came, of === 'above' ? 1 : 2)}${unit}`, met ? 'met' : 'NOT MET']
  })
  return markdown(['must', 'pods', 'measured', 'limit', 'came out', ''], lines)
}
