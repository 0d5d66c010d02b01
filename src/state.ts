// The verbs, over any plan: add, del, check. The only place that acts on facts; what a single one means to the kernel its noun knows
// (nouns.ts). ADD makes facts true first to last and takes back what it did if one fails; DEL takes
// them back last to first and never stops half way; CHECK says what is not true.

import type { Fact, LinkSet, Plan } from './facts.ts'
import { told, type Finding, type Found } from './findings.ts'
import * as addr from './kernel/addr.ts'
import { missing, type Difference } from './kernel/difference.ts'
import { isErrno } from './kernel/errno.ts'
import * as link from './kernel/link.ts'
import type { Netns } from './kernel/netns.ts'
import * as nft from './kernel/nft.ts'
import * as route from './kernel/route.ts'
import * as sysctl from './kernel/sysctl.ts'
import { waiting } from './kernel/wait.ts'
import { groupOf, isNft, nounOf, place } from './nouns.ts'
import { change, show } from './show.ts'

export type { Finding } from './findings.ts'

/** Where facts are true: the host's network namespace, and the pod's if it is there. */
export interface Kernel {
  host: Netns
  pod?: Netns
}

/** A fact that could not be made true. */
export class FactError extends Error {
  readonly fact: Fact
  readonly code: string | undefined
  readonly left: string[]

  constructor(fact: Fact, cause: Error, pod: string, left: string[]) {
    const lines = show(fact, pod).split('\n')
    super(lines.some((line) => cause.message.includes(line)) ? cause.message : `${lines[0]}: ${cause.message}`, { cause })
    this.fact = fact
    this.code = 'code' in cause ? String(cause.code) : undefined
    this.left = left
  }
}

/**
 * Makes a plan true, or throws a FactError after taking back what was done. `pod` names the namespace in sentences. Returns what an
 * operator should know, though it is no error.
 */
export function add(kernel: Kernel, plan: Plan, pod: string): string[] {
  const done: Plan = []
  const notes: string[] = []
  for (const planned of steps(plan, madeTogether)) {
    let step = planned
    const made: Plan = []
    try {
      step = planned.map((fact) => remembering(kernel, fact))
      notes.push(...addStep(kernel, step, pod, made))
      for (const fact of made) done.push(fact)
    } catch (error) {
      const named = step.find((fact) => show(fact, pod) === (error as Error).message.slice(0, show(fact, pod).length))
      const failed = named ?? step[0]!
      const cause = isErrno(error, 'EEXIST') && !isNft(failed) ? otherwise(kernel, failed, error as Error, pod) : (error as Error)
      if (!cause) continue
      // What the kernel refused it has not made, and what it says is there already is somebody else's. Of a step whose answer was
      // lost nobody knows the end: it can be taken back in any case, elements by owner.
      const refused = isNft(failed) ? named !== undefined : isErrno(error, 'EEXIST')
      throw new FactError(failed, cause, pod, del(kernel, [...done, ...(refused ? made : step)]))
    }
  }
  settle(kernel, plan)
  for (const fact of plan) {
    try {
      conclude(kernel, plan, fact, pod)
    } catch (error) {
      throw new FactError(fact, error as Error, pod, del(kernel, done))
    }
  }
  return notes
}

/**
 * Why a fact is not true, of which the kernel says that something is there already; undefined if that is exactly what was to be made:
 * an entry before in the same list has made it for the same attachment. It is then not ours to take back. A veth pair is never
 * another entry's.
 */
function otherwise(kernel: Kernel, fact: Fact, error: Error, pod: string): Error | undefined {
  const exact = fact.fact === 'route' ? { ...fact, table: fact.table ?? RT_TABLE_MAIN } : fact // CHECK finds one that was moved
  const difference = fact.fact === 'link' ? missing('') : checkFact(kernel, exact, pod)
  if (!difference) return undefined
  const rival = difference.missing && fact.fact === 'route' && !fact.in ? route.rival(kernel.host, fact) : undefined
  if (difference.missing && rival === undefined) return error
  const message = rival === undefined ? `${error.message}: ${difference.sentence}` : `${rival} (${error.message})`
  return Object.assign(new Error(message, { cause: error }), { code: 'EEXIST' })
}

const RT_TABLE_MAIN = 254 // <linux/rtnetlink.h>

/** A fact that puts back what it replaces knows what that is. */
function remembering(kernel: Kernel, fact: Fact): Fact {
  if (!('before' in fact) || fact.before !== true) return fact
  const { before: _, ...rest } = fact
  const before = rest.fact === 'sysctl' ? sysctl.replaced(place(kernel, rest.in), rest.key) : link.replaced(place(kernel, rest.in), rest)
  return { ...rest, ...(before && { before }) } as Fact
}

/** What is known, and can be told to others, only when everything is in place. */
function conclude(kernel: Kernel, plan: Plan, fact: Fact, pod: string): void {
  if (fact.fact === 'addr' && fact.dad) addr.requireUnique(place(kernel, fact.in), fact)
  if (fact.fact !== 'announcement') return
  const set = plan.filter((one): one is LinkSet => one.fact === 'link set' && one.in === fact.in && one.dev === fact.dev && one.mac !== undefined).at(-1)
  link.configure(place(kernel, fact.in), fact.dev, show(fact, pod), { mac: set?.mac ?? fact.mac })
}

