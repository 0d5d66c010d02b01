// Gives back what only the start needed. The executable is mapped into memory, and the kernel maps 64 KiB and more around
// each page that is touched: after the start, most of 150 MB. Dropped pages of a file come back when they are touched again.
// man 2 madvise, man 3 malloc_trim, man 5 proc_pid_smaps

import { readFileSync, readlinkSync } from 'node:fs'
import { dontNeed, trimHeap } from './libc.ts'

/** As much as can be: nobody depends on it. */
export function trim(): void {
  try {
    for (const { from, to } of clean(readFileSync('/proc/self/smaps', 'utf8'), readlinkSync('/proc/self/exe'))) dontNeed(from, to)
    trimHeap()
  } catch {
    // then it is kept
  }
}

/** The mappings of a file that hold nothing but the file: one with pages of its own (relocations) would lose them. */
function clean(smaps: string, path: string): { from: bigint; to: bigint }[] {
  return smaps.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m).flatMap((mapping) => {
    const [, from, to, file] = /^([0-9a-f]+)-([0-9a-f]+) r-[-x]p \S+ \S+ \d+ +(.*)$/m.exec(mapping) ?? []
    const own = /^Anonymous: +(\d+) kB$/m.exec(mapping)?.[1]
    return file === path && own === '0' ? [{ from: BigInt(`0x${from}`), to: BigInt(`0x${to}`) }] : []
  })
}
