// The verbs, over any plan: add, del, check. The only place that acts on facts; what a single one means to the kernel is
// known by its noun in kernel/. ADD makes facts true first to last and takes back what it did if one fails; DEL takes
// them back last to first and never stops half way; CHECK says what is not true.

import { change, show, type Fact, type LinkSet, type Plan } from './facts.ts'
import * as addr from './kernel/addr.ts'
import * as bridge from './kernel/bridge.ts'
import * as conntrack from './kernel/conntrack.ts'
import { missing, type Difference } from './kernel/difference.ts'
import { isErrno } from './kernel/errno.ts'
import * as fdb from './kernel/fdb.ts'
import * as feature from './kernel/feature.ts'
import * as filter from './kernel/filter.ts'
import * as former from './kernel/former.ts'
import * as ifb from './kernel/ifb.ts'
import * as firewalld from './kernel/firewalld.ts'
import * as iptables from './kernel/iptables.ts'
import * as link from './kernel/link.ts'
import * as neigh from './kernel/neigh.ts'
import type { Netns } from './kernel/netns.ts'
import * as nft from './kernel/nft.ts'
import * as qdisc from './kernel/qdisc.ts'
import * as route from './kernel/route.ts'
import * as rule from './kernel/rule.ts'
import * as sysctl from './kernel/sysctl.ts'
import * as vlan from './kernel/vlan.ts'
import * as vxlan from './kernel/vxlan.ts'
import { waiting } from './kernel/wait.ts'

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
    super(lines.some((line) => cause.message.startsWith(line)) ? cause.message : `${lines[0]}: ${cause.message}`, { cause })
    this.fact = fact
    this.code = 'code' in cause ? String(cause.code) : undefined
    this.left = left
  }
}

/** What is not true, and what an operator would type to make it true. */
export interface Finding {
  sentence: string
  repair: string
}

/** Makes a plan true, or throws a FactError after taking back what was done. `pod` names the namespace in sentences. */
export function add(kernel: Kernel, plan: Plan, pod: string): void {
  const done: Plan = []
  for (const planned of steps(plan)) {
    let step = planned
    try {
      step = planned.map((fact) => remembering(kernel, fact))
      addStep(kernel, step, pod)
    } catch (error) {
      const failed = step.find((fact) => show(fact, pod) === (error as Error).message.slice(0, show(fact, pod).length)) ?? step[0]!
      // Of a step whose answer was lost nobody knows the end. Elements can be taken back in any case, by owner; what the
      // kernel says is there already may be somebody else's.
      const others = isErrno(error, 'EEXIST') && !isNft(failed)
      throw new FactError(failed, error as Error, pod, del(kernel, others ? done : [...done, ...step]))
    }
    done.push(...step)
  }
  settle(kernel, plan)
  for (const fact of plan) {
    try {
      conclude(kernel, plan, fact, pod)
    } catch (error) {
      throw new FactError(fact, error as Error, pod, del(kernel, done))
    }
  }
}

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

function settled(kernel: Kernel, fact: Fact): boolean {
  if (fact.fact === 'addr') return addr.settled(place(kernel, fact.in), fact)
  if (fact.fact !== 'link') return true
  return [link.get(kernel.host, fact.name), link.get(place(kernel, 'pod'), fact.peer.name)].every((end) => end?.running)
}

/**
 * Takes a plan back, last to first. Facts that are kept stay, and what stands on a link of the plan goes with the link.
 * Returns sentences about what would not go.
 */
