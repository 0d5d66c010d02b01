// VLANs: of which of them a port of a bridge is a member, and one of a bridge's as an interface of the node. <linux/if_bridge.h>,
// <linux/if_link.h>, man 8 bridge, man 8 ip-link

import type { Vlan, VlanRange, Vlans } from '../facts.ts'
import { differs, missing, type Difference } from './difference.ts'
import { isErrno } from './errno.ts'
import * as link from './link.ts'
import { attributes, items, type Out } from './attributes.ts'
import type { Netns } from './netns.ts'

const AF_BRIDGE = 7
const RTM_GETLINK = 18
const RTM_SETLINK = 19
const IFLA_AF_SPEC = 26
const IFLA_EXT_MASK = 29
const RTEXT_FILTER_BRVLAN_COMPRESSED = 4
const IFLA_BRIDGE_FLAGS = 0
const IFLA_BRIDGE_VLAN_INFO = 2
const BRIDGE_FLAGS_SELF = 2
const BRIDGE_VLAN_INFO_PVID = 2
const BRIDGE_VLAN_INFO_UNTAGGED = 4
const BRIDGE_VLAN_INFO_RANGE_BEGIN = 8
const BRIDGE_VLAN_INFO_RANGE_END = 16
const IFLA_VLAN_ID = 1

/** Makes a port, or the bridge itself, a member of VLANs; with `only`, of no others. */
export function addMember(netns: Netns, { dev, self, only, vlans }: Vlans, what: string): void {
  const header = ifinfomsg(link.index(netns, dev))
  const lines = what.split('\n')
  // Not to be a member is no error.
  if (only) netns.rt.change({ what: lines.shift()!, type: link.RTM_DELLINK, header, attrs: (out) => spec(out, self, [ALL]) })
  netns.rt.change({ what: lines[0]!, type: RTM_SETLINK, header, attrs: (out) => spec(out, self, vlans) })
}

const ALL: VlanRange = { vid: 1, end: 4094 }

function spec(out: Out, self: true | undefined, vlans: VlanRange[]): void {
  out.push(IFLA_AF_SPEC, (inner) => {
    if (self) inner.push(IFLA_BRIDGE_FLAGS, u16(BRIDGE_FLAGS_SELF))
    for (const { vid, end, native } of vlans) {
      const flags = native ? BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED : 0
      if (end === undefined) inner.push(IFLA_BRIDGE_VLAN_INFO, Buffer.concat([u16(flags), u16(vid)]))
      else {
        inner.push(IFLA_BRIDGE_VLAN_INFO, Buffer.concat([u16(flags | BRIDGE_VLAN_INFO_RANGE_BEGIN), u16(vid)]))
        inner.push(IFLA_BRIDGE_VLAN_INFO, Buffer.concat([u16(flags | BRIDGE_VLAN_INFO_RANGE_END), u16(end)]))
      }
    }
  })
}

export function checkMember(netns: Netns, { dev, only, vlans }: Vlans): Difference | undefined {
  const there = members(netns, dev)
  const wanted = new Map(vlans.flatMap(({ vid, end, native }) => Array.from({ length: (end ?? vid) - vid + 1 }, (_, i) => [vid + i, native === true] as const)))
  for (const [vid, native] of wanted) {
    if (!there.has(vid)) return differs(`${dev} is not in VLAN ${vid}`)
    if (native && !there.get(vid)) return differs(`${dev} is in VLAN ${vid}, but not for frames without a tag`)
  }
  const more = only && [...there.keys()].find((vid) => !wanted.has(vid))
  return more ? differs(`${dev} is in VLAN ${more}, too`) : undefined
}

/** The VLANs of a port, and whether they are its own for frames without a tag. The kernel tells of all ports, and not of one. */
function members(netns: Netns, dev: string): Map<number, boolean> {
  const index = link.index(netns, dev)
  const messages = netns.rt.dump({ what: `bridge vlan show dev ${dev}`, type: RTM_GETLINK, header: ifinfomsg(0), attrs: (out) => out.push(IFLA_EXT_MASK, link.u32(RTEXT_FILTER_BRVLAN_COMPRESSED)) })
  const found = new Map<number, boolean>()
  for (const { data } of messages.filter(({ data }) => data.readInt32LE(4) === index)) {
    let from = 0
    for (const info of items(attributes(data.subarray(16)).get(IFLA_AF_SPEC)).filter(({ length }) => length === 4)) {
      const [flags, vid] = [info.readUInt16LE(0), info.readUInt16LE(2)]
      if (flags & BRIDGE_VLAN_INFO_RANGE_BEGIN) from = vid
      for (let each = flags & BRIDGE_VLAN_INFO_RANGE_END ? from : vid; each <= vid; each++) found.set(each, (flags & BRIDGE_VLAN_INFO_PVID) !== 0 && (flags & BRIDGE_VLAN_INFO_UNTAGGED) !== 0)
    }
  }
  return found
}

/** Makes the interface if there is none. */
export function add(netns: Netns, fact: Vlan, what: string): void {
  const { name, lower, id } = fact
  try {
    if (!link.get(netns, name)) link.createPlain(netns, { name, kind: 'vlan', lower: link.index(netns, lower) }, what, (data) => data.push(IFLA_VLAN_ID, u16(id)))
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error // another pod's ADD was faster
  }
  const wrong = difference(netns, fact)
  if (wrong) throw new Error(wrong)
}

export function check(netns: Netns, fact: Vlan): Difference | undefined {
  if (!link.get(netns, fact.name)) return missing(`interface ${fact.name} is missing`)
  const wrong = difference(netns, fact)
  return wrong === undefined ? undefined : { ...differs(wrong), anew: true }
}

/** The reference has a veth pair in its place, the other end of which is a port of the bridge: that is as good. */
function difference(netns: Netns, { name, lower, id }: Vlan): string | undefined {
  const there = link.get(netns, name)
  const below = there && there.peer > 0 ? link.byIndex(netns, there.peer) : undefined
  if (there?.kind === 'vlan' && below?.name === lower && attributes(there.data ?? Buffer.alloc(0)).get(IFLA_VLAN_ID)?.readUInt16LE(0) === id) return undefined
  if (there?.kind === 'veth' && below?.master === link.index(netns, lower) && members(netns, below.name).get(id)) return undefined
  return `interface ${name} is of type ${there?.kind ?? 'unknown'}, and not VLAN ${id} of ${lower}`
}

/** struct ifinfomsg */
function ifinfomsg(index: number): Buffer {
  const header = Buffer.alloc(16)
  header[0] = AF_BRIDGE
  header.writeInt32LE(index, 4)
  return header
}

function u16(value: number): Buffer {
  const buffer = Buffer.alloc(2)
  buffer.writeUInt16LE(value)
  return buffer
}
