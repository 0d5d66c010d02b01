// The node agent: nodes in, a true overlay out. It composes what the other files here do: a source of nodes, the plan of
// them, the keeper of the plan, and what it leaves for runtimes and people (conflist, state, metrics). It stops without
// taking anything back: pods go on while nobody watches.

import { accessSync, constants } from 'node:fs'
import { dirname } from 'node:path'
import { isSea } from 'node:sea'
import { serve } from '../cni/serve.ts'
import { isErrno } from '../kernel/errno.ts'
import * as link from '../kernel/link.ts'
import { trim } from '../kernel/memory.ts'
import { Netns } from '../kernel/netns.ts'
import { ending } from '../kernel/signals.ts'
import { useProcSys } from '../kernel/sysctl.ts'
import * as vxlan from '../kernel/vxlan.ts'
import { pluginOf } from '../plugins.ts'
import { PodKeeper } from '../pods/keeper.ts'
import { executablesIn } from '../pods/pod.ts'
import { uninstall as takeBack, type Outcome } from '../reconcile.ts'
import { kubernetesLater } from '../later.ts'
import { conflist, ConflistFile, NETWORK } from './conflist.ts'
import { Alarm } from './alarm.ts'
import { peersFile } from './file.ts'
import { listen, type Health } from './http.ts'
import { Installation } from './install.ts'
import { Keeper } from './keeper.ts'
import { leases } from './leases.ts'
import { LocalhostGuard } from './localhost-guard.ts'
import { log } from './log.ts'
import { Metrics } from './metrics.ts'
import type { Node, Nodes } from './node.ts'
import { refuse, type AgentOptions } from './options.ts'
import { deviceName, overlayMtu, ownersOf, realmOf, RTPROT_PODWIRE } from './overlay.ts'
import { Peering } from './peering.ts'
import type { Peer, Problem } from './peers.ts'
import type { Why } from './refusals.ts'
import type { Source, SourceState } from './source.ts'
import { StateDir, Taken, type Status } from './state-dir.ts'
import { keepingUnderlay, NoUnderlay, underlayFinding } from './underlay.ts'
import { Upkeep, type Upkept } from './upkeep.ts'
import { verdict, type Verdict } from './verdict.ts'
import { Narrow, some, viewOf, type View } from './view.ts'

/** How long changes of nodes are gathered; how often leases of dead pods are looked for. Milliseconds. */
const GATHER = 2
const GC_INTERVAL = 300_000
const RETRY = 5_000
/** How late status.json may be where it is large: from so many peers on. */
const WRITE = 500
const LARGE = 500
/** How long after a change memory that it needed is given back. */
const REST = 10_000

/** Runs until SIGTERM or SIGINT. Rejects with what is wrong, if it cannot begin. */
export async function agent(options: AgentOptions): Promise<void> {
  const ended = ending()
  useProcSys(options.procSys)
  refuseOn(options)
  const running = new Agent(options)
  const lost = running.lost.promise
  try {
    await Promise.race([running.start(), ended, lost])
    await Promise.race([ended, lost])
  } catch (error) {
    running.abandon()
    throw error
  }
  const signal = await ended
  log.info('stopping, the overlay stays', { signal })
  running.close()
}

function refuseOn(options: AgentOptions): void {
  const netns = new Netns()
  try {
    refuse(netns, options)
  } finally {
    netns.close()
  }
}

