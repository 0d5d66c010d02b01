// What the agent makes of its peers' answers: lines of its log, metrics, what /readyz?verbose says, and what it keeps in status.json.

import { seconds } from '../kernel/clock.ts'
import { duration, hearing, words, worst, type Heard, type Hearing } from './heard.ts'
import { log } from './log.ts'
import type { Metrics } from './metrics.ts'
import { overlayMtu, vteps } from './overlay.ts'
import { Probe } from './probe.ts'
import type { Status } from './state-dir.ts'
import { some } from './view.ts'

/** So many peers have samples of their own, those that do not answer first: of 5000 on each of 5000 nodes nobody wants all. */
const MOST_SERIES = 128
/** How often what is known is kept although no peer's state has changed, seconds: of few addresses, and of many. */
const KEEP = { few: 20, many: 300 }
const MANY = 128

export class Peering {
  readonly #probe: Probe
  readonly #metrics: Metrics
  readonly #keep: () => void
  #kept = 0
  #silent = new Set<string>()

  /** `keep` is called when what is known should be kept. `port` 0: no peer is asked. `interval`: milliseconds. */
  constructor(port: number, interval: number, metrics: Metrics, keep: () => void) {
    this.#metrics = metrics
    this.#keep = keep
    this.#probe = new Probe(port, interval, {
      heard: (turned) => this.#heard(turned),
      dropped: (why) => metrics.dropped.inc({ why }),
      mute: (why) => (why ? log.warn('peers cannot be asked whether they answer', { why }) : log.info('peers can be asked again')),
    })
  }

  /** Whom to ask from now on; what an agent before has kept of them still holds. */
  want(parts: NonNullable<Status['parts']>, before: readonly Heard[] = []): void {
    this.#probe.want({ ...vteps(parts), mtu: overlayMtu(parts.underlay, parts.options.mtu) }, before)
  }

  /** What is known by now, which stays so. */
  get heard(): Heard[] {
    return this.#probe.heard.map((one) => ({ ...one }))
  }

  close(): void {
    this.#probe.close()
  }

  /** A line for each peer, as Kubernetes has it in details of health: `[+]peer b ok 0.31 ms`. */
  lines(): string[] {
    const now = seconds()
    return [...this.#byNode()].map(([node, list]) => `[${isWell(list) ? '+' : '-'}]peer ${node} ${words(list, now)}`)
  }

  /** Sets the metrics that depend on when one asks. */
  count(): void {
    const { hearing: states, answered, roundTrip } = this.#metrics
    const all = [...this.#byNode()].map(([node, list]) => ({ node, list, one: worst(list)! }))
    for (const state of STATES) states.set({ state }, all.filter(({ one }) => hearing(one) === state).length)
    for (const gauge of [answered, roundTrip]) gauge.reset()
    const shown = all.filter(({ one }) => one.answered !== undefined).sort((a, b) => Number(isWell(a.list)) - Number(isWell(b.list)))
    for (const { node, one } of shown.slice(0, MOST_SERIES)) {
      answered.set({ node }, seconds() - one.answered!)
      if (one.roundTrip !== undefined) roundTrip.set({ node }, one.roundTrip / 1000)
    }
  }

  #byNode(): Map<string, Heard[]> {
    return Map.groupBy(this.#probe.heard, ({ node }) => node)
  }

  #heard(turned: boolean): void {
    if (turned) this.#tell()
    if (!turned && seconds() - this.#kept < (this.#probe.size < MANY ? KEEP.few : KEEP.many)) return
    this.#kept = seconds()
    this.#keep()
  }

  /** Who answers no more, and who does again. */
  #tell(): void {
    const now = seconds()
    const bad = new Map([...this.#byNode()].flatMap(([node, list]) => (isWell(list) ? [] : [[node, worst(list)!] as const])))
    const silent = new Set(bad.keys())
    const [news, back] = [[...silent.difference(this.#silent)], [...this.#silent.difference(silent)]]
    this.#silent = silent
    const said = (node: string) => {
      const one = bad.get(node)!
      return `${node} (${hearing(one) === 'narrow' ? 'large packets' : `for ${duration(now - one.answered!)}`})`
    }
    if (news.length > 0) log.warn('peers do not answer over the overlay', { peers: some(news.map(said)) })
    if (back.length > 0) log.info('peers answer again', { peers: some(back) })
  }
}

const STATES: Hearing[] = ['ok', 'configured', 'silent', 'narrow']

/** A peer that never answered may have an agent that knows no questions. */
const isWell = (list: Heard[]): boolean => !['silent', 'narrow'].includes(hearing(worst(list)!))
