// Files that others read while they change: each is the old one or the new one, whole. What is not yet whole has a hidden
// name in the same directory, which neither runtimes nor people take for a file of theirs. rename(2)

import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { isErrno } from './kernel/errno.ts'

const temporaryOf = (file: string): string => join(dirname(file), `.${basename(file)}.new`)

/** Puts what `make` makes under a temporary name in the place of a file. */
export function replace(file: string, make: (temporary: string) => void, temporary = temporaryOf(file)): void {
  rmSync(temporary, { force: true }) // of somebody who was killed
  make(temporary)
  renameSync(temporary, file)
}

/** The file with that text, also after a power failure. False if it was so already. */
export function replaceText(file: string, text: string, temporary = temporaryOf(file)): boolean {
  if (existsSync(file) && readFileSync(file, 'utf8') === text) return false
  mkdirSync(dirname(file), { recursive: true })
  const write = () => {
    const fd = openSync(temporary, 'w', 0o644)
    try {
      writeFileSync(fd, text)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
  }
  replace(file, write, temporary)
  return true
}

/** Removes a file, and what a replacement left that was killed. */
export function remove(file: string): void {
  for (const name of [file, temporaryOf(file)]) rmSync(name, { force: true })
}

/** Removes a directory if nothing is in it. One that is a mount, or has something of somebody else's, stays. */
export function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory)
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ENOTEMPTY', 'EBUSY', 'EROFS')) throw error
  }
}
