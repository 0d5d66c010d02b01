// Values below /proc/sys. /proc/sys/net shows the network namespace of the thread that opens it. man 5 proc

import { accessSync, constants, existsSync, readFileSync, writeFileSync } from 'node:fs'
import type { Sysctl } from '../facts.ts'
import { differs, type Difference } from './difference.ts'
import { isErrno } from './errno.ts'
import type { Netns } from './netns.ts'

let root = '/proc/sys'

/** A container that is not privileged has /proc/sys read-only, and may have the node's mounted elsewhere: there from now on. */
export function useProcSys(path: string): void {
  if (!existsSync(`${path}/net`)) throw new Error(`there is no ${path}/net, where this node's sysctls should be: see PODWIRE_PROC_SYS`)
  root = path
}

const file = (key: string): string => `${root}/${key}`

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
 * Writes the value, unless it is so already: a read-only /proc/sys hurts only who has something to change. Returns what an operator
 * should know of an optional one that could not be written.
 */
export function add(netns: Netns, fact: Sysctl): string | undefined {
  const { key, value, optional } = fact
  const there = told(netns, key)
  if ((optional && there === undefined) || isRight(fact, there)) return undefined
  try {
    netns.inside(() => writeFileSync(file(key), `${value}\n`)) // a line, so that nothing is a value, too
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) throw new NoSysctl(key)
    if (!optional || !isErrno(error, ...UNWRITABLE)) throw error
    return `sysctl ${key} stays ${there ?? 'as it is'}, because it cannot be written here: ${(error as NodeJS.ErrnoException).code}; better is ${value}`
  }
  return undefined
}

/** What is written elsewhere, or by nobody. */
const UNWRITABLE = ['EROFS', 'EACCES', 'EPERM']

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

/**
 * What is not as it should be. Of an optional one: unless that is how it was found, and can only be; and in the pod's namespace, where
 * it protects or speeds up the pod alone, it is the pod's to change, or a plugin's behind (CNI 1.1 §2 CHECK).
 */
export function check(netns: Netns, fact: Sysctl): Difference | undefined {
  if (fact.optional && fact.in === 'pod') return undefined
  const there = told(netns, fact.key)
  if (there === null || isRight(fact, there)) return undefined
  if (fact.optional && (there === undefined ? hasInterface(netns, fact.key) : !isWritable(netns, fact.key))) return undefined
  return differs(`sysctl ${fact.key} is ${there ?? 'missing'}, not ${fact.value}`)
}

const isRight = ({ key, value, or = [] }: Sysctl, there: string | undefined | null): boolean =>
  typeof there === 'string' && [value, ...or].some((one) => isSame(key, one, there))

/**
 * Whether the kernel, which was told one value, tells it so. It has tabs between numbers, takes them with base 8 and 16 as C does
 * (strtoul_lenient in kernel/sysctl.c), and counts milliseconds in ticks of at most 10.
 */
function isSame(key: string, value: string, there: string): boolean {
  const [given, told] = [value, there].map((text) => text.trim().split(/\s+/)) as [string[], string[]]
  const close = key.endsWith('_ms') ? 10 : 0
  const says = (word: string, is = '') => word === is || numbers(word).some((number) => Math.abs(number - Number(is)) <= close)
  return given.length === told.length && given.every((word, i) => says(word, told[i]))
}

/** What a word may be read as: a number that begins with 0 is octal to most of the kernel, and decimal to some. */
function numbers(word: string): number[] {
  const [, sign = '', digits] = /^(-?)(0x[0-9a-f]+|\d+)$/i.exec(word) ?? []
  if (digits === undefined) return []
  const read = [Number(digits), ...(/^0[0-7]+$/.test(digits) ? [parseInt(digits, 8)] : [])]
  return sign ? read.map((number) => -number) : read
}

/** True if a key is about no interface, or one that is there: with an MTU below 1280 it has no IPv6, and none of its values. */
function hasInterface(netns: Netns, key: string): boolean {
  const dev = /^net\/ipv[46]\/conf\/([^/]+)\//.exec(key)?.[1]
  return dev === undefined || netns.inside(() => existsSync(file(`net/ipv4/conf/${dev}`)))
}

function isWritable(netns: Netns, key: string): boolean {
  return netns.inside(() => {
    try {
      accessSync(file(key), constants.W_OK)
      return true
    } catch {
      return false
    }
  })
}

/** The value; undefined if there is none; null of what cannot be read: net/ipv4/route/flush, or a stable_secret that nobody set. */
function told(netns: Netns, key: string): string | undefined | null {
  try {
    return read(netns, key)
  } catch (error) {
    if (isErrno(error, 'EACCES', 'EIO')) return null
    throw error
  }
}

/** True if this kernel has IPv6 at all. */
export const hasIPv6 = (): boolean => existsSync('/proc/sys/net/ipv6')
