// Which processes have sockets open, as far as this one may see it: another user's processes, and those outside of a container, it
// may not. man 5 proc_pid_fd

import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

export interface Process {
  pid: number
  /** `process 1234 (socat)` */
  said: string
}

const MOST = 100_000 // open files that are looked at

/** The processes that have sockets open, by the sockets' inodes. */
export function processesOf(inodes: number[]): Map<number, Process> {
  const wanted = new Map(inodes.map((inode) => [`socket:[${inode}]`, inode]))
  const found = new Map<number, Process>()
  let left = MOST
  for (const pid of names('/proc').filter((name) => /^\d+$/.test(name)))
    for (const fd of names(`/proc/${pid}/fd`)) {
      if (left-- === 0 || found.size === wanted.size) return found
      const inode = wanted.get(attempt(() => readlinkSync(`/proc/${pid}/fd/${fd}`)) ?? '')
      if (inode !== undefined && !found.has(inode)) found.set(inode, { pid: Number(pid), said: `process ${pid}${nameOf(pid)}` })
    }
  return found
}

/** A process that ends meanwhile, or another user's, has none that can be seen. */
const names = (directory: string): string[] => attempt(() => readdirSync(directory)) ?? []

/** ` (socat)`: what a process calls itself, so only what can do no harm where it is printed. */
function nameOf(pid: string): string {
  const name = attempt(() => readFileSync(`/proc/${pid}/comm`, 'utf8'))?.replace(/[^\w .:/-]/g, '')
  return name ? ` (${name})` : ''
}

function attempt<T>(ask: () => T): T | undefined {
  try {
    return ask()
  } catch {
    return undefined
  }
}
