// Executables in the page cache, all alike. How a file came there decides how many pages a fault maps: of the same
// executable 47 MiB are resident when it has just been written and 79 when it was read, and it takes some hundred page
// faults more or less.

import { execFileSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** Writes files back, drops them from the page cache, and reads them from beginning to end. */
export function readAnew(files: string[]): void {
  const each = new Map(files.map((file) => [identity(file), file])) // links to one file are one
  execFileSync('sh', ['-c', 'for file; do sync "$file"; dd if="$file" iflag=nocache count=0 status=none; cat "$file" >/dev/null; done', 'sh', ...each.values()])
}

function identity(file: string): string {
  const { dev, ino } = statSync(file)
  return `${dev} ${ino}`
}

/** The plugins of a directory that are called, or that those call. */
export const plugins = (bin: string, names: string[]): string[] => names.map((name) => join(bin, name)).filter(existsSync)
