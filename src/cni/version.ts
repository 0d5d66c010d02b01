// The versions of the CNI specification and what a configuration of one of them may ask. CNI 1.1 §1, §5 "Version".

import { CniError } from './error.ts'

export const VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const
export type CniVersion = (typeof VERSIONS)[number]
export const CURRENT: CniVersion = '1.1.0'

export type Command = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS' | 'VERSION'

const SINCE: Partial<Record<Command, CniVersion>> = { CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' }

/** True if version a is b or newer. */
export const atLeast = (a: CniVersion, b: CniVersion): boolean => VERSIONS.indexOf(a) >= VERSIONS.indexOf(b)

/** The version of a configuration; a missing one is 0.1.0. Errors: 6 unparsable, 1 unsupported. */
export function parseVersion(value: unknown): CniVersion {
  if (value === undefined || value === '') return '0.1.0'
  if (typeof value !== 'string' || !/^\d+(\.\d+){1,2}$/.test(value)) throw new CniError(6, `cniVersion is ${JSON.stringify(value)}: expected a version such as "1.0.0"`)
  if (!(VERSIONS as readonly string[]).includes(value))
    throw new CniError(1, `incompatible CNI versions: cniVersion is ${JSON.stringify(value)}, podwire supports ${VERSIONS.join(', ')}`, `config is "${value}", plugin supports ${JSON.stringify(VERSIONS)}`)
  return value as CniVersion
}

/** Error 1 if the version does not have the command. */
export function allowCommand(version: CniVersion, command: Command): void {
  const since = SINCE[command]
  if (since && !atLeast(version, since)) throw new CniError(1, `config version does not allow ${command}: cniVersion is "${version}", ${command} needs ${since} or newer`)
}
