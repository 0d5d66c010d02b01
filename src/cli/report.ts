// What `podwire status` reports, as data: computed from what the agent last wrote and from the kernel as it is now, so it also tells
// when no agent runs, and whoever asks, as much as the kernel and the files tell to him.

import { isErrno } from '../kernel/errno.ts'
import * as link from '../kernel/link.ts'
import type { Netns } from '../kernel/netns.ts'
import { isOwner } from '../names.ts'
import { isNft } from '../nouns.ts'
import { compare, isGround, type Difference } from '../reconcile.ts'
import { leases, type Leases } from '../vxlan/leases.ts'
import { overlay, overlayMtu, ownersOf, realmOf } from '../vxlan/overlay.ts'
import type { StateDir, Status } from '../vxlan/state-dir.ts'
import { underlayFinding, type UnderlayFinding } from '../vxlan/underlay.ts'
import { filesOf } from './files.ts'
import { nodeFindings } from './node.ts'
import { peersIn, unheard, type PeerReport } from './peers.ts'
import { podFindings } from './pod-findings.ts'
import type { Places } from './pods.ts'
import { ports, type Port } from './ports.ts'
import { rebuilt } from './repairs.ts'

/** Something that is not as it should be. */
export interface Finding {
  /** The peer that it concerns; undefined: the node itself. */
  peer: string | undefined
  sentence: string
  /** Lines to type; empty where nobody can say any. */
  repair: string
  /** The line of the repair that takes away something that is not podwire's. */
  asks?: string
}

export interface Report {
  /** Something is wrong: what the findings say, or the other fields. */
  wrong: boolean
  overlay?: Overlay
  /** Why what the agent has left says nothing. */
  problem?: string
  /** How many pods each network has on this node. */
  pods: { network: string; count: number }[]
  /** Undefined where the kernel tells them to root alone. */
  ports: Port[] | undefined
  findings: Finding[]
  /** What could not be looked at for lack of privileges. */
  unseen: string[]
}

export interface Overlay {
  node: string
  ready: boolean
  reason: string
  /** Whether one runs. */
  agent: boolean
  source: Status['source']
  device: { name: string; vni: number; port: number; mtu: number } | undefined
  underlay: { address: string; dev: string; mtu: number; state: 'up' | UnderlayFinding['state'] } | undefined
  /** Undefined where the directory of leases is closed to whoever asks. */
  networks: Leases[] | undefined
  conflist: string
  peers: PeerReport[]
}

type Part = Partial<Report> & { findings: Finding[]; unseen: string[] }

export function reportOf(netns: Netns, directory: StateDir, places: Places): Report {
  const portsHere = ports(netns)
  const blind = portsHere === undefined
  const part = overlayPart(netns, directory, blind)
  const [files, ofPods] = [filesOf(netns, directory), podFindings(netns, places)]
  const said = [...part.findings, ...ofPods.findings].map(({ sentence }) => sentence)
  const own = [...nodeFindings(netns), ...files.findings].filter(({ sentence }) => !said.some((one) => one.startsWith(sentence)))
  const findings = [...[...own, ...ofPods.findings].map((one) => ({ peer: undefined, ...one })), ...part.findings]
  const unseen = [...(blind ? ['what nf_tables holds (masquerading, ports of pods)'] : []), ...part.unseen, ...files.unseen, ...ofPods.unseen]
  const wrong = findings.length > 0 || part.problem !== undefined || (part.overlay !== undefined && !isWell(part.overlay))
  return { ...part, wrong, pods: podsByNetwork(netns), ports: portsHere, findings, unseen }
}

/** Without an agent nobody follows what becomes of the nodes, and so it is if they cannot be read. */
const isWell = ({ ready, agent, source }: Overlay): boolean => ready && agent && source.reason === ''

