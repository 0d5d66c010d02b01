// All pods of a node, and how it is about each: those of which the runtime's library keeps something, and those whose interface on
// the node says by its alias that podwire made it.

import { statSync } from 'node:fs'
import * as link from '../kernel/link.ts'
import type { Netns } from '../kernel/netns.ts'
import { hostIfname, isOwner, owner, type Attachment } from '../names.ts'
import { judge, type How, type Judgement } from './judge.ts'
import type { Kept, Leaf } from './library.ts'
import { podNameOf, type IsOurs } from './pod.ts'

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

export type PodReport = Omit<Subject, 'kept'> & Judgement

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

/** How it is about a pod, and what is done about it. */
export function reportOf(host: Netns, { kept, ...about }: Subject, isOurs: IsOurs, how: How, anew = false): PodReport {
  if (!kept) return { ...about, state: 'unknown', findings: [], repaired: [], unknown: ["the runtime's library keeps nothing of it"] }
  const { tables: _, ...judgement } = judge(host, kept, isOurs, how, anew)
  const { end, ...rest } = about
  return { ...rest, ...(judgement.state !== 'others' && { end: end! }), ...judgement }
}

/** The addresses of a result of whatever version, without what is none. */
function addressesIn({ ips, ip4, ip6 }: Record<string, unknown>): string[] {
  const now = Array.isArray(ips) ? (ips as ({ address?: unknown } | null)[]).map((one) => one?.address) : []
  const before = ([ip4, ip6] as ({ ip?: unknown } | null | undefined)[]).map((half) => half?.ip)
  return [...now, ...before].flatMap((one) => (typeof one === 'string' ? [one.split('/')[0]!] : []))
}
