// What a CHECK has found, as it is told: each thing once, and nothing that follows from what is said already (an interface is
// missing, so its addresses and routes are). What repairs such a consequence stays, in its place. Pure.

import type { Fact, Family } from './facts.ts'
import type { Difference } from './kernel/difference.ts'
import { printable } from './printable.ts'

/** What is not true, and what an operator would type to make it true: lines for a shell. */
export interface Finding {
  sentence: string
  repair: string
}

/** A fact of a plan that is not true. */
export type Found = Finding & Pick<Difference, 'missing' | 'down'> & { fact: Fact }

/** Found in the order of the plan, which is that of the repairs. */
export function told(found: Found[]): Finding[] {
  const [gone, sentences, repairs] = [new Set<string>(), new Set<string>(), new Set<string>()]
  const list: { sentence: string; repairs: string[] }[] = []
  for (const { sentence, repair, ...one } of found) {
    const known = sentences.has(sentence) || needs(one.fact).some((thing) => gone.has(thing))
    for (const thing of lost(one)) gone.add(thing)
    if (repair !== '' && repairs.has(repair)) continue
    sentences.add(sentence)
    repairs.add(repair)
    const before = list.at(-1)
    if (!known || !before) list.push({ sentence, repairs: [repair] })
    else before.repairs.push(repair)
  }
  return list.map((one) => ({ sentence: one.sentence, repair: one.repairs.filter(Boolean).join('\n') }))
}

/** As a script for sh: each sentence a comment, below it what repairs it. */
export const script = (findings: Finding[]): string =>
  findings.flatMap(({ sentence, repair }) => [`# ${printable(sentence)}`, ...(repair ? [repair] : [])]).join('\n')

/** Names of what is not there, or without effect, because a fact is not true. */
function lost({ fact, missing, down }: Pick<Found, 'fact' | 'missing' | 'down'>): string[] {
  if (fact.fact === 'sysctl' && FORWARDING.test(fact.key)) return ['forwarding']
  if (down && fact.fact === 'link set') return [`routes of ${device(fact)}`]
  if (!missing) return []
  switch (fact.fact) {
    case 'link':
      return [`host ${fact.name}`, `pod ${fact.peer.name}`]
    case 'link set':
      return [device(fact)]
    case 'bridge':
    case 'ifb':
    case 'vlan':
    case 'vxlan':
      return [`host ${fact.name}`]
    case 'table':
      return [table(fact)]
    case 'map':
      return [`${table(fact)} ${fact.name}`]
    case 'iptables':
      return fact.rule === undefined ? [`iptables ${fact.family} ${fact.chain}`] : []
    default:
      return []
  }
}

const FORWARDING = /^net\/ipv(?:4\/ip|6\/conf\/all\/)_?forward(?:ing)?$/ // what is written there, every interface gets

/** Names of what a fact cannot be without. */
function needs(fact: Fact): string[] {
  switch (fact.fact) {
    case 'sysctl': {
      const [, dev, key] = /^net\/ipv[46]\/(?:conf|neigh)\/(.+)\/([^/]+)$/.exec(fact.key) ?? []
      const isForwarding = key === 'forwarding' && dev !== 'all' && !fact.in
      return dev === undefined ? [] : [device({ in: fact.in, dev }), ...(isForwarding ? ['forwarding'] : [])]
    }
    case 'condition':
      return [device(fact), ...(fact.name === 'forwarding' ? ['forwarding'] : [])]
    case 'route':
      return [device(fact), `routes of ${device(fact)}`]
    case 'port':
      return [device(fact), `host ${fact.master}`]
    case 'filter':
      return [device(fact), `host ${fact.redirect}`]
    case 'vlan':
      return [`host ${fact.lower}`]
    case 'map':
    case 'chain':
      return [table(fact)]
    case 'set':
      return [table({})]
    case 'element':
      return [table(fact), `${table(fact)} ${fact.map}`]
    case 'iptables':
      return fact.rule === undefined ? [] : [`iptables ${fact.family} ${fact.chain}`]
    default:
      return 'dev' in fact && fact.dev !== undefined ? [device({ in: 'in' in fact ? fact.in : undefined, dev: fact.dev })] : []
  }
}

const device = (fact: { in?: 'pod' | undefined; dev: string }): string => `${fact.in ?? 'host'} ${fact.dev}`
const table = (fact: { family?: Family }): string => `nft ${fact.family ?? 'inet'}`
