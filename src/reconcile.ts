// The fourth verb, over the plan of the overlay: what the kernel has is made what it should have. The difference is taken
// against the kernel and never against memory; what is lacking is added before what is too much goes, so a packet always
// finds a way. What one fact suffers does not hold up the others.

import type { Fact, Listed, Plan, Route } from './facts.ts'
import { change as changeLines, show, undo } from './show.ts'
import * as addr from './kernel/addr.ts'
import { Digest } from './kernel/digest.ts'
import { isErrno, type KernelError } from './kernel/errno.ts'
import * as fdb from './kernel/fdb.ts'
import { holderOf, type Holder } from './kernel/holder.ts'
import * as link from './kernel/link.ts'
import * as neigh from './kernel/neigh.ts'
import type { NetlinkMessage, Request } from './kernel/netlink.ts'
import type { Netns } from './kernel/netns.ts'
import * as nft from './kernel/nft.ts'
import * as route from './kernel/route.ts'
import * as vxlan from './kernel/vxlan.ts'
import { isNft } from './nouns.ts'
import { addStep, checkFact, repairOf } from './state.ts'

/** What in the kernel is the overlay's, whoever put it there: all on the device, and routes of the protocol anywhere. */
export interface Realm {
  dev: string
  /** The device's VXLAN network identifier. */
  vni: number
  proto: number
  /** Chains and sets in podwire's table, by their names. */
  firewall: Plan
}

/** A fact that was not as it should be: `extra` if it should not be there at all. */
export interface Difference {
  how: 'missing' | 'differs' | 'extra'
  fact: Fact
  sentence: string
  /** What an operator would type. */
  repair: string
  /** The first line of it, where that takes away something that is not podwire's: whose it is has to be asked first. */
  asks?: string
}

export interface Outcome {
  /** What was not true, and is now. */
  repaired: Difference[]
  /** What is still not true. */
  failed: Failure[]
}

export interface Failure {
  /** Undefined: nothing can be said, since the kernel could not even be read. */
  fact: Fact | undefined
  /** True if it is there and should not be. */
  extra?: true
  /** The line that failed, and the kernel's words. */
  sentence: string
  /** What an operator would type, where that line will not do. */
  repair?: string
}

/** Why a fact is not tried now: the kernel has refused it, and it is too early to try again. Undefined: it is tried. */
export type Held = (fact: Fact, extra?: true) => Failure | undefined

const nothingHeld: Held = () => undefined

/** What of a plan is not true, and what is there beyond it. Changes nothing. */
export function compare(netns: Netns, desired: Plan, realm: Realm): Difference[] {
  netns.indexes.clear()
  const rest = desired.filter((fact) => !isListed(fact)).flatMap((fact) => differenceOf(netns, fact) ?? [])
  if (rest.some(({ how, fact }) => how === 'missing' && fact.fact === 'vxlan')) return rest.filter(({ fact }) => !standsOn(fact, realm.dev))
  return [...rest, ...unwanted(netns, desired, realm), ...listDifferences(netns, desired.filter(isListed), realm)]
}

/** Makes the kernel hold what the plan says, and of the realm nothing else. */
export function reconcile(netns: Netns, desired: Plan, realm: Realm, held = nothingHeld): Outcome {
  const outcome = reconcileRest(netns, desired, realm, held)
  if (outcome.failed.some(isGround)) return outcome
  settleListed(netns, listDifferences(netns, desired.filter(isListed), realm), outcome)
  return outcome
}

/** Whether a fact is what all else stands on: the device, and that it is up. One that was made anew or was down has lost all of it. */
export const isGround = ({ fact }: { fact: Fact | undefined }): boolean => fact?.fact === 'vxlan' || fact?.fact === 'link set'

/** The same for what of a plan is not listed: device, settings, nf_tables. */
export function reconcileRest(netns: Netns, desired: Plan, realm: Realm, held = nothingHeld): Outcome {
  netns.indexes.clear() // a device may have been made anew since
  const outcome: Outcome = { repaired: [], failed: [] }
  const firewall = desired.filter(isNft)
  for (const fact of desired) {
    if (isListed(fact) || isNft(fact) || fact.fact === 'condition') continue // nothing makes that so
    const without = standsOn(fact, realm.dev) && outcome.failed.some((failure) => failure.fact?.fact === 'vxlan')
    const refusal = held(fact)
    if (refusal) outcome.failed.push(refusal)
    else if (!without) settleOne(netns, fact, outcome)
  }
  const wrong = firewall.flatMap((fact) => differenceOf(netns, fact) ?? [])
  attemptUnheld(netns, wrong, outcome, held, () => nft.add(netns, firewall))
  const extra = unwanted(netns, desired, realm)
  attemptUnheld(netns, extra, outcome, held, () => nft.remove(netns, realm.firewall.filter(isNft)))
  return outcome
}

