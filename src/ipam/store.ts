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
//
// Whatever else stands under one of these names, or cannot be read, hurts nobody but its holder: an address of that name is
// held, of last_reserved_ip.N nothing is needed, and what cannot be removed keeps nothing else from being removed.

import { closeSync, constants, fsyncSync, linkSync, lstatSync, openSync, readSync, statfsSync, unlinkSync, writeFileSync, type Stats } from 'node:fs'
import { dirname, join } from 'node:path'
import { CniError } from '../cni/error.ts'
import { makeDirectory, nearest, syncDirectory, tryWriting } from '../directory.ts'
import { BadFile, openFile, textOf } from '../file.ts'
import { isErrno } from '../kernel/errno.ts'
import { lockWithin } from '../kernel/patience.ts'
import { addressOf, cardOf, content, holderIn, INDEX, isAddress, isTorn, LONGEST, nameOf, says, type Holder } from './lease.ts'
import { byAddress, list, type Listing } from './listing.ts'

/** What the file of an address says. */
export interface Lease extends Partial<Holder> {
  address: string
  /** Nothing is in it. */
  torn: boolean
}

const PATIENCE = 10_000 // ms
const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants

/**
 * Runs a function with the network's directory locked. Errors: 5 the directory cannot be used, 11 the lock was not had
 * within `patience` milliseconds.
 */
