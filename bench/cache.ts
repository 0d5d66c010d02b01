// Executables in the page cache, all alike. How a file came there decides how many pages a fault maps: of the same
// executable 47 MiB are resident when it has just been written and 79 when it was read, and it takes some hundred page
// faults more or less.

import { execFileSync } from 'node:child_process'
import { readdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'

/** Writes files back, drops them from the page cache, and reads them from beginning to end. */
export function readAnew(files: string[]): void {
  const each = [...new Set(files.map((file) => realpathSync(file)))]
  execFileSync('sh', ['-c', 'for file; do sync "$file"; dd if="$file" iflag=nocache count=0 status=none; cat "$file" >/dev/null; done', 'sh', ...each])
}

/** The plugins of a directory that are compared. */
export const plugins = (bin: string): string[] => readdirSync(bin).filter((name) => ['ptp', 'loopback', 'host-local'].includes(name)).map((name) => join(bin, name))
