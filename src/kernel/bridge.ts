// Bridges and their ports. <linux/if_link.h>, man 8 ip-link, man 8 bridge

import { readFileSync } from 'node:fs'
import type { Bridge, Port } from '../facts.ts'
import { parseCidr } from '../ip.ts'
import { acceptNoRa } from '../show.ts'
import * as addr from './addr.ts'
import { differs, missing, type Difference } from './difference.ts'
import { isErrno, KernelError } from './errno.ts'
import * as link from './link.ts'
import { attributes } from './attributes.ts'
import type { Netns } from './netns.ts'
import * as route from './route.ts'
import * as sysctl from './sysctl.ts'

const IFLA_BR_VLAN_FILTERING = 7
const IFLA_BRPORT_MODE = 4 // hairpin
const IFLA_BRPORT_ISOLATED = 33
const IPV6_MIN_MTU = 1280 // RFC 8200 §5

/**
 * Makes the bridge if there is none; one that is there is brought to what is wanted, where that harms nobody who is on it. Returns
 * what an operator should know.
 */
export function add(netns: Netns, fact: Bridge, what: string): string | undefined {
  const there = link.get(netns, fact.name)
  if (there) return adapt(netns, there, fact)
  if (create(netns, fact, what.split('\n')[0]!)) return deafen(netns, fact, true)
  return adapt(netns, link.get(netns, fact.name), fact) // another pod's ADD was faster
}

/**
 * False if there is one by now. With a MAC address from the beginning: one that nobody set is the lowest of the ports', changes
 * as they come and go, and may be replaced by udev (MACAddressPolicy). The MTU is not set but begun with: so the kernel goes on
 * to keep it at that of the port with the smallest (br_mtu_auto_adjust, Linux 4.17).
 */
function create(netns: Netns, { name, mtu, promisc, vlanFiltering }: Bridge, what: string): boolean {
  try {
    link.createPlain(netns, { name, kind: 'bridge', mac: randomMac(), ...(mtu !== undefined && { mtu }) }, what, (data) => vlanFiltering && data.push(IFLA_BR_VLAN_FILTERING, Buffer.from([1])))
  } catch (error) {
    if (isErrno(error, 'EEXIST')) return false
    throw vlanFiltering && isErrno(error, 'EOPNOTSUPP') ? new NoVlans(what) : error
  }
  if (promisc) link.configure(netns, name, `ip link set ${name} promisc on`, { promisc })
  return true
}

/** Locally administered, unicast. Two nodes' bridges may be on one wire, so it is computed from nothing that they share. */
function randomMac(): string {
  const bytes = Buffer.from(readFileSync('/proc/sys/kernel/random/uuid', 'latin1').replaceAll('-', ''), 'hex').subarray(-6) // man 4 random
  bytes[0] = (bytes[0]! & 0xfe) | 0x02
  return link.macText(bytes)
}

function adapt(netns: Netns, there: link.LinkState | undefined, fact: Bridge): string | undefined {
  const { name, promisc } = fact
  if (there?.kind !== 'bridge') throw new NotABridge(name, there?.kind)
  if (fact.vlanFiltering && !filters(there)) filter(netns, there)
  const mtu = mtuFor(netns, there, fact)
  if (mtu !== undefined) link.configure(netns, name, `ip link set ${name} mtu ${mtu}`, { mtu })
  if (promisc && !isPromisc(there)) link.configure(netns, name, `ip link set ${name} promisc on`, { promisc })
  // Only once: when it is set, the kernel forgets the neighbours there.
  if (!isPinned(there)) link.configure(netns, name, `ip link set ${name} address ${there.mac}`, { mac: there.mac })
  return deafen(netns, fact, false)
}

export class NotABridge extends Error {
  constructor(name: string, kind: string | undefined) {
    super(`${JSON.stringify(name)} already exists but is not a bridge: it is ${kind === undefined ? "the machine's own interface" : `of type ${kind}`}`)
  }
}

class NoVlans extends KernelError {
  constructor(what: string) {
    super(what, 95, 'this kernel has no VLANs on bridges (CONFIG_BRIDGE_VLAN_FILTERING, module 8021q)')
  }
}

/** Whoever is on the bridge already may be sending tagged frames, which nobody is told of, and which would then be dropped. */
function filter(netns: Netns, { name, index }: link.LinkState): void {
  const line = `ip link set ${name} type bridge vlan_filtering 1`
  const port = link.list(netns).find(({ master }) => master === index)
  if (port) throw new Error(`bridge ${name} has no VLAN filtering, and port ${port.name}, whose tagged frames would be dropped with it: if there are none, type ${line}`)
  try {
    link.configureKind(netns, name, 'bridge', line, (data) => data.push(IFLA_BR_VLAN_FILTERING, Buffer.from([1])))
  } catch (error) {
    throw isErrno(error, 'EOPNOTSUPP') ? new NoVlans(line) : error
  }
}

