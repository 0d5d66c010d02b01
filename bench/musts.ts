// What must come out: the project's own demands, and whether they are met.

import { interval, markdown, type Row } from './report.ts'
import { FLOOR } from './scenarios.ts'
import type { Estimate } from './statistics.ts'

interface Must {
  work: string
  /** Absent: at each number of pods. */
  pods?: number
  /** Ours by the newest reference's, or ours above the empty executable, in the row's unit. */
  of: 'ratio' | 'above'
  most: number
}

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
]

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
      .flatMap(({ pods, unit, above, cells }) => {
        const [by, came, measure] = must.of === 'above' ? [FLOOR, above, ` ${unit}`] : [newest, cells[newest ?? '']?.ratio, '']
        return by && came ? [{ ...must, pods, by, unit: measure, came, met: came.value <= must.most }] : []
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
