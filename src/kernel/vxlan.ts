// The VXLAN device. RFC 7348 has its peers found by flooding; this one learns nothing and floods nothing, it is told its
// peers one by one (kernel/fdb.ts). Where the kernel refuses a change (id, port, family of the address), the device is
// made anew, and with it goes what stood on it. <linux/if_link.h>, drivers/net/vxlan

import { addressBytes, bytesText, parseAddress } from '../ip.ts'
import type { Vxlan } from '../facts.ts'
import { differs, missing, type Difference } from './difference.ts'
import { isErrno } from './errno.ts'
import * as link from './link.ts'
import { attributes, type Attrs, type Out } from './attributes.ts'
import type { Netns } from './netns.ts'

const IFLA_VXLAN_ID = 1
const IFLA_VXLAN_LINK = 3
const IFLA_VXLAN_LOCAL = 4
const IFLA_VXLAN_LEARNING = 7
const IFLA_VXLAN_PORT = 15
const IFLA_VXLAN_GROUP6 = 16
const IFLA_VXLAN_LOCAL6 = 17
const IFLA_VXLAN_COLLECT_METADATA = 25
const IFLA_VXLAN_DF = 29
// VXLAN_F_RCV_FLAGS: UDP_ZERO_CSUM6_RX, REMCSUM_RX, GBP, REMCSUM_NOPARTIAL, COLLECT_METADATA, GPE, VNIFILTER
const RECEIVES = [20, 22, 23, 24, IFLA_VXLAN_COLLECT_METADATA, 27, 30]
const VXLAN_DF_INHERIT = 2

/** Makes the device. One of ours with that VNI that got another name goes first; somebody else's is an error that names it. */
export function add(netns: Netns, fact: Vxlan, what: string): void {
  netns.indexes.delete(fact.name)
  requireFree(netns, fact, what)
  for (const there of sameNetwork(netns, fact)) if (there.mac === fact.mac) link.del(netns, there.name)
  try {
    link.create(netns, { name: fact.name, mac: fact.mac, mtu: fact.mtu, kind: 'vxlan' }, what, (data) => {
      data.push(IFLA_VXLAN_ID, link.u32(fact.id))
      data.push(IFLA_VXLAN_PORT, be16(fact.dstport))
      changeable(data, netns, fact)
    })
  } catch (error) {
    if (!isErrno(error, 'EEXIST') || !link.get(netns, fact.name)) throw error
    change(netns, fact, what) // another process was faster
  }
}

/** Changes the device in place where the kernel can; else it is made anew. */
export function change(netns: Netns, fact: Vxlan, what: string): void {
  const there = link.get(netns, fact.name)
  if (there?.kind === 'vxlan' && inPlace(fact, there))
    link.modify(netns, { name: fact.name, mac: fact.mac, mtu: fact.mtu, kind: 'vxlan' }, there, what, (data) => changeable(data, netns, fact))
  else {
    requireFree(netns, fact, what)
    link.del(netns, fact.name)
    add(netns, fact, what)
  }
}

function requireFree(netns: Netns, fact: Vxlan, what: string): void {
  const there = rival(netns, fact)
  if (there) throw new Error(`${what}: ${has(there)} already: choose another VNI, or remove it`)
}

/** Somebody else's device with the VNI, port and address family of one of ours: the kernel has one of them at most. vxlan_vni_in_use */
export const rival = (netns: Netns, fact: Vxlan): link.LinkState | undefined =>
  sameNetwork(netns, fact).find((there) => there.mac !== fact.mac && isIPv6(info(there)) === fact.local.includes(':'))

const sameNetwork = (netns: Netns, fact: Vxlan): link.LinkState[] =>
  link.list(netns, 'vxlan').filter((there) => there.name !== fact.name && id(info(there)) === fact.id && port(info(there)) === fact.dstport)

/** `interface x has VNI 1 on port 8472` */
export const has = (there: link.LinkState): string => `interface ${there.name} has VNI ${id(info(there))} on port ${port(info(there))}`

