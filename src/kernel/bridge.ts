// Bridges and their ports. <linux/if_link.h>, man 8 ip-link, man 8 bridge

import type { Bridge, Port } from '../facts.ts'
import { differs, missing, type Difference } from './difference.ts'
import { isErrno } from './errno.ts'
import * as link from './link.ts'
import { attributes } from './netlink.ts'
import type { Netns } from './netns.ts'

const IFLA_BRPORT_MODE = 4 // hairpin
const IFLA_BRPORT_ISOLATED = 33
const IFF_PROMISC = 0x100 // <linux/if.h>

/**
 * Makes the bridge if there is none, and brings one that is there to what is wanted. Its MAC address is set to what it is:
 * one that nobody set is the lowest of the ports', and changes as they come and go.
 */
export function add(netns: Netns, { name, mtu, promisc }: Bridge, what: string): void {
  try {
    if (!link.get(netns, name)) link.createPlain(netns, name, 'bridge', what)
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error // another pod's ADD was faster
  }
  const there = link.get(netns, name)
  if (there?.kind !== 'bridge') throw new NotABridge(name, there?.kind)
  link.configure(netns, name, what, { mac: there.mac, ...(mtu !== undefined && there.mtu !== mtu && { mtu }), ...(promisc && { promisc: true }) })
}

export class NotABridge extends Error {
  constructor(name: string, kind: string | undefined) {
    super(`${JSON.stringify(name)} already exists but is not a bridge: it is ${kind === undefined ? "the machine's own interface" : `of type ${kind}`}`)
  }
}

export function check(netns: Netns, { name, mtu, promisc }: Bridge): Difference | undefined {
  const there = link.get(netns, name)
  if (!there) return missing(`bridge ${name} is missing`)
  if (there.kind !== 'bridge') return differs(`interface ${name} is of type ${there.kind ?? 'unknown'}, not bridge`)
  if (mtu !== undefined && there.mtu !== mtu) return differs(`bridge ${name} has MTU ${there.mtu}, not ${mtu}`)
  return promisc && (there.flags & IFF_PROMISC) === 0 ? differs(`bridge ${name} is not in promiscuous mode`) : undefined
}

export function addPort(netns: Netns, { dev, master, hairpin, isolated }: Port, what: string): void {
  link.configure(netns, dev, what, { master: link.index(netns, master) })
  if (hairpin || isolated)
    link.configurePort(netns, dev, what, (out) => {
      if (hairpin) out.push(IFLA_BRPORT_MODE, Buffer.from([1]))
      if (isolated) out.push(IFLA_BRPORT_ISOLATED, Buffer.from([1]))
    })
}

export function checkPort(netns: Netns, { dev, master, hairpin, isolated }: Port): Difference | undefined {
  const there = link.get(netns, dev)
  if (!there) return missing(`interface ${dev} is missing`)
  const bridge = link.get(netns, master)
  if (there.master === 0 || there.master !== bridge?.index) return differs(`interface ${dev} is not a port of bridge ${master}`)
  const port = attributes(there.port ?? Buffer.alloc(0))
  const is = (type: number) => port.get(type)?.[0] === 1
  // What is on without being asked for here, another plugin of the chain has asked for (CNI 1.1 §2 CHECK).
  if (hairpin && !is(IFLA_BRPORT_MODE)) return differs(`port ${dev} of ${master} has hairpin off, not on`)
  return isolated && !is(IFLA_BRPORT_ISOLATED) ? differs(`port ${dev} of ${master} is not isolated`) : undefined
}
