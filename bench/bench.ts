// npm run bench: podwire and the reference's plugins in turns, in one run, warmed alike, each on a machine of its own.

import { execFileSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { compare } from './compare.ts'
import { verdicts, verdictTable } from './musts.ts'
import { parseOptions, USAGE, type Options, type Reference } from './options.ts'
import { note } from './progress.ts'
import { rows as rowsOf, table } from './report.ts'
import { enterWorld, inWorld } from './world.ts'

const SUITES = ['sid', 'bookworm'] // the newest reference; the one that many machines have
const QUIET = 0.5 // load average

function main(options: Options): void {
  const { ours, references, cpu, rounds, json } = options
  if (!existsSync(join(ours, 'ptp'))) throw new Error(`there is no ${join(ours, 'ptp')}: npm run build makes it`)
  // There is no network inside, so the references come from outside.
  const fetched = references || inWorld ? [] : SUITES.flatMap(fetch)
  enterWorld([...argv, ...fetched.flatMap(({ name, bin }) => ['--reference', `${name}=${bin}`])])

  const load = loadavg()[0]!
  if (load > QUIET) note(`other work disturbs the figures: the load average is ${load.toFixed(1)}`)
  const rows = rowsOf(compare(options), cpu)
  const columns = (references ?? []).map(({ name }) => name)
  const musts = verdicts(rows, columns[0])
  const machine = { ...hardware(), kernel: release(), node: process.version, load, rounds, time: cpu ? 'CPU' : 'wall' }
  console.log(`\n${Object.entries(machine).map(([name, value]) => `${name} ${value}`).join(', ')}`)
  console.log('Milliseconds unless the row says otherwise: median (p95); differences and ratios of medians [95 % confidence].\n')
  console.log(`${table(rows, columns)}\n`)
  if (musts.length > 0) console.log(verdictTable(musts))
  if (json) writeFileSync(json, `${JSON.stringify({ machine, references: columns, rows, musts }, null, 1)}\n`)
}

function fetch(suite: string): Reference[] {
  try {
    const [version = '', bin = ''] = execFileSync('bash', [join(import.meta.dirname, 'reference.sh'), suite], { encoding: 'utf8' }).trim().split(' ')
    return [{ name: version.replace(/[+~-].*/, ''), bin }]
  } catch {
    note(`the reference of Debian ${suite} cannot be had; --reference DIR names one that is here`)
    return []
  }
}

const hardware = () => ({ processor: cpus()[0]?.model, processors: availableParallelism(), memory: `${Math.round(totalmem() / 2 ** 30)} GiB` })

const argv = process.argv.slice(2)
try {
  if (argv.includes('--help')) process.stdout.write(USAGE)
  else main(parseOptions(argv))
} catch (error) {
  note(`bench: ${(error as Error).message}`)
  process.exitCode = 1
}