/**
 * The MTU that it should have and has not. What is longer than a port takes is dropped without a word, so the smallest of them is
 * the most; and less than is asked for hurts nobody.
 */
function mtuFor(netns: Netns, there: link.LinkState, { name, mtu }: Bridge): number | undefined {
  if (mtu === undefined || mtu === there.mtu) return undefined
  if (mtu > there.mtu) {
    const least = link.list(netns).reduce((least, port) => (port.master === there.index ? Math.min(least, port.mtu) : least), mtu)
    return least > there.mtu ? least : undefined
  }
  const six = mtu < IPV6_MIN_MTU && addr.list(netns, name).find((address) => parseCidr(address)!.family === 6)
  if (six) throw new Error(`bridge ${name} has MTU ${there.mtu} and address ${six}, which it would lose with an MTU of ${mtu}: IPv6 needs ${IPV6_MIN_MTU}`)
  return mtu
}

/** Whether the MAC address was set, and does not follow the ports'. Only sysfs tells, if it is that of this namespace. */
function isPinned({ name, mac }: link.LinkState): boolean {
  try {
    const read = (file: string) => readFileSync(`/sys/class/net/${name}/${file}`, 'latin1').trim()
    return read('addr_assign_type') === '3' && read('address') === mac // NET_ADDR_SET, <linux/netdevice.h>
  } catch {
    return false
  }
}

/**
 * No router lives in a pod: its advertisements would redirect the node (CVE-2020-10749). Only where the node itself got its
 * default route by one over this bridge they are listened to; and somebody has said 2 who wants them while forwarding, too.
 */
function deafen(netns: Netns, fact: Bridge, made: boolean): string | undefined {
  return made || listens(netns, fact) ? sysctl.add(netns, acceptNoRa(fact)) : undefined
}

const listens = (netns: Netns, fact: Bridge): boolean =>
  sysctl.read(netns, acceptNoRa(fact).key) === '1' && !route.defaults(netns, 6).some(({ oif, protocol }) => oif === link.index(netns, fact.name) && protocol === route.RTPROT_RA)

const filters = (there: link.LinkState): boolean => attributes(there.data ?? Buffer.alloc(0)).get(IFLA_BR_VLAN_FILTERING)?.[0] === 1
const isPromisc = ({ flags }: link.LinkState): boolean => (flags & link.IFF_PROMISC) !== 0

export function check(netns: Netns, fact: Bridge): Difference | undefined {
  const { name, mtu } = fact
  const there = link.get(netns, name)
  if (!there) return missing(`bridge ${name} is missing`)
  if (there.kind !== 'bridge') return differs(`interface ${name} is of type ${there.kind ?? 'unknown'}, not bridge`)
  if (mtu !== undefined && there.mtu > mtu) return differs(`bridge ${name} has MTU ${there.mtu}, more than ${mtu}`)
  if (fact.vlanFiltering && !filters(there)) return differs(`bridge ${name} has no VLAN filtering`)
  if (fact.promisc && !isPromisc(there)) return differs(`bridge ${name} is not in promiscuous mode`)
  return listens(netns, fact) && sysctl.check(netns, acceptNoRa(fact)) ? differs(`bridge ${name} accepts router advertisements`) : undefined
}

/**
 * Removes a bridge and the interfaces of its VLANs if nobody is on it; else returns who is. One that is gone is success. The
 * reference has a veth pair for a VLAN's interface, one end of which is a port.
 */
export function remove(netns: Netns, name: string): string[] {
  const there = link.get(netns, name)
  if (!there) return []
  if (there.kind !== 'bridge') throw new NotABridge(name, there.kind)
  const links = link.list(netns)
  const ports = links.filter(({ kind, master }) => kind === 'veth' && master === there.index)
  const gates = links.filter((each) => each.kind === 'veth' && each.name.replace(/\.\d+$/, '') === name && ports.some((port) => each.peer === port.index && port.peer === each.index))
  const isGate = (port: link.LinkState) => gates.some((gate) => gate.peer === port.index)
  const on = links.filter((each) => (each.master === there.index && !isGate(each)) || (each.peer === there.index && each.kind !== 'veth' && each.kind !== 'vlan'))
  if (on.length > 0) return on.map((each) => each.name + (each.alias ? ` (${each.alias})` : ''))
  for (const { name: gate } of gates) link.del(netns, gate)
  link.del(netns, name)
  return []
}

export function addPort(netns: Netns, { dev, master, hairpin, isolated }: Port, what: string): void {
  const [enslave, set] = what.split('\n') as [string, string]
  link.configure(netns, dev, enslave, { master: link.index(netns, master) })
  if (hairpin || isolated)
    link.configurePort(netns, dev, set, (out) => {
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
