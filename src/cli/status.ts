// `podwire status`, and `podwire` alone: the node, its overlay, each peer with what is wrong and what repairs it, and the ports
// of the node that lead to pods. Computed from what the agent last wrote and from the kernel as it is now, so it also tells when no agent runs.

import { existsSync } from 'node:fs'
import type { Answer } from '../cni/serve.ts'
import { Netns } from '../kernel/netns.ts'
import { compare, type Difference } from '../reconcile.ts'
import { leases } from '../vxlan/leases.ts'
import { overlay, overlayMtu, ownersOf, realmOf } from '../vxlan/overlay.ts'
import { StateDir, type Status } from '../vxlan/state-dir.ts'
import { printable } from '../printable.ts'
import { parse } from './args.ts'
import { columns } from './columns.ts'
import { fileFindings } from './files.ts'
import { nodeFindings } from './node.ts'
import { ports, portTable, type Port } from './ports.ts'

interface Finding {
  /** The peer that it concerns; undefined: the node itself. */
  peer: string | undefined
  sentence: string
  repair: string
}

interface Report {
  node: string
  ready: boolean
  reason: string
  agent: boolean
  source: Status['source']
  device: { name: string; vni: number; port: number; mtu: number } | undefined
  underlay: { address: string; dev: string; mtu: number } | undefined
  networks: { network: string; used: number; free: number }[]
  conflist: string
  peers: { name: string; address: string; podCIDRs: string[] }[]
  /** Undefined where the kernel tells them to root alone. */
  ports: Port[] | undefined
  findings: Finding[]
}

/** Where there is no overlay to report, and why, if there should be one. */
interface Nothing {
  problem?: string
  findings: Finding[]
}

export function status(args: string[]): Answer {
  const { values } = parse(args, { 'state-dir': { type: 'string', default: '/run/podwire' }, json: { type: 'boolean', default: false } })
  const directory = new StateDir(values['state-dir'])
  const netns = new Netns()
  try {
    const overlayed = overlayReport(netns, directory)
    const said = new Set(overlayed.findings.map(({ sentence }) => sentence))
    const own = [...nodeFindings(netns), ...fileFindings(netns, directory)].filter(({ sentence }) => !said.has(sentence))
    const findings = [...own.map((one) => ({ peer: undefined, ...one })), ...overlayed.findings]
    const report = { ...overlayed, findings, ports: ports(netns) }
    const well = findings.length === 0 && ('node' in report ? report.ready : report.problem === undefined)
    return { status: well ? 0 : 1, stdout: values.json ? `${JSON.stringify(report, null, 2)}\n` : pageOf(report, values['state-dir']) + portTable(report.ports ?? []), stderr: '' }
  } finally {
    netns.close()
  }
}

/** `problem`: what is wrong with the agent's word, so that there is nothing to report. */
function overlayReport(netns: Netns, directory: StateDir): Omit<Report, 'ports'> | Nothing {
  let known: Status | undefined
  try {
    known = directory.read()
  } catch (error) {
    return { problem: (error as Error).message, findings: [] }
  }
  return known ? reportOf(netns, known, directory.taken()) : { findings: [] }
}

function pageOf(report: Report | Nothing, stateDir: string): string {
  if ('node' in report) return text(report)
  const wrong = report.findings.flatMap(wrongLines).map(([label, value]) => labelled(label, value)).join('')
  const none = `none: no podwire agent has run here (${stateDir} has no status.json)`
  return `${labelled('overlay', report.problem === undefined ? none : `unknown: ${report.problem}`)}${wrong}help      podwire help\n`
}

