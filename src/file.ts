// A file from outside, read: whatever stands under its name, nobody waits for it and nobody's memory is filled by it. A FIFO or
// a device would block, a symlink leads where its planter wants, a file of gigabytes ends the process.

import { closeSync, constants, existsSync, fstatSync, openSync, readSync, type Stats } from 'node:fs'
import { dirname } from 'node:path'
import { isErrno } from './kernel/errno.ts'

/** What stands under a file's name is not what belongs there; the message says what it is. */
export class BadFile extends Error {
  readonly code = 'EBADFILE'

  constructor(path: string, what: string) {
    super(`${path} ${what}`)
  }
}

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/**
 * The bytes of a regular file, or undefined if there is no such file. `most`: bytes that it may have. A symlink in its place is
 * followed only where the operator chose the path (`follow`). Errors: BadFile, and those of the system.
 */
export function bytesOf(path: string, most: number, follow = false): Buffer | undefined {
  const fd = openIfThere(path, follow)
  if (fd === undefined) return undefined
  try {
    return readAll(fd, path, fstatSync(fd).size, most)
  } finally {
    closeSync(fd)
  }
}

/** The same as text. */
export const textOf = (path: string, most: number, follow = false): string | undefined => bytesOf(path, most, follow)?.toString('utf8')

/** The same of a file that an operator chose, which has to be there. */
export function chosenText(path: string, most: number): string {
  const text = textOf(path, most, true)
  if (text === undefined) throw new Unreadable(absent(path), 'ENOENT')
  return text
}

/** What the system says of a file that an operator chose, in a sentence: which file, what is the matter, what to do. Its code stays. */
export function unreadable(error: Error, path: string): Error {
  const sentence = SENTENCES.find(([codes]) => isErrno(error, ...codes))?.[1](path)
  return sentence === undefined ? error : new Unreadable(sentence, (error as NodeJS.ErrnoException).code!)
}

/** A file that an operator chose cannot be read; the message says why, the code is the system's. */
export class Unreadable extends Error {
  readonly code: string

  constructor(sentence: string, code: string) {
    super(sentence)
    this.code = code
  }
}

const absent = (path: string): string => `${path}: there is no such ${existsSync(dirname(path)) ? 'file' : 'directory'}`

const SENTENCES: [codes: string[], sentence: (path: string) => string][] = [
  [['ENOENT'], absent],
  [['ENOTDIR'], (path) => `${path}: a file is on the way there, where a directory belongs`],
  [['EISDIR'], (path) => `${path} is a directory: name a file in it`],
  [['EACCES', 'EPERM'], (path) => `${path} cannot be read: permission denied; it takes root, or the right to read it`],
  [['ENAMETOOLONG'], (path) => `${path.slice(0, 100)}…: the name is too long`],
]

/**
 * Opens a regular file, and nothing else, without waiting: its descriptor. `flags` as of man 2 open; `mode` for one that is made.
 * Errors: BadFile, and those of the system.
 */
export function openFile(path: string, flags: number, mode = 0o600, follow = false): number {
  const fd = open(path, flags | O_NONBLOCK | (follow ? 0 : O_NOFOLLOW), mode)
  try {
    const there = fstatSync(fd)
    const what = follow && there.isDirectory() ? 'is a directory: name a file in it' : `is ${kindOf(there)}, not a file`
    if (!there.isFile()) throw new BadFile(path, what)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

function open(path: string, flags: number, mode: number): number {
  try {
    return openSync(path, flags, mode)
  } catch (error) {
    const symlink = flags & O_NOFOLLOW ? 'is a symlink, which is not followed' : 'is a symlink that leads in a circle'
    if (isErrno(error, 'ELOOP')) throw new BadFile(path, symlink)
    if (isErrno(error, 'ENXIO')) throw new BadFile(path, `is ${flags & O_WRONLY ? 'a FIFO, ' : ''}a socket or a device, not a file`)
    if (isErrno(error, 'EISDIR')) throw new BadFile(path, 'is a directory, not a file')
    throw flags & O_NOFOLLOW ? error : unreadable(error as Error, path)
  }
}

function openIfThere(path: string, follow: boolean): number | undefined {
  try {
    return openFile(path, O_RDONLY, 0, follow)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined
    throw error
  }
}

/** What a file says of its size is a claim: it may grow while it is read. */
function readAll(fd: number, path: string, size: number, most: number): Buffer {
  const chunks: Buffer[] = []
  for (let length = 0; ; ) {
    const chunk = Buffer.allocUnsafe(Math.min(Math.max(size - length, PAGE), most - length) + 1)
    const read = size > most ? most + 1 : readSync(fd, chunk)
    if (read === 0) return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)
    length += read
    if (length > most) throw new BadFile(path, `has more than ${most} bytes`)
    chunks.push(chunk.subarray(0, read))
  }
}

const PAGE = 4096 // bytes; what a file has that says of itself that it has none, as those of /proc

/** `a directory`, `a FIFO` … */
function kindOf(there: Stats): string {
  if (there.isDirectory()) return 'a directory'
  if (there.isFIFO()) return 'a FIFO'
  return there.isSocket() ? 'a socket' : 'a device'
}
