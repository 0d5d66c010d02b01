// Leases on disk, in the directory format of host-local, which is a contract: the reference plugin and podwire take over
// from each other on a live node, in both directions.
//
//   <dataDir>/<network>/10.1.2.3              "containerID\r\nifname": the lease
//                       last_reserved_ip.0    where the next search of range set 0 begins
//                       lock                  held under flock(2) by whoever changes something
//                       .podwire.<hash>            the same file once more (a hard link): the holder has leases of ours
//                       .podwire.<hash>.10.1.2.3   and once more: this one
//
// The first of podwire's own names is written before the others, whole and synced, and the lease is linked to it, so a
// lease exists whole or not at all. By the hash of its holder, ADD knows with one look that a container has no lease yet,
// and DEL finds those it has in the directory's names alone, without reading a file. Since the content of all names is
// the lease's, the reference's DEL, which removes every file with that content, removes them too. A name of ours without
// its lease is what a crash left, and goes with the next GC, or a DEL that has to read the directory.

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

/** A network's directory without locking it, for reading only; it need not be there. */
export const peek = (directory: string): Store => new Store(directory)

/** As peek, for who would lease there next. Error 50 if nothing could be written. */
export function ready(directory: string): Store {
  try {
    attempt(directory, () => writable(directory))
    return peek(directory)
  } catch (error) {
    if (!(error instanceof CniError)) throw error
    throw new CniError(50, error.message, error.details)
  }
}

/** Only asks: the directory itself, or the nearest above it that is there, since ADD would make the rest. */
function writable(directory: string): void {
  let path = isPresent(directory) ? directory : dirname(directory)
  while (!existsSync(path)) path = dirname(path)
  accessSync(path, constants.W_OK | constants.X_OK)
  const { blocks, bfree, files, ffree } = statfsSync(path) // a file system without such a limit says that it has 0 in all
  if ((blocks > 0 && bfree === 0) || (files > 0 && ffree === 0)) throw new CniError(5, `state directory ${directory}: ENOSPC: no space left on device`)
}

/** What is in a directory. Its names are read when they are needed, once: an ADD does without. */
export class Store {
  readonly #directory: string
  #names: { held: Set<string>; own: string[] } | undefined
  #lookups = 0

  constructor(directory: string) {
    this.#directory = directory
  }

  /** Addresses that are held, canonical. */
  get held(): Set<string> {
    return this.#list().held
  }

  /** Whether an address is held. Some are looked up one by one; who asks for many had better have the list. */
  has(address: string): boolean {
    return !this.#names && this.#lookups++ < LOOKUPS ? exists(this.#path(address)) : this.held.has(address)
  }

