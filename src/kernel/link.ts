// Links: a veth pair in one message, its peer straight into the pod's namespace under its final name. Each link is made down, so that
// what it must not do can be said before it does anything.
// <linux/if_link.h>, <linux/veth.h>, man 7 rtnetlink

import { differs, missing, type Difference } from './difference.ts'
import { isErrno, type KernelError } from './errno.ts'
import type { Ifb, Link, LinkSet, LinkSettings } from '../facts.ts'
import { isOwner } from '../names.ts'
import { settingWords, word } from '../show.ts'
import { attributes, type Attrs, type Out } from './attributes.ts'
import { NLM_F_CREATE, NLM_F_EXCL, type NetlinkMessage, type Request } from './netlink.ts'
import type { Netns } from './netns.ts'

export const RTM_NEWLINK = 16
export const RTM_DELLINK = 17
const RTM_GETLINK = 18
const RTM_SETLINK = 19

const IFLA_ADDRESS = 1
const IFLA_IFNAME = 3
const IFLA_MTU = 4
const IFLA_LINK = 5
const IFLA_MASTER = 10
const IFLA_TXQLEN = 13
const IFLA_OPERSTATE = 16
const IF_OPER_UP = 6
const IFLA_LINKINFO = 18
const IFLA_IFALIAS = 20
const IFLA_AF_SPEC = 26
const IFLA_GROUP = 27
const IFLA_NET_NS_FD = 28
const IFLA_EXT_MASK = 29
const IFLA_INFO_KIND = 1
const IFLA_INFO_DATA = 2
const IFLA_INFO_SLAVE_KIND = 4
const IFLA_INFO_SLAVE_DATA = 5
const VETH_INFO_PEER = 1
const AF_INET = 2
const IFLA_INET_CONF = 1
const RTEXT_FILTER_SKIP_STATS = 8
const IFF_UP = 1
export const IFF_LOWER_UP = 0x10000
export const IFF_PROMISC = 0x100
const IFF_ALLMULTI = 0x200

/** What the kernel tells of a link. */
export interface LinkState {
  index: number
  name: string
  up: boolean
  /** Operational state up: carrier, and the queue that packets go through in place. */
  running: boolean
  mtu: number
  mac: string
  kind: string | undefined
  alias: string | undefined
  /** Index of the bridge or the like that it belongs to; 0: none. */
  master: number
  /** Index of the other end of a veth pair, in its namespace, or of the link that this one stands on; 0: it has none. */
  peer: number
  /** Packets that wait to be sent, at most. */
  txqlen: number
  /** IFF_*, <linux/if.h> */
  flags: number
  /** IFLA_INFO_SLAVE_DATA: what it has as a port of a bridge. */
  port: Buffer | undefined
  /** IFLA_INFO_DATA: what only links of that kind have. */
  data: Buffer | undefined
  /** IFLA_INET_CONF: net/ipv4/conf of the link. */
  ipv4: Buffer | undefined
}

/** The link of that name, or undefined. */
export function get(netns: Netns, name: string): LinkState | undefined {
  const message = ask(netns, name)
  return message && parse(message)
}

function ask(netns: Netns, name: string): NetlinkMessage | undefined {
  const message = netns.rt.get(
    {
      what: `ip link show ${name}`,
      type: RTM_GETLINK,
      header: ifinfomsg({}),
      attrs: (out) => (out.push(IFLA_IFNAME, cstring(name)), out.push(IFLA_EXT_MASK, u32(RTEXT_FILTER_SKIP_STATS))),
    },
    'ENODEV',
  )
  if (message) netns.indexes.set(name, indexIn(message))
  return message
}

const indexIn = ({ data }: NetlinkMessage): number => data.readInt32LE(4) // struct ifinfomsg

/** The link of that index, or undefined. */
export function byIndex(netns: Netns, index: number): LinkState | undefined {
  const message = netns.rt.get({ what: `ip link show ifindex ${index}`, type: RTM_GETLINK, header: ifinfomsg({ index }), attrs: (out) => out.push(IFLA_EXT_MASK, u32(RTEXT_FILTER_SKIP_STATS)) }, 'ENODEV')
  return message && parse(message)
}