class Agent {
  /** Rejects with why this agent cannot go on. */
  readonly lost = Promise.withResolvers<never>()
  readonly #options: AgentOptions
  readonly #netns = new Netns()
  readonly #keeper: Keeper
  readonly #guard = new LocalhostGuard(this.#netns, {
    restored: () => this.#guardIsBack(),
    refused: (what) => log.error('the kernel refuses', { what, count: 1 }),
  })
  #pods: PodKeeper | undefined
  readonly #state: StateDir
  readonly #conflist: ConflistFile
  /** Files that come before the conflist, of which each is said once. */
  #rivals = new Set<string>()
  readonly #metrics = new Metrics()
  readonly #peering: Peering
  readonly #closing: (() => void)[] = []
  #nodes: Nodes | undefined
  #view: View | undefined
  /** What decides beside the view and what the kernel refuses. */
  #situation = { inherited: false, trouble: '', narrow: '', underlay: '', promised: [] as string[], unwritten: '', deaf: '' }
  #applying = false
  #collected = false
  /** What the kernel refuses, of which each is said once. */
  #refused = new Set<string>()
  #status: Status
  readonly #writing = new Alarm(() => this.#write())
  readonly #rest = new Alarm(trim)
  readonly #evaluation = new Alarm(() => this.#evaluate())

  constructor(options: AgentOptions) {
    this.#options = options
    this.#state = new StateDir(options.stateDir)
    this.#conflist = new ConflistFile(options.confDir)
    const device = deviceName(options.vni)
    this.#keeper = new Keeper(this.#netns, realmOf(device), {
      done: (outcome, why, took) => this.#reconciled(outcome, why, took), underlay: () => this.#soon(), look: () => this.#guard.look(), deaf: (why) => this.#heard(why),
      heard: (news) => this.#pods?.hear(news, RTPROT_PODWIRE),
    })
    this.#peering = new Peering(options.probePort, options.probeInterval * 1000, this.#metrics, () => this.#writeSoon())
    const what = options.peers ?? options.kubeconfig ?? 'the API server of this cluster'
    const base = { node: options.node, device, problems: [], promised: [], conflist: this.#conflist.path }
    this.#status = { ...base, ready: false, reason: 'the nodes are not known yet', source: { phase: 'connecting', reason: '', what } }
  }

  async start(): Promise<void> {
    const { stateDir, confDir, peers, kubeconfig, node, vni, port, listen: address } = this.#options
    if (!this.#state.take()) throw new Error(`another agent is running with --state-dir ${stateDir}`)
    this.#takeOver()
    const server = await listen(address, () => this.#health(), this.#metrics, () => this.#count())
    this.#closing.push(() => server.close())
    log.info('starting', { node, vni, port, peers, kubeconfig, listen: address })
    this.#install()
    const unwritten = (why: string) => why && log.error('the state cannot be written', { into: stateDir, why })
    this.#upkeep(stateDir, () => this.#state.restore(this.#status), unwritten)
    this.#upkeep(confDir, () => this.#keepConflist(), () => this.#conclude())
    const source: Source = peers === undefined ? kubernetesLater().kubernetes(kubeconfig) : peersFile(peers)
    const watching = source({ nodes: (nodes) => ((this.#nodes = nodes), this.#soon()), state: (state) => this.#sourceState(state) })
    this.#closing.push(() => watching.close())
    this.#keepPods()
    const gc = setInterval(() => this.#gc(), GC_INTERVAL)
    this.#closing.push(() => clearInterval(gc))
  }

  close(): void {
    this.#write()
    this.abandon()
  }

  /** Ends what has begun of it. */
  abandon(): void {
    for (const alarm of [this.#evaluation, this.#rest, this.#writing]) alarm.cancel()
    for (const close of this.#closing) close()
    this.#peering.close()
    this.#keeper.close()
    this.#guard.close()
    this.#netns.close()
    this.#state.giveBack()
  }

  /** What the agent before us left: an overlay that is ready stays so, one with another VNI goes. */
  #takeOver(): void {
    const before = this.#before()
    if (!before) return
    if (before.device === this.#status.device) this.#inherit(before)
    else for (const problem of takeBack(this.#netns, { ...realmOf(before.device), firewall: [] })) log.warn('the overlay of before would not go', { device: before.device, problem })
  }

  #inherit({ ready, promised, parts, heard }: Status): void {
    const there = vxlan.isNetwork(link.get(this.#netns, this.#status.device), this.#options.vni)
    const kept = promised ?? (ready ? (parts?.podCIDRs ?? []) : [])
    this.#situation.inherited = ready && there
    this.#situation.promised = kept
    this.#status = { ...this.#status, ready: ready && there, promised: kept, ...(parts && { parts }), ...(heard && this.#options.probePort !== 0 && { heard }) }
    if (ready && there && parts && kept.length > 0) this.#writeConflist(kept, overlayMtu(parts.underlay, parts.options.mtu))
  }

  /** What is not as an agent writes it is nobody's word. */
  #before(): Status | undefined {
    try {
      return this.#state.read()
    } catch (error) {
      log.warn('the state of before is not believed', { why: (error as Error).message })
      return undefined
    }
  }

  /** Puts the plugins in place, and keeps them there, where that may be done here. */
  #install(): void {
    const { binDir, libDir } = this.#options
    if (!isSea() || !writable(binDir)) return
    const installation = new Installation(process.execPath, binDir, libDir)
    const installed = installation.restore()
    if (installed.length > 0) log.info('installed', { into: binDir, files: installed.join(',') })
    this.#status = { ...this.#status, executables: installation.files }
    const restore = () => installation.restore().map((name) => `${name} was missing or altered`)
    this.#upkeep(binDir, restore, (why) => why && log.error('the executables cannot be put back', { into: binDir, why }))
  }

  /** Keeps what this agent has put into a directory. */
  #upkeep(directory: string, restore: Upkept['restore'], failed: Upkept['failed']): void {
    const attempt = () => {
      try {
        return restore()
      } catch (error) {
        if (error instanceof Taken) this.lost.reject(error)
        throw error
      }
    }
    const upkeep = new Upkeep(directory, { restore: attempt, restored: (what, again) => this.#restored(what, again), failed })
    this.#closing.push(() => upkeep.close())
  }

  #restored(what: string[], again: boolean): void {
    this.#metrics.repairs.inc({ kind: 'file' }, what.length)
    if (!again) log.warn('repaired', { what: some(what), count: what.length })
  }

  /** What a runtime takes in its place is said, and stays. */
  #keepConflist(): string[] {
    const rivals = new Set(this.#conflist.rivals())
    const news = [...rivals.difference(this.#rivals)].map((name) => `${this.#options.confDir}/${name}`)
    for (const file of news) log.warn('another network comes first', { file, before: this.#conflist.path })
    this.#rivals = rivals
    return this.#conflist.restore()
  }

  /** Pods can be wired, and the runtime knows by what. */
  #health(): Health {
    const { ready, reason } = this.#status
    const lacking = ready ? this.#conflist.problem : ''
    return { ready: ready && lacking === '', reason: lacking || reason, peers: () => this.#peering.lines() }
  }

  /** What podwire has made for pods stays so. */
  #keepPods(): void {
    const pods = new PodKeeper(this.#options.library, executablesIn(this.#options.binDir), {
      repaired: (pod, sentences) => {
        this.#metrics.repairs.inc({ kind: 'pod' })
        log.warn('repaired', { pod, what: some(sentences), count: sentences.length })
      },
      wrong: (pod, findings) => {
        if (findings.length > 0) log.error('a pod is not as it was made', { pod, what: some(findings.map(({ sentence }) => sentence)), count: findings.length })
        else log.info('a pod is as it was made again', { pod })
      },
      unread: (file, why) => log.warn('what pods were promised cannot be read', { file, why }),
      counted: (states) => {
        this.#metrics.pods.reset()
        for (const [state, count] of states) this.#metrics.pods.set({ state }, count)
      },
    })
    this.#pods = pods
    this.#closing.push(() => pods.close())
  }

  #soon(delay = GATHER): void {
    this.#evaluation.within(delay)
  }

  /** Nodes to plan to kernel. */
  #evaluate(): void {
    if (!this.#nodes) return
    try {
      const { peers, underlay: before } = this.#status.parts ?? {}
      const view = viewOf(this.#netns, this.#nodes, this.#options.node, this.#options, keepingUnderlay(before), peers)
      const underlay = view.peers.length > 0 ? unreachable(this.#netns, view.underlay) : ''
      this.#situation = { ...this.#situation, trouble: '', narrow: '', underlay }
      this.#apply(view)
    } catch (error) {
      const { message } = error as Error
      const hasPeers = (this.#status.parts?.peers.length ?? 0) > 0
      const underlay = error instanceof NoUnderlay && hasPeers ? message : ''
      this.#situation = { ...this.#situation, trouble: message, narrow: error instanceof Narrow ? message : '', underlay }
      this.#conclude()
      this.#soon(RETRY)
    }
  }

  #apply(view: View): void {
    const { self, podCIDRs, underlay, peers, problems, options, plan } = view
    this.#tell(this.#status.parts?.peers ?? [], peers, this.#view?.problems ?? [], problems)
    this.#view = view
    this.#status = { ...this.#status, parts: { self, podCIDRs, underlay, peers, options } }
    this.#applying = true // of what is done in steps nothing is concluded half way
    try {
      this.#keeper.want(plan, underlay.dev)
    } finally {
      this.#applying = false
    }
    this.#peering.want(this.#status.parts!, this.#status.heard)
    this.#conclude()
  }

  /** What follows from how it is now. Called after each change, whichever it was, and the only one that acts on it. */
  #conclude(): void {
    const { promise } = this.#verdict()
    if (promise) this.#promise(promise)
    const { ready, reason } = this.#verdict()
    const problems = [...(this.#view?.problems ?? []), ...this.#refusedPeers()]
    this.#metrics.peers.set(this.#view?.peers.length ?? 0)
    this.#metrics.problems.set(problems.length)
    this.#metrics.unusable.reset()
    for (const { node } of problems) this.#metrics.unusable.inc({ node })
    this.#report({ ready, reason, problems, promised: this.#situation.promised })
  }

  #verdict = (): Verdict => verdict({ ...this.#situation, podCIDRs: this.#view?.podCIDRs, refused: this.#keeper.refused })

  /** The conflist, now that pods can be wired; what dead ones have left goes. */
  #promise(podCIDRs: string[]): void {
    this.#writeConflist(podCIDRs, this.#view!.mtu)
    if (!this.#collected) setImmediate(() => this.#gc())
    this.#rest.within(REST)
  }

  #writeConflist(podCIDRs: string[], mtu: number): void {
    try {
      const restored = this.#conflist.restore()
      if (restored.length > 0) this.#restored(restored, false)
      const written = this.#conflist.write(conflist(podCIDRs, mtu, this.#options.stateDir))
      if (written) log.info('wrote the conflist', { file: this.#conflist.path, pods: podCIDRs.join(','), mtu })
      this.#situation = { ...this.#situation, promised: podCIDRs, unwritten: '' }
    } catch (error) {
      this.#situation.unwritten = `the conflist cannot be written: ${(error as Error).message}`
      this.#soon(RETRY)
    }
  }

  /** What one peer lacks since the kernel refuses it. */
  #refusedPeers(): Problem[] {
    const { refused } = this.#keeper
    if (refused.length === 0 || !this.#view) return []
    const owners = ownersOf(this.#view)
    return refused.flatMap(({ fact, sentence }) => {
      const node = owners.get(fact)
      return node === undefined ? [] : [{ node, sentence: `the kernel refuses ${sentence}` }]
    })
  }

  #guardIsBack(): void {
    this.#metrics.repairs.inc({ kind: 'chain' })
    log.warn('repaired', { what: 'the guard of 127.0.0.0/8 was missing', count: 1 })
  }

  #heard(deaf: string): void {
    if (deaf === this.#situation.deaf) return
    this.#situation.deaf = deaf
    if (deaf) log.error('the kernel cannot be listened to', { why: deaf })
    else log.info('the kernel is listened to again')
    this.#soon()
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
    this.#writeSoon() // first what explains it, then what is waited for
    this.#save(() => this.#state.writeReadiness(this.#status))
  }

  #writeSoon(): void {
    if ((this.#status.parts?.peers.length ?? 0) < LARGE) this.#write()
    else this.#writing.within(WRITE)
  }

  #write(): void {
    if (this.#view) this.#status.heard = this.#peering.heard
    this.#save(() => this.#state.write(this.#status))
  }

  /** A full or read-only state directory is no reason to let the overlay go. */
  #save(write: () => void): void {
    try {
      write()
    } catch (error) {
      if (error instanceof Taken) this.lost.reject(error)
      else log.error('the state cannot be written', { into: this.#state.path, why: (error as Error).message })
    }
  }

  #sourceState(state: SourceState): void {
    const before = this.#status.source
    this.#status = { ...this.#status, source: { ...state, what: before.what } }
    for (const phase of ['connecting', 'listing', 'watching', 'failed']) this.#metrics.watch.set({ phase }, phase === state.phase ? 1 : 0)
    if (state.reason !== before.reason) {
      if (state.reason) log.warn('the nodes cannot be read', { from: before.what, reason: state.reason })
      else log.info('the nodes can be read again', { from: before.what })
      if (!this.#nodes) {
        this.#situation.trouble = state.reason && `the nodes are not known yet: ${state.reason}`
        this.#conclude()
      } else this.#writeSoon()
    }
  }

  /** What the keeper did, by itself or since it was told to. */
  #reconciled({ repaired, failed }: Outcome, why: Why, took: number): void {
    this.#metrics.reconcile.observe({ why }, took / 1000)
    if (why === 'repair') for (const { fact } of repaired) this.#metrics.repairs.inc({ kind: fact.fact })
    for (const { sentence } of failed) this.#metrics.errors.inc({ code: / (E[A-Z]+)\b/.exec(sentence)?.[1] ?? 'unknown' })
    const milliseconds = Math.round(took * 10) / 10
    if (why === 'repair' && repaired.length > 0) log.warn('repaired', { what: some(repaired.map(({ sentence }) => sentence)), count: repaired.length, ms: milliseconds })
    const refused = new Set(this.#keeper.refused.map(({ sentence }) => sentence))
    const [news, gone] = [refused.difference(this.#refused), this.#refused.difference(refused)]
    if (news.size > 0) log.error('the kernel refuses', { what: some([...news]), count: refused.size })
    if (gone.size > 0 && refused.size === 0) log.info('the kernel refuses nothing any more')
    this.#refused = refused
    if (!this.#applying) this.#conclude()
  }

  /** What came and went, in one line, and each new problem in one. */
  #tell(before: Peer[], now: Peer[], oldProblems: Problem[], problems: Problem[]): void {
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
    this.#collected = true
    const { plugins: [own] } = conflist(podCIDRs, 0, this.#options.stateDir) as { plugins: object[] }
    const { status, stdout } = serve(pluginOf('podwire')!, { CNI_COMMAND: 'GC', CNI_PATH: this.#options.binDir }, () => Buffer.from(JSON.stringify({ ...own, name: NETWORK, cniVersion: '1.1.0' })))
    if (status === 0) return
    const { code, msg, details } = JSON.parse(stdout)
    this.#metrics.errors.inc({ code })
    log.error('GC failed', { code, why: msg, details })
  }

  /** Counts what is counted when somebody asks. */
  #count(): void {
    this.#peering.count()
    for (const { network, used, free } of leases(this.#status.parts?.podCIDRs ?? []) ?? []) {
      this.#metrics.leases.set({ state: 'used', network }, used)
      this.#metrics.leases.set({ state: 'free', network }, Number(free)) // Prometheus knows doubles alone
    }
  }
}

/** Why no other node can be reached, with what repairs it; empty if nothing is known to be wrong. */
function unreachable(netns: Netns, underlay: View['underlay']): string {
  const { sentence = '', repair } = underlayFinding(netns, underlay) ?? {}
  return [sentence, repair].filter(Boolean).join(': ')
}

/** False below what is mounted read-only; a directory that is not there yet can be made. */
function writable(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK)
    return true
  } catch (error) {
    return isErrno(error, 'ENOENT') && writable(dirname(directory))
  }
}
