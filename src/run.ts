// Runs another executable and waits for it. Its output goes into a file in memory and not through a pipe: a grandchild
// that keeps the pipe open would otherwise keep us waiting for ever.

import { closeSync, readFileSync } from 'node:fs'
import { execaSync } from 'execa'
import type { Ended } from './ipam/delegate.ts'
import { memfd } from './kernel/libc.ts'

/** Runs `file` with `stdin`, our environment plus `env`, its stderr ours; kills it after `timeout` milliseconds. */
export function run(file: string, env: Record<string, string>, stdin: Uint8Array, timeout: number): Ended {
  const output = memfd('podwire-stdout')
  try {
    const ended = execaSync(file, [], { env, input: stdin, stdout: output as 3, stderr: 'inherit', reject: false, timeout, killSignal: 'SIGKILL' })
    return {
      exitCode: ended.exitCode,
      signal: ended.signal,
      stdout: readFrom(output),
      timedOut: ended.timedOut,
      failure: ended.originalMessage,
    }
  } finally {
    closeSync(output)
  }
}

const readFrom = (fd: number): string => readFileSync(`/proc/self/fd/${fd}`, 'utf8')