/** All links of the namespace, or those of one kind. */
export function list(netns: Netns, kind?: string): LinkState[] {
  const filter = kind && ((out: Out) => out.push(IFLA_LINKINFO, (info) => info.push(IFLA_INFO_KIND, Buffer.from(kind))))
  const attrs = (out: Out) => (filter && filter(out), out.push(IFLA_EXT_MASK, u32(RTEXT_FILTER_SKIP_STATS)))
  const messages = netns.rt.dump({ what: 'ip link show', type: RTM_GETLINK, header: ifinfomsg({}), attrs })
  return messages.map(parse).filter((link) => kind === undefined || link.kind === kind)
}

/** Hands over what the kernel tells of each link, without counters. False if that changed while it was read. */
export const scan = (netns: Netns, take: (index: number, buffer: Buffer, start: number, end: number) => void): boolean =>
  netns.rt.scan({ what: 'ip link show', type: RTM_GETLINK, header: ifinfomsg({}), attrs: (out) => out.push(IFLA_EXT_MASK, u32(RTEXT_FILTER_SKIP_STATS)) }, (buffer, start, end) => take(buffer.readInt32LE(start + 4), buffer, start, end))

/** Links of the namespace whose alias says whose they are. */
export const owned = (netns: Netns): (LinkState & { alias: string })[] =>
  list(netns).flatMap(({ alias, ...one }) => (alias !== undefined && isOwner(alias) ? [{ ...one, alias }] : []))

/** Interface index by name. Throws `dev eth0: ENODEV`. */
export function index(netns: Netns, name: string): number {
  const known = netns.indexes.get(name)
  if (known !== undefined) return known
  const message = ask(netns, name)
  if (!message) throw new NoDevice(name)
  return indexIn(message)
}

export class NoDevice extends Error {
  readonly code = 'ENODEV'

  constructor(name: string) {
    super(`there is no interface ${name}`)
  }
}

export function add(host: Netns, pod: Netns, { name, mac, mtu, alias, peer }: Link, what: string): void {
  const ends = (out: Out, end: { name: string; mac: string }) => {
    out.push(IFLA_IFNAME, cstring(end.name))
    out.push(IFLA_ADDRESS, macBytes(end.mac))
    if (mtu !== undefined) out.push(IFLA_MTU, u32(mtu))
  }
  createOwned(host, name, alias, what, (out) => {
    ends(out, { name, mac })
    out.push(IFLA_LINKINFO, (info) => {
      info.push(IFLA_INFO_KIND, Buffer.from('veth'))
      info.push(IFLA_INFO_DATA, (data) =>
        data.push(VETH_INFO_PEER, (inner) => {
          inner.emit(ifinfomsg({}))
          ends(inner, peer)
          inner.push(IFLA_NET_NS_FD, u32(pod.fd))
        }),
      )
    })
  })
}

/** Makes an ifb, without a queue of its own. */
export const addIfb = (netns: Netns, { name, mac, mtu, alias }: Ifb, what: string): void =>
  createOwned(netns, name, alias, what, (out) => {
    out.push(IFLA_IFNAME, cstring(name))
    out.push(IFLA_ADDRESS, macBytes(mac))
    if (mtu !== undefined) out.push(IFLA_MTU, u32(mtu))
    out.push(IFLA_TXQLEN, u32(0))
    out.push(IFLA_LINKINFO, (info) => info.push(IFLA_INFO_KIND, Buffer.from('ifb')))
  })

/**
 * Makes a link, down, and gives it its alias. Both messages are one datagram, which the kernel handles as a whole: who is killed in
 * between leaves no link of which nobody knows whose it is.
 */
function createOwned(netns: Netns, name: string, alias: string, what: string, attrs: (out: Out) => void): void {
  netns.indexes.delete(name)
  const [creation = '', naming = ''] = what.split('\n')
  const named = (out: Out) => out.push(IFLA_IFNAME, cstring(name))
  const refusals = netns.rt.batch([
    { what: creation, type: RTM_NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL, header: ifinfomsg({}), attrs },
    { what: naming, type: RTM_SETLINK, header: ifinfomsg({}), attrs: (out) => (named(out), out.push(IFLA_IFALIAS, Buffer.from(alias))) },
  ])
  const [error] = refusals.values()
  if (error) throw error
}

