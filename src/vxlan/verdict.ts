// Whether the overlay is ready, why not, and what the conflist promises: all that follows from how it is, whichever way it came
// about. Pure.

import type { Fact } from '../facts.ts'
import type { Failure } from '../reconcile.ts'

/** How it is. Sentences are empty if there is nothing to say. */
export interface Situation {
  /** The networks of this node's pods in the plan; undefined if there has been none. */
  podCIDRs: string[] | undefined
  /** Whether the agent before has left an overlay that was ready, and its device is there. */
  inherited: boolean
  /** Why there is no plan of the nodes and the host as they are now. */
  trouble: string
  /** Why what there is does not carry what pods send. */
  narrow: string
  /** Why no other node can be reached over the underlay. */
  underlay: string
  /** What of the plan the kernel refuses. */
  refused: Failure[]
  /** The networks of which the conflist gives addresses now. */
  promised: string[]
  /** Why the conflist cannot be written. */
  unwritten: string
  /** Why the kernel does not tell what is changed. */
  deaf: string
}

export interface Verdict {
  ready: boolean
  /** Why not; or what is wrong although it is. */
  reason: string
  /** The networks that the conflist should have; undefined: it stays as it is. */
  promise: string[] | undefined
}

/**
 * All that a pod needs of the node has to be so, for each family that pods get. Who has a promise that still holds keeps it: pods
 * go on with one family though another that was to come does not.
 */
export function verdict({ podCIDRs, inherited, trouble, narrow, underlay, refused, promised, unwritten, deaf }: Situation): Verdict {
  if (narrow) return { ready: false, reason: narrow, promise: undefined }
  const unknown = underlay || trouble || 'the nodes are not known yet'
  if (podCIDRs === undefined) return { ready: inherited && underlay === '', reason: unknown, promise: undefined }
  const broken = refused.filter(isNeeded)
  const whole = podCIDRs.filter((cidr) => !broken.some((failure) => concerns(failure.fact, cidr)))
  const kept = promised.length > 0 && promised.every((cidr) => whole.includes(cidr))
  if (whole.length < podCIDRs.length) return { ready: kept, reason: broken[0]!.sentence, promise: undefined }
  if (underlay) return { ready: false, reason: underlay, promise: kept ? podCIDRs : undefined }
  return { ready: unwritten === '' || kept, reason: trouble || unwritten || deaf, promise: podCIDRs }
}

/** What one peer lacks hurts only that; what only protects is no need. */
export function isNeeded({ fact, extra }: Failure): boolean {
  if (fact === undefined) return true
  if (extra || fact.fact === 'neigh' || fact.fact === 'fdb' || fact.fact === 'route') return false
  return !(fact.fact === 'sysctl' && fact.optional)
}

/** Whether pods of a network need a fact: one that is not about one family is about both. */
function concerns(fact: Fact | undefined, cidr: string): boolean {
  const about = fact?.fact === 'addr' ? familyOf(fact.address) : fact?.fact === 'sysctl' ? /^net\/ipv([46])\//.exec(fact.key)?.[1] : undefined
  return about === undefined || about === familyOf(cidr)
}

const familyOf = (text: string): string => (text.includes(':') ? '6' : '4')
