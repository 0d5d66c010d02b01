// Keeps a plan true: what the kernel tells of each change is held against the plan, and what does not fit is repaired at
// once, by itself if it is one entry, by reading everything again if it may be more. What the kernel tells may be lost, and
// some of it is never told (routes that went with their interface), so everything is read again every minute, too.

import type { Fact, Listed, Plan } from '../facts.ts'
import { Monitor, type News } from '../kernel/monitor.ts'
import * as fdb from '../kernel/fdb.ts'
import * as link from '../kernel/link.ts'
import * as neigh from '../kernel/neigh.ts'
import type { Netns } from '../kernel/netns.ts'
import * as route from '../kernel/route.ts'
import { fingerprint, isGround, isListed, key, line, reconcile, reconcileRest, touch } from '../reconcile.ts'
import type { Failure, Held, Outcome, Realm } from '../reconcile.ts'
import { Alarm } from './alarm.ts'
import { isHeld, Refusals, type Scope, type Why } from './refusals.ts'

/** How often everything is read again, milliseconds. */
const INTERVAL = 60_000
/** How long changes are gathered before they are handled; the second, after something had to be repaired. Milliseconds. */
const GATHER = 2
const BREATHE = 50
/** How often it is tried again to listen, and everything is read, while the kernel does not let us. Milliseconds. */
const DEAF = 2_000

export interface Reports {
  /** What had to be made true: `wanted` because the plan changed, else `repair`. Milliseconds that it took. */
  done(outcome: Outcome, why: Why, took: number): void
  /** Whatever was heard. */
  heard(news: News): void
  /** The interface that carries the overlay, or a default route, has changed. */
  underlay(): void
  /** Something of podwire's may be gone, from nf_tables too, or a minute is over. */
  look(): void
  /** The kernel cannot be listened to, and why; empty: it can again. */
  deaf(why: string): void
}

export class Keeper {
  readonly #netns: Netns
  readonly #realm: Realm
  readonly #reports: Reports
  #monitor: Monitor | undefined
  #plan: Plan = []
  /** The listed facts of the plan by what identifies them. */
  #wanted = new Map<string, Listed>()
  #underlay: string | undefined
  /** What was heard last of the link below. */
  #below = ''
  /** What was heard and is not yet handled: keys of the plan's facts, and facts that may be too much by their identities. */
  #lacking = new Set<string>()
  #extra = new Map<string, Listed>()
  #rest = false
  #everything = false
  readonly #refusals = new Refusals()
  /** The fingerprint of lists that were right. */
  #right = ''
  readonly #alarm = new Alarm(() => this.#settle())
  readonly #another = new Alarm(() => this.#retry())
  readonly #ears = new Alarm(() => this.#listenAgain())
  #lastRepair = 0
  #interval: NodeJS.Timeout

  constructor(netns: Netns, realm: Realm, reports: Reports) {
    this.#netns = netns
    this.#realm = realm
    this.#reports = reports
    this.#interval = setInterval(() => this.#minute(), INTERVAL)
    this.#open() // for an underlay that is yet to come
  }

  /** What of the plan is not true, since the kernel refuses it. */
  get refused(): Failure[] {
    return this.#refusals.list
  }

  /** Makes another plan true; `underlay` is the interface below. Of a plan that differs in few facts only these are touched. */
  want(plan: Plan, underlay: string | undefined): void {
    const before = this.#plan
    const first = this.#wanted.size === 0
    const old = this.#wanted
    this.#underlay = underlay
    this.#plan = plan
    this.#wanted = new Map(plan.filter(isListed).map((fact) => [key(fact), fact]))
    const device = (facts: Plan) => facts.filter((fact) => fact.fact === 'vxlan').map(line).join()
    this.#refusals.keep(plan)
    if (first || device(before) !== device(plan)) return this.#begin()
    if (this.#refusals.ground) return void this.#makeAll(this.#refusals.why)
    const added = [...this.#wanted.values()].filter((fact) => !same(old.get(key(fact)), fact))
    const removed = [...old.values()].filter((fact) => !this.#wanted.has(key(fact)))
    const other = changed(before, plan)
    if (added.length > 0 || removed.length > 0 || other) this.#right = ''
    // What a device is told comes before its addresses: with IPv6 switched off it takes none.
    const rest = other ? this.#makeRest('wanted', plan) : NOTHING
    if (rest.repaired.some(isGround)) this.#makeAll('wanted')
    else if (!this.#refusals.ground && added.length + removed.length > 0) this.#act('wanted', [...added, ...removed], () => touch(this.#netns, added, removed))
  }

  /**
   * Makes all of it true, unheard: thousands of changes would be told back. Then listens, and reads once more what may have
   * happened in between.
   */
  #begin(): void {
    this.#monitor?.close()
    this.#right = ''
    this.#makeAll('wanted')
    this.#listenAgain()
  }

  #listenAgain(): void {
    this.#open()
    this.#reports.underlay()
    this.#dirty('everything')
  }

  #open(): void {
    this.#monitor?.close()
    try {
      this.#monitor = new Monitor((news) => this.#listen(news))
      this.#reports.heard({ about: 'everything' }) // for there was a time without it
      this.#reports.deaf('')
    } catch (error) {
      this.#goneDeaf((error as Error).message)
    }
  }

  #goneDeaf(why: string): void {
    this.#monitor = undefined
    this.#reports.deaf(`the kernel cannot be listened to, and what is changed is seen every ${DEAF / 1000} seconds: ${why}`)
    this.#ears.within(DEAF)
  }