export function locked<T>(directory: string, run: (store: Store) => T, patience = PATIENCE): T {
  const fd = attempt(directory, () => {
    if (isTooLong(directory)) throw tooLong(directory)
    if (!isPresent(directory)) makeDirectory(directory)
    return openFile(join(directory, 'lock'), O_RDWR | O_CREAT)
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
    throw new CniError(50, error.message, error.details ?? 'leases are kept there: see that root can write there, or set ipam.dataDir to where it can')
  }
}

/** The directory itself and its lock, or the nearest above it that is there, since ADD would make the rest. Nothing is left there. */
function writable(directory: string): void {
  if (isTooLong(directory)) throw tooLong(directory)
  const path = isPresent(directory) ? directory : nearest(dirname(directory))
  tryWriting(path, TRIAL)
  const { blocks, bfree, files, ffree } = statfsSync(path) // a file system without such a limit says that it has 0 in all
  if ((blocks > 0 && bfree === 0) || (files > 0 && ffree === 0)) throw new CniError(5, `state directory ${directory}: ENOSPC: no space left on device`)
  const lock = path === directory ? openLock(directory) : undefined
  if (lock !== undefined) closeSync(lock)
}

/** The lock, if it is there. */
function openLock(directory: string): number | undefined {
  try {
    return openFile(join(directory, 'lock'), O_RDWR)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined
    throw error
  }
}

/** What is in a directory. Its names are read when they are needed, once: an ADD does without. */
export class Store {
  readonly #directory: string
  #listing: Listing | undefined
  #index: Map<string, string[]> | undefined
  #lookups = 0
  #buffer: Buffer | undefined

  constructor(directory: string) {
    this.#directory = directory
  }

  /** Addresses that are held, canonical. */
  get held(): Set<string> {
    return this.#list().held
  }

  /** Whether an address is held. Some are looked up one by one; who asks for many had better have the list. */
  has(address: string): boolean {
    return !this.#listing && this.#lookups++ < LOOKUPS ? this.#look(address) !== undefined : this.held.has(address)
  }

  /** Whether podwire leased something to the holder, by one look. */
  knows(holder: Holder): boolean {
    return this.#look(nameOf(holder)) !== undefined
  }

  /** Addresses that the holder has by our index; no file but theirs is read. */
  indexed(holder: Holder): string[] {
    const begin = `${nameOf(holder)}.` // a hash: not once for each name
    const addresses = this.#list().own.filter((name) => name.startsWith(begin)).map(addressOf)
    return addresses.filter((address) => this.held.has(address) && this.isOf(address, holder))
  }

  /** Whether an address is the holder's, by our name of it or by what its file says. */
  isOf(address: string, holder: Holder): boolean {
    return this.#isLease(nameOf(holder, address)) || says(this.#text(address) ?? '', holder)
  }

  /**
   * Addresses that the holder has, those included that the reference leased, which takes reading what our index does not
   * name. An entry may have outlived its lease and name an address that the reference leased again: so `said`, addresses
   * that the holder is said to have, are read too.
   */
  of(holder: Holder, said: string[] = []): string[] {
    const index = this.#names()
    const outlived = said.filter((address) => index.has(address) && this.card(address) === undefined)
    const unknown = this.#list().files.filter((address) => !index.has(address) || outlived.includes(address))
    return [...new Set([...this.indexed(holder), ...unknown.filter((address) => says(this.#quickly(address) ?? '', holder))])]
  }

  /**
   * The same for a holder who is said to have just these, if that can be seen without the directory's names: all names of ours
   * for a holder are one file, which counts them. Undefined: it can't.
   */
  exactly(holder: Holder, said: string[]): string[] | undefined {
    const card = this.#look(nameOf(holder))
    const linked = (name: string) => this.#look(name)?.ino === card?.ino
    const own = card ? said.filter((address) => isAddress(address) && linked(address) && linked(nameOf(holder, address))) : []
    return own.length > 0 && card?.nlink === 1 + 2 * own.length ? own : undefined
  }

  /** Frees these, with our names of them. */
  surrender(holder: Holder, addresses: string[]): void {
    this.#remove([...addresses, ...addresses.map((address) => nameOf(holder, address)), nameOf(holder)])
    this.#forgetNames()
  }

  /** What the files of all addresses say. */
  leases(): Lease[] {
    return this.#list().files.map((address) => leaseOf(address, this.#quickly(address)))
  }

  /** What the file of one says. */
  lease(address: string): Lease {
    return leaseOf(address, this.#text(address))
  }

  /** The name by which podwire knows an address's holder, whatever its file says; undefined if podwire did not lease it. */
  card(address: string): string | undefined {
    const name = this.#names().get(address)?.find((one) => this.#isLease(one) || this.#isCopy(one))
    return name === undefined ? undefined : cardOf(name)
  }

  /** Whether a lease that is torn has been so for a minute, and is not one that podwire made. Whatever else somebody put there stays. */
  isLeft({ address, torn }: Lease): boolean {
    return torn && this.age(address) > 60 && this.card(address) === undefined
  }

  /** All of these. */
  torn(): string[] {
    return this.leases().filter((lease) => this.isLeft(lease)).map(({ address }) => address)
  }

  /** Seconds since an address was leased; 0 if that cannot be known. */
  age(address: string): number {
    const there = this.#look(address)
    return there ? (Date.now() - there.mtimeMs) / 1000 : 0
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
      syncDirectory(this.#directory)
    } catch (error) {
      this.#removeWhatGoes(made.reverse())
      throw error
    }
  }

  /** Frees addresses. Our names of them stay behind for `tidy`, as after a crash. */
  release(addresses: string[]): void {
    try {
      this.#remove(addresses)
    } finally {
      if (this.#listing) for (const address of addresses) if (!this.#look(address)) this.held.delete(address)
    }
  }

  /** Removes names of ours without a lease: of what was released, of what crashed, of what was removed by hand. */
  tidy(): void {
    const { own, held } = this.#list()
    const [cards, left] = [new Set<string>(), [] as string[]]
    for (const name of own) {
      if (held.has(addressOf(name))) cards.add(cardOf(name))
      else left.push(name)
    }
    this.#removeWhatGoes(left.filter((name) => !cards.has(name)))
    this.#forgetNames()
  }

  /** Removes our names of a holder who has no lease, whoever has the addresses now. */
  forget(holder: Holder): void {
    const card = nameOf(holder)
    this.#removeWhatGoes(this.#list().own.filter((name) => cardOf(name) === card))
    this.#forgetNames()
  }

  lastReserved(set: number): string {
    return this.#text(`last_reserved_ip.${set}`)?.trim() ?? ''
  }

  /** A hint: written in place without a sync. What cannot be written, or read as an address, is no hint. */
  setLastReserved(set: number, address: string): void {
    try {
      const fd = openFile(this.#path(`last_reserved_ip.${set}`), O_WRONLY | O_CREAT | O_TRUNC)
      try {
        writeFileSync(fd, address)
      } finally {
        closeSync(fd)
      }
    } catch {
      // then the next search begins where this one did
    }
  }

  #list(): Listing {
    return (this.#listing ??= attempt(this.#directory, () => list(isPresent(this.#directory) ? this.#directory : undefined)))
  }

  #forgetNames(): void {
    this.#listing = this.#index = undefined
  }

  /** Our names by address. */
  #names(): Map<string, string[]> {
    return (this.#index ??= byAddress(this.#list().own))
  }

  #path(name: string): string {
    return `${this.#directory}/${name}`
  }

  /** What has that name, a symlink to nothing included. */
  #look(name: string): Stats | undefined {
    return attempt(this.#directory, () => lookAt(this.#path(name)))
  }

  /** Whether a name of ours is that of the file that its address has now. */
  #isLease(name: string): boolean {
    const there = this.#look(addressOf(name))
    return there !== undefined && there.ino === this.#look(name)?.ino
  }

  /** Whether it would be, had nobody copied the directory without keeping names of one file together. */
  #isCopy(name: string): boolean {
    const text = this.#text(name)
    return text !== undefined && !isTorn(text) && text === this.#text(addressOf(name))
  }

  /** What a file says, whatever has its name: undefined if that is no file, or cannot be read. */
  #text(name: string): string | undefined {
    try {
      return textOf(this.#path(name), MOST)
    } catch {
      return undefined
    }
  }

  /** The same of what was listed as a file, for thousands. */
  #quickly(name: string): string | undefined {
    const buffer = (this.#buffer ??= Buffer.allocUnsafe(4096))
    try {
      const fd = openSync(this.#path(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
      try {
        const length = readSync(fd, buffer)
        return length < buffer.length ? buffer.toString('utf8', 0, length) : this.#text(name)
      } finally {
        closeSync(fd)
      }
    } catch {
      return undefined
    }
  }

  #write(name: string, text: string): void {
    const fd = openFile(this.#path(name), O_WRONLY | O_CREAT | O_EXCL)
    try {
      writeFileSync(fd, text)
      fsyncSync(fd)
    } catch (error) {
      this.#removeWhatGoes([name])
      throw error
    } finally {
      closeSync(fd)
    }
  }

  /** Removes names. One that does not go keeps no other from going, and is said at the end. */
  #remove(names: string[]): void {
    const [problem, ...more] = this.#removeWhatGoes(names)
    if (!problem) return
    throw new CniError(5, `state directory ${this.#directory}: ${problem.message}${more.length > 0 ? `; and ${more.length} more` : ''}`)
  }

  /** The same for names that nobody needs gone: errors, one for each that stays. */
  #removeWhatGoes(names: string[]): Error[] {
    const problems: Error[] = []
    for (const name of names) {
      try {
        unlinkSync(this.#path(name))
      } catch (error) {
        if (!isErrno(error, 'ENOENT')) problems.push(error as Error)
      }
    }
    return problems
  }
}

const leaseOf = (address: string, text: string | undefined): Lease =>
  ({ address, ...holderIn(text ?? ''), torn: text !== undefined && isTorn(text) })

const LOOKUPS = 32
const TRIAL = `${INDEX}trial` // goes like any name of ours without a lease, should a crash leave it
const MOST = 0x20000 + 32 // bytes; a container ID is in the environment, where none is longer (MAX_ARG_STRLEN, <linux/binfmts.h>)
const PATH_MAX = 4096 // with the NUL. <linux/limits.h>

/**
 * True if the directory is there. Error 5 if something else is: a symlink in the place of the network's directory may have
 * been planted. Where the data directory leads is the administrator's choice.
 */
export function isPresent(directory: string): boolean {
  const there = isTooLong(directory) ? undefined : attempt(directory, () => lookAt(directory))
  if (!there || there.isDirectory()) return there !== undefined
  throw new CniError(5, `state directory ${directory} is not a directory`, 'a symlink in its place is not followed: remove it, or set ipam.dataDir to where it leads')
}

/** Nothing was ever leased in a directory whose path leaves no room for a lease's name. */
const isTooLong = (directory: string): boolean => Buffer.byteLength(directory) + 1 + LONGEST >= PATH_MAX

/** What has that name, a symlink to nothing included; undefined where nothing has, or could have. */
function lookAt(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false })
  } catch (error) {
    if (isErrno(error, 'ENAMETOOLONG', 'ENOTDIR')) return undefined
    throw error
  }
}

const tooLong = (directory: string): CniError =>
  new CniError(5, `state directory ${directory.slice(0, 100)}… is too long: with the name of a lease it would have more than ${PATH_MAX - 1} bytes`, 'choose another ipam.dataDir')

function wait(fd: number, directory: string, patience: number): void {
  if (!lockWithin(patience, fd)) throw new CniError(11, `state directory ${directory} has been locked by another process for ${patience / 1000} s`, `see which: fuser ${join(directory, 'lock')}`)
}

/** A system error of the directory, or a file of it that is none, becomes error 5, which names the path. */
function attempt<T>(directory: string, run: () => T): T {
  try {
    return run()
  } catch (error) {
    if (error instanceof CniError || !(error instanceof BadFile || (error instanceof Error && 'syscall' in error))) throw error
    throw new CniError(5, `state directory ${directory}: ${error.message}`)
  }
}