  /** Whether podwire leased something to the holder, by one look. */
  knows(holder: Holder): boolean {
    return exists(this.#path(nameOf(holder)))
  }

  /** Addresses that the holder has by our index; no file but theirs is read. */
  indexed(holder: Holder): string[] {
    const begin = `${nameOf(holder)}.` // a hash: not once for each name
    const own = this.#list().own.filter((name) => name.startsWith(begin)).map(addressOf)
    return own.filter((address) => this.held.has(address) && this.#content(address) === content(holder))
  }

  /**
   * Addresses that the holder has, those included that the reference leased, which takes reading what our index does not
   * name. An entry may have outlived its lease and name an address that the reference leased again: so `said`, addresses
   * that the holder is said to have, are read too.
   */
  of(holder: Holder, said: string[] = []): string[] {
    const indexed = new Set(this.#list().own.map(addressOf))
    const unknown = [...this.held].filter((address) => !indexed.has(address) || said.includes(address))
    const read = unknown.filter((address) => {
      const there = this.read(address)
      return there && same(there, holder)
    })
    return [...new Set([...this.indexed(holder), ...read])]
  }

  /**
   * The same for a holder who is said to have just these, if that can be seen without the directory's names: all names of ours
   * for a holder are one file, which counts them. Undefined: it can't.
   */
  exactly(holder: Holder, said: string[]): string[] | undefined {
    const card = lstatSync(this.#path(nameOf(holder)), { throwIfNoEntry: false })
    const linked = (name: string) => lstatSync(this.#path(name), { throwIfNoEntry: false })?.ino === card?.ino
    const own = card ? said.filter((address) => ADDRESS.test(address) && linked(address) && linked(nameOf(holder, address))) : []
    return own.length > 0 && card?.nlink === 1 + 2 * own.length ? own : undefined
  }

  /** Frees these, with our names of them. */
  surrender(holder: Holder, addresses: string[]): void {
    this.#remove([...addresses, ...addresses.map((address) => nameOf(holder, address)), nameOf(holder)])
    this.#names = undefined
  }

  /** All leases, read. A file of the reference's first days names no interface: it matches any. */
  leases(): Lease[] {
    const own = new Set(this.#list().own)
    return [...this.held].flatMap((address) => {
      const holder = this.read(address)
      return holder ? [{ address, ...holder, own: own.has(nameOf(holder, address)) }] : []
    })
  }

  /** Who holds an address; undefined when its file says nothing that could be a container. */
  read(address: string): Holder | undefined {
    const [containerID = '', ifname = ''] = (this.#content(address) ?? '').split('\r\n').map((part) => part.trim())
    return IDENTIFIER.test(containerID) ? { containerID, ifname } : undefined
  }

  /**
   * Those of the addresses whose file has nothing in it, or nothing but zeros, for a minute: what a crash of the
   * reference leaves, or of the machine. Whatever else somebody put there stays.
   */
  torn(addresses: Iterable<string> = this.held): string[] {
    const indexed = new Set(this.#list().own.map(addressOf))
    return [...addresses].filter((address) => !indexed.has(address) && /^[\0\s]*$/.test(this.#content(address) ?? 'gone') && this.age(address) > 60)
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
    const card = nameOf(holder)
    this.#write(card, content(holder))
    const made = [card]
    try {
      for (const address of addresses) {
        for (const name of [nameOf(holder, address), address]) {
          linkSync(this.#path(card), this.#path(name))
          made.push(name)
        }
      }
      this.#sync()
    } catch (error) {
      this.#remove(made.reverse())
      throw error
    }
  }

  /** Frees addresses. Our names of them stay behind for `tidy`, as after a crash. */
  release(addresses: string[]): void {
    this.#remove(addresses)
    if (this.#names) for (const address of addresses) this.held.delete(address)
  }

  /** Removes names of ours without a lease: of what was released, of what crashed, of what was removed by hand. */
  tidy(): void {
    const { own, held } = this.#list()
    const cards = new Set(own.filter((name) => held.has(addressOf(name))).map(cardOf))
    this.#remove(own.filter((name) => !cards.has(name) && !held.has(addressOf(name))))
    this.#names = undefined
  }

  /** Removes our names of a holder who has no lease, whoever has the addresses now. */
  forget(holder: Holder): void {
    const card = nameOf(holder)
    this.#remove(this.#list().own.filter((name) => cardOf(name) === card))
    this.#names = undefined
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

  #list() {
    if (this.#names) return this.#names
    const all = attempt(this.#directory, () => names(this.#directory))
    const own = all.filter((name) => name.startsWith(INDEX))
    return (this.#names = { own, held: new Set(all.filter((name) => ADDRESS.test(name))) })
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

const ADDRESS = /^[0-9a-f:]*[.:][0-9a-f.:]*$/ // as no other name that belongs here
const DIGITS = 16
const LOOKUPS = 32
const nameOf = ({ containerID, ifname }: Holder, address?: string): string => `${INDEX}${hash(DIGITS, containerID, ifname)}${address === undefined ? '' : `.${address}`}`
const cardOf = (name: string): string => name.slice(0, INDEX.length + DIGITS)
const addressOf = (name: string): string => name.slice(INDEX.length + DIGITS + 1)
const content = ({ containerID, ifname }: Holder): string => `${containerID}\r\n${ifname}`
const same = (lease: Holder, holder: Holder): boolean => lease.containerID === holder.containerID && (lease.ifname === '' || lease.ifname === holder.ifname)

/** True if anything has that name, a symlink to nothing included. */
const exists = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined

function names(directory: string): string[] {
  try {
    return isPresent(directory) ? readdirSync(directory) : []
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return []
    throw error
  }
}

function makeDirectory(directory: string): void {
  if (!isPresent(directory)) mkdirSync(directory, { recursive: true, mode: 0o755 })
}

/**
 * True if the directory is there. Error 5 if something else is: a symlink in the place of the network's directory may have
 * been planted. Where the data directory leads is the administrator's choice.
 */
export function isPresent(directory: string): boolean {
  const there = attempt(directory, () => lstatSync(directory, { throwIfNoEntry: false }))
  if (!there || there.isDirectory()) return there !== undefined
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
