// What the agent leaves for others to read: whether the overlay is ready (for the plugin, which reads it at each ADD), and
// all that `podwire status` needs. In a directory that a reboot empties.

import { closeSync, constants, fstatSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { makeDirectory } from '../directory.ts'
import { openFile, textOf } from '../file.ts'
import { prepared, sleep, tryLock } from '../kernel/libc.ts'
import { Patience } from '../kernel/patience.ts'
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
}

/** How long to wait for another agent's end, and how often to look. Milliseconds. */
const PATIENCE = 3000
const AGAIN = 20
const MOST = 64 * 1024 * 1024 // bytes of status.json: 400 for each node

const { O_CREAT, O_RDONLY, O_RDWR } = constants

export class StateDir {
  readonly path: string
  readonly #lock: string
  #held: number | undefined

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

  write(status: Status): void {
    replaceText(join(this.path, 'status.json'), JSON.stringify(status))
  }

  writeReadiness({ device, ready, reason }: Status): void {
    replaceText(join(this.path, 'overlay.json'), JSON.stringify({ device, ready, reason } satisfies Readiness))
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
