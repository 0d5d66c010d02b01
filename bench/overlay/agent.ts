// The agent as it is shipped, in a namespace that stands for a node: started, stopped, and looked at from outside.

import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { sleep } from '../../src/kernel/libc.ts'
import { spawn, wait } from '../libc.ts'
import type { Namespace } from '../world.ts'

const PATIENCE = 60_000 // ms
const READY = 'the overlay is ready' // in the log, when it has held the kernel against its nodes for the first time

export class Agent {
  readonly confDir: string
  readonly #host: Namespace
  readonly #executable: string
  readonly #args: string[]
  readonly #directory: string
  #pid = 0

  /** Its executable stands where it would install it. `words` say where its nodes come from, and more. */
  constructor(host: Namespace, bin: string, node: string, words: string[]) {
    this.#host = host
    this.#executable = join(bin, 'podwire')
    this.#directory = join('/run/agents', host.name)
    this.confDir = join(this.#directory, 'net.d')
    const stateDir = join(this.#directory, 'state')
    for (const path of [this.confDir, stateDir]) mkdirSync(path, { recursive: true })
    this.#args = ['agent', ...words, '--node', node, '--conf-dir', this.confDir, '--bin-dir', bin, '--state-dir', stateDir]
  }

  get log(): string {
    return join(this.#directory, 'log')
  }

  /** Starts it and waits until it has made true what it read. */
  start(): void {
    this.#host.inside(() => (this.#pid = spawn([this.#executable, ...this.#args], { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' }, { stdin: '/dev/null', stdout: `${this.log}.out`, stderr: this.log })))
    this.until(() => readFileSync(this.log, 'utf8').includes(READY), 'is ready')
  }

  /** Ends it as a supervisor does. */
  stop(): void {
    process.kill(this.#pid, 'SIGTERM')
    wait(this.#pid)
    this.#pid = 0
  }


  /** Waits for something that the agent does. */
  until(done: () => boolean, what: string): void {
    const start = performance.now()
    while (!done()) {
      sleep(1)
      if (performance.now() - start > PATIENCE) throw new Error(`not within ${PATIENCE / 1000} s: the agent ${what}. Its log ends:\n${readFileSync(this.log, 'utf8').slice(-1000)}`)
    }
  }

  /** CPU time of all its threads so far, milliseconds. */
  cpu(): number {
    if (this.#pid === 0) return 0
    const task = `/proc/${this.#pid}/task`
    return readdirSync(task).reduce((sum, thread) => sum + Number(readFileSync(join(task, thread, 'schedstat'), 'utf8').split(' ')[0]) / 1e6, 0)
  }

  /** Memory, MiB: resident, and what of it is no mapped file. man 5 proc */
  memory(): { resident: number; anonymous: number } {
    const rollup = readFileSync(`/proc/${this.#pid}/smaps_rollup`, 'utf8')
    const mebibytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(rollup)![1]) / 1024
    return { resident: mebibytes('Rss'), anonymous: mebibytes('Anonymous') }
  }
}
