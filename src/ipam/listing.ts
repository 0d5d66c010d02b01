// The names in a directory of leases, sorted out once: many thousands, so each is looked at briefly.

import { readdirSync } from 'node:fs'
import { isErrno } from '../kernel/errno.ts'
import { addressOf, INDEX, isAddress } from './lease.ts'

export interface Listing {
  /** Addresses that are held: names of whatever kind. */
  held: Set<string>
  /** Those of them that are files, whose leases can be read. */
  files: string[]
  /** Names of podwire's, but for directories, which nobody made for it. */
  own: string[]
}

/** Nothing where there is no directory. */
export function list(directory: string | undefined): Listing {
  const [held, files, own] = [new Set<string>(), [] as string[], [] as string[]]
  for (const entry of directory === undefined ? [] : entries(directory)) {
    const name = entry.name
    if (name.startsWith(INDEX)) {
      if (!entry.isDirectory()) own.push(name)
    } else if (isAddress(name)) {
      held.add(name)
      if (entry.isFile()) files.push(name)
    }
  }
  return { held, files, own }
}

/** The names of podwire's for each address; more than one where one has outlived its lease. */
export function byAddress(own: string[]): Map<string, string[]> {
  const names = new Map<string, string[]>()
  for (const name of own) {
    const address = addressOf(name)
    const others = names.get(address)
    if (others) others.push(name)
    else if (address !== '') names.set(address, [name])
  }
  return names
}

function entries(directory: string) {
  try {
    return readdirSync(directory, { withFileTypes: true })
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return []
    throw error
  }
}
