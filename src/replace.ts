// Files that others read while they change: each is the old one or the new one, whole, also after a power failure. What is not yet
// whole has a hidden name in the same directory, which neither runtimes nor people take for a file of theirs. rename(2), flock(2)

import { closeSync, constants, renameSync, rmdirSync, unlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { makeDirectory, openDirectory, sync } from './directory.ts'
import { BadFile, openFile, textOf } from './file.ts'
import { isErrno } from './kernel/errno.ts'
import { sleep, tryLock } from './kernel/libc.ts'

const temporaryOf = (file: string): string => join(dirname(file), `.${basename(file)}.new`)

/**
 * Puts what `make` makes under a temporary name in the place of a file. One at a time in a directory, so that two never write under
 * one temporary name; if it fails, nothing of it stays.
 */
export function replace(file: string, make: (temporary: string) => void, temporary = temporaryOf(file)): void {
  const directory = openDirectory(dirname(file))
  try {
    lock(directory, dirname(file))
    unlink(temporary) // of somebody who was killed
    try {
      make(temporary)
      syncFile(temporary) // else the new name may come to be before what it names
      renameSync(temporary, file)
    } finally {
      unlink(temporary) // of two names of one file rename(2) takes none away
    }
    sync(directory)
  } finally {
    closeSync(directory)
  }
}

/** The file with that text. False if it was so already. Its directory is made if it is not there. */
export function replaceText(file: string, text: string, temporary = temporaryOf(file)): boolean {
  if (has(file, text)) return false
  makeDirectory(dirname(file))
  replace(file, () => writeFileSync(temporary, text, { mode: 0o644, flag: 'wx' }), temporary)
  return true
}

/** Removes a file, and what a replacement left that was killed. */
export function remove(file: string): void {
  for (const name of [file, temporaryOf(file)]) unlink(name)
}

/** Removes a directory if nothing is in it. One that is a mount, or has something of somebody else's, stays. */
export function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory)
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ENOTEMPTY', 'EBUSY', 'EROFS')) throw error
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

/** Removes a name, unless it is a directory's; none is fine, and so is one that cannot be. */
function unlink(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if (isErrno(error, 'EISDIR')) throw new BadFile(path, 'is a directory, not a file: remove it')
    if (!isErrno(error, 'ENOENT', 'ENOTDIR', 'ENAMETOOLONG')) throw error
  }
}

const PATIENCE = 10_000 // ms; a file is copied in a tenth of a second

/** Waits for the lock of a directory, which goes with its holder. Where the file system has no locks, there is none. */
function lock(directory: number, path: string): void {
  const start = Date.now()
  for (let pause = 1; !tryLocking(directory); pause = Math.min(pause * 2, 20)) {
    if (Date.now() - start > PATIENCE) throw new Error(`${path} has been locked by another process for ${PATIENCE / 1000} s: fuser ${path}`)
    sleep(pause)
  }
}

function tryLocking(fd: number): boolean {
  try {
    return tryLock(fd)
  } catch (error) {
    if (isErrno(error, 'EINVAL', 'ENOLCK', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS')) return true
    throw error
  }
}
