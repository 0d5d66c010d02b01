// What is compared: a directory of plugins, called as a container runtime calls them, on a machine of its own.

import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { spawn, wait } from './libc.ts'
import { Machine } from './world.ts'

export interface Implementation {
  name: string
  /** The column of the table that it fills. */
  column: string
  /** Where its plugins are. */
  bin: string
  /** The PATH that they are given. */
  path: string
  machine: Machine
}

export interface Call {
  plugin: string
  command: string
  conf?: object
  container?: string
  netns?: string
}

/**
 * What one run cost: wall time from the start of the process to its end, or memory; and CPU time, its children's included, ms.
 * Of a rate: what came by second, and by second of CPU time.
 */
export interface Sample {
  value: number
  cpu?: number
}

export type Cost = 'ms' | 'MiB'
/** More is better. */
export type Rate = 'a second' | 'Gbit/s'
export type Unit = Cost | Rate

export const isCost = (unit: Unit): unit is Cost => unit === 'ms' || unit === 'MiB'

/** Plugins that would not do what they were asked. */
export class Refused extends Error {}

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' // systemd's, and so containerd's

/** `world` names the machine, so that it has one for each. */
export function implementation(column: string, bin: string, world: string, { name = column, path = PATH } = {}): Implementation {
  return { name, column, bin, path, machine: new Machine(`${world}-${name}`) }
}

/** A container's ID as runtimes make them. */
export const containerID = (): string => randomBytes(32).toString('hex')

/** Calls a plugin and measures. */
export function call(implementation: Implementation, request: Call, unit: Cost = 'ms'): { sample: Sample; stdout: string } {
  const files = write(request.conf)
  const sample = implementation.machine.inside(() => measure(argv(implementation, request), environment(implementation, request), files, unit))
  return { sample, stdout: readFileSync(files.stdout, 'utf8') }
}

/** Calls a plugin for many requests, so many at once; what it answered. */
export function callAll(implementation: Implementation, requests: Call[], jobs: number): string[] {
  const answers: string[] = []
  const running: (() => void)[] = []
  implementation.machine.inside(() => {
    requests.forEach((request, i) => {
      if (running.length === jobs) running.shift()!()
      const files = write(request.conf, i % jobs)
      const pid = spawn(argv(implementation, request), environment(implementation, request), files)
      running.push(() => {
        refuse(argv(implementation, request), wait(pid).status, files)
        answers[i] = readFileSync(files.stdout, 'utf8')
      })
    })
    running.forEach((finish) => finish())
  })
  return answers
}

/** Runs a program to its end and measures. */
export function measure(argv: string[], env: Record<string, string>, files: Files, unit: Cost): Sample {
  return unit === 'ms' ? time(argv, env, files) : memory(argv, env, files)
}

function time(argv: string[], env: Record<string, string>, files: Files): Sample {
  const start = performance.now()
  const { status, cpu } = wait(spawn(argv, env, files))
  const value = performance.now() - start
  refuse(argv, status, files)
  return { value, cpu }
}

export const TIME = '/usr/bin/time'

// The largest resident set of the process and of those that it waited for, each by itself. GNU time's, because a process
// that we start ourselves inherits our own maximum: exec counts what was there before it. man 2 getrusage
function memory(argv: string[], env: Record<string, string>, files: Files): Sample {
  const { status } = wait(spawn([TIME, '--quiet', '--format=%M', `--output=${WORK}/memory`, ...argv], env, files))
  refuse(argv, status, files)
  return { value: Number(readFileSync(`${WORK}/memory`, 'utf8')) / 1024 }
}

const WORK = '/run/bench'

export interface Files {
  stdin: string
  stdout: string
  stderr: string
}

/** The files that are a child's standard input and outputs. Children that run at once have numbers. */
export function write(conf?: object, number = 0): Files {
  mkdirSync(WORK, { recursive: true })
  const files = { stdin: `${WORK}/stdin${number}`, stdout: `${WORK}/stdout${number}`, stderr: `${WORK}/stderr${number}` }
  writeFileSync(files.stdin, conf ? JSON.stringify(conf) : '')
  return files
}

const argv = ({ bin }: Implementation, { plugin }: Call): string[] => [join(bin, plugin)]

function environment({ bin, path }: Implementation, { command, container = '', netns = '' }: Call): Record<string, string> {
  const uid = '00000000-0000-4000-8000-000000000000'
  const pod = { IgnoreUnknown: '1', K8S_POD_NAMESPACE: 'default', K8S_POD_NAME: 'pod', K8S_POD_INFRA_CONTAINER_ID: container, K8S_POD_UID: uid }
  const args = Object.entries(pod).map(([key, value]) => `${key}=${value}`).join(';')
  return { PATH: path, CNI_COMMAND: command, CNI_CONTAINERID: container, CNI_NETNS: netns, CNI_IFNAME: 'eth0', CNI_ARGS: args, CNI_PATH: bin }
}

function refuse(argv: string[], status: number, { stdout, stderr }: Files): void {
  if (status === 0) return
  const words = `${readFileSync(stdout, 'utf8')}${readFileSync(stderr, 'utf8')}`.replaceAll(/\s+/g, ' ')
  throw new Refused(`${basename(argv.at(-1)!)} ended with status ${status}: ${words}`)
}
