// What of an agent's files is not there. While one runs it puts them back within a second.

import { statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { isErrno } from '../kernel/errno.ts'
import * as link from '../kernel/link.ts'
import type { Netns } from '../kernel/netns.ts'
import { vniOf } from '../vxlan/overlay.ts'
import type { StateDir, Status } from '../vxlan/state-dir.ts'

interface Files {
  /** What to type there is nothing but to start an agent. */
  findings: { sentence: string; repair: string }[]
  /** Files of which whoever asks may not know whether they are there. */
  unseen: string[]
}

export function filesOf(netns: Netns, directory: StateDir): Files {
  const known = statusIn(directory)
  if (known === undefined) return { findings: [], unseen: [] }
  const { lacking, unseen } = known === 'nothing' ? { lacking: orphans(netns, directory), unseen: [] } : lackingOf(known, directory)
  const when = directory.taken() ? 'podwire agent writes it within a second, or its log says why not' : 'podwire agent writes it when it starts'
  return { findings: lacking.map((sentence) => ({ sentence: `${sentence}; ${when}`, repair: '' })), unseen }
}

/** Undefined where that is not what an agent writes: about which somebody else speaks. */
function statusIn(directory: StateDir): Status | 'nothing' | undefined {
  try {
    return directory.read() ?? 'nothing'
  } catch {
    return undefined
  }
}

/** A device of podwire's whose agent's files are gone. */
const orphans = (netns: Netns, { path }: StateDir): string[] =>
  link.list(netns, 'vxlan').filter(({ name }) => vniOf(name) !== undefined).map(({ name }) => `interface ${name} is there, but what an agent has said of it in ${path} is missing: pods are refused (code 11)`)

function lackingOf({ conflist, promised = [], executables = [] }: Status, { path }: StateDir): { lacking: string[]; unseen: string[] } {
  const readiness = join(path, 'overlay.json')
  const files = [readiness, ...(promised.length > 0 ? [conflist] : []), ...executables]
  const is = new Map(files.map((file) => [file, stand(file)]))
  const missing = (file: string) => is.get(file) === 'missing'
  const absent = executables.filter(missing)
  return {
    lacking: [
      ...(missing(readiness) ? [`${readiness} is missing: pods are refused (code 11)`] : []),
      ...(missing(conflist) ? [`${conflist} is missing: the runtime starts no pods without it`] : []),
      ...(absent.length > 0 ? [`${dirname(absent[0]!)} lacks ${absent.map((file) => basename(file)).join(', ')}: the runtime finds no plugin there`] : []),
    ],
    unseen: files.filter((file) => is.get(file) === 'unseen'),
  }
}

function stand(file: string): 'there' | 'missing' | 'unseen' {
  try {
    return statSync(file, { throwIfNoEntry: false })?.isFile() ? 'there' : 'missing'
  } catch (error) {
    return isErrno(error, 'EACCES') ? 'unseen' : 'missing'
  }
}
