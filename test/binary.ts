// The built executable from outside, as a runtime sees it: environment and standard input in, exit status, standard
// output and standard error out. Every answer is held against what holds for all of them (rules 20, 21, 106), so that a
// test only asks for what is its own. In a world of its own (world.ts); the executable is that of scripts/build-sea.sh.

import './world.ts'
import { spawn, type SpawnOptions } from 'node:child_process'
import { resolve } from 'node:path'
import { serve } from '../src/cni/serve.ts'
import { pluginOf } from '../src/plugins.ts'

export const BIN = resolve(process.env.PODWIRE_BIN ?? 'dist/bin')
export const POD = '/run/netns/pod'

/** The newest version's configuration of a network that needs nothing else. */
export const CONF = { cniVersion: '1.1.0', name: 'podnet', type: 'ptp', ipam: { type: 'host-local', subnet: '10.1.2.0/24', dataDir: '/run/leases' } }

export interface Ended {
  status: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
  /** What was on standard output; undefined for nothing. */
  json: any
}

export type Env = Record<string, string | undefined>

/** The environment of a complete request. `undefined` takes a variable away. */
export const request = (command: string, env: Env = {}): Env => ({ CNI_COMMAND: command, CNI_CONTAINERID: 'c1', CNI_NETNS: POD, CNI_IFNAME: 'eth0', CNI_PATH: BIN, ...env })

/** Sends a request to the executable: `conf` as JSON, or as the text or bytes that it is. */
export async function call(plugin: string, env: Env, conf: object | string | Uint8Array = CONF, options: SpawnOptions = {}): Promise<Ended> {
  return judged(await run(`${BIN}/${plugin}`, [], env, bytes(conf), options))
}

/** Sends the same request to the plugin in this process: for the many ways in which one thing may be wrong. */
export function inside(plugin: string, env: Env, conf: object | string | Uint8Array = CONF): Ended {
  return judged({ ...serve(pluginOf(plugin)!, env, () => Buffer.from(bytes(conf))), signal: null, json: undefined })
}

const bytes = (conf: object | string | Uint8Array) => (typeof conf === 'string' || conf instanceof Uint8Array ? conf : JSON.stringify(conf))

function judged(ended: Ended): Ended {
  const wrong = breaches(ended)
  if (wrong.length > 0) throw new Error(`${wrong.join(', ')}\n${JSON.stringify(ended, null, 2)}`)
  return { ...ended, json: ended.stdout === '' ? undefined : JSON.parse(ended.stdout) }
}

/** What no answer to a request may be. Rules 19, 20, 21, 106. */
function breaches({ status, signal, stdout, stderr }: Ended): string[] {
  const found: string[] = []
  if (signal !== null || (status !== 0 && status !== 1)) found.push(`it ended with status ${status}, signal ${signal}`)
  if (/^ +at .*[:(]/m.test(stdout + stderr)) found.push('it printed a stack trace')
  let json: any
  try {
    json = stdout === '' ? undefined : JSON.parse(stdout)
  } catch {
    found.push('standard output is not one JSON document')
  }
  if (status !== 1) return found
  const { cniVersion, code, msg, details, ...more } = json ?? {}
  if (!/^\d+\.\d+\.\d+$/.test(cniVersion) || !Number.isInteger(code) || !msg || !details || Object.keys(more).length > 0) found.push('standard output is not an error object')
  if (code >= 999 || code === 108 || code < 1) found.push(`its code is ${code}`)
  return found
}

/** Runs an executable with this environment and nothing else of ours. It is killed after two minutes, which no request takes. */
export function run(file: string, args: string[], env: Env, stdin: string | Uint8Array | undefined, options: SpawnOptions = {}): Promise<Ended> {
  return new Promise((done, failed) => {
    const child = spawn(file, args, { env: env as NodeJS.ProcessEnv, timeout: 120_000, killSignal: 'SIGKILL', ...options })
    const [stdout, stderr] = [collect(child.stdout), collect(child.stderr)]
    child.on('error', failed)
    child.on('close', (status, signal) => done({ status, signal, stdout: stdout(), stderr: stderr(), json: undefined }))
    child.stdin?.on('error', () => {}) // it need not read what it refuses
    if (stdin !== undefined) child.stdin?.end(stdin)
  })
}

function collect(stream: NodeJS.ReadableStream | null): () => string {
  const chunks: Buffer[] = []
  stream?.on('data', (chunk: Buffer) => chunks.push(chunk))
  return () => Buffer.concat(chunks).toString()
}

/** Runs a shell line with `$BIN`. */
export const shell = (line: string, env: Env = {}, stdin?: string | Uint8Array): Promise<Ended> => run('bash', ['--norc', '-c', line], { PATH: process.env.PATH, BIN, ...env }, stdin)

/** All of a list through an asynchronous function, two at a time, in order. */
export async function each<T, R>(list: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  let next = 0
  const worker = async () => {
    for (let i = next++; i < list.length; i = next++) results[i] = await work(list[i]!)
  }
  await Promise.all([worker(), worker()])
  return results
}
