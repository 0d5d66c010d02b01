// The report of `podwire status` for people: labels and values, then the peers, then the ports. What is wrong comes with what repairs it.

import { printable } from '../printable.ts'
import type { Leases } from '../vxlan/leases.ts'
import { columns } from './columns.ts'
import { portTable } from './ports.ts'
import { repairsOf } from './repairs.ts'
import type { Finding, Overlay, Report } from './report.ts'

/** So many lines of one repair are shown; a device that is made anew needs three for each peer. */
const MOST_LINES = 8

type Row = [label: string, value: string]

export function page(report: Report, stateDir: string): string {
  const { overlay, findings, unseen } = report
  const own = findings.filter(({ peer }) => peer === undefined)
  const rows: Row[] = [
    ...(overlay ? overlayRows(overlay) : absentRows(report, stateDir)),
    ...own.flatMap(wrongLines),
    ...(unseen.length > 0 ? [['unseen', `${unseen.join('; ')}: root alone can look at it`] as Row] : []),
    ...(overlay ? [] : [['help', 'podwire help'] as Row]),
  ]
  return `${rows.map(labelled).join('')}${overlay ? peerTable(overlay.peers, findings) : ''}${portTable(report.ports ?? [])}`
}

function overlayRows({ node, ready, reason, agent, source, device, underlay, networks, conflist }: Overlay): Row[] {
  return [
    ['node', node],
    ['overlay', `${ready ? 'ready' : 'not ready'}${reason ? `: ${reason}` : ''}`],
    ...(device ? [['device', `${device.name}  vni ${device.vni}  port ${device.port}  mtu ${device.mtu}`] as Row] : []),
    ...(underlay ? [['underlay', underlayText(underlay)] as Row] : []),
    ...(networks ?? []).map((one, i): Row => [i === 0 ? 'pods' : '', leasesText(one)]),
    ['conflist', conflist],
    ['agent', agent ? 'running' : 'not running: changes are not repaired'],
    ['nodes', `from ${source.what}${source.reason ? `, which cannot be read: ${source.reason}` : ''}`],
  ]
}

const underlayText = ({ dev, address, mtu, state }: NonNullable<Overlay['underlay']>): string =>
  `${dev}  ${address}  mtu ${mtu}${state === 'up' ? '' : `  ${state}`}`

const leasesText = ({ network, used, free }: Leases): string => `${network}  ${used} leased, ${free > 1_000_000n ? 'millions' : free} free`

function absentRows({ problem, pods, unseen }: Report, stateDir: string): Row[] {
  if (problem !== undefined) return [['overlay', `unknown: ${problem}`]]
  const here = stateDir === DEFAULT_DIR ? 'no agent has run here' : `no agent has run with --state-dir ${stateDir}`
  const networks = pods.map(({ network, count }) => `${network} ${count}`).join(', ') || 'none'
  return [['overlay', unseen.some((what) => what.includes(stateDir)) ? 'unknown' : `none (${here}). Networks and pods: ${networks}`]]
}

export const DEFAULT_DIR = '/run/podwire'

const labelled = ([label, value]: Row): string => `${printable(`${label.padEnd(9)} ${value}`)}\n`

/** What others say is one line; of a repair each line is one. */
function wrongLines({ sentence, repair }: Finding): Row[] {
  const lines = repairsOf(repair)
  const more = lines.length - MOST_LINES
  const rows = lines.slice(0, MOST_LINES).map((one): Row => ['repair', one])
  return [['wrong', sentence], ...rows, ...(more > 0 ? [['', `and ${more} more ${more === 1 ? 'line' : 'lines'}: podwire status --repair`] as Row] : [])]
}

function peerTable(peers: Overlay['peers'], findings: Finding[]): string {
  const byPeer = Map.groupBy(findings, ({ peer }) => peer)
  const byName = new Map(peers.map((peer) => [peer.name, peer]))
  const names = [...new Set([...byName.keys(), ...findings.flatMap(({ peer }) => peer ?? [])])]
  if (names.length === 0) return ''
  const rows = names.map((name) => {
    const [peer, wrong] = [byName.get(name), byPeer.get(name) ?? []]
    const state = peer && (wrong.length === 0 || peer.state === 'silent' || peer.state === 'narrow') ? peer.words : ''
    return { cells: [name, peer?.address ?? '', peer?.podCIDRs.join(' ') ?? '', state], wrong }
  })
  const [header, ...lines] = columns([['peer', 'address', 'pods', ''], ...rows.map(({ cells }) => cells)])
  const below = (wrong: Finding[]) => wrong.flatMap(wrongLines).map(([label, value]) => `${printable(`  ${label.padEnd(6)}  ${value}`)}\n`)
  return `\n${header}${rows.map(({ wrong }, i) => [lines[i], ...below(wrong)].join('')).join('')}`
}
