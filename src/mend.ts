// The verb of pods that run: what of a plan is no longer true is made true again. Unlike ADD it finds most of it in place, and
// what one fact suffers holds up neither the others nor takes back what was done.

import type { Fact, Plan } from './facts.ts'
import * as nft from './kernel/nft.ts'
import type { Difference } from './kernel/difference.ts'
import * as route from './kernel/route.ts'
import { isOwner } from './names.ts'
import { isNft, nounOf } from './nouns.ts'
import { show } from './show.ts'
import { add, addStep, checkFact, repairOf, type Finding, type Kernel } from './state.ts'

export interface Mended {
  /** What was not true, and is now. */
  repaired: Fixed[]
  /** What is still not true, and why. */
  failed: Finding[]
}

export interface Fixed {
  fact: Fact
  sentence: string
}

/**
 * Makes true what of a plan is not. Without the pod's namespace facts inside are passed over. `pod` names it in sentences. `anew`: a
 * veth pair that is gone is made again where the namespace is open, and with it all that stood on it.
 */
export function mend(kernel: Kernel, plan: Plan, pod: string, anew = false): Mended {
  const reachable = plan.filter((fact) => !isInside(fact) || kernel.pod !== undefined)
  const gone = reachable.find((fact) => fact.fact === 'link' && checkFact(kernel, fact, pod)?.missing)
  if (gone && anew && kernel.pod) return makeAgain(kernel, reachable, pod)
  if (gone) return { repaired: [], failed: [failure(gone, checkFact(kernel, gone, pod), FROM_RUNTIME, pod)] }
  const mended: Mended = { repaired: [], failed: [] }
  mendTables(kernel, reachable.filter(isNft), pod, mended) // what is guarded by it is open at no moment
  for (const fact of reachable) if (!isNft(fact)) mendOne(kernel, fact, pod, mended)
  for (const fact of reachable) if (isDue(fact, mended)) addStep(kernel, [fact], pod)
  return mended
}

/**
 * Whether a fact that nobody misses is to be made, too: connections to a port that led nowhere would go on so, and with what was
 * repaired inside the permanent neighbours may be gone.
 */
function isDue(fact: Fact, { repaired }: Mended): boolean {
  if (fact.fact === 'port flows') return repaired.some((one) => one.fact.fact === 'element')
  return fact.fact === 'neigh' && fact.optional === true && repaired.some((one) => isInside(one.fact))
}

/** What stands on an interface that is gone is not made either: a DEL may have just taken it. */
const FROM_RUNTIME = new Error('a pod gets its interface from its runtime')

/** As ADD does it, which finds some of it in place. */
function makeAgain(kernel: Kernel, plan: Plan, pod: string): Mended {
  const wrong = plan.flatMap((fact) => {
    const found = checkFact(kernel, fact, pod)
    return found ? [{ fact, sentence: found.sentence }] : []
  })
  try {
    add(kernel, plan, pod)
    return { repaired: wrong, failed: [] }
  } catch (error) {
    return { repaired: [], failed: [{ sentence: (error as Error).message, repair: '' }] }
  }
}

export const isInside = (fact: Fact): boolean => 'in' in fact && fact.in === 'pod'

/** All of nf_tables goes in one transaction, in which that which is right is left alone. */
function mendTables(kernel: Kernel, facts: nft.NftFact[], pod: string, { repaired, failed }: Mended): void {
  if (facts.length === 0) return
  const found = nft.differences(kernel.host, facts)
  const wrong = facts.flatMap((fact, i) => (found[i] ? [{ fact, difference: found[i] }] : []))
  if (wrong.length === 0) return
  try {
    nft.add(kernel.host, facts)
    for (const { fact, difference } of wrong) repaired.push({ fact, sentence: difference.sentence })
  } catch (error) {
    for (const { fact, difference } of wrong) failed.push(failure(fact, difference, error as Error, pod))
  }
}

function mendOne(kernel: Kernel, fact: Fact, pod: string, { repaired, failed }: Mended): void {
  let found: Difference | undefined
  try {
    found = checkFact(kernel, fact, pod)
    if (!found) return
    makeSo(kernel, fact, found, pod)
    const still = checkFact(kernel, fact, pod) // of conditions there is only to tell
    if (still) failed.push({ sentence: still.sentence, repair: repairOf(fact, still, pod) })
    else repaired.push({ fact, sentence: found.sentence })
  } catch (error) {
    if (found && isTrue(kernel, fact, pod)) return // somebody else, an agent or another repair, was faster
    failed.push(failure(fact, found, error as Error, pod))
  }
}

function isTrue(kernel: Kernel, fact: Fact, pod: string): boolean {
  try {
    return checkFact(kernel, fact, pod) === undefined
  } catch {
    return false
  }
}

function makeSo(kernel: Kernel, fact: Fact, { missing }: Difference, pod: string): void {
  if (fact.fact === 'link' && missing) throw FROM_RUNTIME
  const change = nounOf(fact as Exclude<Fact, nft.NftFact>).change?.bind(undefined, kernel, fact as never, show(fact, pod))
  if (change && (!missing || isInTheWay(kernel, fact))) change()
  else addStep(kernel, [fact], pod)
}

/** Whether a route of the node's goes another way, which is nobody's: the address is leased to the pod. Throws if another pod has it. */
function isInTheWay({ host }: Kernel, fact: Fact): boolean {
  if (fact.fact !== 'route' || isInside(fact) || fact.append) return false
  const other = route.ownWay(host, fact.dst)
  if (other === undefined || other.name === fact.dev) return false
  if (isOwner(other.alias ?? '')) throw new Error(`${fact.dst} leads to ${other.name} (${other.alias}): two networks share a subnet`)
  return true
}

function failure(fact: Fact, found: Difference | undefined, error: Error, pod: string): Finding {
  if (!found) return { sentence: `${show(fact, pod).split('\n')[0]}: ${error.message}`, repair: '' }
  const why = found.sentence.includes(error.message) ? '' : `: ${error.message}`
  return { sentence: `${found.sentence}${why}`, repair: repairOf(fact, found, pod) }
}
