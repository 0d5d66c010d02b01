// An IPAM executable of somebody else's: found in CNI_PATH, run with the same environment and the complete
// configuration, its stderr forwarded, its result or error taken over. CNI 1.1 §4 "Plugin delegation".

import { accessSync, constants, statSync, type Stats } from 'node:fs'
import { join } from 'node:path'
import { CniError } from '../cni/error.ts'
import { excerpt } from '../cni/json.ts'
import { EMPTY, parseResult, type Result } from '../cni/result.ts'
import type { Command } from '../cni/version.ts'
import { later } from '../later.ts'
import { didYouMean } from '../nearest.ts'
import type { ConfWithIpam } from './conf.ts'
import type { Ipam } from './ipam.ts'

/** What a request to the executable is made of, beside its command. */
export interface Origin {
  /** Directories of CNI_PATH. */
  path: string[]
  /** The configuration as it came, byte for byte. */
  stdin: Uint8Array
}

/** How a child ended. */
export interface Ended {
  exitCode: number | undefined
  signal: string | undefined
  stdout: string
  timedOut: boolean
  failure: string | undefined
}

const TIMEOUT = 50_000 // ms; kubelet gives a pod's network two minutes, which has to do for an ADD and its DEL

/** `timeout`: milliseconds until the executable is killed. */
export function delegate(origin: Origin, timeout = TIMEOUT): Ipam {
  const run = (command: Command, conf: ConfWithIpam): Result | undefined => call(origin, conf, command, timeout)
  return {
    add({ conf }) {
      try {
        return run('ADD', conf) ?? EMPTY
      } catch (error) {
        // What it leased before it failed, nobody else would free. CNI 1.1 §4 "Delegated plugin execution procedure"
        attempt(() => run('DEL', conf))
        throw error
      }
    },
    del: ({ conf }) => void run('DEL', conf),
    check: ({ conf }) => (run('CHECK', conf), []),
    gc: ({ conf }) => void run('GC', conf),
    status: ({ conf }) => void run('STATUS', conf),
  }
}

function call(origin: Origin, conf: ConfWithIpam, command: Command, timeout: number): Result | undefined {
  const type = conf.ipam.type
  const file = find(type, origin.path)
  const env = { CNI_COMMAND: command, [DEPTH]: deeper(type) }
  const { exitCode, signal, stdout, timedOut, failure } = later().run(file, env, origin.stdin, timeout)
  const said = `${file} ${command}`
  if (timedOut) throw new CniError(11, `${said} did not end within ${timeout / 1000} s and was killed`)
  if (signal) throw new CniError(106, `${said} was ended by ${signal}`, excerpt(stdout))
  if (exitCode === undefined) throw new CniError(106, `${said} could not be run: ${failure ?? 'unknown'}`)
  const answer = parse(stdout)
  if (exitCode !== 0) throw theirs(said, exitCode, answer, stdout)
  if (command !== 'ADD') return undefined
  if (answer === undefined) throw new CniError(106, `${said} printed no JSON`, excerpt(stdout))
  return parseResult(answer, conf.cniVersion, `the result of ${type}`)
}

/** The executable's own error, untouched, without words of ours where it has none; or, if it gave no error, what it printed. */
function theirs(said: string, exitCode: number, answer: unknown, stdout: string): CniError {
  const { code, msg, details } = (answer ?? {}) as { code?: unknown; msg?: unknown; details?: unknown }
  if (typeof code === 'number' && typeof msg === 'string') return new CniError(code, msg, typeof details === 'string' ? details : '')
  return new CniError(106, `${said} ended with status ${exitCode} and without an error object`, excerpt(stdout))
}

/**
 * Plugins, podwire's and the reference's, that lease nothing: each would look for the same executable once more, and so on without
 * end.
 */
export const NO_IPAM = new Set(
  'podwire ptp bridge vxlan loopback portmap bandwidth firewall tuning sbr macvlan ipvlan vlan host-device dummy tap vrf'.split(' '),
)
const IPAM = new Set(['host-local', 'static'])
const USE = 'use "host-local" or "static", which podwire serves itself, or the name of an executable that leases addresses'

/** Looks for an executable file in CNI_PATH. Errors: 7 for one that is no IPAM, 106. */
export function find(type: string, path: string[]): string {
  const name = plainOf(type)
  refuseNoIpam(type)
  for (const directory of path) {
    const file = join(directory, type)
    const found = executable(file)
    if (!found) continue
    if (IPAM.has(name) || !isThisProgram(found)) return file
    throw new CniError(7, `ipam.type is ${excerpt(type)}, but ${file} is podwire, which is no IPAM plugin by that name`, USE)
  }
  const near = didYouMean(type, IPAM)
  throw new CniError(106, `failed to find plugin ${excerpt(type)} in path [${path.join(':')}]`, near ? `ipam.type is ${excerpt(type)}${near}` : 'ipam.type names it: install it in a directory of CNI_PATH, or use "host-local" or "static", which podwire serves itself')
}

/** Error 7 for a plugin that leases nothing. */
export function refuseNoIpam(type: string): void {
  if (NO_IPAM.has(plainOf(type))) throw new CniError(7, `ipam.type is ${excerpt(type)}, which is no IPAM plugin`, USE)
}

const plainOf = (type: string): string => type.replace(/^podwire-/, '')

/** What the file system says of an executable file; undefined if it is none. */
function executable(file: string): Stats | undefined {
  try {
    accessSync(file, constants.X_OK)
    const found = statSync(file)
    return found.isFile() ? found : undefined
  } catch {
    return undefined
  }
}

/** Whether a file is the one that runs here, under whatever name: podwire's plugins are links to one file. */
function isThisProgram({ dev, ino }: Stats): boolean {
  const own = statSync('/proc/self/exe')
  return own.dev === dev && own.ino === ino
}

/** In the environment: how many executables of podwire's are waiting for each other. */
const DEPTH = 'PODWIRE_DEPTH'
const DEEPEST = 4

/** The same for the next one. Error 7 when somebody else's executable, asked for addresses, asks podwire again and again. */
function deeper(type: string): string {
  const depth = /^\d{1,3}$/.test(process.env[DEPTH] ?? '') ? Number(process.env[DEPTH]) : 0
  const sentence = `ipam.type is ${excerpt(type)}, which asks podwire for addresses again: ${depth} of them wait for each other`
  if (depth >= DEEPEST) throw new CniError(7, sentence, 'the executable that ipam.type names must lease addresses by itself')
  return String(depth + 1)
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Runs what may fail: another error is already on its way. */
function attempt(run: () => unknown): void {
  try {
    run()
  } catch {
    // the first error says more
  }
}
