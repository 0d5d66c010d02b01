// The node agent: nodes in, a true overlay out. It composes what the other files here do: a source of nodes, the plan of
// them, the keeper of the plan, and what it leaves for runtimes and people (conflist, state, metrics). It stops without
// taking anything back: pods go on while nobody watches.

import { isSea } from 'node:sea'
import { setFlagsFromString } from 'node:v8'
import { serve } from '../cni/serve.ts'
import { Netns } from '../kernel/netns.ts'
import { hasIPv6 } from '../kernel/sysctl.ts'
import { uplink } from '../kernel/uplink.ts'
import { pluginOf } from '../plugins.ts'
import { uninstall as takeBack, type Outcome } from '../reconcile.ts'
import { cidrText, network, parseCidr } from '../ip.ts'
import { conflist, CONFLIST, hasPortmap, NETWORK, removeConflist, writeConflist } from './conflist.ts'
import { peersFile } from './file.ts'
import { listen } from './http.ts'
import { install, remove } from './install.ts'
import { Keeper } from './keeper.ts'
import { kubernetes } from './kubernetes.ts'
import { leases } from './leases.ts'
import { log } from './log.ts'
import { Metrics } from './metrics.ts'
import type { Node, Nodes } from './node.ts'
import { deviceName, overlay, overlayMtu, RTPROT_PODWIRE, type OverlayOptions } from './overlay.ts'
import { peersOf, type Peer, type Problem, type Underlay } from './peers.ts'
import type { Source, SourceState } from './source.ts'
import { StateDir, type Status } from './state-dir.ts'
import { findUnderlay } from './underlay.ts'

export { install }

export interface AgentOptions {
  node: string
  /** The file of peers; undefined: Kubernetes. */
  peers: string | undefined
  kubeconfig: string | undefined
  vni: number
  port: number
  underlay: string | undefined
  mtu: number | undefined
  directRouting: boolean
  masquerade: boolean
  nonMasqueradeCIDRs: string[]
  confDir: string
  binDir: string
  libDir: string
  stateDir: string
  listen: string
}

/** How long changes of nodes are gathered; how often leases of dead pods are looked for. Milliseconds. */
const GATHER = 5
const GC_INTERVAL = 300_000
const RETRY = 5_000

/** Something that a person has to change before the agent can work; it says so and goes on watching. */
class NotReady extends Error {}

/** Runs until SIGTERM or SIGINT. Rejects with what is wrong, if it cannot begin. */
export async function agent(options: AgentOptions): Promise<void> {
  // The executable is started for plugins, that run once, with the compilers off.
  for (const flag of ['--sparkplug', '--maglev', '--opt']) setFlagsFromString(flag)
  const running = new Agent(options)
  await running.start()
  const signal = await new Promise<string>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, resolve)
  })
  log.info('stopping, the overlay stays', { signal })
  running.close()
}

/** Takes every trace of an agent away, but for the pods' own. Returns sentences about what would not go. */
export function uninstall({ vni, stateDir, confDir, binDir, libDir }: Pick<AgentOptions, 'vni' | 'stateDir' | 'confDir' | 'binDir' | 'libDir'>): string[] {
  const netns = new Netns()
  try {
    const status = new StateDir(stateDir).read()
    const device = status?.device ?? deviceName(vni)
    const anything: Underlay = { local: '192.0.2.1', dev: undefined, mtu: 1500, onLink: [] }
    const plan = overlay({ name: '', addresses: [], podCIDRs: [] }, [], anything, [], { vni, port: 0, mtu: undefined, directRouting: false, masquerade: true, nonMasqueradeCIDRs: [], ipv6: false, advertised: [] })
    removeConflist(confDir)
    const problems = takeBack(netns, plan, { dev: device, proto: RTPROT_PODWIRE })
    remove(binDir, libDir)
    new StateDir(stateDir).remove()
    return problems
  } finally {
    netns.close()
  }
}

class Agent {
  readonly #options: AgentOptions
  readonly #netns = new Netns()
  readonly #keeper: Keeper
  readonly #state: StateDir
  readonly #metrics = new Metrics()
  readonly #closing: (() => void)[] = []
  #nodes: Nodes | undefined
  #status: Status
  #timer: NodeJS.Timeout | undefined

  constructor(options: AgentOptions) {
    this.#options = options
    this.#state = new StateDir(options.stateDir)
    const device = deviceName(options.vni)
    this.#keeper = new Keeper(this.#netns, { dev: device, proto: RTPROT_PODWIRE }, { done: (outcome, why, took) => this.#reconciled(outcome, why, took), underlay: () => this.#soon() })
    const what = options.peers ?? options.kubeconfig ?? 'the API server of this cluster'
    const base = { node: options.node, device, problems: [], conflist: `${options.confDir}/${CONFLIST}` }
    this.#status = { ...base, ready: false, reason: 'the nodes are not known yet', source: { phase: 'connecting', reason: '', what }, options: this.#currentOptions(new Set()) }
  }

