// Who has what a VXLAN device cannot get: its VNI, or its UDP port. The kernel says EEXIST and EADDRINUSE alone, and an operator
// wants to know whom to ask. Looked for only when something was refused, or is not as it should be.

import type { Fact } from '../facts.ts'
import { word } from '../show.ts'
import { attributes } from './attributes.ts'
import * as link from './link.ts'
import { bound, type Socket } from './listen.ts'
import type { Netns } from './netns.ts'
import { processesOf } from './process.ts'
import * as vxlan from './vxlan.ts'

export interface Holder {
  sentence: string
  /** What an operator would type to free it; where it cannot be told whose it is, to find that out. */
  repair: string
}

/** Who is in the way of a fact about a VXLAN device; undefined if nobody is, or it is about something else. */
export function holderOf(netns: Netns, fact: Fact): Holder | undefined {
  if (fact.fact === 'link set' && fact.up) return ofPort(netns, fact.dev)
  const rival = fact.fact === 'vxlan' ? vxlan.rival(netns, fact) : undefined
  return rival && { sentence: `${vxlan.has(rival)} already`, repair: `ip link del ${word(rival.name)}` }
}

/** Who has the port of a device that is down. Devices that receive in the same way share a socket. */
function ofPort(netns: Netns, dev: string): Holder | undefined {
  const own = link.get(netns, dev)
  if (own?.kind !== 'vxlan' || own.up) return undefined
  const { port, families, receives } = vxlan.socketOf(own)
  const tunnels = link.list(netns).filter((there) => there.up && there.index !== own.index && tunnelPort(there) === port)
  const other = tunnels.find((there) => {
    const socket = vxlan.socketOf(there)
    return there.kind !== 'vxlan' || (socket.receives !== receives && socket.families.some((one) => families.includes(one)))
  })
  if (other) return { sentence: `interface ${other.name} (${other.kind}) has UDP port ${port}`, repair: `ip link del ${word(other.name)}` }
  if (tunnels.length > 0) return undefined
  const socket = bound(netns, 'udp', port).find((there) => families.some((family) => takes(there, family)))
  return socket && ofSocket(socket, port)
}

/** The UDP port of a tunnel. IFLA_VXLAN_PORT, IFLA_GENEVE_PORT, IFLA_BAREUDP_PORT of <linux/if_link.h> */
function tunnelPort({ kind = '', data }: link.LinkState): number | undefined {
  const attribute = { vxlan: 15, geneve: 5, bareudp: 1 }[kind]
  return attribute === undefined || !data ? undefined : attributes(data).get(attribute)?.readUInt16BE(0)
}

/** Whether a socket leaves no room for one of the family that is bound to all addresses. man 7 ipv6, IPV6_V6ONLY */
const takes = ({ address, only6 }: Socket, family: 4 | 6): boolean =>
  address!.includes(':') ? family === 6 || (address === '::' && !only6) : family === 4

function ofSocket({ inode }: Socket, port: number): Holder {
  const process = processesOf([inode]).get(inode)
  if (process) return { sentence: `${process.said} has UDP port ${port}`, repair: `kill ${process.pid}` }
  return { sentence: `UDP port ${port} is taken, by whom cannot be seen from here`, repair: `ss -aunp 'sport = :${port}'` }
}