/** What links of every kind have. */
interface Common {
  name: string
  mac: string
  mtu: number
  kind: string
}

/** Makes a link of one end, down; `data` writes what is its kind's own. */
export const create = (netns: Netns, { name, mac, mtu, kind }: Common, what: string, data: (out: Out) => void): void =>
  netns.rt.change({
    what,
    type: RTM_NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    header: ifinfomsg({}),
    attrs: (out) => (out.push(IFLA_IFNAME, cstring(name)), out.push(IFLA_ADDRESS, macBytes(mac)), out.push(IFLA_MTU, u32(mtu)), kindAttrs(out, kind, data)),
  })

/** Makes a link of which only what is given is said; the kernel chooses the rest. `lower` is the index of the link it stands on. */
export const createPlain = (netns: Netns, { name, kind, mac, mtu, lower }: { name: string; kind: string; mac?: string; mtu?: number; lower?: number }, what: string, data: (out: Out) => void = () => {}): void =>
  netns.rt.change({
    what,
    type: RTM_NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    header: ifinfomsg({}),
    attrs: (out) => {
      out.push(IFLA_IFNAME, cstring(name))
      if (mac !== undefined) out.push(IFLA_ADDRESS, macBytes(mac))
      if (mtu !== undefined) out.push(IFLA_MTU, u32(mtu))
      if (lower !== undefined) out.push(IFLA_LINK, u32(lower))
      kindAttrs(out, kind, data)
    },
  })

interface Configuration {
  up?: true
  promisc?: true
  mac?: string
  /** Bytes. */
  mtu?: number
  master?: number
  alias?: string
}

/** Sets what is given of a link that is there. `master` is an interface index. */
export const configure = (netns: Netns, name: string, what: string, { up, promisc, mac, mtu, master, alias }: Configuration): void =>
  netns.rt.change({
    what,
    type: RTM_SETLINK,
    header: flagsHeader(index(netns, name), (up ? IFF_UP : 0) | (promisc ? IFF_PROMISC : 0)),
    attrs: (out) => {
      if (mac !== undefined) out.push(IFLA_ADDRESS, macBytes(mac))
      if (mtu !== undefined) out.push(IFLA_MTU, u32(mtu))
      if (master !== undefined) out.push(IFLA_MASTER, u32(master))
      if (alias !== undefined) out.push(IFLA_IFALIAS, Buffer.from(alias))
    },
  })

/** Sets what a port of a bridge has of its own. */
export const configurePort = (netns: Netns, name: string, what: string, data: (out: Out) => void): void =>
  netns.rt.change({
    what,
    type: RTM_NEWLINK,
    header: ifinfomsg({ index: index(netns, name) }),
    attrs: (out) => out.push(IFLA_LINKINFO, (info) => (info.push(IFLA_INFO_SLAVE_KIND, Buffer.from('bridge')), info.push(IFLA_INFO_SLAVE_DATA, data))),
  })

/**
 * Changes a link that is there: what is its kind's own, then what all have, because VXLAN does not take an MTU among its own. A MAC
 * address that is set is news although it is the same, and all neighbours are forgotten: so only another one is set.
 */
export function modify(netns: Netns, { name, mac, mtu, kind }: Common, there: LinkState, what: string, data: (out: Out) => void): void {
  configureKind(netns, name, kind, what, data)
  const attrs = (out: Out) => {
    if (mac !== there.mac) out.push(IFLA_ADDRESS, macBytes(mac))
    out.push(IFLA_MTU, u32(mtu))
    out.push(IFLA_MASTER, u32(0))
  }
  netns.rt.change({ what, type: RTM_SETLINK, header: ifinfomsg({ index: index(netns, name) }), attrs })
}

/** Sets what is its kind's own of a link that is there. */
export const configureKind = (netns: Netns, name: string, kind: string, what: string, data: (out: Out) => void): void =>
  netns.rt.change({ what, type: RTM_NEWLINK, header: ifinfomsg({ index: index(netns, name) }), attrs: (out) => kindAttrs(out, kind, data) })

const kindAttrs = (out: Out, kind: string, data: (out: Out) => void): void =>
  out.push(IFLA_LINKINFO, (info) => (info.push(IFLA_INFO_KIND, Buffer.from(kind)), info.push(IFLA_INFO_DATA, data)))

