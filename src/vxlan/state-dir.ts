// What the agent leaves for others to read: whether the overlay is ready (for the plugin, which reads it at each ADD), and
// all that `podwire status` needs. In a directory that a reboot empties.

import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { tryLock } from '../kernel/libc.ts'
import type { Problem } from './peers.ts'
import type { Readiness } from './readiness.ts'
import { remove, removeEmpty, replaceText } from '../replace.ts'
import type { SourceState } from './source.ts'
import type { View } from './view.ts'

/** status.json: the overlay as the agent last saw it. */
export interface Status extends Readiness {
  node: string
  /** What the plan is made of, so that it can be made anew; undefined before there was one. */
  parts?: Pick<View, 'self' | 'podCIDRs' | 'underlay' | 'peers' | 'options'>
  problems: Problem[]
  source: SourceState & { what: string }
  conflist: string
}

export class StateDir {
  readonly path: string

  constructor(path: string) {
    this.path = path
  }

  /** Takes the directory for this process, until it ends. False: another agent has it. */
  take(): boolean {
    replaceText(join(this.path, 'lock'), '')
    return tryLock(openSync(join(this.path, 'lock'), 'r'))
  }

  /** True if an agent has the directory now. */
  taken(): boolean {
    try {
      const fd = openSync(join(this.path, 'lock'), 'r')
      try {
        return !tryLock(fd)
      } finally {
        closeSync(fd)
      }
    } catch {
      return false
    }
  }

  write(status: Status): void {
    replaceText(join(this.path, 'status.json'), JSON.stringify(status))
  }

  writeReadiness({ device, ready, reason }: Status): void {
    replaceText(join(this.path, 'overlay.json'), JSON.stringify({ device, ready, reason } satisfies Readiness))
  }

  read(): Status | undefined {
    try {
      return JSON.parse(readFileSync(join(this.path, 'status.json'), 'utf8')) as Status
    } catch {
      return undefined
    }
  }

  remove(): void {
    for (const file of ['status.json', 'overlay.json', 'lock']) remove(join(this.path, file))
    removeEmpty(this.path)
  }
}
