// Runs another executable and waits for it. Its input and output are files in memory and not pipes: a grandchild that keeps a
// pipe open would otherwise keep us waiting for ever. What does not end in time is ended, with all that it has started.

import { closeSync, readFileSync, writeSync } from 'node:fs'
import { execaSync } from 'execa'
import type { Ended } from './ipam/delegate.ts'
import { children, endDescendants } from './kernel/descendants.ts'
import { adoptOrphans, memfd } from './kernel/libc.ts'

/** How much an executable may print, bytes; no result of CNI is near it. */
const MOST = 1024 * 1024

/** Runs `file` with `stdin`, our environment plus `env`, its stderr ours; kills it and its descendants after `timeout` milliseconds. */
export function run(file: string, env: Record<string, string>, stdin: Uint8Array, timeout: number): Ended {
  const files: number[] = []
  const inMemory = (name: string, size: number) => files[files.push(memfd(name, size)) - 1]!
  try {
    const [input, output] = [inMemory('podwire-stdin', stdin.length), inMemory('podwire-stdout', MOST)]
    writeSync(input, stdin, 0, stdin.length, 0)
    const streams = { stdin: input as 3, stdout: output as 3, stderr: 'inherit' } as const
    const ended = withDescendants(() => execaSync(file, [], { env, ...streams, reject: false, timeout, killSignal: 'SIGKILL' }))
    const { exitCode, signal, timedOut, originalMessage: failure } = ended
    return { exitCode, signal, stdout: readFrom(output), timedOut, failure }
  } finally {
    for (const fd of files) closeSync(fd)
  }
}

/** Runs what starts processes; if their time was up, none of them is left. */
function withDescendants<T extends { timedOut: boolean }>(start: () => T): T {
  const spared = children()
  adoptOrphans(true)
  try {
    const ended = start()
    if (ended.timedOut) endDescendants(spared)
    return ended
  } finally {
    adoptOrphans(false)
  }
}

/** What was printed: the rest of the file is zeros, which are in no JSON. */
function readFrom(fd: number): string {
  const bytes = readFileSync(`/proc/self/fd/${fd}`)
  const end = bytes.indexOf(0)
  return bytes.toString('utf8', 0, end < 0 ? bytes.length : end)
}
