// Rows of cells as lines, each column as wide as its widest cell.

import { printable } from '../printable.ts'

export function columns(rows: string[][]): string[] {
  const cells = rows.map((row) => row.map(printable))
  const widths = rows[0]!.map((_, i) => cells.reduce((width, row) => Math.max(width, row[i]!.length), 0))
  return cells.map((row) => `${row.map((cell, i) => cell.padEnd(widths[i]!)).join('  ').trimEnd()}\n`)
}
