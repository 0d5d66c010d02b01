// How it is about one pod, and what is done about it: the plans of its entries held against the kernel, its leases against the disk.

import { podName } from '../act.ts'
import type { PortFlows } from '../facts.ts'
import { Netns, netnsKind } from '../kernel/netns.ts'
import type { NftFact } from '../kernel/nft.ts'
import { isInside, mend } from '../mend.ts'
import { isNft } from '../nouns.ts'
import { check, type Finding, type Kernel } from '../state.ts'
import type { Kept } from './library.ts'
import { partsOf, standingOf, type IsOurs, type Part } from './pod.ts'

/**
 * `ok`, `wrong`; `lost`: its interface is gone; `dead`: it has neither interface nor namespace; `unknown`: what it was promised is not
 * known; `others`: another plugin wired it.
 */
export type State = 'ok' | 'wrong' | 'lost' | 'dead' | 'unknown' | 'others'

export interface Judgement {
  state: State
  /** What is not as ADD made it. */
  findings: Finding[]
  /** What was not, and is now. */
  repaired: string[]
  /** What cannot be known of it. */
  unknown: string[]
  /** Its interface was made again. */
  made?: boolean
}

export interface Tables {
  nft: NftFact[]
  flows: PortFlows[]
}

/**
 * What is done about what is not true. `look`: nothing. `keep`: what is the node's is repaired; what is in a pod's namespace is the
 * pod's to change (a VPN client, another network's default route). `repair`: that, too.
 */
export type How = 'look' | 'keep' | 'repair'

/** Whether something may have been made for a pod that was judged so. */
export const isTouched = ({ state, repaired }: Judgement): boolean => repaired.length > 0 || ['wrong', 'lost', 'unknown'].includes(state)

/**
 * `anew`: an interface that is gone is made again, with all that was on it; for who has waited long enough to know that no DEL has just
 * taken it. `tables`: its facts in nf_tables, which can be looked at together with those of others, and the connections that they lead.
 */
export function judge(host: Netns, kept: Kept, isOurs: IsOurs, how: How, anew = false): Judgement & { tables: Tables } {
  const [findings, repaired] = [new Map<string, Finding>(), new Set<string>()]
  const found = { unknown: [] as string[], tables: { nft: [], flows: [] } as Tables }
  let made = false
  const answer = (state: State) => ({ ...found, ...(made && { made }), state, findings: [...findings.values()], repaired: [...repaired] })
  const { pod, refused } = open(kept.netns)
  const name = kept.netns === undefined ? 'pod' : podName(kept.netns)
  const kernel: Kernel = { host, ...(pod && { pod }) }
  try {
    const standing = standingOf(kept, kernel)
    if (standing !== 'wired' && !pod && refused === undefined) return answer('dead')
    if (standing === 'others') return answer('others')
    if (refused !== undefined) found.unknown.push(`its namespace cannot be opened here, so nothing inside was looked at: ${refused}`)
    const reach = how === 'keep' && standing === 'wired' ? { host } : kernel
    const act = how === 'look' || (standing === 'lost' && !anew) ? lookAt : repairOf
    made = standing === 'lost' && act === repairOf
    for (const part of partsOf(kept, kernel, isOurs)) {
      const outcome = act(part, reach, name, made)
      for (const finding of outcome.findings) findings.set(finding.sentence, finding)
      for (const sentence of outcome.repaired) repaired.add(sentence)
      found.unknown.push(...part.unknown)
      for (const fact of part.plan) {
        if (isNft(fact)) found.tables.nft.push(fact)
        else if (fact.fact === 'port flows') found.tables.flows.push(fact)
      }
    }
    return answer(findings.size === 0 ? 'ok' : standing === 'lost' ? 'lost' : 'wrong')
  } catch (error) {
    found.unknown.push((error as Error).message)
    return answer(findings.size === 0 ? 'unknown' : 'wrong')
  } finally {
    pod?.close()
  }
}

type Outcome = Pick<Judgement, 'findings' | 'repaired'>

function lookAt({ plan, leases }: Part, kernel: Kernel, pod: string): Outcome {
  const facts = kernel.pod ? plan : plan.filter((fact) => !isInside(fact))
  return { findings: [...leases.flatMap((lease) => lease.check()), ...check(kernel, facts, pod)], repaired: [] }
}

function repairOf({ plan, leases }: Part, kernel: Kernel, pod: string, anew: boolean): Outcome {
  const [before, after] = [leases.flatMap((lease) => lease.check()), leases.flatMap((lease) => lease.restore())]
  const { repaired, failed } = mend(kernel, plan, pod, anew)
  return { findings: [...after, ...failed], repaired: [...(after.length === 0 ? before : []), ...repaired].map(({ sentence }) => sentence) }
}

/** A pod's namespace, if it is there; `refused`: why it cannot be entered, though it is. */
function open(path: string | undefined): { pod?: Netns; refused?: string } {
  if (path === undefined || netnsKind(path) !== 'namespace') return {}
  let pod: Netns | undefined
  try {
    pod = new Netns(path)
    pod.inside(() => {}) // who has no CAP_SYS_ADMIN cannot. man 2 setns
    return { pod }
  } catch (error) {
    pod?.close()
    return { refused: (error as Error).message }
  }
}