function overlayPart(netns: Netns, directory: StateDir, blind: boolean): Part {
  let known: Status | undefined
  try {
    known = directory.read()
  } catch (error) {
    if (isErrno(error, 'EACCES')) return { findings: [], unseen: [`the state of the agent in ${directory.path}`] }
    return { problem: (error as Error).message, findings: [], unseen: [] }
  }
  return known ? partOf(netns, known, directory.taken(), blind) : { findings: [], unseen: [] }
}

function partOf(netns: Netns, known: Status, running: boolean, blind: boolean): Part {
  const { parts, device } = known
  const networks = leases(parts?.podCIDRs ?? [])
  const below = parts && underlayFinding(netns, parts.underlay)
  const kernel = parts ? kernelFindings(netns, parts, known, blind) : []
  if (below && parts.peers.length > 0) kernel.unshift({ peer: undefined, sentence: below.sentence, repair: below.repair, cuts: true })
  const cut = kernel.find(({ cuts }) => cuts)
  const peers = peersIn(known, running, cut !== undefined)
  const overlay: Overlay = {
    node: known.node, ready: known.ready && !cut, reason: known.reason || (cut?.sentence ?? ''), agent: running, source: known.source,
    device: parts && { name: device, vni: parts.options.vni, port: parts.options.port, mtu: overlayMtu(parts.underlay, parts.options.mtu) },
    underlay: parts && {
      address: parts.underlay.local, dev: parts.underlay.dev ?? 'lo', mtu: parts.underlay.mtu, state: below?.state ?? 'up',
    },
    networks, conflist: known.conflist, peers,
  }
  const problems = known.problems.map(({ node, sentence }) => ({ peer: node, sentence, repair: '' }))
  const silent = parts ? peers.flatMap((peer) => unheard(peer, parts)) : []
  const findings = [...kernel.map(({ cuts, ...one }) => one), ...problems, ...silent]
  return { overlay, findings, unseen: networks ? [] : ['the leases of pods'] }
}

type Parts = NonNullable<Status['parts']>

/** What the kernel says; `cuts`: no peer is reached, or reaches this node. */
function kernelFindings(netns: Netns, parts: Parts, known: Status, blind: boolean): (Finding & { cuts?: boolean })[] {
  const owners = ownersOf(parts)
  const refused = ({ repair }: Difference) => known.problems.some(({ sentence }) => sentence.startsWith(`the kernel refuses ${repair}: `))
  try {
    const differences = differencesOf(netns, parts, known.device, blind).filter((one) => !refused(one))
    return differences.map((one) => ({ peer: owners.get(one.fact), ...sayable(one), cuts: isGround(one) }))
  } catch (error) {
    return [{ peer: undefined, sentence: `what is there cannot be read: ${(error as Error).message}`, repair: '' }]
  }
}

const sayable = ({ sentence, repair, asks }: Difference) => ({ sentence, repair, ...(asks && { asks }) })

/** What of the plan is not true; `blind`: but for what is in nf_tables. */
function differencesOf(netns: Netns, parts: Parts, device: string, blind: boolean): Difference[] {
  const plan = overlay(parts.self, parts.podCIDRs, parts.underlay, parts.peers, parts.options)
  const realm = realmOf(device)
  const [facts, own] = blind ? [plan.filter((fact) => !isNft(fact)), { ...realm, firewall: [] }] : [plan, realm]
  return rebuilt(facts, twice(() => compare(netns, facts, own)), device)
}

/** A device that is replaced while its lists are read is looked at once more. */
function twice<T>(look: () => T): T {
  try {
    return look()
  } catch {
    return look()
  }
}

/** Counted by the aliases of their ends on the node. */
function podsByNetwork(netns: Netns): Report['pods'] {
  const networks = link.list(netns, 'veth').flatMap(({ alias }) => (alias !== undefined && isOwner(alias) ? alias.split('/')[0]! : []))
  const counted = [...Map.groupBy(networks, (name) => name)].map(([network, all]) => ({ network, count: all.length }))
  return counted.sort((a, b) => (a.network < b.network ? -1 : 1))
}
