// Chains with all their rules: what is there, what differs from what should be, and the messages that make the difference good.
// <linux/netfilter/nf_tables.h>

import type { Chain, Family } from '../facts.ts'
import { show } from '../show.ts'
import { differs, missing, type Difference } from './difference.ts'
import { attributes, type Attrs, type Out } from './attributes.ts'
import { NLM_F_APPEND, type Request } from './netlink.ts'
import { be32, creation, cstring, familyOf, listed, message, MSG, nameIn, tableOf } from './nft-message.ts'
import { encodeRule, expressions, foreign, sameRule } from './nft-rule.ts'
import type { Netns } from './netns.ts'

const NFTA_CHAIN_HOOK = 4
const NFTA_CHAIN_POLICY = 5
const NFTA_CHAIN_TYPE = 7
const NFTA_RULE_EXPRESSIONS = 4
const NF_ACCEPT = 1
const HOOKS = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } // NF_INET_*, and NF_BR_*
const PRIORITIES: Record<string, number> = { raw: -300, dstnat: -100, filter: 0, srcnat: 100 } // NF_IP_PRI_*

/** The chains of podwire's tables, read when they are first asked for: two requests, however many chains a plan has. */
export class Chains {
  readonly #netns: Netns
  readonly #tables = new Map<Family, Map<string, { itself: Attrs; rules: Buffer[] }>>()

  constructor(netns: Netns) {
    this.#netns = netns
  }

  get(chain: Chain): { itself: Attrs; rules: Buffer[] } | undefined {
    const family = familyOf(chain)
    let table = this.#tables.get(family)
    if (!table) this.#tables.set(family, (table = this.#read(family)))
    return table.get(chain.name)
  }

  #read(family: Family) {
    const table = new Map(listed(this.#netns, MSG.GETCHAIN, family).map((itself) => [nameIn(MSG.GETCHAIN, itself), { itself, rules: [] as Buffer[] }]))
    for (const rule of table.size > 0 ? listed(this.#netns, MSG.GETRULE, family) : []) table.get(nameIn(MSG.GETRULE, rule))?.rules.push(rule.get(NFTA_RULE_EXPRESSIONS) ?? Buffer.alloc(0))
    return table
  }
}

/** How many rules a chain of podwire's table has; none if it is not there. */
export const countRules = (netns: Netns, name: string): number => netns.nf.collect(message(MSG.GETRULE, 'inet', name, `nft list chain inet podwire ${name}`), () => 1).length

/** What of a chain is not as it should be, or undefined. */
export function chainDifference(chains: Chains, chain: Chain): Difference | undefined {
  const name = `nft chain ${tableOf(chain)} ${chain.name}`
  const there = chains.get(chain)
  if (!there) return missing(`${name} is missing`)
  if (chain.open) return undefined
  if (!sameHook(there.itself, chain.base)) return differs(`${name} has another hook`)
  const encoded = chain.rules.map(encodeRule)
  // Mostly the kernel lists what we have written byte by byte. Older ones list less, newer ones may list more.
  if (encoded.length === there.rules.length && encoded.every((rule, i) => rule.equals(there.rules[i]!))) return undefined
  const [found, wanted] = [there.rules.map(expressions), encoded.map(expressions)]
  const bytes = new Set(there.rules.map((rule) => rule.toString('latin1'))) // of thousands most are
  const lacking = wanted.findIndex((rule, i) => !bytes.has(encoded[i]!.toString('latin1')) && !found.some((one) => sameRule(rule, one)))
  if (lacking >= 0) return differs(`${name} lacks the rule "${chain.rules[lacking]}"`)
  const odd = found.findIndex((rule, i) => !wanted[i] || !sameRule(wanted[i], rule))
  return odd < 0 ? undefined : differs(`${name} has a rule too many, or out of place: "${chain.rules[wanted.findIndex((rule) => sameRule(rule, found[odd]!))] ?? foreign(found[odd]!)}"`)
}

/** Messages that make a chain what it should be; none if it is. Flush and fill: in one transaction no packet sees it empty. */
export function chainCreation(chains: Chains, chain: Chain): Request[] {
  if (!chainDifference(chains, chain)) return []
  const [family, { name }] = [familyOf(chain), chain]
  const flush = message(MSG.DELRULE, family, name, `nft flush chain ${tableOf(chain)} ${name}`)
  const there = chains.get(chain)
  // What makes a chain a base chain cannot be changed: it is made anew.
  const away = there && !sameHook(there.itself, chain.base) ? [flush, message(MSG.DELCHAIN, family, name, `nft delete chain ${tableOf(chain)} ${name}`)] : []
  const rules = chain.rules.map((rule) => creation(MSG.NEWRULE, family, name, `nft add rule ${tableOf(chain)} ${name} ${rule}`, (out) => out.push(NFTA_RULE_EXPRESSIONS, encodeRule(rule)), NLM_F_APPEND))
  return [...away, creation(MSG.NEWCHAIN, family, name, show(chain), (out) => chainAttrs(out, chain)), ...(chain.open ? [] : [flush, ...rules])]
}

function sameHook(there: Attrs, base: Chain['base']): boolean {
  const hook = there.get(NFTA_CHAIN_HOOK)
  if (!base || !hook) return base === undefined && hook === undefined
  const found = attributes(hook)
  const number = (type: number) => found.get(type)?.readInt32BE(0)
  return number(1) === HOOKS[base.hook] && number(2) === priority(base.priority) && there.get(NFTA_CHAIN_POLICY)?.readInt32BE(0) === NF_ACCEPT && there.get(NFTA_CHAIN_TYPE)?.equals(cstring(base.type)) === true
}

/** `srcnat - 5` as a number. */
function priority(text: string): number {
  const [, name = '', sign, digits] = /^(\w+|-?\d+)(?: ([+-]) (\d+))?$/.exec(text) ?? []
  return (PRIORITIES[name] ?? Number(name)) + (sign === '-' ? -1 : 1) * Number(digits ?? 0)
}

function chainAttrs(out: Out, { base }: Chain): void {
  if (!base) return
  out.push(NFTA_CHAIN_HOOK, (hook) => (be32(hook, 1, HOOKS[base.hook]), be32(hook, 2, priority(base.priority))))
  be32(out, NFTA_CHAIN_POLICY, NF_ACCEPT)
  out.push(NFTA_CHAIN_TYPE, cstring(base.type))
}
