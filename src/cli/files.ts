// What of an agent's files is not there. While one runs it puts them back within a second.

import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import * as link from '../kernel/link.ts'
import type { Netns } from '../kernel/netns.ts'
import { vniOf } from '../vxlan/overlay.ts'
import type { StateDir, Status } from '../vxlan/state-dir.ts'

/** Sentences; what to type there is nothing but to start an agent. */
export function fileFindings(netns: Netns, directory: StateDir): { sentence: string; repair: string }[] {
  const known = statusIn(directory)
  if (known === undefined) return []
  const lacking = known === 'nothing' ? orphans(netns, directory) : lackingOf(known, directory)
  const when = directory.taken() ? 'it cannot be written, see the log of podwire agent' : 'podwire agent writes it when it starts'
  return lacking.map((sentence) => ({ sentence: `${sentence}; ${when}`, repair: '' }))
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

function lackingOf({ conflist, promised = [], executables = [] }: Status, { path }: StateDir): string[] {
  const readiness = join(path, 'overlay.json')
  const absent = executables.filter((file) => !existsSync(file))
  return [
    ...(existsSync(readiness) ? [] : [`${readiness} is missing: pods are refused (code 11)`]),
    ...(promised.length === 0 || existsSync(conflist) ? [] : [`${conflist} is missing: the runtime starts no pods without it`]),
    ...(absent.length === 0 ? [] : [`${dirname(absent[0]!)} lacks ${absent.map((file) => file.slice(dirname(file).length + 1)).join(', ')}: the runtime finds no plugin there`]),
  ]
}
