// Who has what a VXLAN device cannot get: its VNI, or its UDP port. The kernel says EEXIST and EADDRINUSE alone, and an operator
// wants to know whom to ask. Looked for only when something was refused, or is not as it should be.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import type { Fact } from '../facts.ts'
import { word } from '../show.ts'
import { attributes } from './attributes.ts'
import * as link from './link.ts'
import { bound, type Socket } from './listen.ts'
import type { Netns } from './netns.ts'
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
  const pid = processOf(inode)
  const unseen = { sentence: `UDP port ${port} is taken, by whom cannot be seen from here`, repair: `ss -aunp 'sport = :${port}'` }
  if (pid === undefined) return unseen
  return { sentence: `process ${pid}${nameOf(pid)} has UDP port ${port}`, repair: `kill ${pid}` }
}

const MOST = 100_000 // open files that are looked at

/** The process that has a socket open, if this one may see it. man 5 proc_pid_fd */
function processOf(inode: number): number | undefined {
  let left = MOST
  for (const pid of names('/proc').filter((name) => /^\d+$/.test(name)))
    for (const fd of names(`/proc/${pid}/fd`)) {
      if (left-- === 0) return undefined
      if (target(`/proc/${pid}/fd/${fd}`) === `socket:[${inode}]`) return Number(pid)
    }
  return undefined
}

/** A process that ends meanwhile, or another user's, has none that can be seen. */
const names = (directory: string): string[] => attempt(() => readdirSync(directory)) ?? []
const target = (path: string): string | undefined => attempt(() => readlinkSync(path))

/** ` (socat)`: what a process calls itself, so only what can do no harm where it is printed. */
function nameOf(pid: number): string {
  const name = attempt(() => readFileSync(`/proc/${pid}/comm`, 'utf8'))?.replace(/[^\w .:/-]/g, '')
  return name ? ` (${name})` : ''
}

function attempt<T>(ask: () => T): T | undefined {
  try {
    return ask()
  } catch {
    return undefined
  }
}
