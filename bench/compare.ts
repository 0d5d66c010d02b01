// The comparison: at each number of pods all scenarios, by everybody who takes part in them.

import { existsSync, mkdirSync, symlinkSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join, resolve } from 'node:path'
import { plugins, readAnew } from './cache.ts'
import { buildEmpty } from './empty.ts'
import { implementation, Refused, TIME, type Implementation } from './implementation.ts'
import type { Options, Reference } from './options.ts'
import { note, reporting } from './progress.ts'
import type { Measured } from './report.ts'
import { run } from './rounds.ts'
import { NFT, OURS, populate, scenarios, type Scenario } from './scenarios.ts'

export function compare({ rounds, pods, rows, references = [], ours }: Options): Measured[] {
  const possible = scenarios.filter(({ unit }) => unit === 'ms' || existsSync(TIME))
  if (possible.length < scenarios.length) note(`no rows about memory: they take ${TIME}, Debian's package time`)
  const empty = buildEmpty(resolve(ours))
  const executables = [empty, ...[ours, ...references.map(({ bin }) => bin)].flatMap(plugins)]
  const others = references.map(({ name, bin }) => implementation(name, resolve(bin)))
  let everybody = [implementation(OURS, resolve(ours)), ...others, ...withoutIptables(references[0])]
  return pods.flatMap((count) => {
    const title = (work: string) => `${work}, ${count} pods`
    const selected = possible.filter(({ works, most = Infinity }) => count <= most && works.some((work) => rows.test(title(work))))
    const wanted = (someone: Implementation) => selected.some((scenario) => takesPart(someone, scenario))
    everybody = everybody.filter((someone) => !wanted(someone) || populated(someone, count))
    return selected.flatMap((scenario) => {
      const participants = everybody.filter((someone) => takesPart(someone, scenario))
      readAnew(executables)
      const samples = reporting(title(scenario.works.join('; ')), () => run(scenario, participants, empty, rounds))
      const works = scenario.works.filter((work) => rows.test(title(work)))
      return works.map((work): Measured => ({ work, pods: count, unit: scenario.unit, samples: samples[work]! }))
    })
  })
}

const takesPart = ({ name }: Implementation, { by }: Scenario): boolean => by?.includes(name) ?? name !== NFT

/** The newest reference once more, where there is nft and no iptables: then it masquerades by nft. */
function withoutIptables(newest: Reference | undefined): Implementation[] {
  const nft = ['/usr/sbin/nft', '/sbin/nft'].find(existsSync)
  if (!newest || !nft) return []
  const path = '/run/without-iptables'
  mkdirSync(path)
  symlinkSync(nft, join(path, 'nft'))
  return [implementation(newest.name, resolve(newest.bin), { name: NFT, path })]
}

function populated(someone: Implementation, pods: number): boolean {
  if (someone.machine.residents >= pods) return true
  try {
    reporting(`${someone.name} makes pods, ${pods}`, () => populate(someone, pods, availableParallelism()))
    return true
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    note(`left out: ${someone.name}: ${error.message}`)
    return false
  }
}
