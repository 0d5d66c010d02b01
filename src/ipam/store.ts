// Leases on disk, in the directory format of host-local, which is a contract: the reference plugin and podwire take over
// from each other on a live node, in both directions.
//
//   <dataDir>/<network>/10.1.2.3              "containerID\r\nifname": the lease
//                       last_reserved_ip.0    where the next search of range set 0 begins
//                       lock                  held under flock(2) by whoever changes something
//                       .podwire.<hash>.10.1.2.3   the same file once more (a hard link): podwire's index
//
// The index entry is written first, whole and synced, and the lease is linked to it, so a lease exists whole or not at
// all. By its hash the leases of a container are found in the directory's names alone, without reading a file; since its
// content is the lease's, the reference's DEL, which removes every file with that content, removes it too. An entry
// without its lease is what a crash left, and goes with the next change.

import { accessSync, closeSync, constants, existsSync, fstatSync, fsyncSync, linkSync, lstatSync, mkdirSync, openSync, readFileSync, readdirSync, statfsSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { CniError } from '../cni/error.ts'
import { IDENTIFIER } from '../cni/request.ts'
import { isErrno } from '../kernel/errno.ts'
import { sleep, tryLock } from '../kernel/libc.ts'
import { hash } from '../names.ts'

export interface Holder {
  containerID: string
  ifname: string
}

export interface Lease extends Holder {
  address: string
  /** Podwire made it. */
  own: boolean
}

const INDEX = '.podwire.'
const PATIENCE = 10_000 // ms
const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants

/**
 * Runs a function with the network's directory locked. Errors: 5 the directory cannot be used, 11 the lock was not had
 * within `patience` milliseconds.
 */
export function locked<T>(directory: string, run: (store: Store) => T, patience = PATIENCE): T {
  const fd = attempt(directory, () => {
    makeDirectory(directory)
    return openSync(join(directory, 'lock'), O_RDWR | O_CREAT | O_NOFOLLOW, 0o600)
  })
  try {
    wait(fd, directory, patience)
    return attempt(directory, () => run(new Store(directory)))
  } finally {
    closeSync(fd)
  }
}

/** The names in a network's directory without locking it, for reading only; none if there is no directory. */
export function peek(directory: string): Store {
  return attempt(directory, () => new Store(directory))
}

/** As peek, for who would lease there next. Error 50 if nothing could be written. */
export function ready(directory: string): Store {
  try {
    const store = peek(directory)
    attempt(directory, () => writable(directory))
    return store
  } catch (error) {
    if (!(error instanceof CniError)) throw error
    throw new CniError(50, error.message, error.details)
  }
}

/** Only asks: the directory itself, or the nearest above it that is there, since ADD would make the rest. */
function writable(directory: string): void {
  let path = directory
  while (!existsSync(path)) path = dirname(path)
  accessSync(path, constants.W_OK | constants.X_OK)
  const { blocks, bfree, files, ffree } = statfsSync(path) // a file system without such a limit says that it has 0 in all
  if ((blocks > 0 && bfree === 0) || (files > 0 && ffree === 0)) throw new CniError(5, `state directory ${directory}: ENOSPC: no space left on device`)
}

export class Store {
  readonly #directory: string
  /** Addresses that are held, canonical. */
  readonly held = new Set<string>()
  /** Addresses by hash of their holder, for leases of podwire's making. */
  readonly #index = new Map<string, string[]>()
  readonly #indexed = new Set<string>()

  constructor(directory: string) {
    this.#directory = directory
    const entries: [string, string][] = []
    for (const name of names(directory)) {
      const match = name.startsWith(INDEX) ? /^([0-9a-f]{16})\.(.+)$/.exec(name.slice(INDEX.length)) : null
      if (match) entries.push([match[1]!, match[2]!])
      else if (/^[0-9a-f:]*[.:][0-9a-f.:]*$/.test(name)) this.held.add(name)
    }
    for (const [key, address] of entries) {
      if (!this.held.has(address)) continue
      this.#index.set(key, [...(this.#index.get(key) ?? []), address])
      this.#indexed.add(address)
    }
    this.stale = entries.filter(([, address]) => !this.held.has(address)).map(([key, address]) => `${INDEX}${key}.${address}`)
  }

  /** Index entries without a lease: what a crash left, or the reference's DEL of a lease that it did not make. */
  readonly stale: string[]

  /** Nothing is leased here, and nothing left of a crash. */
  get bare(): boolean {
    return this.held.size === 0 && this.stale.length === 0
  }

  /** Addresses that the holder has by our index; no file but theirs is read. */
  indexed(holder: Holder): string[] {
    return (this.#index.get(key(holder)) ?? []).filter((address) => this.#content(address) === content(holder))
  }

  /**
   * Addresses that the holder has, those included that the reference leased, which takes reading what our index does not
   * name. An entry may have outlived its lease and name an address that the reference leased again: so `said`, addresses
   * that the holder is said to have, are read too.
   */
  of(holder: Holder, said: string[] = []): string[] {
    const unknown = [...this.held].filter((address) => !this.#indexed.has(address) || said.includes(address))
    const read = unknown.flatMap((address) => this.read(address) ?? []).filter((lease) => same(lease, holder))
    return [...new Set([...this.indexed(holder), ...read.map(({ address }) => address)])]
  }

  /** All leases, read. A file of the reference's first days names no interface: it matches any. */
  leases(): Lease[] {
    return [...this.held].flatMap((address) => this.read(address) ?? [])
  }

  /** Who holds an address; undefined when its file says nothing that could be a container. */
  read(address: string): Lease | undefined {
    const [containerID = '', ifname = ''] = (this.#content(address) ?? '').split('\r\n').map((part) => part.trim())
    if (!IDENTIFIER.test(containerID)) return undefined
    return { address, containerID, ifname, own: this.#index.get(key({ containerID, ifname }))?.includes(address) ?? false }
  }

  /**
   * Those of the addresses whose file has nothing in it, or nothing but zeros, for a minute: what a crash of the
   * reference leaves, or of the machine. Whatever else somebody put there stays.
   */
  torn(addresses: Iterable<string> = this.held): string[] {
    return [...addresses].filter((address) => !this.#indexed.has(address) && /^[\0\s]*$/.test(this.#content(address) ?? 'gone') && this.age(address) > 60)
  }

  /** Seconds since an address was leased. */
  age(address: string): number {
    try {
      return (Date.now() - statSync(this.#path(address)).mtimeMs) / 1000
    } catch {
      return 0
    }
  }

  /** Publishes leases for a holder, all or none, and makes them last. */
  reserve(addresses: string[], holder: Holder): void {
    const made: string[] = []
    try {
      for (const address of addresses) {
        const entry = `${INDEX}${key(holder)}.${address}`
        if (made.length === 0) this.#write(entry, content(holder))
        else linkSync(this.#path(made[0]!), this.#path(entry))
        made.push(entry)
        linkSync(this.#path(entry), this.#path(address))
        made.push(address)
      }
      this.#sync()
    } catch (error) {
      this.#remove(made.reverse())
      throw error
    }
  }

  /** Frees addresses: the lease first, so that a crash in between leaves an entry without a lease. */
  release(addresses: string[]): void {
    const keys = new Map([...this.#index].flatMap(([k, held]) => held.map((address) => [address, k])))
    this.#remove(addresses.flatMap((address) => [address, ...(keys.has(address) ? [`${INDEX}${keys.get(address)}.${address}`] : [])]))
    for (const address of addresses) this.held.delete(address)
  }

  /** Removes what crashes left: index entries without a lease. */
  tidy(): void {
    this.#remove(this.stale)
  }

  lastReserved(set: number): string {
    return this.#content(`last_reserved_ip.${set}`)?.trim() ?? ''
  }

  // A hint: written in place without a sync, and what cannot be read as an address is no hint.
  setLastReserved(set: number, address: string): void {
    const fd = openSync(this.#path(`last_reserved_ip.${set}`), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600)
    try {
      writeFileSync(fd, address)
    } finally {
      closeSync(fd)
    }
  }

  #path(name: string): string {
    return join(this.#directory, name)
  }

  #content(name: string): string | undefined {
    let fd: number
    try {
      fd = openSync(this.#path(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ELOOP', 'ENXIO')) return undefined
      throw error
    }
    try {
      return fstatSync(fd).isFile() ? readFileSync(fd, 'utf8') : undefined
    } finally {
      closeSync(fd)
    }
  }

  #write(name: string, text: string): void {
    const fd = openSync(this.#path(name), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
    try {
      writeFileSync(fd, text)
      fsyncSync(fd)
    } catch (error) {
      this.#remove([name])
      throw error
    } finally {
      closeSync(fd)
    }
  }

  #sync(): void {
    const fd = openSync(this.#directory, O_RDONLY)
    try {
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
  }

  #remove(list: string[]): void {
    for (const name of list) {
      try {
        unlinkSync(this.#path(name))
      } catch (error) {
        if (!isErrno(error, 'ENOENT')) throw error
      }
    }
  }
}

const key = ({ containerID, ifname }: Holder): string => hash(16, containerID, ifname)
const content = ({ containerID, ifname }: Holder): string => `${containerID}\r\n${ifname}`
const same = (lease: Holder, holder: Holder): boolean => lease.containerID === holder.containerID && (lease.ifname === '' || lease.ifname === holder.ifname)

function names(directory: string): string[] {
  try {
    return isThere(directory) ? readdirSync(directory) : []
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return []
    throw error
  }
}

function makeDirectory(directory: string): void {
  if (!isThere(directory)) mkdirSync(directory, { recursive: true, mode: 0o755 })
}

// A symlink in the place of the network's directory may have been planted; where the data directory leads is the
// administrator's choice.
function isThere(directory: string): boolean {
  try {
    if (lstatSync(directory).isDirectory()) return true
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false
    throw error
  }
  throw new CniError(5, `state directory ${directory} is not a directory`, 'a symlink in its place is not followed: remove it, or set ipam.dataDir to where it leads')
}

function wait(fd: number, directory: string, patience: number): void {
  const start = Date.now()
  for (let pause = 1; !tryLock(fd); pause = Math.min(pause * 2, 20)) {
    if (Date.now() - start > patience) throw new CniError(11, `state directory ${directory} has been locked by another process for ${patience / 1000} s`, `see which: fuser ${join(directory, 'lock')}`)
    sleep(pause)
  }
}

/** A system error of the directory becomes error 5, which names the path. */
function attempt<T>(directory: string, run: () => T): T {
  try {
    return run()
  } catch (error) {
    if (error instanceof CniError || !(error instanceof Error) || !('syscall' in error)) throw error
    throw new CniError(5, `state directory ${directory}: ${error.message}`)
  }
}
