// The nodes of a cluster, kept as the API server has them: list, watch, resume, and whatever happens in between.
//
//   connect ──► list ──► watch ──► watch ──► …       each from the last resource version, with credentials read anew
//                ▲          │
//                └──────────┘  410 Gone: the API server no longer (or not yet) knows that version
//
// All that goes wrong ends in a wait (exponential, full jitter) and another attempt; what is known stays as it is. All times
// are measured on the monotonic clock. It gets, lists and watches Nodes and never writes.

import { setTimeout as sleep } from 'node:timers/promises'
import { MOST_NODES, type Node, type Nodes } from '../node.ts'
import { backoff, type Bounds } from './backoff.ts'
import { Client } from './client.ts'
import { Failure, failureOf, refusal } from './failure.ts'
import { isVersion, list, watch, type Event } from './list.ts'
import { at, nameOf, nodeOf, same } from './node.ts'

export interface WatchState {
  /** `failed` until it succeeds again, over all attempts. */
  phase: 'connecting' | 'listing' | 'watching' | 'failed'
  /** With `failed`: what is wrong and what to do about it. */
  reason?: string
  /** When the phase began, in milliseconds of performance.now(). */
  since: number
  /** Whether a list was complete: before that, nothing is known of the nodes. */
  synced: boolean
  resourceVersion?: string
  /** How often the list had to be begun anew. */
  relists: number
  /** Attempts that failed since the last success. */
  failures: number
  /** Objects that came without a usable name and were left out, since the start. */
  unreadable: number
}

export interface Handler {
  /** All nodes, after a change of what is kept of them; a node that did not change is the same object as before. */
  nodes(nodes: Nodes): void
  /** After a change of phase or reason, or a list begun anew. */
  state(state: WatchState): void
}

/** Milliseconds. */
export interface Timing extends Bounds {
  /** Silence after which a list, or a watch about to begin, counts as dead. */
  answer: number
  /** Silence after which a watch does. The API server sends a bookmark about once a minute. */
  silence: number
  /** The shortest time that a watch is asked to last; the longest is twice that. As client-go. */
  watch: number
  /** A watch that ends earlier, without an event, was none. */
  brief: number
}

export const TIMING: Timing = { answer: 30_000, silence: 150_000, watch: 300_000, brief: 1_000, firstWait: 250, longestWait: 30_000, longestRetryAfter: 60_000 }

export interface NodesWatch {
  readonly state: WatchState
  close(): void
}

/** Keeps the nodes: of the kubeconfig's cluster, or of the cluster in which this is a pod. */
export function watchNodes(options: { kubeconfig?: string }, handler: Handler, timing: Partial<Timing> = {}): NodesWatch {
  const reflector = new Reflector(options.kubeconfig, handler, { ...TIMING, ...timing })
  void reflector.run()
  return reflector
}

class Reflector implements NodesWatch {
  readonly #kubeconfig: string | undefined
  readonly #handler: Handler
  readonly #timing: Timing
  readonly #closed = new AbortController()
  #nodes = new Map<string, Node>()
  #state: WatchState = { phase: 'connecting', since: performance.now(), synced: false, relists: 0, failures: 0, unreadable: 0 }
  #resourceVersion: string | undefined
  #garbled = 0
  #report: NodeJS.Immediate | undefined

  constructor(kubeconfig: string | undefined, handler: Handler, timing: Timing) {
    this.#kubeconfig = kubeconfig
    this.#handler = handler
    this.#timing = timing
  }