/** Deletes a link and with it its peer; one that is gone is success. */
export function del(netns: Netns, name: string): void {
  netns.indexes.delete(name)
  try {
    netns.rt.change({ what: `ip link del ${name}`, type: RTM_DELLINK, header: ifinfomsg({}), attrs: (out) => out.push(IFLA_IFNAME, cstring(name)) })
  } catch (error) {
    if (!isErrno(error as KernelError, 'ENODEV')) throw error
  }
}

/** A link, and whose it has to be to be taken back. */
export type Owned = Pick<Link | Ifb, 'fact' | 'name' | 'alias'>

/**
 * Deletes links that are their owner's, and with them their peers; those that are gone, or somebody else's, are success. As a
 * group that nobody else has: the kernel, which has to wait for everybody who may be using a link that goes (20 ms), waits once.
 * man 8 ip-link, `ip link delete group`
 */
export function delAll(netns: Netns, owned: Owned[]): void {
  const AT_ONCE = 100 // so that the answers, should none be there, have room in the socket
  const indexes = owned.flatMap((one) => indexOfOwned(netns, one) ?? [])
  for (let start = 0; start < indexes.length; start += AT_ONCE) delGroup(netns, indexes.slice(start, start + AT_ONCE))
}

/** By index: what gets the name meanwhile is another link. */
function delGroup(netns: Netns, indexes: number[]): void {
  if (indexes.length === 1) return delIndex(netns, indexes[0]!)
  const group = u32(randomInt())
  const attrs = (out: Out) => out.push(IFLA_GROUP, group)
  const join = indexes.map((index): Request => ({ what: `ip link set ifindex ${index} group`, type: RTM_SETLINK, header: ifinfomsg({ index }), attrs }))
  const refused = netns.rt.batch([...join, { what: 'ip link delete group', type: RTM_DELLINK, header: ifinfomsg({}), attrs }])
  if ([...refused.values()].some((error) => error.code !== 'ENODEV')) for (const index of indexes) delIndex(netns, index)
}

function delIndex(netns: Netns, index: number): void {
  try {
    netns.rt.change({ what: `ip link del ifindex ${index}`, type: RTM_DELLINK, header: ifinfomsg({ index }) })
  } catch (error) {
    if (!isErrno(error as KernelError, 'ENODEV')) throw error
  }
}

/**
 * The index of a link of that name, if it is of that kind and its owner's. One without alias is what podwire 0.1.0 left when it was
 * killed.
 */
function indexOfOwned(netns: Netns, { fact, name, alias }: Owned): number | undefined {
  const there = get(netns, name)
  netns.indexes.delete(name)
  const ours = there?.kind === KINDS[fact] && (there.alias === undefined || there.alias === alias)
  return ours ? there!.index : undefined
}

const KINDS = { link: 'veth', ifb: 'ifb' }

/**
 * Deletes the pod's end of a veth pair, whatever the node's end is called: the reference's names are others, and it gives no alias.
 * What is no veth, does not end on the node, or is another's by its alias, stays.
 */
export function delInside(pod: Netns, host: Netns, { name, alias }: Link): void {
  const there = get(pod, name)
  const end = there?.kind === 'veth' ? byIndex(host, there.peer) : undefined
  const paired = end?.kind === 'veth' && end.peer === there!.index
  if (paired && (end.alias === undefined || end.alias === alias)) del(pod, name)
}

/** A number that no group of links has by chance. 0 is the group of all that have none. */
const randomInt = (): number => 1 + Math.floor(Math.random() * 0x7ffffffe)

export function set(netns: Netns, { dev, up, mac, mtu, promisc, allmulti, txqlen }: LinkSet, what: string): void {
  const flags: [flag: number, on: boolean | undefined][] = [[IFF_UP, up], [IFF_PROMISC, promisc], [IFF_ALLMULTI, allmulti]]
  const sum = (list: typeof flags) => list.reduce((bits, [flag]) => bits | flag, 0)
  netns.rt.change({
    what,
    type: RTM_SETLINK,
    header: flagsHeader(index(netns, dev), sum(flags.filter(([, on]) => on)), sum(flags.filter(([, on]) => on !== undefined))),
    attrs: (out) => {
      if (mac !== undefined) out.push(IFLA_ADDRESS, macBytes(mac))
      if (mtu !== undefined) out.push(IFLA_MTU, u32(mtu))
      if (txqlen !== undefined) out.push(IFLA_TXQLEN, u32(txqlen))
    },
  })
}

