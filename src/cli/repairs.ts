// What repairs a node, as lines for a shell: in an order that works, typed once. `podwire status --repair | sudo sh`

import type { Plan } from '../facts.ts'
import { printable } from '../printable.ts'
import { isGround, isListed, standsOn, type Difference } from '../reconcile.ts'
import { show } from '../show.ts'
import type { Finding, Report } from './report.ts'

/**
 * Differences of which the repairs are enough in their order. A device that is made anew, or was down, has lost all that stood on it,
 * and may lose it once more when its address is set: so all of it comes around what repairs the device, in words that replace.
 */
export function rebuilt(plan: Plan, differences: Difference[], dev: string): Difference[] {
  const last = differences.findLast(isGround)
  if (!last) return differences
  const anew = differences.some(({ fact, repair }) => fact.fact === 'vxlan' && repair.startsWith('ip link del '))
  const onDevice = ({ fact }: Difference) => isListed(fact) && fact.dev === dev
  const others = differences.filter((one) => !onDevice(one) || one.how === 'differs' || (one.how === 'extra' && !anew))
  const named = new Set(others.map(({ fact }) => fact))
  const lost = plan.filter((fact) => standsOn(fact, dev) && !named.has(fact))
  const end = plan.indexOf(last.fact)
  const [settings, rest] = [lost.filter((fact) => plan.indexOf(fact) < end), lost.filter((fact) => plan.indexOf(fact) > end)]
  return others.map((one) => {
    if (one.fact.fact === 'vxlan') return { ...one, repair: lines(deviceAlone(one, dev), settings, one === last ? rest : []) }
    return one === last ? { ...one, repair: lines([one.repair], rest) } : one
  })
}

/**
 * What repairs the device, but not yet sets it up. Its MTU may have been below IPv6's least: then its settings of IPv6 are gone, and with
 * the right MTU it gets a link-local address.
 */
function deviceAlone({ how, repair }: Difference, dev: string): string[] {
  const own = repair.split('\n').filter((line) => line !== `ip link set ${dev} up`)
  return how === 'differs' ? [...own, `ip -6 addr flush dev ${dev} scope link`] : own
}

/** Lines of a repair, and of facts that may be there or not. */
const lines = (repair: string[], ...facts: Plan[]): string =>
  [...repair, ...facts.flat().map((fact) => (isListed(fact) ? show(fact).replace(' add ', ' replace ') : show(fact)))].join('\n')

/** All that there is to type, and as a comment what cannot be typed. Empty if nothing is wrong. */
export function repairLines({ overlay, problem, findings, unseen }: Report): string {
  const comments = [
    ...(problem === undefined ? [] : [problem]),
    ...(overlay && !overlay.ready ? [`the overlay is not ready: ${overlay.reason}`] : []),
    ...(overlay && !overlay.agent ? ['no agent runs: changes are not repaired'] : []),
    ...(overlay?.source.reason ? [`the nodes cannot be read: ${overlay.source.reason}`] : []),
    ...(unseen.length > 0 ? [`${unseen.join('; ')}: root alone can look at it`] : []),
  ]
  return [...comments.map(comment), ...findings.flatMap(linesOf)].map((line) => `${line}\n`).join('')
}

function linesOf({ peer, sentence, repair, asks }: Finding): string[] {
  const lines = repairsOf(repair)
  if (lines.length === 0) return [comment(peer === undefined ? sentence : `${peer}: ${sentence}`)]
  return lines.map((line) => (line === asks ? comment(`${sentence}. Whose is it? Then: ${line}`) : printable(line)))
}

/** A repair has a line for each command. */
export const repairsOf = (repair: string): string[] => repair.split('\n').filter(Boolean)

const comment = (text: string): string => `# ${printable(text)}`
