// What is measured. A scenario is one round of calls as a runtime would make them, which leaves everything as it was; each
// call that counts is a row of the table.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { locked } from '../src/ipam/store.ts'
import { call, callAll, containerID, write, measure, type Call, type Cost, type Implementation, type Sample, type Unit } from './implementation.ts'

export interface Scenario {
  unit: Unit
  /** Its rows. */
  works: string[]
  /** Who takes part, by names of machines; absent: everybody who chooses for themselves how to masquerade. */
  by?: string[]
  /** How much of the rounds that are asked for, where one takes long or all are alike; absent: all. */
  share?: number
  /** With how many pods it makes sense at most; absent: any number. */
  most?: number
  /** What has to be there before the first round. */
  setUp?(implementation: Implementation): void
  /** And is taken away after the last one. */
  tearDown?(implementation: Implementation): void
  /** One round, with a pod of its own; what it measured, by row. */
  round(implementation: Implementation, pod: number): Record<string, Sample>
}

/** The column of what is measured here, and of the empty executable. */
export const OURS = 'podwire'
export const FLOOR = 'empty start'
/** The machine of a reference that has nft and not iptables. */
export const NFT = 'nft'

const STATUS_VERSION = '1.1.0'

/** What is measured on the same nodes, among the same pods. */
export interface Family {
  name: string
  scenarios: Scenario[]
  /** What is started of whom takes part. */
  plugins: string[]
  /** How many references take part, the newest first. */
  references: number
  /** Whether somebody has what it takes; absent: everybody has. */
  complete?(implementation: Implementation): boolean
  /** Makes pods of these numbers, which stay; so many at once. */
  populate(implementation: Implementation, pods: number[], jobs: number): void
}

/** What one plugin does by itself. The first ones are about no pod. */
const scenarios: Scenario[] = [
  { unit: 'ms', works: ['VERSION', 'loopback ADD', 'loopback DEL'], most: 0, round: protocol },
  ...[0, 16_000].map((leases) => hostLocal(leases)),
  ptp((command) => `ptp ${command}`, { ipMasq: false }),
  ptp((command) => `ptp + ipMasq ${command}`, { ipMasq: true, asks: true }),
  { ...ptp((command) => `ptp + ipMasq ${command}, no iptables`, { ipMasq: true }), by: [OURS, NFT], most: 110 },
  { ...ptp((command) => `dual-stack ${command}`, { ipMasq: true, ipv6: true }), share: 1 / 5 },
  { ...ptp((command) => `memory of ptp + ipMasq ${command}`, { ipMasq: true, unit: 'MiB' }), works: ['memory of ptp + ipMasq ADD'], share: 1 / 5 },
]

export const PLUGINS: Family = { name: 'single', scenarios, plugins: ['ptp', 'loopback', 'host-local'], references: Infinity, populate }

function populate(implementation: Implementation, pods: number[], jobs: number): void {
  const conf = wireConf(implementation, { ipMasq: true })
  callAll(implementation, pods.map((pod): Call => ({ plugin: 'ptp', command: 'ADD', conf, ...attachment(implementation, pod) })), jobs)
}

function protocol(implementation: Implementation, number: number): Record<string, Sample> {
  const pod = attachment(implementation, number)
  const conf = { cniVersion: '1.0.0', name: 'lo', type: 'loopback' }
  return {
    VERSION: call(implementation, { plugin: 'ptp', command: 'VERSION', conf: { cniVersion: '1.0.0' } }).sample,
    'loopback ADD': call(implementation, { plugin: 'loopback', command: 'ADD', conf, ...pod }).sample,
    'loopback DEL': call(implementation, { plugin: 'loopback', command: 'DEL', conf, ...pod }).sample,
  }
}

interface Wire {
  ipMasq: boolean
  ipv6?: boolean
  /** STATUS too, while there is a pod. */
  asks?: boolean
  unit?: Cost
}

