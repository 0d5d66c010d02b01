// Executables, started as a runtime starts them: podwire's as they are built, and the reference's, to take over from and
// to compare with. A test that cannot have them says so and why.

import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'

/** podwire's CNI_PATH, made by scripts/build-sea.sh. */
export const BUILT = resolve('dist/bin')
export const builtIsMissing = existsSync(join(BUILT, 'host-local')) ? false : `${BUILT} is missing: bash scripts/build-sea.sh`

/** Why strace cannot refuse the built executable's system calls, or false. */
export const cannotInject = spawnSync('strace', ['-f', '-qq', '--seccomp-bpf', '-o', '/dev/null', '-e', 'inject=fsync:error=EIO', 'true']).status === 0 ? builtIsMissing : 'strace is missing, older than 5.3, or may not trace (apt-get install strace)'

/** The reference's, of Debian's package containernetworking-plugins unless REFERENCE names another directory. */
export const REFERENCE = process.env.REFERENCE ?? '/usr/lib/cni'
export const referenceIsMissing = existsSync(join(REFERENCE, 'host-local')) ? false : `${REFERENCE}/host-local is missing: apt-get install containernetworking-plugins`

export interface Start {
  container?: string
  netns?: string
  ifname?: string
  args?: string
  path?: string
  /** What runs the executable: `['strace', '-f']`. */
  by?: string[]
}

export interface Ended {
  status: number | null
  signal: string | null
  stdout: string
  stderr: string
  json: any
}

/** Runs an executable to its end. */
export function execute(file: string, command: string, conf: object | string, start: Start = {}): Ended {
  const { status, signal, stdout, stderr } = spawnSync(...line(file, start), { input: input(conf), env: environment(command, start), encoding: 'utf8' })
  return { status, signal, stdout, stderr, json: parse(stdout) }
}

/** Starts an executable; `ended` tells how it came out. */
export function launch(file: string, command: string, conf: object | string, start: Start = {}): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn(...line(file, start), { env: environment(command, start), stdio: ['pipe', 'pipe', 'pipe'] })
  const texts = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) child[name].setEncoding('utf8').on('data', (text: string) => (texts[name] += text))
  child.stdin.on('error', () => {}) // it was killed before it had read
  child.stdin.end(input(conf))
  const ended = new Promise<Ended>((done, failed) => {
    child.on('error', failed)
    child.on('close', (status, signal) => done({ status, signal, ...texts, json: parse(texts.stdout) }))
  })
  return { child, ended }
}

const input = (conf: object | string): string => (typeof conf === 'string' ? conf : JSON.stringify(conf))

const line = (file: string, { by = [] }: Start): [string, string[]] => {
  const [program, ...args] = [...by, file]
  return [program!, args]
}

const environment = (command: string, { container = 'c1', netns = '/run/netns/pod', ifname = 'eth0', args = '', path = '/nowhere' }: Start) =>
  ({ PATH: process.env.PATH, CNI_COMMAND: command, CNI_CONTAINERID: container, CNI_NETNS: netns, CNI_IFNAME: ifname, CNI_ARGS: args, CNI_PATH: path })

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