/** What goes together in one transaction waits together. */
function attemptUnheld(netns: Netns, differences: Difference[], outcome: Outcome, held: Held, act: () => void): void {
  const refusals = differences.flatMap(({ fact, how }) => held(fact, how === 'extra' ? true : undefined) ?? [])
  outcome.failed.push(...refusals)
  if (differences.length > 0 && refusals.length === 0) attempt(netns, differences, outcome, act)
}

/** What is large of a plan and its realm, as the kernel has it, in a few digits: the lists and sets. */
export function fingerprint(netns: Netns, desired: Plan, { dev, proto }: Realm): string {
  const digest = new Digest()
  const whole = route.digest(netns, proto, digest) && neigh.digest(netns, dev, [neigh.AF_INET, neigh.AF_INET6, fdb.AF_BRIDGE], digest) && desired.every((fact) => fact.fact !== 'set' || nft.digest(netns, fact, digest))
  return whole ? `${digest.text()} ${addr.list(netns, dev).join()}` : ''
}

/** Makes single listed facts true, and takes others back, without reading the lists: for what is known to have changed. */
export function touch(netns: Netns, wanted: Listed[], unwanted: Listed[]): Outcome {
  const outcome: Outcome = { repaired: [], failed: [] }
  settleListed(netns, [...wanted.map((fact) => difference('missing', fact)), ...unwanted.map((fact) => difference('extra', fact))], outcome)
  return outcome
}

/** Takes everything of a realm back. Returns sentences about what would not go. */
export function uninstall(netns: Netns, realm: Realm): string[] {
  const problems: string[] = []
  const all = (what: () => void) => {
    try {
      what()
    } catch (error) {
      problems.push((error as Error).message)
    }
  }
  all(() => {
    const there = link.get(netns, realm.dev)
    const ours = there === undefined || vxlan.isNetwork(there, realm.vni)
    const outcome: Outcome = { repaired: [], failed: [] }
    settleListed(netns, listDifferences(netns, [], realm).filter(({ fact }) => ours || fact.fact === 'route'), outcome)
    if (ours) link.del(netns, realm.dev)
    else problems.push(`interface ${realm.dev} stays: it is no VXLAN device with VNI ${realm.vni}`)
    for (const { fact, sentence } of outcome.failed) if (!ours || !standsOn(fact!, realm.dev)) problems.push(sentence)
  })
  all(() => nft.remove(netns, realm.firewall.filter(isNft)))
  return problems
}

/** What identifies a listed fact: the kernel has one of a key, unless somebody has appended a route. */
export function key(fact: Listed): string {
  let text = keys.get(fact)
  if (text === undefined) keys.set(fact, (text = keyOf(fact)))
  return text
}

function keyOf(fact: Listed): string {
  switch (fact.fact) {
    case 'route':
      return `route ${fact.dst} ${fact.table ?? ''} ${fact.metric ?? ''}`
    case 'fdb':
      return `fdb ${fact.lladdr}`
    default:
      return `${fact.fact} ${fact.address}`
  }
}

/** `show`, remembered: a plan's facts stay the same objects as long as they stay the same. */
export function line(fact: Fact): string {
  let text = lines.get(fact)
  if (text === undefined) lines.set(fact, (text = show(fact)))
  return text
}

const lines = new WeakMap<Fact, string>()
const keys = new WeakMap<Fact, string>()

export const isListed = (fact: Fact): fact is Listed => fact.fact === 'addr' || fact.fact === 'neigh' || fact.fact === 'fdb' || fact.fact === 'route'

/** `neigh 10.244.2.0 lladdr … dev podwire.1`: a fact without the command that makes it. */
const subject = (fact: Listed): string => line(fact).replace(/^(?:ip (?:-6 )?|bridge )(\w+) add /, '$1 ').replace(/ (?:nud|self) permanent$| nodad$/, '')

function difference(how: Difference['how'], fact: Listed, there?: Listed): Difference {
  const sentence = how === 'missing' ? `${subject(fact)} is missing` : how === 'extra' ? `${subject(fact)} should not be there` : `${subject(fact)} is there otherwise: ${subject(there!)}`
  return { how, fact, sentence, repair: how === 'extra' ? undo(fact) : how === 'missing' ? line(fact) : blocked(fact, there!) ? `${undo(there!)}\n${line(fact)}` : changeLines(fact) }
}

