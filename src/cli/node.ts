// What pods that run depend on, beside the overlay, and others may have changed: whether the node forwards to them and from them, and
// whether what they open is guarded.

import { lacking } from '../exposure.ts'
import type { Plan } from '../facts.ts'
import * as addr from '../kernel/addr.ts'
import * as link from '../kernel/link.ts'
import type { Netns } from '../kernel/netns.ts'
import { uplink } from '../kernel/uplink.ts'
import { isOwner } from '../names.ts'
import { forwards, sysctl } from '../pod.ts'
import * as state from '../state.ts'
import type { Finding } from '../state.ts'

/** Nothing where no pod of podwire's runs. */
export function nodeFindings(netns: Netns): Finding[] {
  const ends = link.list(netns, 'veth').filter(({ alias }) => alias !== undefined && isOwner(alias))
  if (ends.length === 0) return []
  const routed = new Set(addr.all(netns).flatMap(({ ifindex, address }) => (address.endsWith('/32') ? [ifindex] : [])))
  const deaf = ends.filter((end) => routed.has(end.index) && link.ipv4(end, 'forwarding') === 0)
  const plan: Plan = [
    ...uplink(netns, [4]).deaf.map(forwards),
    ...deaf.map(({ name }) => sysctl(`net/ipv4/conf/${name}/forwarding`, '1')),
  ]
  return [...state.check({ host: netns }, plan, ''), ...lacking(netns)]
}
