// The same state made by hand: what a plan says, typed into ip, bridge, sysctl and nft in batches. What the agent is
// compared with, because nothing that uses the kernel's interface from outside is faster to write.

import { execFileSync } from 'node:child_process'
import type { Fact, Plan } from '../../src/facts.ts'
import { show } from '../../src/show.ts'
import type { Namespace } from '../world.ts'

/** Makes a plan true, by sentences other than `show` if there are; milliseconds. */
export function typeIn(host: Namespace, plan: Plan, say: (fact: Fact) => string = show): number {
  const lines = plan.flatMap((fact) => say(fact).split('\n'))
  const of = (program: string) => lines.flatMap((line) => (line.startsWith(`${program} `) ? line.slice(program.length + 1).replace(/^-6 /, '').replaceAll("'", '') : [])).join('\n')
  const [ip, bridge, sysctl, nft] = ['ip', 'bridge', 'sysctl', 'nft'].map(of) as [string, string, string, string]
  const start = performance.now()
  host.inside(() => {
    // The device and what is set on it stand at the beginning of ip's lines; fdb entries need it, nothing needs them.
    execFileSync('ip', ['-batch', '-'], { input: ip })
    if (bridge) execFileSync('bridge', ['-batch', '-'], { input: bridge })
    if (sysctl) execFileSync('sh', ['-e'], { input: sysctl.replaceAll(/^/gm, 'sysctl ') })
    if (nft) execFileSync('nft', ['-f', '-'], { input: nft })
  })
  return performance.now() - start
}

const LISTS = (dev: string): string[][] => [
  ['ip', '-j', 'addr', 'show', 'dev', dev],
  ...['-4', '-6'].flatMap((family) => [['ip', '-j', family, 'route', 'show', 'proto', '119'], ['ip', '-j', family, 'neigh', 'show', 'dev', dev, 'nud', 'permanent']]),
  ['bridge', '-j', 'fdb', 'show', 'dev', dev],
  ['nft', '-j', 'list', 'table', 'inet', 'podwire'],
]

/** Lists the whole state by the same programs; milliseconds, and how many entries there are. */
export function list(host: Namespace, dev: string): { took: number; entries: number } {
  const start = performance.now()
  const texts = host.inside(() => LISTS(dev).map(([program, ...args]) => execFileSync(program!, args, { encoding: 'utf8', maxBuffer: 2 ** 28 })))
  const took = performance.now() - start
  const entries = texts.slice(1, -1).reduce((sum, text) => sum + (JSON.parse(text || '[]') as unknown[]).length, 0)
  return { took, entries }
}
