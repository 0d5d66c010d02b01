// What of the node a plan depends on: the interfaces that carry its default routes.

import type { Family } from '../ip.ts'
import * as link from './link.ts'
import type { Netns } from './netns.ts'
import * as route from './route.ts'
import { read } from './sysctl.ts'

export interface Uplink {
  /** The smallest MTU of the interfaces with a default route of these families; undefined without one. Bytes. */
  mtu: number | undefined
  /** Interfaces with an IPv4 default route; and of these the ones that do not forward. */
  uplinks: string[]
  deaf: string[]
  /** Interfaces whose IPv6 default route came by router advertisement and would go away with forwarding. */
  advertised: string[]
}

export function uplink(netns: Netns, families: Family[]): Uplink {
  const routes = families.flatMap((family) => route.defaults(netns, family))
  const indexes = [...new Set(routes.map(({ oif }) => oif))]
  const links = new Map(indexes.flatMap((index) => (index > 0 ? [[index, link.byIndex(netns, index)] as const] : [])))
  const mtus = [...links.values()].flatMap((there) => (there ? [there.mtu] : []))
  const names = (of: route.RouteState[]) => [...new Set(of.flatMap(({ oif }) => links.get(oif)?.name ?? []))]
  return {
    mtu: mtus.length > 0 ? Math.min(...mtus) : undefined,
    uplinks: names(routes.filter(({ family }) => family === 4)),
    deaf: names(routes.filter(({ family, oif }) => family === 4 && links.get(oif) && link.ipv4(links.get(oif)!, 'forwarding') === 0)),
    // 2 means: also while forwarding. Documentation/networking/ip-sysctl.rst, accept_ra
    advertised: names(routes.filter(({ protocol }) => protocol === route.RTPROT_RA)).filter((name) => read(netns, `net/ipv6/conf/${name}/accept_ra`) === '1'),
  }
}
