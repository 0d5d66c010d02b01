// One request, one plugin, one answer: environment and standard input to exit status, standard output and standard
// error. The order in which things are judged is the specification's libraries' (what a runtime's tests rely on):
// standard input, JSON, network name, environment, version, keys. CNI 1.1 §2, §5

import { compile } from './compile.ts'
import { checkName, validAttachments, type NetConf } from './conf.ts'
import { CniError, errorJson, withNotes } from './error.ts'
import { decodeObject } from './json.ts'
import type { Plugin } from './plugin.ts'
import { readEnvironment, type Environment } from './request.ts'
import { parseResult, printResult } from './result.ts'
import { canonical, salvage, validate } from './schema.ts'
import { CURRENT, isVersion, parseVersion, VERSIONS, type CniVersion } from './version.ts'
import { isOwn } from '../kernel/netns.ts'

export interface Answer {
  status: 0 | 1 | 2
  stdout: string
  stderr: string
}

/** A plugin with its schema compiled. */
export type Served = Plugin & { validator: ReturnType<typeof compile> }

/** Compiles a plugin's schema: done once, when the snapshot is built. */
export const served = (plugin: Plugin): Served => ({ ...plugin, validator: compile(plugin.schema) })

/** Serves one request. Never throws: whatever goes wrong becomes an error object. */
export function serve(plugin: Served, env: Record<string, string | undefined>, readStdin: () => Uint8Array): Answer {
  const notes: string[] = []
  let version: CniVersion = CURRENT
  const stderr = () => notes.map((note) => `podwire: ${note}\n`).join('')
  try {
    if (env.CNI_COMMAND === 'VERSION') return { status: 0, stdout: versionJson(readStdin), stderr: '' }
    const stdin = readStdin()
    const twice: string[] = []
    const input = canonical(plugin.schema, decodeObject(stdin, 'the configuration on standard input', twice), notes, twice)
    if (isVersion(input.cniVersion)) version = input.cniVersion // that of an error, whatever else is wrong
    refuseTwice(twice, env.CNI_COMMAND === 'DEL', notes)
    const name = checkName(input.name)
    const environment = readEnvironment(env)
    refuseOwnNetns(environment, env)
    version = parseVersion(input.cniVersion, environment.command)
    const conf = configuration(plugin, input, name, version, notes, environment.command === 'DEL')
    const stdout = run(plugin, { env: environment, conf, stdin, notes }, version)
    return { status: 0, stdout, stderr: stderr() }
  } catch (error) {
    const known = error instanceof CniError ? error : unexpected(error as Error)
    return { status: 1, stdout: `${errorJson(withNotes(known, notes), version)}\n`, stderr: stderr() }
  }
}

function run(plugin: Plugin, request: Parameters<Plugin['add']>[0], version: CniVersion): string {
  switch (request.env.command) {
    case 'ADD': {
      const result = plugin.add(request)
      try {
        return printResult(result, version)
      } catch (error) {
        plugin.del(request)
        throw error
      }
    }
    case 'DEL':
      plugin.del(request)
      return ''
    case 'CHECK':
      plugin.check(request)
      return ''
    case 'GC':
      plugin.gc(request)
      return ''
    default:
      plugin.status(request)
      return ''
  }
}

/** Error 7 if keys stand twice; DEL (lenient) goes on with what the last ones say, as Go would, and notes it. */
export function refuseTwice(twice: string[], lenient: boolean, notes: string[]): void {
  if (twice.length > 0 && !lenient) throw new CniError(7, twice.join('; '), 'which of them is meant, nobody can know: leave one')
  notes.push(...twice)
}

/** The configuration, its keys in canonical case, checked. DEL (lenient) takes a wrong one too: what ADD made must go, whatever became of the file. */
export function configuration(plugin: Served, input: Record<string, unknown>, name: string, cniVersion: CniVersion, notes: string[], lenient = false): NetConf {
  let conf = input
  try {
    validate(plugin.schema, plugin.validator, input)
  } catch (error) {
    if (!lenient) throw error
    notes.push((error as Error).message)
    conf = { ...salvage(plugin.validator, input), ipam: ipamIdentity(input.ipam) }
  }
  const { prevResult, ...own } = conf
  const prev = previous(prevResult, cniVersion, lenient, notes)
  const valid = validAttachments(conf)
  return { ...own, name, cniVersion, type: String(conf.type ?? ''), ...(prev && { prevResult: prev }), ...(valid && { validAttachments: valid }) } as NetConf
}

/** Of an `ipam` that may be wrong, what says where leases are. */
function ipamIdentity(value: unknown): Record<string, unknown> {
  const ipam = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>
  return { type: typeof ipam.type === 'string' ? ipam.type : 'host-local', ...(typeof ipam.dataDir === 'string' && /^\/[^\0]*$/.test(ipam.dataDir) && { dataDir: ipam.dataDir }) }
}

function previous(value: unknown, version: CniVersion, lenient: boolean, notes: string[]) {
  if (value === undefined || value === null) return undefined
  try {
    return parseResult(value, version, 'prevResult')
  } catch (error) {
    if (!lenient) throw error
    notes.push((error as Error).message)
    return undefined
  }
}

// GO judges this after the work is done; it is better judged before anything was touched.
function refuseOwnNetns({ netns, command }: Environment, env: Record<string, string | undefined>): void {
  if (!netns || (command !== 'ADD' && command !== 'DEL') || /^(true|1)$/i.test(env.CNI_NETNS_OVERRIDE ?? '')) return
  if (isOwn(netns)) throw new CniError(8, `plugin's netns and netns from CNI_NETNS should not be the same: CNI_NETNS=${netns}`)
}

/** What VERSION answers. The configuration is looked at if it is there, and never waited for. */
function versionJson(readStdin: () => Uint8Array): string {
  let cniVersion: string = CURRENT
  try {
    const given = decodeObject(readStdin(), 'standard input', []).cniVersion
    if (typeof given === 'string' && given !== '') cniVersion = given
  } catch {
    // nothing readable there
  }
  return `${JSON.stringify({ cniVersion, supportedVersions: VERSIONS }, null, 4)}\n`
}

function unexpected(error: Error): CniError {
  if ('code' in error && typeof error.code === 'string' && !error.code.startsWith('ERR_')) return new CniError(100, error.message)
  return new CniError(108, `podwire met something unexpected: ${error.message}`, error.stack)
}