/** True if the kernel would refuse to replace what is there (see inTheWay). */
const blocked = (fact: Listed, there: Listed): boolean => fact.fact === 'route' && fact.dst.includes(':') && fact.dev !== there.dev

function differenceOf(netns: Netns, fact: Fact): Difference | undefined {
  const found = checkFact({ host: netns }, fact, '')
  const holder = found && holderOf(netns, fact)
  const repair = found && [holder?.repair, repairOf(fact, found, '')].filter(Boolean).join('\n')
  return found && { how: found.missing ? 'missing' : 'differs', fact, sentence: because(found.sentence, holder), repair: repair!, ...(holder && { asks: holder.repair }) }
}

function listDifferences(netns: Netns, desired: Listed[], realm: Realm): Difference[] {
  const there = new Set(present(netns, desired, realm))
  const lacking = desired.filter((fact) => !there.has(fact))
  if (lacking.length === 0 && there.size === desired.length) return [] // the usual case, at once
  const wanted = new Map(desired.map((fact) => [key(fact), fact]))
  const found = new Map([...there].map((fact) => [key(fact), fact]))
  return [
    ...lacking.map((fact) => difference(found.has(key(fact)) ? 'differs' : 'missing', fact, found.get(key(fact)))),
    ...[...there].filter((fact) => isExtra(fact, wanted.get(key(fact)), there)).map((fact) => difference('extra', fact)),
  ]
}

/** What is not wanted, unless the wanted one will take its place. Neighbours that are not permanent come and go by themselves. */
const isExtra = (fact: Listed, wanted: Listed | undefined, there: Set<Listed>): boolean =>
  fact !== wanted && (wanted === undefined || there.has(wanted)) && !(fact.fact === 'neigh' && fact.lladdr === '')

/** All listed facts of a realm that the kernel has; one that is as desired is the desired one itself. */
function present(netns: Netns, desired: Listed[], { dev, proto }: Realm): Listed[] {
  const there = link.get(netns, dev) !== undefined
  const names = new Map<number, string>()
  for (const name of new Set(desired.map((fact) => fact.dev))) if (name !== dev || there) names.set(indexOf(netns, name), name)
  const recall = remember(desired)
  const routes = route.collectProtocol(netns, proto, (message) => recall(message.data.toString('latin1'), () => route.fact(message, (ifindex) => names.get(ifindex) ?? `${UNKNOWN}${ifindex}`)))
  const addresses = there ? addr.list(netns, dev) : []
  const neighbour = (parse: (message: NetlinkMessage, dev: string) => Listed | undefined) => (message: NetlinkMessage) => recall(message.data.toString('latin1', 0, neigh.lasting(message)), () => parse(message, dev))
  const neighbours = there ? [...neigh.collect(netns, dev, neighbour(neigh.parse)), ...fdb.collect(netns, dev, neighbour(fdb.parse))] : []
  const all = [...addresses.map((address) => recall(address, () => ({ fact: 'addr', dev, address, keep: true }))), ...neighbours, ...routes]
  return all.flatMap((fact) => (fact === undefined ? [] : fact.dev.startsWith(UNKNOWN) ? [named(netns, fact)] : [fact]))
}

/** No interface has a name with a slash. While a list is read its socket cannot be asked for a name. */
const UNKNOWN = '/'

const named = (netns: Netns, fact: Listed): Listed => ({ ...fact, dev: link.byIndex(netns, Number(fact.dev.slice(UNKNOWN.length)))?.name ?? fact.dev })

function indexOf(netns: Netns, name: string): number {
  return link.get(netns, name)?.index ?? 0
}

/**
 * What the kernel said before, and the fact that it was: thousands of entries stay the same from one reading to the next,
 * and it is enough to see that they do.
 */
let said = new Map<string, Listed | undefined>()

function remember(desired: Listed[]): (message: string, parse: () => Listed | undefined) => Listed | undefined {
  const before = said
  const now = new Map<string, Listed | undefined>()
  said = now
  let byLine: Map<string, Listed> | undefined
  const wanted = new Set(desired)
  return (message, parse) => {
    let fact = before.get(message)
    if (fact === undefined || !wanted.has(fact)) {
      byLine ??= new Map(desired.map((one) => [line(one), one]))
      const parsed = parse() // and not what it was: an interface unknown then may be a known one now
      fact = parsed && (byLine.get(line(parsed)) ?? parsed)
    }
    now.set(message, fact)
    return fact
  }
}

function settleOne(netns: Netns, fact: Fact, outcome: Outcome): void {
  try {
    const found = differenceOf(netns, fact)
    if (found) attempt(netns, [found], outcome, () => make(netns, fact))
  } catch (error) {
    outcome.failed.push({ fact, sentence: sentenceOf(fact, error as Error) })
  }
}

