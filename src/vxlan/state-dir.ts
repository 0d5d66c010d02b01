// What the agent leaves for others to read: whether the overlay is ready (for the plugin, which reads it at each ADD), and
// all that `podwire status` needs. In a directory that a reboot empties.

import { closeSync, constants, fstatSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { makeDirectory } from '../directory.ts'
import { identityOf } from './directory-watch.ts'
import { openFile, textOf } from '../file.ts'
import { prepared, sleep, tryLock } from '../kernel/libc.ts'
import { Patience } from '../kernel/patience.ts'
import type { Heard } from './heard.ts'
import type { Problem } from './peers.ts'
import type { Readiness } from './readiness.ts'
import { remove, removeEmpty, replaceText } from '../replace.ts'
import type { SourceState } from './source.ts'
import { statusOf } from './status.ts'
import type { View } from './view.ts'

/** status.json: the overlay as the agent last saw it. */
export interface Status extends Readiness {
  node: string
  /** What the plan is made of, so that it can be made anew; undefined before there was one. */
  parts?: Pick<View, 'self' | 'podCIDRs' | 'underlay' | 'peers' | 'options'>
  problems: Problem[]
  source: SourceState & { what: string }
  conflist: string
  /** The networks of which the conflist gives addresses to pods. */
  promised?: string[]
  /** Executables that the agent keeps where the runtime looks for them, by their paths. */
  executables?: string[]
  /** What is known of peers from their answers. */
  heard?: Heard[]
}

/** How long to wait for another agent's end, and how often to look. Milliseconds. */
const PATIENCE = 3000
const AGAIN = 20
/** How long somebody may have the lock who only asks whether there is an agent. Milliseconds. */
const MOMENT = 200
const MOST = 64 * 1024 * 1024 // bytes of status.json: 400 for each node

const { O_CREAT, O_RDONLY, O_RDWR } = constants

/** The directory is another agent's by now. */
export class Taken extends Error {
  constructor(path: string) {
    super(`--state-dir ${path} was removed, and another agent has it now: this one ends`)
  }
}

export class StateDir {
  readonly path: string
  readonly #lock: string
  #held: number | undefined
  /** The files as they were written last: see identityOf. */
  readonly #written = new Map<string, string>()

  constructor(path: string) {
    this.path = path
    this.#lock = join(path, 'lock')
  }

  /**
   * Takes the directory for this process, until it ends or gives it back. False: another agent has it, and still has it after
   * `patience` milliseconds: one that is about to end needs a moment, and who asks whether there is one is done at once.
   */
  take(patience = PATIENCE): boolean {
    makeDirectory(this.path)
    for (const end = new Patience(patience); this.#held === undefined; sleep(AGAIN)) {
      let had = false
      const fd = prepared(openFile(this.#lock, O_RDWR | O_CREAT, 0o644), (file) => (had = tryLock(file) && isStill(this.#lock, file)))
      if (had) this.#held = fd
      else closeSync(fd)
      if (end.over) break
    }
    return this.#held !== undefined
  }

  /** True if an agent has the directory now. Who asks shares the lock for a moment, with all others who ask. */
  taken(): boolean {
    try {
      const fd = openFile(this.#lock, O_RDONLY)
      try {
        return !tryLock(fd, 'shared')
      } finally {
        closeSync(fd)
      }
    } catch {
      return false
    }
  }

  giveBack(): void {
    if (this.#held !== undefined) closeSync(this.#held)
    this.#held = undefined
  }

  /** Writes status.json, if it is not so already; true if it was written. Throws Taken. */
  write(status: Status): boolean {
    return this.#write('status.json', status)
  }

  /** The same of overlay.json. */
  writeReadiness({ device, ready, reason }: Status): boolean {
    return this.#write('overlay.json', { device, ready, reason } satisfies Readiness)
  }

  /** Puts in place again what somebody has removed or altered: says what that was. Throws Taken. */
  restore(status: Status): string[] {
    const lock = this.#hold() ? [] : [`${this.#lock} is missing`]
    const altered = [...this.#written].filter(([name, identity]) => identityOf(join(this.path, name)) !== identity)
    const restored = altered.filter(([name]) => (name === 'status.json' ? this.write(status) : this.writeReadiness(status)))
    return [...lock, ...restored.map(([name]) => `${join(this.path, name)} is not the agent's`)]
  }

  #write(name: string, content: object): boolean {
    this.#hold()
    const file = join(this.path, name)
    const written = replaceText(file, JSON.stringify(content))
    this.#written.set(name, identityOf(file))
    return written
  }

  /** Takes the directory anew where its lock was removed; false if that had to be. Throws Taken if another agent was faster. */
  #hold(): boolean {
    const before = this.#held
    if (before === undefined || isStill(this.#lock, before)) return true
    this.#held = undefined
    try {
      if (!this.take(MOMENT)) throw new Taken(this.path)
      closeSync(before)
      return false
    } finally {
      this.#held ??= before
    }
  }

  /** What the last agent wrote, or undefined. Error that says what is wrong with the file: then nothing of it is to be believed. */
  read(): Status | undefined {
    const file = join(this.path, 'status.json')
    const text = textOf(file, MOST)
    if (text === undefined) return undefined
    try {
      return statusOf(text)
    } catch (error) {
      throw new Error(`${file} is not what an agent writes: ${(error as Error).message}`)
    }
  }

  remove(): void {
    for (const file of ['status.json', 'overlay.json', 'lock']) remove(join(this.path, file))
    removeEmpty(this.path)
  }
}

/** Whether a name leads to an open file still: what was removed meanwhile locks nobody out. */
function isStill(path: string, fd: number): boolean {
  const [there, own] = [statSync(path, { throwIfNoEntry: false }), fstatSync(fd)]
  return there?.ino === own.ino && there.dev === own.dev
}
