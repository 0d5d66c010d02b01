// The chains in podwire's tables that podwire itself fills: no chain of an operator's may be called like one, and no other is
// podwire's to delete. test/chains.test.ts holds all plans to it. Pure.

import type { Family } from './facts.ts'

export const NAMES: Record<Family, string[]> = {
  inet: 'postrouting overlay prerouting output hostports hairpin localhost isolation firewall_mark firewall_unmark'.split(' '),
  bridge: ['prerouting', 'forward'],
}

/** With a hash behind: for destinations that are let through, for conditions of host ports, for whom a pod's ports are masqueraded. */
const HASHED = /^(?:outside|inside|hostports|prerouting|output)_[0-9a-f]{8}$/

export const isOurs = (family: Family, name: string): boolean => NAMES[family].includes(name) || (family === 'inet' && HASHED.test(name))

/** Chains and targets of iptables', and the chain of podwire's and the reference's there. man 8 iptables, man 8 iptables-extensions */
const IPTABLES = new Set(
  `INPUT FORWARD OUTPUT PREROUTING POSTROUTING CNI-FORWARD ACCEPT DROP QUEUE RETURN REJECT LOG NFLOG ULOG NFQUEUE AUDIT CHECKSUM CLASSIFY
    CLUSTERIP CONNMARK CONNSECMARK CT DNAT DNPT DSCP ECN HL HMARK IDLETIMER LED MARK MASQUERADE NETMAP NOTRACK RATEEST REDIRECT SECMARK SET
    SNAT SNPT SYNPROXY TCPMSS TCPOPTSTRIP TEE TOS TPROXY TRACE TTL`.split(/\s+/),
)

/** Why a chain for an operator's rules, which is made in podwire's table and in iptables', cannot have that name. */
export function taken(name: string): string | undefined {
  if ((['inet', 'bridge'] as const).some((family) => isOurs(family, name))) return 'podwire has a chain of that name itself'
  return IPTABLES.has(name) ? 'iptables has a chain or a target of that name itself' : undefined
}
