// Whether 127.0.0.0/8 of the node is open to others without its guard: after `nft flush ruleset` the chain is gone, and what it
// guarded stands open.

import { CniError } from './cni/error.ts'
import type { Plan } from './facts.ts'
import { script } from './findings.ts'
import * as link from './kernel/link.ts'
import type { Netns } from './kernel/netns.ts'
import { countRules } from './kernel/nft-chain.ts'
import { read } from './kernel/sysctl.ts'
import { DROPS, GUARD } from './localhost.ts'
import * as state from './state.ts'
import type { Finding } from './state.ts'

/** The facts of the guard if it is lacking, and something of podwire's needs it. For each ADD: it asks once, and usually that is all. */
export const lackingGuard = (host: Netns): Plan => (isWhole(host) || lacking(host).length === 0 ? [] : GUARD)

/** Error 51 if the guard is lacking. */
export function requireGuard(host: Netns): void {
  const [first] = lacking(host)
  const open = '127.0.0.0/8 of this node is open to pods with ports and to whoever is beside the node'
  if (first) throw new CniError(51, `${first.sentence}: ${open}`, script([{ sentence: 'the next ADD, or the agent, repairs it, or this does', repair: first.repair }]))
}

/** What of the guard is lacking, where something of podwire's needs it. */
export function lacking(host: Netns): Finding[] {
  const found = guardFindings(host)
  return found.length > 0 && isOpen(host) ? found : []
}

function isWhole(host: Netns): boolean {
  try {
    return countRules(host, DROPS.name) === DROPS.rules.length
  } catch {
    return false
  }
}

/** A kernel without nf_tables has neither. */
function guardFindings(host: Netns): Finding[] {
  try {
    return state.check({ host }, GUARD, '')
  } catch {
    return []
  }
}

/** What podwire opens are ends of pods, or bridges. An operator may have opened others, or, by `default`, all that are made. */
export function isOpen(host: Netns): boolean {
  if (read(host, 'net/ipv4/conf/default/route_localnet') !== '0') return false
  const mayBeOurs = ({ kind, alias }: link.LinkState) => kind === 'bridge' || kind === 'vlan' || (kind === 'veth' && alias !== undefined)
  return link.list(host).some((one) => link.ipv4(one, 'route_localnet') === 1 && mayBeOurs(one))
}