  /** Reads everything and repairs what is not true. */
  verify(): Outcome {
    this.#lacking.clear()
    this.#extra.clear()
    this.#rest = this.#everything = false
    return this.#makeAll('repair')
  }

  /** Lists that are as they were when they were right are right; the rest is little, and looked at. */
  #minute(): void {
    this.#reports.look()
    if (this.#plan.length === 0) return
    if (this.#right === '' || this.#right !== this.#fingerprint()) {
      const { repaired } = this.verify()
      this.#right = repaired.length + this.#refusals.list.length === 0 ? this.#fingerprint() : ''
    } else this.#settleRest(this.#plan.filter((fact) => fact.fact !== 'set'))
  }

  /** Empty if it cannot be told. */
  #fingerprint(): string {
    try {
      return fingerprint(this.#netns, this.#plan, this.#realm)
    } catch {
      return ''
    }
  }

  /** What is not listed; what stood on a device that had to be repaired is gone with it. */
  #settleRest(plan: Plan): void {
    this.#rest = false
    const outcome = this.#makeRest('repair', plan)
    if (outcome.repaired.some(isGround)) this.verify()
  }

  close(): void {
    clearInterval(this.#interval)
    this.#alarm.cancel()
    this.#another.cancel()
    this.#ears.cancel()
    this.#monitor?.close()
  }

  #makeAll(why: Why): Outcome {
    return this.#act(why, 'everything', (held) => reconcile(this.#netns, this.#plan, this.#realm, held))
  }

  #makeRest(why: Why, plan: Plan): Outcome {
    return this.#act(why, 'rest', (held) => reconcileRest(this.#netns, plan, this.#realm, held))
  }

  #act(why: Why, scope: Scope, run: (held: Held) => Outcome): Outcome {
    const start = performance.now()
    const failing = this.#refusals.list.length
    const all = attempt(() => run(this.#refusals.held(start)))
    const end = performance.now()
    this.#refusals.learn(scope, why, all.failed, end)
    const outcome = { ...all, failed: all.failed.filter((failure) => !isHeld(failure)) }
    const happened = outcome.repaired.length + outcome.failed.length > 0 || this.#refusals.list.length !== failing
    if (happened) this.#reports.done(outcome, why, end - start)
    if (why === 'repair' && outcome.repaired.length > 0) this.#lastRepair = end
    this.#again()
    return outcome
  }

  #again(): void {
    const next = this.#refusals.next(performance.now())
    if (next !== undefined) this.#another.within(next)
  }

  /** Tries again what the kernel refused. */
  #retry(): void {
    const { why } = this.#refusals
    const { everything, rest, lacking, extra } = this.#refusals.due(performance.now())
    if (everything) this.#makeAll(why)
    else if (rest) this.#makeRest(why, this.#plan)
    if (!everything && lacking.length + extra.length > 0) this.#act(why, [...lacking, ...extra], () => touch(this.#netns, lacking, extra))
    this.#again()
  }

  /** News that cannot be judged (of a device that is gone by now) is a reason to read everything. */
  #listen(news: News): void {
    this.#reports.heard(news)
    try {
      this.#hear(news)
    } catch {
      this.#dirty('everything')
    }
  }

  #hear(news: News): void {
    const { dev } = this.#realm
    switch (news.about) {
      case 'everything':
        this.#reports.underlay()
        return this.#dirty('everything')
      case 'silence':
        return this.#goneDeaf(news.why)
      case 'forwarding':
      case 'nft':
        return this.#dirty('rest')
      case 'qdisc':
        return // of pods' interfaces
      case 'link':
        if (news.gone || news.index !== this.#netns.indexes.get(news.name)) this.#netns.indexes.delete(news.name)
        if (news.name !== dev && news.index === this.#netns.indexes.get(dev)) return this.#renamed(dev)
        if (news.name === dev) return this.#dirty(news.gone || !news.up ? 'everything' : 'rest')
        if (news.gone || !news.up) this.#hasten() // it may have been in the way
        if (news.name !== this.#underlay && this.#underlay !== undefined) return
        return this.#heardUnderlay(news)
      case 'addr':
        return this.#heardAddr(news)
      case 'neigh':
        return this.#heardNeigh(news)
      case 'route':
        return this.#heardRoute(news)
    }
  }

  /** Each device that is made above it is news of the underlay, too: that is none of a change. */
  #heardUnderlay({ index, gone, up, mtu }: Extract<News, { about: 'link' }>): void {
    const below = [index, gone, up, mtu].join()
    if (below !== this.#below) this.#hasten()
    this.#below = below
    this.#reports.underlay()
    this.#dirty('everything')
  }

  /** What the kernel has refused may be granted now. */
  #hasten(): void {
    this.#refusals.hasten()
    this.#again()
  }

  #renamed(name: string): void {
    this.#netns.indexes.delete(name)
    this.#dirty('everything')
  }

  #heardAddr({ gone, ifindex, address }: Extract<News, { about: 'addr' }>): void {
    if (ifindex === this.#index(this.#realm.dev)) {
      if (gone === this.#wanted.has(`addr ${address}`)) this.#dirty('everything') // with its last address go all routes of an interface
    } else if (this.#underlay === undefined || ifindex === this.#index(this.#underlay)) {
      this.#reports.underlay()
      this.#dirty('everything')
    }
  }

  #heardNeigh({ gone, message }: Extract<News, { about: 'neigh' }>): void {
    if (neigh.ifindex(message) !== this.#index(this.#realm.dev)) return
    const fact = (fdb.isFdb(message) ? fdb : neigh).parse(message, this.#realm.dev)
    if (fact && (fact.fact === 'fdb' || fact.lladdr !== '' || this.#wanted.has(key(fact)))) this.#judge(fact, gone)
  }

  #heardRoute({ gone, message }: Extract<News, { about: 'route' }>): void {
    if (!route.isMain(message)) return
    const fact = route.fact(message, (ifindex) => this.#name(ifindex))
    if (fact.dst.endsWith('/0')) return this.#reports.underlay()
    if (fact.proto === this.#realm.proto || this.#wanted.has(key(fact))) this.#judge(fact, gone)
  }

  /** Notes what has to be done about an entry that came or went. */
  #judge(fact: Listed, gone: boolean): void {
    const name = key(fact)
    const wanted = this.#wanted.get(name)
    const right = wanted && same(fact, wanted)
    if (gone) {
      this.#extra.delete(identity(fact))
      if (wanted && (right || wanted.fact !== 'route')) this.#lack(name)
    } else if (right) this.#lacking.delete(name)
    else if (wanted?.fact === 'route') this.#dirty('everything') // in the place of ours, or beside it: the list tells
    else if (wanted) this.#lack(name)
    else {
      this.#extra.set(identity(fact), fact)
      this.#schedule()
    }
  }

  #lack(name: string): void {
    this.#lacking.add(name)
    this.#schedule()
  }

  #dirty(what: 'rest' | 'everything'): void {
    if (what === 'rest') this.#rest = true
    else this.#everything = true
    this.#schedule()
  }

  #schedule(): void {
    this.#alarm.within(this.#lastRepair + BREATHE > performance.now() ? BREATHE : GATHER)
  }

  #settle(): void {
    this.#reports.look()
    if (this.#plan.length === 0) return
    if (this.#everything) return void this.verify()
    // The plan may have become another since they were noted.
    const lacking = [...this.#lacking].flatMap((name) => this.#wanted.get(name) ?? [])
    const extra = [...this.#extra.values()].filter((fact) => !inPlace(fact, this.#wanted.get(key(fact))))
    this.#lacking.clear()
    this.#extra.clear()
    if (lacking.length > 0 || extra.length > 0) this.#act('repair', [...lacking, ...extra], () => touch(this.#netns, lacking, extra))
    if (this.#rest) this.#settleRest(this.#plan)
  }

  #index(name: string): number | undefined {
    try {
      return link.index(this.#netns, name)
    } catch {
      return undefined
    }
  }

  #name(ifindex: number): string {
    for (const [name, index] of this.#netns.indexes) if (index === ifindex) return name
    return ifindex === 0 ? '' : (link.byIndex(this.#netns, ifindex)?.name ?? '') // a route to nowhere (blackhole) has none
  }
}

/** What cannot even be read (a device that goes away meanwhile) is tried again as what the kernel refuses. */
function attempt(run: () => Outcome): Outcome {
  try {
    return run()
  } catch (error) {
    return { repaired: [], failed: [{ fact: undefined, sentence: (error as Error).message }] }
  }
}

/** What tells an entry from all others: of a key there may be more routes than one, appended by somebody. */
const identity = (fact: Listed): string => (fact.fact === 'route' ? line(fact) : key(fact))

/** Whether an entry is the wanted one, or has been replaced by it. */
const inPlace = (fact: Listed, wanted: Listed | undefined): boolean => wanted !== undefined && identity(fact) === identity(wanted)

const same = (a: Fact | undefined, b: Fact): boolean => a === b || (a !== undefined && line(a) === line(b))

/** Whether facts beside the listed ones differ. */
function changed(before: Plan, after: Plan): boolean {
  const [old, now] = [rest(before), rest(after)]
  return old.length !== now.length || now.some((fact, i) => !same(old[i], fact))
}

const NOTHING: Outcome = { repaired: [], failed: [] }

const rest = (plan: Plan): Plan => plan.filter((fact) => !isListed(fact))
