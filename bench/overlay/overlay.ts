// npm run bench:overlay: an agent among generated nodes in namespaces of its own, and traffic between pods over its overlay
// and over one made by hand, in turns, in one run.

import { execFileSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, release } from 'node:os'
import { join, resolve } from 'node:path'
import { sleep } from '../../src/kernel/libc.ts'
import { readAnew } from '../cache.ts'
import { note, reporting } from '../progress.ts'
import { markdown } from '../report.ts'
import { median } from '../statistics.ts'
import { enterWorld, inWorld } from '../world.ts'
import { compareTraffic, trafficTable, type Flow, type Contestant } from './datapath.ts'
import { AMONG, IDLE_CPU, MEMORY, MOST, TRAFFIC_LEAST } from './musts.ts'
import { parseOptions, USAGE, type Options } from './options.ts'
import { podwire } from './ours.ts'
import { handmade } from './pair.ts'
import { svg } from './plot.ts'
import { Scale, WORKS, type Measured, type Sample, type Work } from './scale.ts'
import { BASE, variation, VARIATIONS } from './variations.ts'

function main(options: Options): void {
  const bin = resolve(options.ours)
  if (!existsSync(join(bin, 'podwire'))) throw new Error(`there is no ${join(bin, 'podwire')}: npm run build makes it`)
  if (!inWorld) execFileSync('bash', ['-c', `. '${join(import.meta.dirname, '../../scripts/setup.sh')}' && need ${PROGRAMS}`], { stdio: 'inherit' })
  enterWorld(argv)
  const load = loadavg()[0]!
  if (load > QUIET) note(`other work disturbs the figures: the load average is ${load.toFixed(1)}`)
  readAnew([join(bin, 'podwire')])
  const has = (part: string) => options.parts.includes(part as never)
  const scale = has('scale') ? measureScale(options, bin) : []
  const traffic = has('traffic') ? measureTraffic(options, bin) : []
  const variations = has('variations') ? measureVariations(options) : []

  const machine = { processor: cpus()[0]?.model, processors: availableParallelism(), kernel: release(), load }
  console.log(`\n${Object.entries(machine).map(([name, value]) => `${name} ${value}`).join(', ')}`)
  if (scale.length > 0) console.log(`\nMilliseconds, medians (the slowest); CPU is the agent's; by hand: ip, bridge, sysctl and nft in batches, or their lists.\n\n${worksTable(scale)}\n\n${idleTable(scale)}`)
  if (traffic.length > 0) console.log(`\nMedians${options.cpu ? ', throughput by second of CPU time' : ''}, and how fast each is by the hand-made one before it that does the same work [95 % confidence]: must be ≥ ${TRAFFIC_LEAST}.\n\n${trafficTable(traffic)}`)
  if (variations.length > 0) console.log(`\n${trafficTable(variations)}`)
  if (options.plot && scale.length > 0) writeFileSync(options.plot, plot(scale))
  if (options.json) writeFileSync(options.json, `${JSON.stringify({ machine, scale, traffic, variations }, null, 1)}\n`)
}

const PROGRAMS = 'ip:iproute2 nft:nftables taskset:util-linux iperf3:iperf3 ethtool:ethtool' // and Debian's packages of them
const QUIET = 0.5 // load average

interface ScaleResult {
  nodes: number
  works: [Work, Sample[]][]
  /** CPU time in ten minutes, milliseconds; MiB. */
  idle: { cpu: number; resident: number; anonymous: number }
  /** The same with an API server, and its start from nothing. */
  cluster: { start: Sample; idle: ScaleResult['idle'] }
  /** What a restart changed in the kernel. */
  heard: string
}

function measureScale({ nodes, repeat, quick }: Options, bin: string): ScaleResult[] {
  const measured = nodes.map((count) => reporting(`${count} nodes`, () => measureAmong(count, repeat, bin)))
  const clusters = nodes.map((count) => reporting(`${count} nodes of Kubernetes`, () => measureCluster(count, bin)))
  // The first minute's look after a change compares everything; those after it see that nothing is different.
  if (!quick) reporting(`${IDLE / 1000} s until all is at rest`, () => sleep(IDLE))
  const idle = reporting(`${IDLE / 1000} s without work`, () => measureIdle([...measured, ...clusters].map(({ scale }) => scale)))
  return measured.map(({ scale, count, samples, heard }, i) => {
    const cluster = clusters[i]!
    scale.end()
    cluster.scale.end()
    return { nodes: count, works: WORKS.map((work) => [work, samples.flatMap((sample) => sample[work] ?? [])]), idle: idle[i]!, cluster: { start: cluster.start, idle: idle[nodes.length + i]! }, heard }
  })
}

function measureAmong(count: number, repeat: number, bin: string) {
  const samples: Measured[] = []
  let scale: Scale | undefined
  let heard = ''
  for (let round = 0; round < repeat; round++) {
    scale?.end()
    scale = new Scale(count, round, bin)
    samples.push(scale.fromNothing())
    const restarted = scale.restart()
    samples.push(restarted.measured)
    heard += restarted.heard
    if (restarted.heard) note(`the kernel told while the agent started again: ${restarted.heard}`)
    for (const turn of [2 * round, 2 * round + 1]) samples.push(scale.change(), scale.damage(turn))
  }
  return { scale: scale!, count, samples, heard }
}

