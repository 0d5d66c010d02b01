// Files that others read while they change: each is the old one or the new one, whole, also after a power failure. What is not yet
// whole has a hidden name in the same directory, which neither runtimes nor people take for a file of theirs, and which nobody else
// uses: two that replace one file at once do not write into each other's. rename(2)

import { closeSync, constants, renameSync, rmdirSync, unlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { makeDirectory, namesIn, openDirectory, sync } from './directory.ts'
import { BadFile, openFile, textOf } from './file.ts'
import { isErrno } from './kernel/errno.ts'
import { lockWithin } from './kernel/patience.ts'

/**
 * Puts what `make` makes under a temporary name in the place of a file; if that fails, nothing of it stays. A name of the caller's
 * choice is for files that only one process replaces at a time, who removes what was left under that name.
 */
export function replace(file: string, make: (temporary: string) => void, temporary?: string): void {
  const directory = openDirectory(dirname(file))
  try {
    const name = temporary ?? temporaryOf(file)
    if (temporary !== undefined) unlink(temporary)
    else if (isAlone(directory)) leftOf(file).forEach(unlinkIfPossible)
    try {
      make(name)
      syncFile(name) // else the new name may come to be before what it names
      renameSync(name, file)
    } finally {
      unlink(name) // of two names of one file rename(2) takes none away
    }
    sync(directory)
  } finally {
    closeSync(directory)
  }
}

/** The file with that text. False if it was so already. Its directory is made if it is not there. */
export function replaceText(file: string, text: string, temporary?: string): boolean {
  if (has(file, text)) return false
  makeDirectory(dirname(file))
  replace(file, (name) => writeFileSync(name, text, { mode: 0o644, flag: 'wx' }), temporary)
  return true
}

/** Removes a file, and what a replacement left that was killed. */
export function remove(file: string): void {
  for (const name of [file, ...leftOf(file)]) unlink(name)
}

/** Removes a name, unless it is a directory's; none is fine, and so is one that cannot be. */
export function unlink(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if (isErrno(error, 'EISDIR')) throw new BadFile(path, 'is a directory, not a file: remove it')
    if (!isErrno(error, 'ENOENT', 'ENOTDIR', 'ENAMETOOLONG')) throw error
  }
}

/** Removes a directory if nothing is in it. One that is a mount, or has something of somebody else's, stays. */
export function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory)
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ENOTEMPTY', 'EBUSY', 'EROFS')) throw error
  }
}

/** A name that no other process has now, in whatever namespace of processes it is: all have one clock. man 2 clock_gettime */
const temporaryOf = (file: string): string => join(dirname(file), `.${basename(file)}.${process.pid}-${process.hrtime.bigint()}.new`)

/** Such names of a file that are there. */
function leftOf(file: string): string[] {
  const begin = `.${basename(file)}.`
  const isOne = (name: string) => name.startsWith(begin) && /^(\d+-\d+\.)?new$/.test(name.slice(begin.length))
  return namesIn(dirname(file)).filter(isOne).map((name) => join(dirname(file), name))
}

function unlinkIfPossible(path: string): void {
  try {
    unlink(path)
  } catch {
    // then it is in nobody's way
  }
}

function syncFile(path: string): void {
  const fd = openFile(path, constants.O_RDONLY)
  try {
    sync(fd)
  } finally {
    closeSync(fd)
  }
}

/** What cannot be read as a file is not the text, and is replaced. */
function has(file: string, text: string): boolean {
  try {
    return textOf(file, Buffer.byteLength(text)) === text
  } catch {
    return false
  }
}

const PATIENCE = 100 // ms

/**
 * Whether nobody else replaces a file in the directory: by its lock, which goes with its holder. Anybody who may read a directory can
 * lock it, so nobody depends on having the lock: without it, what others have left stays until the next time.
 */
function isAlone(directory: number): boolean {
  try {
    return lockWithin(PATIENCE, directory)
  } catch {
    return false // a file system without locks
  }
}