/** Puts back what a fact replaced; with the link that is gone, too. */
export function unset(netns: Netns, { dev, before }: LinkSet, command: string): void {
  if (typeof before !== 'object' || Object.keys(before).length === 0 || !get(netns, dev)) return
  set(netns, { fact: 'link set', dev, ...before }, `${command} link set ${dev} ${settingWords(before)}`)
}

/** What there is now of the settings that a fact has. */
export function replaced(netns: Netns, fact: LinkSet): LinkSettings {
  const there = get(netns, fact.dev)
  const all = there && settingsOf(there)
  return Object.fromEntries(Object.entries(all ?? {}).filter(([name]) => fact[name as keyof LinkSettings] !== undefined))
}

export const settingsOf = ({ mac, mtu, flags, txqlen }: LinkState): Required<LinkSettings> => ({ mac, mtu, promisc: (flags & IFF_PROMISC) !== 0, allmulti: (flags & IFF_ALLMULTI) !== 0, txqlen })

/** Takes a link down. */
export function setDown(netns: Netns, name: string): void {
  netns.rt.change({ what: `ip link set ${name} down`, type: RTM_SETLINK, header: ifinfomsg({ index: index(netns, name), down: true }) })
}

/** What of the veth pair is not as it should be, or undefined. `said` names the pod's namespace in what repairs it. */
export function check(host: Netns, pod: Netns | undefined, link: Link, said: string): Difference | undefined {
  const ends = [
    { netns: host, where: '', command: 'ip', name: link.name, mac: link.mac },
    ...(pod ? [{ netns: pod, where: " in the pod's namespace", command: `ip -n ${said}`, name: link.peer.name, mac: link.peer.mac }] : []),
  ]
  for (const { netns, where, command, name, mac } of ends) {
    const there = get(netns, name)
    const otherwise = (what: string, setting: LinkSettings): Difference =>
      ({ ...differs(`interface ${name}${where} has ${what}`), repair: `${command} link set ${name} ${settingWords(setting)}` })
    if (!there) return missing(`interface ${name} is missing${where}`)
    if (there.kind !== 'veth') return differs(`interface ${name}${where} is of type ${there.kind ?? 'unknown'}, not veth`)
    if (there.mac !== mac) return otherwise(`MAC address ${there.mac}, not ${mac}`, { mac })
    if (link.mtu !== undefined && there.mtu !== link.mtu) return otherwise(`MTU ${there.mtu}, not ${link.mtu}`, { mtu: link.mtu })
    if (netns === host && there.alias !== link.alias) return otherAlias(there, link.alias)
  }
  return undefined
}

/** Gives both ends of a veth pair back what they have lost. Throws if an interface of another kind has the name of one. */
export function change(host: Netns, pod: Netns | undefined, { name, mac, mtu, alias, peer }: Link, what: string): void {
  const ends = [{ netns: host, name, mac, alias }, ...(pod ? [{ netns: pod, name: peer.name, mac: peer.mac, alias: undefined }] : [])]
  for (const end of ends) {
    const there = get(end.netns, end.name)
    if (there?.kind !== 'veth') throw new Error(`${what}: interface ${end.name} is of type ${there?.kind ?? 'unknown'}, not veth`)
    configure(end.netns, end.name, what, {
      ...(there.mac !== end.mac && { mac: end.mac }), // with it the kernel would forget all neighbours there
      ...(mtu !== undefined && there.mtu !== mtu && { mtu }),
      ...(end.alias !== undefined && there.alias !== end.alias && { alias: end.alias }),
    })
  }
}

export function otherAlias({ name, alias = '' }: LinkState, wanted: string): Difference {
  const sentence = `interface ${name} has alias ${JSON.stringify(alias)}, not ${JSON.stringify(wanted)}`
  return { ...differs(sentence), repair: `ip link set ${name} alias ${word(wanted)}` }
}

