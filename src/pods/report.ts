// All pods of a node, and how it is about each: those of which the runtime's library keeps something, and those whose interface on
// the node says by its alias that podwire made it.

import { statSync } from 'node:fs'
import * as link from '../kernel/link.ts'
import { Netns, netnsKind } from '../kernel/netns.ts'
import { isInside, mend } from '../mend.ts'
import { hostIfname, isOwner, owner, type Attachment } from '../names.ts'
import { podName } from '../act.ts'
import { check, type Finding, type Kernel } from '../state.ts'
import type { Kept, Leaf } from './library.ts'
import { partsOf, podNameOf, standingOf, type IsOurs, type Part, type Standing } from './pod.ts'

/**
 * `ok`, `wrong`; `lost`: its interface is gone, and comes with a new pod only; `dead`: it has neither interface nor namespace;
 * `unknown`: nobody keeps what it was promised; `others`: another plugin wired it.
 */
export type State = 'ok' | 'wrong' | 'lost' | 'dead' | 'unknown' | 'others'

/** An attachment to a network, as far as it is known. */
export interface Subject extends Attachment {
  /** `namespace/name` of the pod in Kubernetes. */
  name?: string
  addresses: string[]
  /** Its interface on the node. */
  end?: string
  netns?: string
  /** When it got its network, milliseconds since 1970. */
  since?: number
  kept?: Kept
}

export interface PodReport extends Omit<Subject, 'kept'> {
  state: State
  /** What is not as ADD made it. */
  findings: Finding[]
  /** What was not, and is now. */
  repaired: string[]
  /** What cannot be known of it. */
  unknown: string[]
}

/** The pods that there are, those of the library first. Of containers' own lo there is nothing to say. */
export function subjectsOf(host: Netns, leaves: Leaf[]): Subject[] {
  const kept = leaves.flatMap(({ file, kept: one }) => (one && one.entries[0]?.type !== 'loopback' ? [subjectOf(file, one)] : []))
  const known = new Set(kept.map(owner))
  const strays = link.list(host, 'veth').filter(({ alias }) => alias !== undefined && isOwner(alias) && !known.has(alias))
  return [...kept, ...strays.map(strayOf)]
}

function subjectOf(file: string, kept: Kept): Subject {
  const { attachment, netns, args, result } = kept
  const [name, since] = [podNameOf(args), statSync(file, { throwIfNoEntry: false })?.mtimeMs]
  return {
    ...(name !== undefined && { name }), ...attachment, addresses: addressesIn(result), end: hostIfname(attachment),
    ...(netns !== undefined && { netns }), ...(since !== undefined && { since: Math.round(since) }), kept,
  }
}

/** An interface of podwire's of which the library keeps nothing. */
function strayOf({ name, alias }: link.LinkState): Subject {
  const [network = '', containerID = '', ifname = ''] = alias!.split('/')
  return { network, containerID, ifname, addresses: [], end: name }
}

/** Whether somebody means a pod by a word: its name, container ID or what that begins with, an address, its interface. */
export function isCalled(subject: Subject, word: string): boolean {
  const { name, containerID, addresses, end } = subject
  return [name, containerID, end, owner(subject), ...addresses].includes(word) || (word.length >= LEAST && containerID.startsWith(word))
}

const LEAST = 4 // characters that begin a container ID

/** How it is about a pod. `repair`: what is not true is made true. */
export function reportOf(host: Netns, { kept, ...about }: Subject, isOurs: IsOurs, repair: boolean): PodReport {
  if (!kept) return { ...about, ...NOTHING, state: 'unknown', unknown: ["the runtime's library keeps nothing of it"] }
  return withPod(host, kept.netns, (kernel) => {
    const standing = standingOf(kept, kernel)
    const { end, ...rest } = about
    return { ...rest, ...(standing !== 'others' && { end: end! }), ...judged(kept, kernel, standing, isOurs, repair) }
  })
}

type Judgement = Pick<PodReport, 'state' | 'findings' | 'repaired' | 'unknown'>

const NOTHING: Omit<Judgement, 'state'> = { findings: [], repaired: [], unknown: [] }

function judged(kept: Kept, kernel: Kernel, standing: Standing, isOurs: IsOurs, repair: boolean): Judgement {
  if (standing === 'others') return { ...NOTHING, state: kept.netns !== undefined && !kernel.pod ? 'dead' : 'others' }
  if (standing === 'lost' && !kernel.pod) return { ...NOTHING, state: 'dead' }
  const unknown = kernel.pod ? [] : [`its namespace ${kept.netns ?? ''} cannot be opened here: nothing inside was looked at`]
  const [findings, repaired] = [new Map<string, Finding>(), new Set<string>()]
  let state: State = 'ok'
  try {
    for (const part of partsOf(kept, kernel, isOurs)) {
      const found = (repair ? repairOf : lookAt)(part, kernel, kept.netns === undefined ? 'pod' : podName(kept.netns))
      for (const finding of found.findings) findings.set(finding.sentence, finding)
      for (const sentence of found.repaired) repaired.add(sentence)
      unknown.push(...part.unknown)
    }
  } catch (error) {
    state = 'unknown'
    unknown.push((error as Error).message)
  }
  if (findings.size > 0) state = standing === 'lost' ? 'lost' : 'wrong'
  return { state, findings: [...findings.values()], repaired: [...repaired], unknown }
}

type Outcome = Pick<PodReport, 'findings' | 'repaired'>

function lookAt({ plan, leases }: Part, kernel: Kernel, pod: string): Outcome {
  const facts = kernel.pod ? plan : plan.filter((fact) => !isInside(fact))
  return { findings: [...leases.flatMap((lease) => lease.check()), ...check(kernel, facts, pod)], repaired: [] }
}

function repairOf({ plan, leases }: Part, kernel: Kernel, pod: string): Outcome {
  const [before, after] = [leases.flatMap((lease) => lease.check()), leases.flatMap((lease) => lease.restore())]
  const { repaired, failed } = mend(kernel, plan, pod)
  return { findings: [...after, ...failed], repaired: [...(after.length === 0 ? before : []), ...repaired].map(({ sentence }) => sentence) }
}

/** Runs with the pod's namespace open, if it is there and can be. */
export function withPod<T>(host: Netns, netns: string | undefined, run: (kernel: Kernel) => T): T {
  const pod = netns === undefined ? undefined : open(netns)
  try {
    return run({ host, ...(pod && { pod }) })
  } finally {
    pod?.close()
  }
}

function open(netns: string): Netns | undefined {
  try {
    return netnsKind(netns) === 'namespace' ? new Netns(netns) : undefined
  } catch {
    return undefined // it is gone by now
  }
}

/** The addresses of a result of whatever version, without what is none. */
function addressesIn({ ips, ip4, ip6 }: Record<string, unknown>): string[] {
  const list = [...(Array.isArray(ips) ? ips.map((one) => (one as { address?: unknown } | null)?.address) : []), ...[ip4, ip6].map((half) => (half as { ip?: unknown } | null | undefined)?.ip)]
  return list.flatMap((one) => (typeof one === 'string' ? [one.split('/')[0]!] : []))
}