  get state(): WatchState {
    return { ...this.#state, ...(this.#resourceVersion !== undefined && { resourceVersion: this.#resourceVersion }) }
  }

  close(): void {
    this.#closed.abort()
    clearImmediate(this.#report)
  }

  async run(): Promise<void> {
    const { signal } = this.#closed
    while (!signal.aborted) {
      let retryAfter = 0
      try {
        await this.#connection()
      } catch (error) {
        if (signal.aborted) return
        retryAfter = this.#failed(failureOf(error))
      }
      await sleep(backoff(this.#state.failures, retryAfter, this.#timing, Math.random()), undefined, { signal }).catch(() => {})
    }
  }

  /** One connection: a list if one is needed, and a watch. */
  async #connection(): Promise<void> {
    const client = await Client.open(this.#kubeconfig, this.#timing.answer, this.#closed.signal)
    try {
      await this.#watch(client, (this.#resourceVersion ??= await this.#list(client)))
    } finally {
      client.close()
    }
  }

  /** The whole list or nothing: of half a list, the other half would seem to be deleted. */
  async #list(client: Client): Promise<string> {
    const listed = new Map<string, Node>()
    const keep = (object: unknown): void => {
      const node = nodeOf(object)
      if (!node) this.#state.unreadable++
      else if (listed.size < MOST_NODES) listed.set(node.name, this.#known(node))
      else throw new Failure('garbled', `the API server lists more than ${MOST_NODES} Nodes`)
    }
    const patience = { silence: this.#timing.answer, total: 10 * this.#timing.answer }
    const resourceVersion = await list(client, patience, () => this.#enter('listing'), keep)
    const changed = !this.#state.synced || listed.size !== this.#nodes.size || [...listed.values()].some((node) => this.#nodes.get(node.name) !== node)
    this.#nodes = listed
    this.#state.synced = true
    if (changed) this.#changed()
    return resourceVersion
  }

  async #watch(client: Client, resourceVersion: string): Promise<void> {
    let useful = false
    const succeeded = (): void => {
      useful = true
      this.#state.failures = this.#garbled = 0
    }
    let proof: NodeJS.Timeout | undefined
    const began = (): void => {
      proof ??= setTimeout(succeeded, this.#timing.brief)
      this.#enter('watching')
    }
    const lasting = this.#timing.watch * (1 + Math.random())
    const patience = { silence: this.#timing.silence, total: lasting + this.#timing.answer }
    try {
      await watch(client, resourceVersion, Math.ceil(lasting / 1000), patience, began, (event) => {
        this.#event(event)
        succeeded()
      })
    } catch (error) {
      const failure = failureOf(error)
      // A connection that breaks after a while is what happens when an API server restarts: the next attempt will tell.
      if (!useful || failure.kind !== 'refused' || failure.retryAfter > 0) throw failure
    } finally {
      clearTimeout(proof)
    }
    if (!useful) throw new Failure('refused', `${client.server}: the watch ends as soon as it begins; see the API server's log and what is in front of it (load balancer, proxy)`)
  }

  #event({ type, object }: Event): void {
    if (type === 'ERROR') throw refusal(Number(at(object, 'code')) || 500, object, undefined, 'garbled')
    if (type === 'ADDED' || type === 'MODIFIED') this.#put(nodeOf(object))
    if (type === 'DELETED') this.#delete(nameOf(object))
    this.#advance(at(object, 'metadata', 'resourceVersion'))
  }

  #put(node: Node | undefined): void {
    if (!node || (this.#nodes.size >= MOST_NODES && !this.#nodes.has(node.name))) return void this.#state.unreadable++
    if (this.#known(node) !== node) return
    this.#nodes.set(node.name, node)
    this.#changed()
  }

  #delete(name: string | undefined): void {
    if (name === undefined) this.#state.unreadable++
    else if (this.#nodes.delete(name)) this.#changed()
  }

  /** The node as it is kept already, if nothing of it changed. */
  #known(node: Node): Node {
    const known = this.#nodes.get(node.name)
    return known && same(known, node) ? known : node
  }

  #advance(version: unknown): void {
    if (!isVersion(version)) return
    if (this.#resourceVersion !== undefined && isOlder(version, this.#resourceVersion)) throw new Failure('gone', `resource version ${version} after ${this.#resourceVersion}: etcd was restored from a backup`)
    this.#resourceVersion = version
  }

  /** Everything that was read in one turn of the event loop is one change. */
  #changed(): void {
    this.#report ??= setImmediate(() => {
      this.#report = undefined
      if (!this.#closed.signal.aborted) this.#handler.nodes(new Map(this.#nodes))
    })
  }

  /** Returns how long to wait at least. */
  #failed({ kind, message, retryAfter }: Failure): number {
    const TRUST = 3 // so often, an answer of no use may be an accident
    this.#state.failures++
    if (kind === 'garbled') this.#garbled++
    if (kind !== 'gone' || this.#state.failures > TRUST) this.#enter('failed', message)
    if (kind === 'gone' || this.#garbled >= TRUST) this.#relist()
    return retryAfter
  }

  #relist(): void {
    this.#resourceVersion = undefined
    this.#garbled = 0
    this.#state.relists++
    this.#tell()
  }

  #enter(phase: WatchState['phase'], reason?: string): void {
    const { phase: last, reason: lastReason, since } = this.#state
    if (phase === last && reason === lastReason) return
    const { reason: _, ...rest } = this.#state
    this.#state = { ...rest, phase, since: phase === last ? since : performance.now(), ...(reason !== undefined && { reason }) }
    this.#tell()
  }

  #tell(): void {
    if (!this.#closed.signal.aborted) this.#handler.state(this.state)
  }
}

/** Resource versions are decimal numbers of any length. Kubernetes KEP-5504. */
const isOlder = (a: string, b: string): boolean => /^\d+$/.test(a) && /^\d+$/.test(b) && BigInt(a) < BigInt(b)