/** What of a link's settings is not as it should be, or undefined. */
export function checkSet(netns: Netns, { dev, up, ...wanted }: LinkSet): Difference | undefined {
  const there = get(netns, dev)
  if (!there) return missing(`interface ${dev} is missing`)
  if (up && !there.up) return { ...differs(`interface ${dev} is down`), down: true }
  const is = settingsOf(there)
  for (const [name, text] of Object.entries(SETTINGS) as [keyof LinkSettings, string][])
    if (wanted[name] !== undefined && is[name] !== wanted[name]) return differs(`interface ${dev} has ${text} ${inWords(is[name])}, not ${inWords(wanted[name])}`)
  return undefined
}

const SETTINGS: Record<keyof LinkSettings, string> = { mac: 'MAC address', mtu: 'MTU', promisc: 'promisc', allmulti: 'allmulticast', txqlen: 'txqueuelen' }
const inWords = (value: string | number | boolean): string => (typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value))

/** struct ifinfomsg */
function ifinfomsg({ index = 0, up = false, down = false }: { index?: number; up?: boolean; down?: boolean }): Buffer {
  const header = Buffer.alloc(16)
  header.writeInt32LE(index, 4)
  if (up) header.writeUInt32LE(IFF_UP, 8)
  if (up || down) header.writeUInt32LE(IFF_UP, 12) // which of the flags are meant
  return header
}

/** struct ifinfomsg that sets some flags, by default those that are on. */
function flagsHeader(index: number, flags: number, meant = flags): Buffer {
  const header = Buffer.alloc(16)
  header.writeInt32LE(index, 4)
  header.writeUInt32LE(flags, 8)
  header.writeUInt32LE(meant, 12)
  return header
}

/** What a message about a link says. */
export function parse(message: NetlinkMessage): LinkState {
  const { data } = message
  const found = attributes(data.subarray(16))
  const info: Attrs = attributes(found.get(IFLA_LINKINFO) ?? Buffer.alloc(0))
  return {
    index: indexIn(message),
    name: text(found.get(IFLA_IFNAME)) ?? '',
    up: (data.readUInt32LE(8) & IFF_UP) !== 0,
    running: found.get(IFLA_OPERSTATE)?.[0] === IF_OPER_UP,
    mtu: found.get(IFLA_MTU)?.readUInt32LE(0) ?? 0,
    mac: macText(found.get(IFLA_ADDRESS) ?? Buffer.alloc(0)),
    kind: text(info.get(IFLA_INFO_KIND)),
    alias: text(found.get(IFLA_IFALIAS)),
    master: found.get(IFLA_MASTER)?.readUInt32LE(0) ?? 0,
    peer: found.get(IFLA_LINK)?.readUInt32LE(0) ?? 0,
    txqlen: found.get(IFLA_TXQLEN)?.readUInt32LE(0) ?? 0,
    flags: data.readUInt32LE(8),
    port: info.get(IFLA_INFO_SLAVE_DATA),
    data: info.get(IFLA_INFO_DATA),
    ipv4: attributes(attributes(found.get(IFLA_AF_SPEC) ?? Buffer.alloc(0)).get(AF_INET) ?? Buffer.alloc(0)).get(IFLA_INET_CONF),
  }
}

// IPV4_DEVCONF_*, <linux/ip.h>
const IPV4 = { forwarding: 1, arp_ignore: 19, route_localnet: 26 }

/** A value of net/ipv4/conf as a link itself has it; undefined if the kernel does not tell. */
export function ipv4(link: LinkState, name: keyof typeof IPV4): number | undefined {
  const at = (IPV4[name] - 1) * 4
  return link.ipv4 && at + 4 <= link.ipv4.length ? link.ipv4.readInt32LE(at) : undefined
}

/** A NUL-terminated string, or undefined. */
const text = (data: Buffer | undefined): string | undefined => data?.toString('utf8').replace(/\0.*$/s, '')
const cstring = (value: string): Buffer => Buffer.from(`${value}\0`)

export const macBytes = (mac: string): Buffer => Buffer.from(mac.replaceAll(':', ''), 'hex')
export const macText = (bytes: Buffer): string => bytes.toString('hex').match(/../g)?.join(':') ?? ''

export function u32(value: number): Buffer {
  const buffer = Buffer.alloc(4)
  buffer.writeUInt32LE(value)
  return buffer
}