export function del(kernel: Kernel, plan: Plan): string[] {
  const problems: string[] = []
  const links = new Set(plan.flatMap((fact) => (fact.fact === 'link' ? [fact.name, fact.peer.name] : [])))
  const own = plan.filter((fact) => !('keep' in fact && fact.keep) && !('dev' in fact && links.has(fact.dev)))
  for (const step of steps(own).reverse()) {
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
  return plan.flatMap((fact) => {
    const difference = checkFact(kernel, fact)
    return difference ? [{ sentence: difference.sentence, repair: repairOf(fact, difference, pod) }] : []
  })
}

/** What an operator would type about a difference. */
export function repairOf(fact: Fact, { missing, anew }: Difference, pod: string): string {
  if (missing) return show(fact, pod)
  return anew && 'name' in fact ? `ip link del ${fact.name}\n${show(fact, pod)}` : change(fact, pod)
}

/** Facts one by one, but neighbours of nf_tables together: they are one transaction. */
function steps(plan: Plan): Fact[][] {
  const list: Fact[][] = []
  for (const fact of plan) {
    const last = list.at(-1)
    if (isNft(fact) && last && isNft(last[0]!)) last.push(fact)
    else list.push([fact])
  }
  return list
}

export function addStep(kernel: Kernel, step: Fact[], pod: string): void {
  const [fact] = step as [Fact]
  const what = show(fact, pod)
  switch (fact.fact) {
    case 'link':
      return link.add(kernel.host, place(kernel, 'pod'), fact, what)
    case 'link set':
      return link.set(place(kernel, fact.in), fact, what)
    case 'bridge':
      return bridge.add(kernel.host, fact, what)
    case 'port':
      return bridge.addPort(kernel.host, fact, what)
    case 'ifb':
      return ifb.add(kernel.host, fact, what)
    case 'qdisc':
      return qdisc.add(kernel.host, fact, what)
    case 'filter':
      return filter.add(kernel.host, fact, what)
    case 'vlans':
      return vlan.addMember(kernel.host, fact, what)
    case 'vlan':
      return vlan.add(kernel.host, fact, what)
    case 'vxlan':
      return vxlan.add(kernel.host, fact, what)
    case 'feature':
      return feature.set(kernel.host, fact, what)
    case 'neigh':
      return kernel.host.rt.change({ what, ...neigh.addition(kernel.host, fact) })
    case 'fdb':
      return kernel.host.rt.change({ what, ...fdb.addition(kernel.host, fact) })
    case 'addr':
      return fact.keep ? addr.ensure(place(kernel, fact.in), fact, what) : addr.add(place(kernel, fact.in), fact, what)
    case 'route':
      return fact.absent ? route.del(place(kernel, fact.in), fact) : route.add(place(kernel, fact.in), fact, what)
    case 'rule':
      return rule.add(place(kernel, fact.in), fact, what)
    case 'sysctl':
      return sysctl.add(place(kernel, fact.in), fact)
    case 'iptables':
      return iptables.add(kernel.host, fact)
    case 'source':
      return firewalld.add(fact, what)
    case 'flows':
    case 'former':
    case 'passage':
    case 'announcement':
      return
    case 'port flows':
      return conntrack.flushPorts(kernel.host, fact.ports, true)
    default:
      return nft.add(kernel.host, step as nft.NftFact[])
  }
}

function delStep(kernel: Kernel, step: Fact[]): void {
  const [fact] = step as [Fact]
  if ('in' in fact && fact.in === 'pod' && !kernel.pod) return
  switch (fact.fact) {
    case 'link':
      return link.del(place(kernel, fact.in), fact.name)
    case 'ifb':
      return link.del(kernel.host, fact.name)
    case 'qdisc':
      return qdisc.del(kernel.host, fact)
    case 'addr':
      return addr.del(place(kernel, fact.in), fact)
    case 'route':
      return fact.absent ? route.restore(place(kernel, fact.in), fact) : route.del(place(kernel, fact.in), fact)
    case 'rule':
      return rule.del(place(kernel, fact.in), fact)
    case 'link set':
      return link.unset(place(kernel, fact.in), fact, fact.in ? 'ip -n pod' : 'ip')
    case 'sysctl':
      return sysctl.restore(place(kernel, fact.in), fact)
    case 'flows':
      return conntrack.flush(kernel.host, fact.address, kernel.pod)
    case 'port flows':
      return conntrack.flushPorts(kernel.host, fact.ports, false, kernel.pod)
    case 'iptables':
      return iptables.del(kernel.host, fact)
    case 'former':
      return former.del(kernel.host, fact)
    case 'source':
      return firewalld.del(fact)
    case 'passage':
    case 'bridge':
    case 'port':
    case 'filter':
    case 'vlans':
    case 'vlan':
    case 'announcement':
    case 'vxlan':
    case 'feature':
    case 'neigh':
    case 'fdb':
      return // goes with its link or qdisc, or is kept
    default:
      return nft.del(kernel.host, step as nft.NftFact[])
  }
}

/** What of one fact is not true, or undefined. */
export function checkFact(kernel: Kernel, fact: Fact): Difference | undefined {
  try {
    switch (fact.fact) {
      case 'link':
        return link.check(kernel.host, kernel.pod, fact)
      case 'link set':
        return link.checkSet(place(kernel, fact.in), fact)
      case 'bridge':
        return bridge.check(kernel.host, fact)
      case 'port':
        return bridge.checkPort(kernel.host, fact)
      case 'ifb':
        return ifb.check(kernel.host, fact)
      case 'qdisc':
        return qdisc.check(kernel.host, fact)
      case 'filter':
        return filter.check(kernel.host, fact)
      case 'vlans':
        return vlan.checkMember(kernel.host, fact)
      case 'vlan':
        return vlan.check(kernel.host, fact)
      case 'vxlan':
        return vxlan.check(kernel.host, fact)
      case 'feature':
        return feature.check(kernel.host, fact)
      case 'neigh':
        return neigh.check(kernel.host, fact)
      case 'fdb':
        return fdb.check(kernel.host, fact)
      case 'addr':
        return addr.check(place(kernel, fact.in), fact)
      case 'route':
        return route.check(place(kernel, fact.in), fact)
      case 'rule':
        return rule.check(place(kernel, fact.in), fact)
      case 'sysctl':
        return sysctl.check(place(kernel, fact.in), fact)
      case 'iptables':
        return iptables.check(kernel.host, fact)
      case 'source':
        return firewalld.check(fact)
      case 'passage':
        return iptables.checkPassage(kernel.host)
      case 'flows':
      case 'port flows':
      case 'former':
      case 'announcement':
        return undefined
      default:
        return nft.check(kernel.host, fact)
    }
  } catch (error) {
    if (isErrno(error, 'ENODEV')) return missing((error as Error).message)
    throw error
  }
}

function place(kernel: Kernel, where: 'pod' | undefined): Netns {
  if (where === undefined) return kernel.host
  if (!kernel.pod) throw new Error("the pod's network namespace is not open")
  return kernel.pod
}

export const isNft = (fact: Fact): fact is nft.NftFact => ['table', 'map', 'set', 'chain', 'element'].includes(fact.fact)