/** ADD, CHECK and DEL of a pod, as a runtime sends them: the latter two with the result of the first. */
function ptp(title: (command: string) => string, { asks = false, unit = 'ms', ...wire }: Wire): Scenario {
  const commands = ['ADD', ...(asks ? ['STATUS'] : []), 'CHECK', 'DEL']
  return {
    unit,
    works: commands.map(title),
    round(implementation, number) {
      const pod = attachment(implementation, number)
      const conf = wireConf(implementation, wire)
      const run = (command: string, more: object = {}) => call(implementation, { plugin: 'ptp', command, conf: { ...conf, ...more }, ...pod }, unit)
      const added = run('ADD')
      const prevResult = JSON.parse(added.stdout) as object
      return {
        [title('ADD')]: added.sample,
        ...(asks && speaks(implementation, STATUS_VERSION) && { [title('STATUS')]: run('STATUS', { cniVersion: STATUS_VERSION }).sample }),
        [title('CHECK')]: run('CHECK', { prevResult }).sample,
        [title('DEL')]: run('DEL', { prevResult }).sample,
      }
    },
  }
}

/** host-local with so many reservations, which whoever is measured has made. */
function hostLocal(leases: number): Scenario {
  const title = (command: string) => `host-local ${command}, ${leases} leases`
  const dataDir = ({ name }: Implementation) => join(DATA, `${leases}-${name}`)
  return {
    unit: 'ms',
    works: ['ADD', 'DEL'].map(title),
    most: 0,
    share: leases === 0 ? 1 : 1 / 3,
    setUp: (implementation) => reserve(join(dataDir(implementation), NETWORK), leases, implementation.column === OURS),
    round(implementation, number) {
      const conf = { ...wireConf(implementation, { ipMasq: false }), type: 'bridge' }
      const request = { plugin: 'host-local', conf: { ...conf, ipam: { ...conf.ipam, dataDir: dataDir(implementation) } }, ...attachment(implementation, number) }
      const run = (command: string) => ({ [title(command)]: call(implementation, { ...request, command }).sample })
      return { ...run('ADD'), ...run('DEL') }
    },
  }
}

// Through the plugin it would take longer than all the rest. The reference's are files that its documentation describes.
function reserve(directory: string, leases: number, ours: boolean): void {
  const address = (i: number) => `10.1.${i >> 8}.${i & 255}`
  const holders = Array.from({ length: leases }, (_, i) => ({ address: address(i + 2), containerID: containerID(), ifname: 'eth0' }))
  mkdirSync(directory, { recursive: true })
  if (leases === 0) return
  writeFileSync(join(directory, 'last_reserved_ip.0'), address(leases + 1))
  if (ours) locked(directory, (store) => holders.forEach((holder) => store.reserve([holder.address], holder)))
  else for (const { address, containerID, ifname } of holders) writeFileSync(join(directory, address), `${containerID}\r\n${ifname}`)
}

/** The floor, measured in the same round. */
export const floor = (empty: string, unit: Cost): Sample => measure([empty], {}, write(), unit)

const NETWORK = 'bench'
const DATA = '/var/lib/cni/networks'

function wireConf({ machine }: Implementation, { ipMasq, ipv6 }: Wire) {
  const families = [{ subnet: '10.1.0.0/16', dst: '0.0.0.0/0' }, ...(ipv6 ? [{ subnet: 'fd00:1::/64', dst: '::/0' }] : [])]
  const ranges = families.map(({ subnet }) => [{ subnet }])
  const routes = families.map(({ dst }) => ({ dst }))
  return { cniVersion: '1.0.0', name: NETWORK, type: 'ptp', ipMasq, ipam: { type: 'host-local', dataDir: join(DATA, machine.name), ranges, routes } }
}

const attachment = ({ machine }: Implementation, pod: number) => ({ container: containerID(), netns: machine.pod(pod) })
const versions = new Map<string, string[]>()

/** Whether an implementation speaks a version of CNI. */
function speaks(implementation: Implementation, version: string): boolean {
  if (!versions.has(implementation.name)) {
    const { stdout } = call(implementation, { plugin: 'ptp', command: 'VERSION', conf: { cniVersion: '1.0.0' } })
    versions.set(implementation.name, (JSON.parse(stdout) as { supportedVersions: string[] }).supportedVersions)
  }
  return versions.get(implementation.name)!.includes(version)
}
