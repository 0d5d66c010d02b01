// Puts the executable where a container runtime looks for plugins. A plugin that is running can't be written to ("text
// file busy"), and one that is half copied can't be run: so each file gets its name when it is whole.

import { chmodSync, closeSync, copyFileSync, existsSync, linkSync, openSync, readSync, statSync, utimesSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { makeDirectory } from '../directory.ts'
import { PLUGINS } from '../plugins.ts'
import { remove, removeEmpty, replace } from '../replace.ts'
import { contentOf } from './directory-watch.ts'

/** The names that are ours alone; and loopback, which containerd starts for every pod, where nobody else's is. */
const NAMES = Object.keys(PLUGINS).map((name) => `podwire-${name}`)
const SHARED = 'loopback'
/** The name of a directory that is podwire's alone. */
const OWN = 'podwire'
/** What comes along in lib/podwire: a library that hosts may lack, and licences. */
const LIBRARY = ['LICENSE', 'LICENSES', 'libatomic.so.1', 'libatomic.so.1.LICENSE']

/** What an agent has installed, and keeps so. */
export class Installation {
  readonly #executable: string
  readonly #binDir: string
  readonly #libDir: string
  #known = ''

  constructor(executable: string, binDir: string, libDir: string) {
    this.#executable = executable
    this.#binDir = binDir
    this.#libDir = libDir
  }

  /** The executables, by their paths. */
  get files(): string[] {
    return ['podwire', ...NAMES].map((name) => join(this.#binDir, name))
  }

  /** Puts in place what is missing or another file than it was: their names. */
  restore(): string[] {
    if (this.#now() === this.#known) return []
    const installed = install(this.#executable, this.#binDir, this.#libDir)
    this.#known = this.#now()
    return installed
  }

  #now(): string {
    const files = [...this.files, join(this.#binDir, SHARED), ...LIBRARY.map((name) => join(this.#libDir, name))]
    return files.map(contentOf).join()
  }
}

/** Installs into `binDir` and, what a host may lack, into `libDir`. Returns the names that were put there anew. */
export function install(executable: string, binDir: string, libDir: string): string[] {
  const installed = [...installLibraries(join(dirname(executable), '../lib/podwire'), libDir)]
  makeDirectory(binDir)
  const source = isWhole(executable) ? executable : RUNNING
  const [target, shared] = [join(binDir, 'podwire'), join(binDir, SHARED)]
  const names = existsSync(shared) && !sameFile(source, shared) && !ours(shared, binDir) ? NAMES : [...NAMES, SHARED]
  const twin = names.map((name) => join(binDir, name)).find((file) => existsSync(file) && sameFile(source, file))
  const make = (temporary: string) => (twin === undefined ? copyFileSync(source, temporary) : linkSync(twin, temporary))
  if (put(source, target, make)) installed.push('podwire')
  for (const name of names) {
    const link = join(binDir, name)
    if (existsSync(link) && statSync(link).ino === statSync(target).ino) continue
    replace(link, (temporary) => linkSync(target, temporary))
    installed.push(name)
  }
  return installed
}

/** The executable of this process, also where its name is gone. man 5 proc_pid_exe */
const RUNNING = '/proc/self/exe'

const isWhole = (file: string): boolean => (statSync(file, { throwIfNoEntry: false })?.size ?? 0) > 0

/** Removes what install put there, and what one left that was killed. */
export function uninstall(binDir: string, libDir: string): void {
  for (const name of installedIn(binDir)) remove(join(binDir, name))
  remove(join(binDir, 'podwire')) // and what was left beside it
  if (basename(libDir) !== OWN) return // what else has these names there may be the machine's
  for (const name of LIBRARY) remove(join(libDir, name))
  removeEmpty(libDir)
}

/** The names of an installation that are there: our own, and the shared one if it is a link to one of them. */
export function installedIn(binDir: string): string[] {
  const inode = (name: string) => statSync(join(binDir, name), { throwIfNoEntry: false })?.ino
  const own = ['podwire', ...NAMES].filter((name) => inode(name) !== undefined)
  return own.some((name) => inode(name) === inode(SHARED)) ? [...own, SHARED] : own
}

function installLibraries(from: string, libDir: string): string[] {
  if (!existsSync(from) || (existsSync(libDir) && sameInode(from, libDir))) return []
  makeDirectory(libDir)
  return LIBRARY.filter((name) => existsSync(join(from, name)) && put(join(from, name), join(libDir, name), (temporary) => copyFileSync(join(from, name), temporary)))
}

/** True if a name is a link to the executable of an earlier installation. */
const ours = (file: string, binDir: string): boolean => existsSync(join(binDir, NAMES[0]!)) && statSync(file).ino === statSync(join(binDir, NAMES[0]!)).ino

/** Copies a file unless it is there already. */
function put(source: string, target: string, copy: (temporary: string) => void): boolean {
  if (existsSync(target) && sameFile(source, target)) return false
  const { mtime, mode } = statSync(source)
  replace(target, (temporary) => {
    copy(temporary)
    chmodSync(temporary, mode)
    utimesSync(temporary, mtime, mtime)
  })
  return true
}

/** Size and age decide; where files have no age (those of a reproducible image are from 1970), their content. */
function sameFile(a: string, b: string): boolean {
  if (sameInode(a, b)) return true
  const [one, other] = [statSync(a), statSync(b)]
  if (one.size !== other.size || one.mtime.getTime() !== other.mtimeMs) return false
  return one.mtimeMs > 86_400_000 || sameContent(a, b)
}

function sameInode(a: string, b: string): boolean {
  const [one, other] = [statSync(a), statSync(b)]
  return one.ino === other.ino && one.dev === other.dev
}

function sameContent(a: string, b: string): boolean {
  const fds: number[] = []
  const [left, right] = [Buffer.allocUnsafe(1 << 20), Buffer.allocUnsafe(1 << 20)]
  try {
    for (const file of [a, b]) fds.push(openSync(file, 'r'))
    for (;;) {
      const length = readSync(fds[0]!, left)
      if (length !== readSync(fds[1]!, right) || !left.subarray(0, length).equals(right.subarray(0, length))) return false
      if (length === 0) return true
    }
  } finally {
    fds.forEach(closeSync)
  }
}
