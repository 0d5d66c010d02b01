// What the underlay has to reach from this node, whatever others claim: its own addresses, and the routers that it sends to.

import { addressText, contains, parseCidr } from '../ip.ts'
import * as addr from '../kernel/addr.ts'
import * as link from '../kernel/link.ts'
import type { Netns } from '../kernel/netns.ts'
import * as route from '../kernel/route.ts'
import { RTPROT_PODWIRE } from './overlay.ts'
import type { Underlay } from './peers.ts'

const RT_SCOPE_UNIVERSE = 0 // <linux/rtnetlink.h>

/**
 * Addresses of this node and of its next hops. An address in the pods' own networks (`podCIDRs`) is their gateway's, unless it is on
 * the underlay or on lo. Nothing where the underlay is only an example (`podwire plan` on another machine).
 */
export function reachable(netns: Netns, { local, dev }: Underlay, podCIDRs: string[]): { own: string[]; nextHops: string[] } {
  const universal = addr.all(netns).filter(({ scope }) => scope === RT_SCOPE_UNIVERSE)
  const all = universal.map(({ ifindex, address }) => ({ ifindex, cidr: parseCidr(address)! }))
  if (!all.some(({ cidr }) => addressText(cidr) === local)) return { own: [], nextHops: [] }
  const pods = podCIDRs.map((text) => parseCidr(text)!)
  const below = [dev ?? 'lo', 'lo'].flatMap((name) => link.get(netns, name)?.index ?? [])
  const own = all.filter(({ ifindex, cidr }) => below.includes(ifindex) || !pods.some((network) => contains(network, cidr)))
  return { own: own.map(({ cidr }) => addressText(cidr)), nextHops: nextHops(netns, dev) }
}

/** Routers on the underlay, and on whatever has a default route. */
function nextHops(netns: Netns, dev: string | undefined): string[] {
  const defaults = ([4, 6] as const).flatMap((family) => route.defaults(netns, family)).map(({ oif }) => oif)
  const indexes = new Set([...(dev === undefined ? [] : [link.index(netns, dev)]), ...defaults].filter((index) => index > 0))
  return [...new Set([...indexes].flatMap((index) => route.gateways(netns, index, RTPROT_PODWIRE)))]
}