const PATIENCE = 1000 // ms
const DETECTION = 5000 // ms; RFC 4862 §5.4 wants one second and a random delay of up to one more

/**
 * Waits for what the kernel does behind its answer, so that the first packet after ADD gets through: the link watcher puts
 * a veth's queue in place (at once, but up to a second later when both ends happen to have one ifindex, and to ask for the
 * link hurries it, Linux 6.8), and a work queue adds the local routes of IPv6 addresses. If it takes longer, so be it.
 */
function settle(kernel: Kernel, plan: Plan): void {
  try {
    if (unsettled(kernel, plan).length === 0) return
    waiting(Object.values(kernel), plan.some((fact) => fact.fact === 'addr' && fact.dad) ? DETECTION : PATIENCE, (changed) => {
      for (let open = unsettled(kernel, plan); open.length > 0 && changed(); ) open = unsettled(kernel, open)
    })
  } catch {
    // who cannot ask cannot wait
  }
}

const unsettled = (kernel: Kernel, plan: Plan): Plan => plan.filter((fact) => !settled(kernel, fact))

/** An end whose other end stays down never runs. */
function settled(kernel: Kernel, fact: Fact): boolean {
  if (fact.fact === 'addr') return addr.settled(place(kernel, fact.in), fact)
  if (fact.fact !== 'link') return true
  const [end, peer] = [link.get(kernel.host, fact.name), link.get(place(kernel, 'pod'), fact.peer.name)]
  return peer?.up === false || (end?.running === true && peer?.running === true)
}

/**
 * Takes a plan back, last to first. Facts that are kept stay, and what stands on a link of the plan goes with the link.
 * Returns sentences about what would not go.
 */
export function del(kernel: Kernel, plan: Plan): string[] {
  const problems: string[] = []
  const links = new Set(plan.flatMap((fact) => (fact.fact === 'link' ? [fact.name, fact.peer.name] : [])))
  const own = plan.filter((fact) => !('keep' in fact && fact.keep) && !('dev' in fact && links.has(fact.dev)))
  for (const step of steps(own, takenBackTogether).reverse()) {
    try {
      delStep(kernel, step)
    } catch (error) {
      problems.push((error as Error).message)
    }
  }
  return problems
}

/** What of a plan is not true. */
export function check(kernel: Kernel, plan: Plan, pod: string): Finding[] {
  return told(steps(plan, madeTogether).flatMap((step) => {
    const found = isNft(step[0]!) ? nft.differences(kernel.host, step as nft.NftFact[]) : step.map((fact) => checkFact(kernel, fact, pod))
    return step.flatMap((fact, i): Found[] => (found[i] ? [{ ...found[i], fact, repair: repairOf(fact, found[i], pod) }] : []))
  }))
}

/** What an operator would type about a difference. */
export function repairOf(fact: Fact, { missing, anew, repair }: Difference, pod: string): string {
  if (repair !== undefined) return repair
  if (missing) return show(fact, pod)
  return anew && 'name' in fact ? `ip link del ${fact.name}\n${show(fact, pod)}\nip link set ${fact.name} up` : change(fact, pod)
}

/** Facts one by one, but neighbours that are done together. */
function steps(plan: Plan, together: (fact: Fact, next: Fact) => boolean): Fact[][] {
  const list: Fact[][] = []
  for (const fact of plan) {
    const last = list.at(-1)
    if (last && together(last[0]!, fact)) last.push(fact)
    else list.push([fact])
  }
  return list
}

/** Facts of nf_tables are made in one transaction. */
const madeTogether = (fact: Fact, next: Fact): boolean => isNft(fact) && isNft(next)
const takenBackTogether = (fact: Fact, next: Fact): boolean => groupOf(fact)?.has(next) ?? false

/** Makes a step true: one fact, or several of nf_tables. Returns what an operator should know; `made` receives what was not true before. */
export function addStep(kernel: Kernel, step: Fact[], pod: string, made: Plan = []): string[] {
  const [fact] = step as [Fact]
  if (isNft(fact)) nft.add(kernel.host, step as nft.NftFact[], made)
  const note = isNft(fact) ? undefined : nounOf(fact).add?.(kernel, fact, show(fact, pod))
  if (!isNft(fact)) made.push(fact)
  return note ? [note] : []
}

function delStep(kernel: Kernel, step: Fact[]): void {
  const [fact] = step as [Fact]
  if ('in' in fact && fact.in === 'pod' && !kernel.pod) return
  const group = groupOf(fact)
  if (group) group.del(kernel, step)
  else nounOf(fact as Exclude<Fact, nft.NftFact>).del?.(kernel, fact as never)
}

/** What of one fact is not true, or undefined. */
export function checkFact(kernel: Kernel, fact: Fact, pod: string): Difference | undefined {
  try {
    return isNft(fact) ? nft.check(kernel.host, fact) : nounOf(fact).check?.(kernel, fact, pod)
  } catch (error) {
    if (isErrno(error, 'ENODEV')) return missing((error as Error).message)
    throw error
  }
}
