// Directories that are made and made to last. Not Node's recursive mkdir: below /proc, or where a directory was deleted, it tries
// the same two names in turn for ever, and on a read-only file system it says ENOENT. man 2 mkdir, man 2 fsync

import { closeSync, constants, fsyncSync, lstatSync, mkdirSync, openSync, readdirSync, statSync, unlinkSync } from 'node:fs'
import { constants as os } from 'node:os'
import { dirname, join } from 'node:path'
import { isErrno } from './kernel/errno.ts'

/**
 * Makes a directory and those above it that are not there, and makes them last. Errors: those of the system, of the first that could
 * not be made.
 */
export function makeDirectory(path: string, mode = 0o755): void {
  for (const directory of lacking(path)) {
    make(directory, mode)
    syncDirectory(dirname(directory))
  }
}

/** The nearest directory that is there of a path and what is above it; `/` and `.` always are. Error: ENOTDIR if a file is in between. */
export function nearest(path: string): string {
  const [uppermost] = lacking(path)
  if (uppermost !== undefined && lstatSync(uppermost, { throwIfNoEntry: false })) throw notDirectory(uppermost)
  return uppermost === undefined ? path : dirname(uppermost)
}

/**
 * Finds out by trying whether a file can be made in a directory; none stays. access(2) tells root that it may write everywhere, below
 * /proc, too. The file has no name; where the file system has no such files, it has `name` for a moment. Errors: those of the system.
 */
export function tryWriting(path: string, name: string): void {
  try {
    closeSync(openSync(path, O_TMPFILE | constants.O_WRONLY, 0o600))
  } catch (error) {
    if (!isErrno(error, 'ENOTSUP', 'EISDIR')) throw error
    tryWritingNamed(join(path, name))
  }
}

const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY // <asm-generic/fcntl.h>

function tryWritingNamed(file: string): void {
  closeSync(openSync(file, constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK, 0o600))
  try {
    unlinkSync(file)
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error // else another one that tries has removed it
  }
}

/** Names that were made in a directory, or removed, last from now on. */
export function syncDirectory(path: string): void {
  const fd = openDirectory(path)
  try {
    sync(fd)
  } finally {
    closeSync(fd)
  }
}

export const openDirectory = (path: string): number => openSync(path, constants.O_RDONLY | constants.O_DIRECTORY)

/** What is open lasts as it is now. Where a file system cannot do that with a directory, it lasts as it pleases. */
export function sync(fd: number): void {
  try {
    fsyncSync(fd)
  } catch (error) {
    if (!isErrno(error, 'EINVAL', 'ENOTSUP')) throw error
  }
}

/** The names in a directory; none if it is not there. */
export function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return []
    throw error
  }
}

/** What is not there of a path and what is above it, the uppermost first. Each step makes the path shorter, so it ends. */
function lacking(path: string): string[] {
  const list: string[] = []
  for (let at = path; dirname(at) !== at && !isDirectory(at); at = dirname(at)) list.unshift(at)
  return list
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
  } catch (error) {
    if (isErrno(error, 'ENOTDIR')) return false
    throw error
  }
}

function make(directory: string, mode: number): void {
  try {
    mkdirSync(directory, mode)
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error
    if (!isDirectory(directory)) throw notDirectory(directory) // else it was made in the meantime
  }
}

const notDirectory = (path: string): Error => Object.assign(new Error(`ENOTDIR: not a directory, mkdir '${path}'`), { code: 'ENOTDIR', errno: -os.errno.ENOTDIR, syscall: 'mkdir', path })