function measureCluster(count: number, bin: string) {
  const scale = new Scale(count, 'kubernetes', bin)
  return { scale, start: scale.fromNothing()['from nothing to true']! }
}

/** What it does each minute is in it once. */
const IDLE = 60_000 // ms
const TEN_MINUTES = 600_000

function measureIdle(scales: Scale[]): ScaleResult['idle'][] {
  const before = scales.map(({ agent }) => agent.cpu())
  sleep(IDLE)
  return scales.map(({ agent }, i) => ({ cpu: ((agent.cpu() - before[i]!) * TEN_MINUTES) / IDLE, ...agent.memory() }))
}

function measureTraffic(options: Options, bin: string): Flow[] {
  const [bare, full] = [podwire('ours-bare', bin, ['--no-masquerade']), podwire('ours', bin)]
  const contestants: Contestant[] = [
    { name: 'by hand', pair: handmade('hand') },
    { name: 'by hand again', pair: handmade('again'), against: 'by hand' },
    { name: 'podwire --no-masquerade', pair: bare.pair, against: 'by hand' },
    { name: 'by hand, masquerading', pair: variation('hand-masquerading', 'masquerade') },
    { name: 'podwire', pair: full.pair, against: 'by hand, masquerading' },
  ]
  try {
    return compareTraffic(contestants, options, ['across'])
  } finally {
    for (const agent of [...bare.agents, ...full.agents]) agent.stop()
  }
}

function measureVariations(options: Options): Flow[] {
  const { variations = Object.keys(VARIATIONS) } = options
  const contestants = [{ name: BASE, pair: handmade(BASE) }, ...variations.map((name): Contestant => ({ name, pair: variation(name, name), against: BASE }))]
  return compareTraffic(contestants, options, ['across', 'on one node'])
}

function worksTable(results: ScaleResult[]): string {
  const lines = results.flatMap(({ nodes, works, heard }) =>
    works.map(([work, samples]) => {
      const of = (key: keyof Sample) => samples.map((sample) => sample[key])
      const [ours, byHand] = [median(of('ours')), median(of('byHand'))]
      const most = nodes === AMONG ? MOST[work] : undefined
      const silent = work !== 'restart, true already' || heard === ''
      return [work, String(nodes), `${ours.toFixed(0)} (${Math.max(...of('ours')).toFixed(0)})`, median(of('cpu')).toFixed(0), byHand.toFixed(0), (ours / byHand).toFixed(2), most ? `≤ ${most}` : '', verdict(most === undefined ? undefined : ours <= most && silent), silent ? '' : 'it changed the kernel']
    }),
  )
  return markdown(['work', 'nodes', 'podwire', 'CPU', 'by hand', 'ratio', 'wanted', '', ' '], lines)
}

function idleTable(results: ScaleResult[]): string {
  const lines = results.flatMap(({ nodes, idle, cluster: { start, idle: watching } }) => [
    ['CPU in 10 minutes, ms', String(nodes), idle.cpu.toFixed(0), watching.cpu.toFixed(0), ...wanted(nodes === AMONG ? IDLE_CPU : undefined, idle.cpu)],
    ['resident, MiB', String(nodes), idle.resident.toFixed(0), watching.resident.toFixed(0), ...wanted(MEMORY[nodes], Math.max(idle.resident, watching.resident))],
    ['of it no mapped file, MiB', String(nodes), idle.anonymous.toFixed(0), watching.anonymous.toFixed(0), '', ''],
    ['from nothing to true, ms', String(nodes), '', start.ours.toFixed(0), '', ''],
  ])
  return markdown(['at rest', 'nodes', 'file', 'API server, each status once in 5 minutes', 'wanted', ''], lines)
}

const wanted = (most: number | undefined, came: number): [string, string] => [most === undefined ? '' : `≤ ${most}`, verdict(most === undefined ? undefined : came <= most)]
const verdict = (met: boolean | undefined): string => (met === undefined ? '' : met ? 'met' : 'NOT MET')

function plot(results: ScaleResult[]): string {
  const points = (work: Work, key: keyof Sample) => results.map(({ nodes, works }): [number, number] => [nodes, median(works.find(([name]) => name === work)![1].map((sample) => sample[key]))])
  const shown: Work[] = ['from nothing to true', 'restart, true already', 'a node more', 'repair of addr', 'repair of route']
  const byHand: [Work, string][] = [['from nothing to true', 'ip, bridge -batch'], ['restart, true already', 'ip -j, bridge -j lists']]
  const series = [...shown.map((work) => ({ name: work, points: points(work, 'ours') })), ...byHand.map(([work, name]) => ({ name, points: points(work, 'byHand') }))]
  return svg({ title: 'What the overlay costs among so many nodes', x: 'nodes', y: 'milliseconds', series })
}

const argv = process.argv.slice(2)
try {
  if (argv.includes('--help')) process.stdout.write(USAGE)
  else main(parseOptions(argv))
} catch (error) {
  note(`bench: ${(error as Error).message}`)
  process.exitCode = 1
}