function reportOf(netns: Netns, known: Status, running: boolean): Omit<Report, 'ports'> {
  const { parts, device } = known
  const { differences, unread } = parts ? differencesOf(netns, known) : { differences: [], unread: [] }
  const owners = parts && ownersOf(parts)
  const isRefused = ({ repair }: Difference) => known.problems.some(({ sentence }) => sentence.startsWith(`the kernel refuses ${repair}: `))
  return {
    node: known.node, ready: known.ready, reason: known.reason, agent: running, source: known.source,
    device: parts && { name: device, vni: parts.options.vni, port: parts.options.port, mtu: overlayMtu(parts.underlay, parts.options.mtu) },
    underlay: parts && { address: parts.underlay.local, dev: parts.underlay.dev ?? 'lo', mtu: parts.underlay.mtu },
    networks: leases(parts?.podCIDRs ?? []),
    conflist: known.conflist,
    peers: (parts?.peers ?? []).map(({ node, address, podCIDRs }) => ({ name: node.name, address, podCIDRs })),
    findings: [
      ...unread,
      ...differences.filter((one) => !isRefused(one)).map(({ fact, sentence, repair }) => ({ peer: owners?.get(fact), sentence, repair })),
      ...known.problems.map(({ node, sentence }) => ({ peer: node, sentence, repair: '' })),
    ],
  }
}

/** What is not as it should be, or why that cannot be told. */
function differencesOf(netns: Netns, { parts, device }: Status): { differences: Difference[]; unread: Finding[] } {
  try {
    const plan = overlay(parts!.self, parts!.podCIDRs, parts!.underlay, parts!.peers, parts!.options)
    return { differences: twice(() => compare(netns, plan, realmOf(device))), unread: [] }
  } catch (error) {
    const sentence = `what is there cannot be read: ${(error as Error).message}`
    return { differences: [], unread: [{ peer: undefined, sentence, repair: '' }] }
  }
}

/** A device that is replaced while its lists are read is looked at once more. */
function twice<T>(look: () => T): T {
  try {
    return look()
  } catch {
    return look()
  }
}

function text({ node, ready, reason, agent, source, device, underlay, networks, conflist, peers, findings }: Report): string {
  const own = findings.filter(({ peer }) => peer === undefined)
  const rows: [string, string][] = [
    ['node', node],
    ['overlay', `${ready ? 'ready' : 'not ready'}${reason ? `: ${reason}` : ''}`],
    ...(device ? [['device', `${device.name}  vni ${device.vni}  port ${device.port}  mtu ${device.mtu}`] as [string, string]] : []),
    ...(underlay ? [['underlay', `${underlay.dev}  ${underlay.address}  mtu ${underlay.mtu}`] as [string, string]] : []),
    ...networks.map(({ network, used, free }, i): [string, string] => [i === 0 ? 'pods' : '', `${network}  ${used} leased, ${free > 1e6 ? 'millions' : free} free`]),
    ['conflist', existsSync(conflist) ? conflist : `${conflist} is not there`],
    ['agent', `${agent ? 'running' : 'not running: what changes now is not repaired'}, nodes from ${source.what}${source.reason ? ` (${source.reason})` : ''}`],
    ...own.flatMap(wrongLines),
  ]
  return `${rows.map(([label, value]) => labelled(label, value)).join('')}${table(peers, findings)}`
}

const labelled = (label: string, value: string): string => `${printable(`${label.padEnd(9)} ${value}`)}\n`

/** What others say is one line; of a repair each line is one. */
function wrongLines({ sentence, repair }: Finding): [string, string][] {
  const lines = repair.split('\n').filter(Boolean)
  return [['wrong', sentence], ...lines.map((one): [string, string] => ['repair', one])]
}

function table(peers: Report['peers'], findings: Finding[]): string {
  const byPeer = Map.groupBy(findings, ({ peer }) => peer)
  const byName = new Map(peers.map((peer) => [peer.name, peer]))
  const names = [...new Set([...byName.keys(), ...findings.flatMap(({ peer }) => peer ?? [])])]
  if (names.length === 0) return ''
  const rows = names.map((name) => {
    const [peer, wrong] = [byName.get(name), byPeer.get(name) ?? []]
    return { cells: [name, peer?.address ?? '', peer?.podCIDRs.join(' ') ?? '', wrong.length === 0 ? 'ok' : ''], wrong }
  })
  const [header, ...lines] = columns([['peer', 'address', 'pods', ''], ...rows.map(({ cells }) => cells)])
  const below = (wrong: Finding[]) => wrong.flatMap(wrongLines).map(([label, value]) => `${printable(`  ${label.padEnd(6)}  ${value}`)}\n`)
  return `\n${header}${rows.map(({ wrong }, i) => [lines[i], ...below(wrong)].join('')).join('')}`
}
