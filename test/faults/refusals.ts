// System calls of the executable as it is built, refused one after the other: strace answers in the kernel's place.

import { call, full, netns } from '../world.ts'
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { BUILT, cannotInject, execute } from '../reference.ts'
import { sample } from './samples.ts'

const conf = full()

const pod = netns('pod')
export const strace = (filter: string) => execute(join(BUILT, 'ptp'), 'ADD', conf, { netns: pod, by: ['strace', '-f', '-qq', '--seccomp-bpf', '-o', '/run/trace', '-e', filter] })
export const add = () => call('ptp', 'ADD', conf)
export const del = () => call('ptp', 'DEL', conf)

/** What an attachment makes. It is asked for so often that no shell is started. */
export const things = (): string => {
  const links = readFileSync('/proc/net/dev', 'utf8').match(/\w+(?=:)/g)!.join(' ')
  return [links, execFileSync('ip', ['-n', 'pod', '-br', 'link'], { encoding: 'utf8' }), execFileSync('nft', ['list', 'table', 'inet', 'podwire'], { encoding: 'utf8' }), ...readdirSync('/var/lib/cni/networks/podnet')].join('\n')
}

/** How often an ADD makes the call. */
export function times(name: string): number {
  const { status, stdout } = strace(`trace=${name}`)
  if (status !== 0) throw new Error(stdout)
  del()
  return readFileSync('/run/trace', 'utf8').split('\n').filter((line) => line.includes(`${name}(`)).length
}

export const before = cannotInject ? '' : (times('socket'), things()) // what is shared stays from now on

/** Refuses calls of that name, each once: an ADD that fails for it leaves nothing, and its repetition succeeds. */
export function once(t: Test, name: string, error: string): void {
  const count = times(name)
  const refused = []
  for (const i of sample(count, 5)) {
    const failed = strace(`inject=${name}:error=${error}:when=${i}`)
    if (failed.status !== 0) refused.push(failed.json?.msg)
    else del() // it did without
    const after = things()
    if (after !== before) return void t.equal(after, before, `${name} ${i} of ${count} left something: ${failed.json?.msg}`)
    const again = add()
    if (again.status !== 0) t.fail(`${name} ${i} of ${count}, the repetition: ${again.stdout}`)
    del()
  }
  t.ok(refused.length > 0, `${refused.length} of ${sample(count, 5).length} are needed, of ${count} in all`)
  t.same(refused.filter((sentence) => !sentence), [], 'each is a sentence')
  t.equal(things(), before)
}
