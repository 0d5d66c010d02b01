// All processes that descend from this one, whatever sessions and groups they are in. man 5 proc_pid_stat

import { readdirSync, readFileSync } from 'node:fs'
import * as libc from './libc.ts'

/** Processes by number: those that this thread has started. Without CONFIG_PROC_CHILDREN the kernel does not tell: none. */
export function children(): number[] {
  const list = text(`/proc/self/task/${process.pid}/children`) ?? ''
  return list.trim().split(' ').filter(Boolean).map(Number)
}

/**
 * Ends all descendants, but for those that descend from `spared` or are among them. Orphans have to be adopted (libc.adoptOrphans)
 * since before they were started: so each has a way of parents that leads here.
 */
export function endDescendants(spared: number[]): void {
  const ATTEMPTS = 500 // each ends whatever was started since the one before
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const left = descendants(spared)
    if (left.length === 0) return
    for (const pid of left) end(pid)
    libc.sleep(2)
    for (const pid of left) libc.reap(pid)
  }
}

function descendants(spared: number[]): number[] {
  const offspring = Map.groupBy(all(), ({ parent }) => parent)
  const walk = (parent: number): number[] =>
    (offspring.get(parent) ?? []).filter(({ pid }) => !spared.includes(pid)).flatMap(({ pid }) => [pid, ...walk(pid)])
  return walk(process.pid)
}

function all(): { pid: number; parent: number }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => ({ pid: Number(name), parent: parentIn(text(`/proc/${name}/stat`) ?? '') }))
}

/** The fourth field. The second is a name in parentheses, which may hold anything. */
const parentIn = (stat: string): number => Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // it has ended by itself
  }
}

/** A file of /proc; undefined if the process it is about has ended. */
function text(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return undefined
  }
}
