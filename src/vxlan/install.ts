// Puts the executable where a container runtime looks for plugins. A plugin that is running can't be written to ("text
// file busy"), and one that is half copied can't be run: so each file gets its name when it is whole.

import { chmodSync, closeSync, copyFileSync, existsSync, linkSync, mkdirSync, openSync, readdirSync, readSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { PLUGINS } from '../plugins.ts'

/** The names that are ours alone; and loopback, which containerd starts for every pod, where nobody else's is. */
const NAMES = Object.keys(PLUGINS).map((name) => `podwire-${name}`)
const SHARED = 'loopback'

/** Installs into `binDir` and, what a host may lack, into `libDir`. Returns the names that were put there anew. */
export function install(executable: string, binDir: string, libDir: string): string[] {
  const installed = [...installLibraries(join(dirname(executable), '../lib/podwire'), libDir)]
  mkdirSync(binDir, { recursive: true })
  const target = join(binDir, 'podwire')
  if (put(executable, target, (temporary) => copyFileSync(executable, temporary))) installed.push('podwire')
  for (const name of [...NAMES, ...(existsSync(join(binDir, SHARED)) && !ours(join(binDir, SHARED), binDir) ? [] : [SHARED])]) {
    const link = join(binDir, name)
    if (existsSync(link) && statSync(link).ino === statSync(target).ino) continue
    rename(link, (temporary) => linkSync(target, temporary))
    installed.push(name)
  }
  return installed
}

/** Removes what install put there. */
export function remove(binDir: string, libDir: string): void {
  const target = join(binDir, 'podwire')
  if (!existsSync(target)) return
  const { ino } = statSync(target)
  for (const name of [...NAMES, SHARED]) if (existsSync(join(binDir, name)) && statSync(join(binDir, name)).ino === ino) rmSync(join(binDir, name))
  rmSync(target)
  rmSync(libDir, { recursive: true, force: true })
}

function installLibraries(from: string, libDir: string): string[] {
  if (!existsSync(from) || (existsSync(libDir) && statSync(from).ino === statSync(libDir).ino)) return []
  mkdirSync(libDir, { recursive: true })
  return readdirSync(from).filter((name) => put(join(from, name), join(libDir, name), (temporary) => copyFileSync(join(from, name), temporary)))
}

/** A name that is one of an earlier installation: of a size with the executable that is there, or a link to it. */
const ours = (file: string, binDir: string): boolean => existsSync(join(binDir, NAMES[0]!)) && statSync(file).ino === statSync(join(binDir, NAMES[0]!)).ino

/** Copies a file unless it is there already. */
function put(source: string, target: string, copy: (temporary: string) => void): boolean {
  if (existsSync(target) && sameFile(source, target)) return false
  const { mtime, mode } = statSync(source)
  rename(target, (temporary) => {
    copy(temporary)
    chmodSync(temporary, mode)
    utimesSync(temporary, mtime, mtime)
  })
  return true
}

/** Size and age decide; where files have no age (those of a reproducible image are from 1970), their content. */
function sameFile(a: string, b: string): boolean {
  const [one, other] = [statSync(a), statSync(b)]
  if (one.ino === other.ino && one.dev === other.dev) return true
  if (one.size !== other.size || one.mtime.getTime() !== other.mtimeMs) return false
  return one.mtimeMs > 86_400_000 || sameContent(a, b)
}

function sameContent(a: string, b: string): boolean {
  const fds = [a, b].map((file) => openSync(file, 'r'))
  const [left, right] = [Buffer.allocUnsafe(1 << 20), Buffer.allocUnsafe(1 << 20)]
  try {
    for (;;) {
      const length = readSync(fds[0]!, left)
      if (length !== readSync(fds[1]!, right) || !left.subarray(0, length).equals(right.subarray(0, length))) return false
      if (length === 0) return true
    }
  } finally {
    fds.forEach(closeSync)
  }
}

function rename(target: string, make: (temporary: string) => void): void {
  const temporary = join(dirname(target), `.${basename(target)}.new`)
  rmSync(temporary, { force: true })
  make(temporary)
  renameSync(temporary, target)
}