function make(netns: Netns, fact: Fact): void {
  if (fact.fact === 'vxlan' && link.get(netns, fact.name)) vxlan.change(netns, fact, line(fact))
  else addStep({ host: netns }, [fact], '')
}

function attempt(netns: Netns, differences: Difference[], outcome: Outcome, act: () => void): void {
  try {
    act()
    outcome.repaired.push(...differences)
  } catch (error) {
    for (const { fact } of differences) {
      const holder = holderOf(netns, fact)
      outcome.failed.push({ fact, sentence: because(sentenceOf(fact, error as Error), holder), ...(holder && { repair: holder.repair }) })
    }
  }
}

/** A sentence, and who is the reason. */
const because = (sentence: string, holder: Holder | undefined): string =>
  holder && !sentence.includes(holder.sentence) ? `${sentence}: ${holder.sentence}` : sentence

/** Adds what is lacking, then removes what is too much, in batches. */
function settleListed(netns: Netns, differences: Difference[], outcome: Outcome): void {
  const lacking = differences.filter(({ how }) => how !== 'extra')
  const extra = differences.filter(({ how }) => how === 'extra').reverse()
  change(netns, lacking, outcome, 'addition', 'EEXIST')
  change(netns, extra, outcome, 'deletion', 'ENOENT', 'ESRCH', 'EADDRNOTAVAIL', 'ENODEV')
}

function change(netns: Netns, differences: Difference[], outcome: Outcome, verb: keyof Noun, ...fine: string[]): void {
  const requests = differences.flatMap((found) => {
    try {
      return [{ found, request: { what: found.how === 'extra' ? found.repair : line(found.fact), ...NOUNS[(found.fact as Listed).fact][verb](netns, found.fact as Listed) } }]
    } catch (error) {
      if (!isErrno(error, ...fine)) outcome.failed.push({ ...about(found), sentence: sentenceOf(found.fact, error as Error) }) // its interface is gone
      return []
    }
  })
  const refusals = netns.rt.changes(requests.map(({ request }) => request))
  for (const [index, { found, request }] of requests.entries()) {
    const refused = inTheWay(found, refusals.get(index)) ? instead(netns, found.fact as Route, request) : refusals.get(index)
    if (!refused || fine.includes(refused.code)) outcome.repaired.push(found)
    else outcome.failed.push({ ...about(found), sentence: refused.message })
  }
}

const about = ({ fact, how }: Difference): Pick<Failure, 'fact' | 'extra'> => ({ fact, ...(how === 'extra' && { extra: true }) })

// The kernel looks up the gateway of an IPv6 route although it is onlink (ip6_route_check_nh_onlink), finds somebody else's
// route in the place of ours, over another device, and refuses to replace it.
const inTheWay = ({ fact, how }: Difference, refused: KernelError | undefined): boolean => refused?.code === 'EINVAL' && how !== 'extra' && fact.fact === 'route' && fact.dst.includes(':')

const instead = (netns: Netns, fact: Route, request: Request): KernelError | undefined => netns.rt.batch([{ what: request.what, ...route.clearance(fact) }, request]).get(1)

/** What each listed noun can say to the kernel. */
interface Noun {
  addition(netns: Netns, fact: Listed): Omit<Request, 'what'>
  deletion(netns: Netns, fact: Listed): Omit<Request, 'what'>
}

const NOUNS = { addr, neigh, fdb, route } as unknown as Record<Listed['fact'], Noun>

/** What of the realm's chains and sets is there though the plan has none of them. */
function unwanted(netns: Netns, desired: Plan, { firewall }: Realm): Difference[] {
  if (desired.some(isNft)) return []
  const there = firewall.filter(isNft).filter((fact) => fact.fact !== 'table' && !nft.check(netns, fact)?.missing)
  return there.map((fact) => ({ how: 'extra', fact, sentence: `nft ${fact.fact} inet podwire ${'name' in fact ? fact.name : ''} should not be there`, repair: `nft delete ${fact.fact} inet podwire ${'name' in fact ? fact.name : ''}` }))
}

/** Whether a fact is about what a device has, beside the device itself. */
export const standsOn = (fact: Fact, dev: string): boolean => ('dev' in fact && fact.dev === dev) || (fact.fact === 'sysctl' && fact.key.includes(`/${dev}/`))

const sentenceOf = (fact: Fact, { message }: Error): string => (message.startsWith(line(fact)) ? message : `${line(fact)}: ${message}`)
