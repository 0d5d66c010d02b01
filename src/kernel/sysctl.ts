// Values below /proc/sys. /proc/sys/net shows the network namespace of the thread that opens it. man 5 proc

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import type { Sysctl } from '../facts.ts'
import { differs, type Difference } from './difference.ts'
import { isErrno } from './errno.ts'
import type { Netns } from './netns.ts'

/** A container that is not privileged has /proc/sys read-only, and may have the node's mounted elsewhere. */
const file = (key: string): string => `${process.env.PODWIRE_PROC_SYS ?? '/proc/sys'}/${key}`

/** The value, or undefined if the kernel has no such key (IPv6 built out, an interface that is gone). */
export function read(netns: Netns, key: string): string | undefined {
  return netns.inside(() => {
    try {
      return readFileSync(file(key), 'utf8').trim()
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined
      throw error
    }
  })
}

/**
 * Writes the value. What is the host's is left alone when it is right already, and a read-only /proc/sys hurts only who has
 * something to change.
 */
export function add(netns: Netns, { key, value, keep }: Sysctl): void {
  if (keep && read(netns, key) === value) return
  try {
    netns.inside(() => writeFileSync(file(key), `${value}\n`)) // a line, so that nothing is a value, too
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) throw new NoSysctl(key)
    if (!isErrno(error, 'EROFS', 'EACCES') || read(netns, key) !== value) throw error
  }
}

export class NoSysctl extends Error {
  readonly code = 'ENOENT'

  constructor(key: string) {
    super(`there is no sysctl ${key} in this network namespace`)
  }
}

/** Puts back what a fact replaced; with its interface it is gone, too. */
export function restore(netns: Netns, { key, before }: Sysctl): void {
  if (typeof before === 'object' && netns.inside(() => existsSync(file(key)))) netns.inside(() => writeFileSync(file(key), `${before.value}\n`))
}

/** What there is now, if that can be told. */
export function replaced(netns: Netns, key: string): { value: string } | undefined {
  const value = told(netns, key)
  return typeof value === 'string' ? { value } : undefined
}

export function check(netns: Netns, { key, value }: Sysctl): Difference | undefined {
  const there = told(netns, key)
  if (there === null) return undefined
  return there !== undefined && plain(there) === plain(value) ? undefined : differs(`sysctl ${key} is ${there ?? 'missing'}, not ${value}`)
}

/** The value, or null of what can only be written, such as net/ipv4/route/flush. */
function told(netns: Netns, key: string): string | undefined | null {
  try {
    return read(netns, key)
  } catch (error) {
    if (isErrno(error, 'EACCES')) return null
    throw error
  }
}

/** The kernel has tabs between numbers. */
const plain = (value: string): string => value.trim().replace(/\s+/g, ' ')

/** True if this kernel has IPv6 at all. */
export const hasIPv6 = (): boolean => existsSync('/proc/sys/net/ipv6')
