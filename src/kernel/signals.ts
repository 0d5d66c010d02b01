// Signals that mean something to a process that goes on, and those that do not: a terminal that closes, somebody's pkill -USR2, a
// timer must not take the node's agent away. man 7 signal

import { constants } from 'node:os'
import { ignoreSignal } from './libc.ts'

const MEANT = ['SIGTERM', 'SIGINT'] as const

/** Signals whose default is to end a process, or to stop it for a terminal's sake; not those of faults, and SIGABRT, for a core dump. */
const MEANINGLESS = [
  ...(['SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGPIPE', 'SIGALRM', 'SIGVTALRM', 'SIGPROF'] as const),
  ...(['SIGSTKFLT', 'SIGPWR', 'SIGXCPU', 'SIGXFSZ', 'SIGTTIN', 'SIGTTOU'] as const),
]
const REAL_TIME = Array.from({ length: 31 }, (_, i) => 34 + i) // SIGRTMIN to SIGRTMAX as glibc has them

/** Resolves with SIGTERM or SIGINT when one of them comes. All that mean nothing are ignored from now on. */
export function ending(): Promise<string> {
  for (const signal of [...MEANINGLESS.map((name) => constants.signals[name]), ...REAL_TIME]) ignoreSignal(signal)
  return new Promise((resolve) => {
    for (const name of MEANT) process.on(name, resolve)
  })
}