/** The socket that a device receives by. Those of one port and family are one if all receive in the same way. vxlan_find_sock */
export function socketOf(there: link.LinkState): { port: number; families: (4 | 6)[]; receives: string } {
  const data = info(there)
  const receives = RECEIVES.filter((attribute) => data.get(attribute)?.every((byte) => byte !== 0)) // a flag has no bytes
  const families: (4 | 6)[] = receives.includes(IFLA_VXLAN_COLLECT_METADATA) ? [4, 6] : [isIPv6(data) ? 6 : 4]
  return { port: port(data), families, receives: receives.join() }
}

export function check(netns: Netns, fact: Vxlan): Difference | undefined {
  const there = link.get(netns, fact.name)
  if (!there) return missing(`interface ${fact.name} is missing`)
  if (there.kind !== 'vxlan') return { ...differs(`interface ${fact.name} is of type ${there.kind ?? 'unknown'}, not vxlan`), anew: true }
  const data = info(there)
  const dev = data.get(IFLA_VXLAN_LINK)?.readUInt32LE(0) ?? 0
  const is = {
    id: id(data), dstport: port(data), local: local(data), dev: dev === 0 ? 'any' : (link.byIndex(netns, dev)?.name ?? `ifindex ${dev}`),
    learning: data.get(IFLA_VXLAN_LEARNING)?.[0] === 1 ? 'on' : 'off', df: data.get(IFLA_VXLAN_DF)?.[0] ?? 0, address: there.mac, mtu: there.mtu, master: there.master === 0 ? 'none' : (link.byIndex(netns, there.master)?.name ?? 'unknown'),
  }
  const wanted = { id: fact.id, dstport: fact.dstport, local: fact.local, dev: fact.dev ?? 'any', learning: 'off', df: VXLAN_DF_INHERIT, address: fact.mac, mtu: fact.mtu, master: 'none' }
  const key = (Object.keys(wanted) as (keyof typeof wanted)[]).find((name) => is[name] !== wanted[name])
  return key && { ...differs(`interface ${fact.name} has ${key} ${is[key]}, not ${wanted[key]}`), ...(!inPlace(fact, there) && { anew: true as const }) }
}

/** True if a link is a VXLAN device with that VNI. */
export const isNetwork = (there: link.LinkState | undefined, vni: number): boolean => there?.kind === 'vxlan' && id(info(there)) === vni

const inPlace = (fact: Vxlan, there: link.LinkState): boolean => {
  const data = info(there)
  const bound = (data.get(IFLA_VXLAN_LINK)?.readUInt32LE(0) ?? 0) !== 0
  return id(data) === fact.id && port(data) === fact.dstport && local(data).includes(':') === fact.local.includes(':') && (fact.dev !== undefined || !bound)
}

const info = (there: link.LinkState): Attrs => attributes(there.data ?? Buffer.alloc(0))
const id = (data: Attrs): number => data.get(IFLA_VXLAN_ID)?.readUInt32LE(0) ?? 0
const port = (data: Attrs): number => data.get(IFLA_VXLAN_PORT)?.readUInt16BE(0) ?? 0
const isIPv6 = (data: Attrs): boolean => data.has(IFLA_VXLAN_LOCAL6) || data.has(IFLA_VXLAN_GROUP6)
const local = (data: Attrs): string => {
  const bytes = data.get(IFLA_VXLAN_LOCAL) ?? data.get(IFLA_VXLAN_LOCAL6)
  return bytes ? bytesText(bytes) : 'none'
}

function changeable(data: Out, netns: Netns, { local, dev }: Vxlan): void {
  const address = parseAddress(local)!
  data.push(address.family === 4 ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, addressBytes(address))
  data.push(IFLA_VXLAN_LINK, link.u32(dev === undefined ? 0 : link.index(netns, dev)))
  data.push(IFLA_VXLAN_LEARNING, Buffer.from([0]))
  data.push(IFLA_VXLAN_DF, Buffer.from([VXLAN_DF_INHERIT]))
}

const be16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff])
