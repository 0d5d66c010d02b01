// The versions of the CNI specification and what a configuration of one of them may ask. CNI 1.1 §1, §5 "Version".

import { CniError } from './error.ts'
import { excerpt } from './json.ts'

export const VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const
export type CniVersion = (typeof VERSIONS)[number]
export const CURRENT: CniVersion = '1.1.0'

export type Command = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS' | 'VERSION'

const SINCE: Partial<Record<Command, CniVersion>> = { CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' }

/** True if version a is b or newer. */
export const atLeast = (a: CniVersion, b: CniVersion): boolean => VERSIONS.indexOf(a) >= VERSIONS.indexOf(b)

/** The version of a configuration, for a command; a missing one is 0.1.0. Errors: 6 unparsable, 1 unsupported or without the command. */
export function parseVersion(value: unknown, command: Command): CniVersion {
  const given = value === undefined || value === '' ? '0.1.0' : value
  if (typeof given !== 'string' || !/^\d+(\.\d+){0,2}$/.test(given)) throw new CniError(6, `cniVersion is ${excerpt(value)}: expected a version such as "1.0.0"`)
  const [since, says] = [SINCE[command], `cniVersion is "${given}"`]
  if (since && compare(given, since) < 0) throw new CniError(1, `config version does not allow ${command}: ${says}, ${command} needs ${since} or newer`, SET)
  if (since && compare(given, CURRENT) > 0) throw new CniError(1, `plugin version does not allow ${command}: ${says}, the newest that podwire supports is ${CURRENT}`, SET)
  if (!isVersion(given)) throw new CniError(1, `incompatible CNI versions: ${says}, podwire supports ${VERSIONS.join(', ')}`, `config is "${given}", plugin supports ${JSON.stringify(VERSIONS)}`)
  return given
}

const SET = `set cniVersion (or cniVersions) to ${CURRENT}`

export const isVersion = (value: unknown): value is CniVersion => (VERSIONS as readonly unknown[]).includes(value)

/** Less than, equal to or greater than 0, as a is older than, the same as or newer than b. */
function compare(a: string, b: string): number {
  const [left, right] = [a, b].map((text) => text.split('.').map(Number)) as [number[], number[]]
  const i = [0, 1, 2].find((part) => (left[part] ?? 0) !== (right[part] ?? 0))
  return i === undefined ? 0 : (left[i] ?? 0) - (right[i] ?? 0)
}
