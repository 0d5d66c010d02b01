// The comparison: at each number of pods all scenarios, by everybody who takes part in them. Each family of scenarios has
// machines of its own, which are gone before the next ones come: what the kernel does for a new device grows with the number
// of namespaces that there are.

import { existsSync, mkdirSync, symlinkSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join, resolve } from 'node:path'
import { plugins, readAnew } from './cache.ts'
import { CHAINS } from './chains.ts'
import { buildEmpty } from './empty.ts'
import { implementation, Refused, TIME, type Implementation } from './implementation.ts'
import type { Options, Reference } from './options.ts'
import { note, reporting } from './progress.ts'
import type { Measured } from './report.ts'
import { run } from './rounds.ts'
import { NFT, OURS, PLUGINS, type Family, type Scenario } from './scenarios.ts'
import { settle } from './world.ts'

export function compare(options: Options): Measured[] {
  if (!existsSync(TIME)) note(`no rows about memory: they take ${TIME}, Debian's package time`)
  const empty = buildEmpty(resolve(options.ours))
  return [PLUGINS, ...CHAINS].filter(({ name }) => options.families.includes(name)).flatMap((family) => {
    const scenarios = family.scenarios.filter(({ unit }) => unit !== 'MiB' || existsSync(TIME))
    const wanted = scenarios.filter(({ works, most = Infinity }) => options.pods.some((pods) => pods <= most && works.some((work) => options.rows.test(title(work, pods)))))
    return wanted.length > 0 ? measure(family, wanted, options, empty) : []
  })
}

const title = (work: string, pods: number): string => `${work}, ${pods} pods`
const heading = ({ works: [first, ...more] }: Scenario): string => first! + (more.length > 0 ? ` and ${more.length} more` : '')

function measure(family: Family, scenarios: Scenario[], { rounds, pods, rows, ours, references = [] }: Options, empty: string): Measured[] {
  const others = references.slice(0, family.references)
  const executables = [empty, ...[ours, ...others.map(({ bin }) => bin)].flatMap((bin) => plugins(bin, family.plugins))]
  const all = [
    implementation(OURS, resolve(ours), family.name),
    ...others.map(({ name, bin }) => implementation(name, resolve(bin), family.name)),
    ...withoutIptables(references[0], family.name),
  ]
  try {
    let everybody = all.filter((someone) => complete(family, someone))
    if (!everybody.some(({ column }) => column === OURS)) return []
    return pods.flatMap((count) => {
      const selected = scenarios.filter(({ works, most = Infinity }) => count <= most && works.some((work) => rows.test(title(work, count))))
      const wanted = (someone: Implementation) => selected.some((scenario) => takesPart(someone, scenario))
      everybody = everybody.filter((someone) => !wanted(someone) || populated(family, someone, count))
      return selected.flatMap((scenario) => {
        const participants = everybody.filter((someone) => takesPart(someone, scenario))
        readAnew(executables)
        const samples = reporting(title(heading(scenario), count), () => run(scenario, participants, empty, rounds))
        const works = scenario.works.filter((work) => rows.test(title(work, count)))
        return works.map((work): Measured => ({ work, pods: count, unit: scenario.unit, samples: samples[work]! }))
      })
    })
  } finally {
    all.forEach(({ machine }) => machine.delete())
    reporting('the kernel takes all of it down', settle)
  }
}

const takesPart = ({ name }: Implementation, { by }: Scenario): boolean => by?.includes(name) ?? name !== NFT

function complete({ name, complete: has }: Family, someone: Implementation): boolean {
  const there = has?.(someone) ?? true
  if (!there) note(`left out: ${someone.name}, machine ${name}: it has not all of the plugins`)
  return there
}

/** The newest reference once more, where there is nft and no iptables: then it masquerades by nft. */
function withoutIptables(newest: Reference | undefined, world: string): Implementation[] {
  const nft = ['/usr/sbin/nft', '/sbin/nft'].find(existsSync)
  if (!newest || !nft) return []
  const path = '/run/without-iptables'
  mkdirSync(path, { recursive: true })
  if (!existsSync(join(path, 'nft'))) symlinkSync(nft, join(path, 'nft'))
  return [implementation(newest.name, resolve(newest.bin), world, { name: NFT, path })]
}

const FIRST = 1000 // the number of the first pod that stays; those that come and go have the ones below

function populated(family: Family, someone: Implementation, pods: number): boolean {
  const { name, machine } = someone
  if (machine.residents >= pods) return true
  try {
    const numbers = Array.from({ length: pods - machine.residents }, (_, i) => FIRST + machine.residents + i)
    reporting(`${name} makes pods, ${pods}`, () => family.populate(someone, numbers, availableParallelism()))
    machine.residents = pods
    return true
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    note(`left out: ${name}: ${error.message}`)
    return false
  }
}
