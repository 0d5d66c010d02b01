// Keeps what podwire has made for the pods of this node: what the kernel tells of a change is a reason to look which of them it
// concerns, and these are held against their plans. What is never told (most sysctls, leases) is seen once a minute.
//
// A DEL takes back the same facts one after the other while this looks. So nothing is done at once; what a pod lost is made again
// only while its runtime's library keeps it; and what was made again of a pod that is gone a moment later is taken back.

import { bandwidth } from '../bandwidth/bandwidth.ts'
import * as link from '../kernel/link.ts'
import type { News } from '../kernel/monitor.ts'
import { Netns } from '../kernel/netns.ts'
import { add, differences, generation, type NftFact } from '../kernel/nft.ts'
import { prints } from '../kernel/prints.ts'
import * as sysctl from '../kernel/sysctl.ts'
import { hostIfname, owner, type Attachment } from '../names.ts'
import * as state from '../state.ts'
import type { Finding } from '../state.ts'
import { Alarm } from '../vxlan/alarm.ts'
import { DirectoryWatch, identityOf } from '../vxlan/directory-watch.ts'
import { isTouched, judge, type State, type Tables } from './judge.ts'
import { Library, type Kept, type Leaf } from './library.ts'
import { leaseFilesOf, podNameOf, type IsOurs } from './pod.ts'
import { LOST } from './repair.ts'
import { takeBack } from './take-back.ts'

/** How long changes are gathered. Milliseconds. */
const GATHER = 200
/** How often all is looked at. Milliseconds. */
const INTERVAL = 60_000
/** How long until what could not be repaired is tried again: at first, and at most. Milliseconds. */
const FIRST = 1_000
const MOST = 60_000
/** How long a pod that was repaired is watched for its end. Milliseconds. */
const WATCHED = 5_000

export interface PodReports {
  /** What was not as ADD made it, and is now. */
  repaired(pod: string, sentences: string[]): void
  /** What is wrong with a pod and stays so; nothing: it is well again. */
  wrong(pod: string, findings: Finding[]): void
  /** A file of the library that is not believed, or its directory that cannot be read. */
  unread(file: string, why: string): void
  /** How many pods there are of each state. */
  counted(states: Map<State, number>): void
}

/** A pod, as it was when it was looked at. */
class Entry {
  kept: Kept
  /** All that it depends on, when it was right; empty: it was not. And the same as it is now. */
  print = ''
  now = ''
  tables: Tables = { nft: [], flows: [] }
  state: State = 'unknown'
  /** What was said to be wrong. */
  said = ''
  /** How long until it is tried again, and when; milliseconds. */
  wait = 0
  due = 0
  /** Since when its interface is gone. */
  lost: number | undefined

  constructor(kept: Kept) {
    this.kept = kept
  }

  /** When it is to be looked at, milliseconds, if its interface is there or not. */
  dueAt(there: boolean, now: number): number {
    this.lost = there ? undefined : (this.lost ?? now)
    return Math.max(this.due, this.lost === undefined ? 0 : this.lost + LOST)
  }
}

export class PodKeeper {
  readonly #host = new Netns()
  readonly #library: Library
  readonly #isOurs: IsOurs
  readonly #reports: PodReports
  readonly #entries = new Map<string, Entry>()
  readonly #watch: DirectoryWatch
  readonly #alarm = new Alarm(() => this.#look())
  readonly #interval = setInterval(() => this.#alarm.within(0), INTERVAL)
  /** Pods that are to be looked at whatever their prints say, by interface. */
  readonly #forced = new Set<number>()
  /** Pods that were repaired just now, and when. */
  readonly #lately = new Map<string, { attachment: Attachment; at: number; made: boolean }>()
  readonly #queue = new Set<Entry>()
  /** What was said of files that are not believed. */
  readonly #said = new Map<string, string>()
  #patience = FIRST
  #listed: { print: string; links: link.LinkState[] } = { print: '', links: [] }
  #ahead: NodeJS.Immediate | undefined
  #generation: number | undefined

  constructor(library: string, isOurs: IsOurs, reports: PodReports) {
    this.#library = new Library(library)
    this.#isOurs = isOurs
    this.#reports = reports
    this.#watch = new DirectoryWatch(library, (name) => name !== undefined && this.soon())
    this.#alarm.within(FIRST)
  }

