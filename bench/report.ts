// What came out: rows, the table for people (Markdown), and the musts.

import { difference, growth, median, quantile, ratio, type Estimate, type Rounds } from './statistics.ts'
import { FLOOR, OURS } from './scenarios.ts'
import type { Sample, Unit } from './implementation.ts'

/** The samples of one kind of work with so many pods, by column; those of a round have the same place in each. */
export interface Measured {
  work: string
  pods: number
  unit: Unit
  samples: Record<string, Sample[]>
}

export interface Cell {
  median: number
  p95: number
  /** Ours by this column's; only in columns of references. */
  ratio?: Estimate
  samples: number[]
  /** CPU time, of the same rounds, ms; of a rate, by CPU time. */
  cpu?: number[]
}

export interface Row {
  work: string
  pods: number
  unit: Unit
  /** What ours costs above the empty executable. */
  above?: Estimate
  /** Ours by ours without pods, each by the empty executable of its rounds. */
  growth?: Estimate
  cells: Record<string, Cell>
}

/** What samples say, by wall time or by CPU time. */
export function rows(all: Measured[], cpu: boolean): Row[] {
  const rounds = (measured: Measured | undefined): Rounds | undefined => {
    const [values, floor] = [OURS, FLOOR].map((column) => measured?.samples[column]?.map((sample) => figure(sample, cpu)))
    return values && floor && { values, floor }
  }
  return all.map((measured) => {
    const [now, before] = [measured, all.find(({ work, pods }) => work === measured.work && pods === 0)].map(rounds)
    return { ...row(measured, cpu), ...(now && before && measured.pods > 0 && { growth: growth(now, before) }) }
  })
}

const figure = ({ value, cpu: busy }: Sample, cpu: boolean): number => (cpu ? busy : undefined) ?? value

function row({ work, pods, unit, samples }: Measured, cpu: boolean): Row {
  const value = (sample: Sample) => figure(sample, cpu)
  const values = Object.fromEntries(Object.entries(samples).map(([column, list]) => [column, list.map(value)]))
  const { [OURS]: ours, [FLOOR]: empty } = values
  const cell = ([column, list]: [string, Sample[]]): [string, Cell] => [
    column,
    {
      median: median(values[column]!),
      p95: quantile(values[column]!, 0.95),
      ...(ours && column !== OURS && column !== FLOOR && { ratio: ratio(ours, values[column]!) }),
      samples: list.map(({ value }) => rounded(value)),
      ...(unit !== 'MiB' && { cpu: list.flatMap(({ cpu }) => (cpu === undefined ? [] : rounded(cpu))) }),
    },
  ]
  return { work, pods, unit, ...(ours && empty && { above: difference(ours, empty) }), cells: Object.fromEntries(Object.entries(samples).map(cell)) }
}

const rounded = (figure: number): number => Number(figure.toFixed(3))

/** The rows as a table. Columns are ours, the floor, and the references in their order. */
export function table(rows: Row[], references: string[]): string {
  const head = ['work', 'pods', OURS, FLOOR, 'above it', ...references.flatMap((name) => [name, 'ratio'])]
  const lines = rows.map(({ work, pods, unit, above, cells }) => [
    unit === 'ms' ? work : `${work}, ${unit}`,
    String(pods),
    figures(cells[OURS]),
    figures(cells[FLOOR]),
    interval(above, 1),
    ...references.flatMap((name) => [figures(cells[name]), interval(cells[name]?.ratio, 2)]),
  ])
  return markdown(head, lines)
}

const figures = (cell: Cell | undefined): string => (cell ? `${cell.median.toFixed(1)} (${cell.p95.toFixed(1)})` : '')
export const interval = (estimate: Estimate | undefined, digits: number): string =>
  estimate ? `${estimate.value.toFixed(digits)} [${estimate.low.toFixed(digits)} ${estimate.high.toFixed(digits)}]` : ''

/** A table in Markdown that is also aligned: words left, figures right. */
export function markdown(head: string[], lines: string[][]): string {
  const widths = head.map((title, i) => Math.max(title.length, ...lines.map((line) => line[i]!.length)))
  const print = (cells: string[]) => `| ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join(' | ')} |`
  const rule = widths.map((width, i) => (i === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`))
  return [head, rule, ...lines].map(print).join('\n')
}
