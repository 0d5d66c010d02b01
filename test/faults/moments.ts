// SIGKILL at many moments of a request to the executable as it is built: the delays cover the time in which it works, from
// a little before it can have done anything to its end.

import { call, full, netns, sh } from '../world.ts'
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { BUILT, execute } from '../reference.ts'
import { moments } from './samples.ts'

export const MOMENTS = moments(24)

const conf = full()
const pod = netns('pod')

export const add = () => call('ptp', 'ADD', conf)
/** Every other DEL comes without the namespace, as after a reboot. */
export const del = (i = 0) => call('ptp', 'DEL', conf, { netns: i % 2 === 0 ? pod : '' })

/** What an attachment makes, asked for so often that little is started for it: a pod's end goes with the node's. */
export function things(): string {
  const links = readFileSync('/proc/net/dev', 'utf8').match(/\w+(?=:)/g)!.join(' ')
  const elements = execFileSync('nft', ['list', 'table', 'inet', 'podwire'], { encoding: 'utf8' }).split('\n').filter((line) => line.includes('comment'))
  return [links, ...elements, ...readdirSync('/var/lib/cni/networks/podnet')].join('\n')
}

/** Lets `prepare` make what the request needs, kills the request at a moment, and lets `judge` say what came of it. */
export function sweep(command: string, prepare: () => void, judge: (i: number) => void): { killed: number; summary: string } {
  const run = (...by: string[]) => execute(join(BUILT, 'ptp'), command, conf, { netns: pod, by })
  const from = 0.6 * measured(() => execute(join(BUILT, 'ptp'), 'VERSION', conf))
  let to = 2 * measured(() => run(), prepare)
  let [killed, tries] = [0, 0]
  for (; killed < MOMENTS && tries < 20 * MOMENTS; tries++) {
    prepare()
    const part = (tries * GOLDEN_RATIO) % 1 // in an order that covers the time evenly however long it goes on
    const start = performance.now()
    const { status, signal } = run('timeout', '--signal=KILL', ((from + (to - from) * part) / 1000).toFixed(4))
    if (status === 137 || signal === 'SIGKILL') {
      judge(killed++)
      if (part > 0.9) to *= 1.1 // it may take longer: the machine has more to do now
    } else {
      to = Math.max(from + 1, performance.now() - start) // it takes no longer
      del()
    }
  }
  return { killed, summary: `killed ${killed} times of ${tries}, between ${from.toFixed(0)} and about ${to.toFixed(0)} ms` }
}

const GOLDEN_RATIO = 0.618034

/** Milliseconds at the least. */
const measured = (run: () => void, prepare = () => {}): number => Math.min(...Array.from({ length: 5 }, () => (prepare(), milliseconds(run))))

function milliseconds(run: () => void): number {
  const start = performance.now()
  run()
  return performance.now() - start
}

/** The kinds of things that were there after a kill, counted. */
export function tally(seen: string[], before: string): string {
  const kinds: Record<string, RegExp> = { link: /veth/, element: /comment/, lease: /^10\./m }
  return Object.entries(kinds).map(([kind, pattern]) => `${kind} ${seen.filter((text) => pattern.test(text) && text !== before).length}`).join(', ')
}

/** Everything that is there, at the beginning and at the end. */
export const everything = (): string => sh('ip -d addr; ip route show table all; ip -6 route show table all; nft list ruleset; ip -n pod -d addr; ip -n pod route show table all; ls -A /var/lib/cni/networks/podnet')
