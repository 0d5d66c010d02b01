// Frames that a pod sends under another MAC address than its own are dropped where they come in, before the bridge learns from
// them. Pure.
//
//   a frame from a port ──► bridge podwire, prerouting: is the port one of @macspoof_ports, and not with this address in @macspoof?
//
// A set lookup or two, for one pod and for a thousand. The elements name the port and not the interface, so they are there
// before it is, and until it is gone: at no moment may the pod send what it wants.

import type { Plan } from '../facts.ts'

const TABLE = { family: 'bridge', keep: true } as const
const PORTS = 'macspoof_ports'
const ADDRESSES = 'macspoof'
const RULE = `iifname @${PORTS} iifname . ether saddr != @${ADDRESSES} drop`

/** Facts that hold a port of a bridge to a MAC address; they belong to `owner`. */
export function macspoof(port: string, mac: string, owner: string): Plan {
  return [
    { fact: 'table', ...TABLE },
    { fact: 'map', name: PORTS, type: 'ifname', ...TABLE },
    { fact: 'map', name: ADDRESSES, type: 'ifname . ether_addr', ...TABLE },
    // As early as ebtables would, and the reference does: NF_BR_PRI_NAT_DST_BRIDGED, <linux/netfilter_bridge.h>
    { fact: 'chain', name: 'prerouting', base: { type: 'filter', hook: 'prerouting', priority: '-300' }, rules: [RULE], ...TABLE },
    { fact: 'element', family: 'bridge', map: ADDRESSES, key: `"${port}" . ${mac}`, owner },
    { fact: 'element', family: 'bridge', map: PORTS, key: `"${port}"`, owner },
  ]
}