  async start(): Promise<void> {
    const { stateDir, peers, kubeconfig, node, vni, port, listen: address } = this.#options
    if (!this.#state.take()) throw new Error(`another agent is running with --state-dir ${stateDir}`)
    this.#takeOver()
    const server = await listen(address, () => this.#status, this.#metrics, () => this.#countLeases())
    this.#closing.push(() => server.close())
    log.info('starting', { node, vni, port, peers, kubeconfig, listen: address })
    this.#install()
    const source: Source = peers === undefined ? kubernetes(kubeconfig) : peersFile(peers)
    const watching = source({ nodes: (nodes) => ((this.#nodes = nodes), this.#soon()), state: (state) => this.#sourceState(state) })
    this.#closing.push(() => watching.close())
    const gc = setInterval(() => this.#gc(), GC_INTERVAL)
    this.#closing.push(() => clearInterval(gc))
  }

  close(): void {
    clearTimeout(this.#timer)
    for (const close of this.#closing) close()
    this.#keeper.close()
    this.#netns.close()
  }

  /** What the agent before us left: an overlay that is ready stays so, one with another VNI goes. */
  #takeOver(): void {
    const before = this.#state.read()
    if (!before) return
    if (before.device === this.#status.device) this.#status = { ...this.#status, ready: before.ready, ...(before.parts && { parts: before.parts }) }
    else for (const problem of takeBack(this.#netns, [], { dev: before.device, proto: RTPROT_PODWIRE })) log.warn('the overlay of before would not go', { device: before.device, problem })
  }

  #install(): void {
    if (!isSea()) return
    const installed = install(process.execPath, this.#options.binDir, this.#options.libDir)
    if (installed.length > 0) log.info('installed', { into: this.#options.binDir, files: installed.join(',') })
  }

  #soon(delay = GATHER): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#evaluate()
    }, delay)
  }

  /** Nodes to plan to kernel. */
  #evaluate(): void {
    if (!this.#nodes) return
    try {
      const self = this.#nodes.get(this.#options.node)
      if (!self) throw new NotReady(`node ${this.#options.node} is not among the nodes (${some([...this.#nodes.keys()])}): say with --node which one this is`)
      const podCIDRs = ownNetworks(self)
      const underlay = findUnderlay(this.#netns, self, this.#options.underlay)
      const { peers, problems } = peersOf(self, this.#nodes, underlay)
      this.#apply(self, podCIDRs, underlay, peers, problems)
    } catch (error) {
      this.#report({ ready: this.#status.ready && this.#status.parts !== undefined, reason: (error as Error).message })
      this.#soon(RETRY)
    }
  }

  #apply(self: Node, podCIDRs: string[], underlay: Underlay, peers: Peer[], problems: Problem[]): void {
    const options = this.#currentOptions(new Set(podCIDRs.map((cidr) => (cidr.includes(':') ? 6 : 4))))
    const mtu = overlayMtu(underlay, options.mtu)
    const least = podCIDRs.some((cidr) => cidr.includes(':')) ? 1280 : 68 // RFC 8200 §5, RFC 791
    if (mtu < least) throw new NotReady(`an MTU of ${mtu} is left inside the overlay, and pods need ${least}: the underlay ${underlay.dev ?? underlay.local} has ${underlay.mtu}`)
    const { failed } = this.#keeper.want(overlay(self, podCIDRs, underlay, peers, options), underlay.dev)
    this.#tell(this.#status.parts?.peers ?? [], peers, this.#status.problems, problems)
    this.#metrics.peers.set(peers.length)
    this.#metrics.problems.set(problems.length)
    const broken = failed.find(({ fact }) => fact.fact === 'vxlan' || fact.fact === 'link set' || fact.fact === 'addr')
    if (!broken) this.#configure(podCIDRs, mtu)
    this.#report({ ready: !broken, reason: broken?.sentence ?? '', options, parts: { self, podCIDRs, underlay, peers }, problems })
  }

  #currentOptions(families: Set<4 | 6>): OverlayOptions {
    const { vni, port, mtu, directRouting, masquerade, nonMasqueradeCIDRs } = this.#options
    return { vni, port, mtu, directRouting, masquerade, nonMasqueradeCIDRs, ipv6: hasIPv6(), advertised: families.has(6) ? uplink(this.#netns, [6]).advertised : (this.#status?.options.advertised ?? []) }
  }

  /** The conflist, now that pods can be wired. */
  #configure(podCIDRs: string[], mtu: number): void {
    const { confDir, binDir, stateDir } = this.#options
    if (writeConflist(confDir, conflist(podCIDRs, mtu, stateDir, hasPortmap(binDir)))) log.info('wrote the conflist', { file: this.#status.conflist, pods: podCIDRs.join(','), mtu })
    if (!this.#status.ready) setImmediate(() => this.#gc())
  }

  #report(now: Partial<Status>): void {
    const before = this.#status
    this.#status = { ...before, ...now }
    const { ready, reason } = this.#status
    if (ready !== before.ready || reason !== before.reason) {
      if (ready && reason === '') log.info('the overlay is ready', { device: this.#status.device, peers: this.#status.parts?.peers.length })
      else log.error(ready ? 'the overlay stays as it was' : 'the overlay is not ready', { reason })
    }
    this.#metrics.ready.set(ready ? 1 : 0)
    this.#state.write(this.#status)
  }

  #sourceState(state: SourceState): void {
    const before = this.#status.source
    this.#status = { ...this.#status, source: { ...state, what: before.what } }
    for (const phase of ['connecting', 'listing', 'watching', 'failed']) this.#metrics.watch.set({ phase }, phase === state.phase ? 1 : 0)
    if (state.reason !== before.reason) {
      if (state.reason) log.warn('the nodes cannot be read', { from: before.what, reason: state.reason })
      else log.info('the nodes can be read again', { from: before.what })
      if (!this.#nodes) this.#report({ reason: `the nodes are not known yet: ${state.reason}` })
      else this.#state.write(this.#status)
    }
  }

  #reconciled({ repaired, failed }: Outcome, why: 'wanted' | 'repair', took: number): void {
    this.#metrics.reconcile.observe({ why }, took / 1000)
    if (why === 'repair') for (const { fact } of repaired) this.#metrics.repairs.inc({ kind: fact.fact })
    for (const { sentence } of failed) this.#metrics.errors.inc({ code: / (E[A-Z]+)\b/.exec(sentence)?.[1] ?? 'unknown' })
    const milliseconds = Math.round(took * 10) / 10
    if (why === 'repair' && repaired.length > 0) log.warn('repaired', { what: some(repaired.map(({ sentence }) => sentence)), count: repaired.length, ms: milliseconds })
    if (failed.length > 0) log.error('the kernel refused', { what: some(failed.map(({ sentence }) => sentence)), count: failed.length })
  }

  /** What came and went, in one line, and each new problem in one. */
  #tell(before: Peer[] | { node: Node }[], now: Peer[], oldProblems: Problem[], problems: Problem[]): void {
    const names = (list: { node: Node }[]) => new Set(list.map(({ node }) => node.name))
    const [old, all] = [names(before), names(now)]
    const [joined, left] = [[...all].filter((name) => !old.has(name)), [...old].filter((name) => !all.has(name))]
    if (joined.length > 0 || left.length > 0) log.info('peers changed', { joined: some(joined), left: some(left), peers: now.length })
    const known = new Set(oldProblems.map(({ node, sentence }) => `${node} ${sentence}`))
    for (const { node, sentence } of problems) if (!known.has(`${node} ${sentence}`)) log.warn('a node cannot be used as it is', { node, why: sentence })
  }

  /** What a runtime that never calls GC leaves behind. Without a list of the living, only what is provably dead goes. */
  #gc(): void {
    const podCIDRs = this.#status.parts?.podCIDRs
    if (!podCIDRs) return
    const { plugins: [own] } = conflist(podCIDRs, 0, this.#options.stateDir, false) as { plugins: object[] }
    const { status, stdout } = serve(pluginOf('podwire')!, { CNI_COMMAND: 'GC', CNI_PATH: this.#options.binDir }, () => Buffer.from(JSON.stringify({ ...own, name: NETWORK, cniVersion: '1.1.0' })))
    if (status === 0) return
    const { code, msg, details } = JSON.parse(stdout)
    this.#metrics.errors.inc({ code })
    log.error('GC failed', { code, why: msg, details })
  }

  #countLeases(): void {
    for (const { network, used, free } of leases(this.#status.parts?.podCIDRs ?? [])) {
      this.#metrics.leases.set({ state: 'used', network }, used)
      this.#metrics.leases.set({ state: 'free', network }, free)
    }
  }
}

/** The node's own networks; NotReady if it has none, or one that is none. */
function ownNetworks({ name, podCIDRs }: Node): string[] {
  if (podCIDRs.length === 0) throw new NotReady(`node ${name} has no podCIDR yet: in Kubernetes the controller manager gives it one (--allocate-node-cidrs)`)
  return podCIDRs.map((text) => {
    const cidr = parseCidr(text)
    if (!cidr) throw new NotReady(`node ${name} has podCIDR ${JSON.stringify(text)}, which is no network in CIDR notation`)
    return cidrText(network(cidr))
  })
}

/** The first few of a list, and how many more. */
const some = (list: string[]): string => (list.length <= 5 ? list.join(', ') : `${list.slice(0, 5).join(', ')} and ${list.length - 5} more`)