  close(): void {
    clearInterval(this.#interval)
    if (this.#ahead) clearImmediate(this.#ahead)
    this.#watch.close()
    this.#alarm.cancel()
    this.#host.close()
  }

  /** What the kernel told. `proto`: routes of that protocol are the overlay's. */
  hear(news: News, proto: number): void {
    switch (news.about) {
      case 'neigh':
      case 'silence':
        return
      case 'route':
        return news.message.data[5] === proto ? undefined : this.soon()
      case 'nft':
        return news.element ? undefined : this.soon()
      case 'qdisc':
        this.#forced.add(news.ifindex)
        return this.soon()
      default:
        return this.soon()
    }
  }

  /** Something may have changed, in the library, too. */
  soon(): void {
    this.#alarm.within(GATHER)
  }

  #look(): void {
    try {
      const leaves = this.#library.read()
      this.#tell(leaves)
      this.#forget(leaves)
      this.#compare(leaves)
    } catch (error) {
      this.#unread('', (error as Error).message)
      this.#alarm.within(this.#patience = Math.min(this.#patience * 2, MOST)) // a list that changed while it was read is another next time
    }
  }

  /** Each file that is not believed is said once. */
  #tell(leaves: Leaf[]): void {
    this.#patience = FIRST
    const problems = leaves.flatMap(({ file, problem }) => (problem === undefined ? [] : [{ file, problem }]))
    for (const file of this.#said.keys()) if (!problems.some((one) => one.file === file)) this.#said.delete(file)
    for (const { file, problem } of problems) this.#unread(file, problem)
  }

  /** `file` is empty for the whole directory. */
  #unread(file: string, why: string): void {
    if (this.#said.get(file) === why) return
    this.#said.set(file, why)
    this.#reports.unread(file || this.#library.directory, why)
  }

  /** Pods whose DEL has come; of one that was repaired meanwhile nothing stays. */
  #forget(leaves: Leaf[]): void {
    const living = new Set(leaves.flatMap(({ kept }) => (kept ? [owner(kept.attachment)] : [])))
    for (const key of this.#entries.keys()) if (!living.has(key)) this.#entries.delete(key)
    for (const [key, { attachment, at, made }] of this.#lately) {
      takeBack(this.#host, attachment, { kept: living.has(key), made })
      if (performance.now() - at > WATCHED) this.#lately.delete(key)
      else this.#alarm.within(FIRST)
    }
  }

  /** Looks at pods that are not as they were when they were right. */
  #compare(leaves: Leaf[]): void {
    const [seen, wrong] = [prints(this.#host), this.#wrongInTables()]
    const links = this.#links(seen)
    const index = new Map(links.map(({ name, index: number }) => [name, number]))
    const shared = seen && this.#shared(links, seen)
    for (const { mark, kept } of leaves) {
      if (!kept || kept.entries[0]?.type === 'loopback') continue
      const entry = this.#entry(kept)
      const [end, ifb] = [index.get(hostIfname(kept.attachment)), index.get(ifbOf(kept.attachment))]
      const own = [end, ifb].map((one) => one && seen?.get(one))
      entry.now = seen ? [mark, shared, ...own, ...leaseFilesOf(kept).map(identityOf)].join(' ') : ''
      const same = entry.now !== '' && entry.now === entry.print && !wrong.has(entry) && !(end && this.#forced.has(end))
      if (!same) this.#put(entry, end !== undefined)
    }
    this.#forced.clear()
    this.#report()
  }

  /** The node's interfaces, which are taken apart only if any of them has changed. */
  #links(seen: Map<number, string> | undefined): link.LinkState[] {
    const print = seen && [...seen].join()
    if (print === undefined || print !== this.#listed.print) this.#listed = { print: print ?? '', links: link.list(this.#host) }
    return this.#listed.links
  }

  #entry(kept: Kept): Entry {
    const key = owner(kept.attachment)
    const entry = this.#entries.get(key) ?? new Entry(kept)
    entry.kept = kept
    this.#entries.set(key, entry)
    return entry
  }

  /** What all pods depend on: bridges, VLANs of bridges, and whether the node forwards. */
  #shared(links: link.LinkState[], seen: Map<number, string>): string {
    const bridges = links.filter(({ kind }) => kind === 'bridge' || kind === 'vlan').map(({ index }) => seen.get(index))
    return [...bridges, ...['net/ipv4/ip_forward', 'net/ipv6/conf/all/forwarding'].map((key) => sysctl.read(this.#host, key))].join(' ')
  }

  /** Of facts in nf_tables all pods' are looked at together, where anybody has changed any. Returns whose could not be repaired so. */
  #wrongInTables(): Set<Entry> {
    const now = generation(this.#host)
    if (now === this.#generation) return new Set()
    const facts = new Map<string, { fact: NftFact; of: Entry[] }>()
    for (const entry of this.#entries.values())
      for (const fact of entry.tables.nft) {
        const [text, known] = [JSON.stringify(fact), facts.get(JSON.stringify(fact))]
        if (known) known.of.push(entry)
        else facts.set(text, { fact, of: [entry] })
      }
    const list = [...facts.values()]
    const found = differences(this.#host, list.map(({ fact }) => fact))
    const wrong = new Map<Entry, string[]>()
    for (const [i, { of }] of list.entries())
      for (const entry of found[i] ? of : []) {
        const sentences = wrong.get(entry)
        if (sentences) sentences.push(found[i]!.sentence)
        else wrong.set(entry, [found[i]!.sentence])
      }
    this.#generation = wrong.size === 0 ? now : undefined
    return wrong.size === 0 || this.#repairTables(list.map(({ fact }) => fact), wrong) ? new Set() : new Set(wrong.keys())
  }

  /** Repairs nf_tables for all pods in one transaction. False if that is refused: then each pod has to stand for itself. */
  #repairTables(facts: NftFact[], wrong: Map<Entry, string[]>): boolean {
    try {
      add(this.#host, facts)
    } catch {
      return false
    }
    for (const [entry, sentences] of wrong) {
      for (const fact of entry.tables.flows) state.addStep({ host: this.#host }, [fact], '')
      this.#touched(entry.kept.attachment)
      this.#reports.repaired(titleOf(entry.kept), sentences)
    }
    this.soon()
    return true
  }

  /** Something may have been made for a pod, whose DEL may come at the same moment. */
  #touched(attachment: Attachment, made = false): void {
    const before = this.#lately.get(owner(attachment))
    this.#lately.set(owner(attachment), { attachment, at: performance.now(), made: made || before?.made === true })
  }

  /** Pods are looked at one by one, so that nobody waits for all of them. */
  #put(entry: Entry, there: boolean): void {
    const now = performance.now()
    const due = entry.dueAt(there, now)
    if (due > now) return this.#alarm.within(due - now)
    this.#queue.add(entry)
    this.#ahead ??= setImmediate(() => this.#next())
  }

  #next(): void {
    this.#ahead = undefined
    const [entry] = this.#queue
    if (!entry) return
    this.#queue.delete(entry)
    if (this.#entries.get(owner(entry.kept.attachment)) === entry) this.#keep(entry)
    if (this.#queue.size > 0) this.#ahead = setImmediate(() => this.#next())
    else this.#report()
  }

  #keep(entry: Entry): void {
    const { attachment } = entry.kept
    this.#host.indexes.clear() // an interface may have been made anew since
    const judged = judge(this.#host, entry.kept, this.#isOurs, 'keep', entry.lost !== undefined)
    const { state: is, findings, repaired, tables } = judged
    const [name, now] = [titleOf(entry.kept), performance.now()]
    const well = findings.length === 0 && repaired.length === 0
    entry.print = well ? entry.now : ''
    entry.state = is
    entry.tables = tables
    entry.wait = findings.length === 0 ? 0 : Math.min(Math.max(entry.wait * 2, FIRST), MOST)
    entry.due = now + entry.wait
    if (isTouched(judged)) this.#touched(attachment, judged.made)
    if (repaired.length > 0) this.#reports.repaired(name, repaired)
    const said = findings.map(({ sentence }) => sentence).join()
    if (said !== entry.said) this.#reports.wrong(name, findings)
    entry.said = said
    if (!well) this.#alarm.within(Math.max(entry.wait, GATHER))
  }

  #report(): void {
    const states = new Map<State, number>()
    for (const { state: one } of this.#entries.values()) states.set(one, (states.get(one) ?? 0) + 1)
    this.#reports.counted(states)
  }
}

const ifbOf = (attachment: Attachment): string => bandwidth.owns.links!.name(attachment)

const titleOf = ({ args, attachment }: Kept): string => podNameOf(args) ?? attachment.containerID
