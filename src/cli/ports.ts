// Ports of the node that lead to pods, as the kernel has them: which port, to where, whose.

import type { Element } from '../facts.ts'
import { isErrno } from '../kernel/errno.ts'
import * as link from '../kernel/link.ts'
import type { Netns } from '../kernel/netns.ts'
import * as nft from '../kernel/nft.ts'
import { PUBLISHED } from '../portmap/portmap.ts'
import { columns } from './columns.ts'

export interface Port {
  protocol: string
  port: number
  /** Of the node; absent: all of the family. */
  address?: string
  to: { address: string; port: number }
  network: string
  container: string
  ifname: string
  /** Only what matches the conditions of the configuration gets there. */
  conditional?: true
  /** The pod is provably gone. */
  gone?: true
}

const PORTS = /^host(port|ip)s_ip6?(_[0-9a-f]{8})?$/

/** All of them in order; undefined if the kernel tells them to root alone. */
export function ports(netns: Netns): Port[] | undefined {
  try {
    const elements = nft.elements(netns, (map) => PORTS.test(map) || map === PUBLISHED)
    const links = new Set(link.list(netns).map(({ name }) => name))
    const dead = new Set(elements.filter(({ map, key }) => map === PUBLISHED && !links.has(JSON.parse(key))).map(({ owner }) => owner))
    return elements.filter(({ map }) => map !== PUBLISHED).map((element) => portOf(element, dead.has(element.owner))).sort(order)
  } catch (error) {
    if (isErrno(error, 'EPERM')) return undefined
    throw error
  }
}

function portOf({ map, key, value = '', owner }: Element, dead: boolean): Port {
  const [protocol = '', port, address] = key.split(' . ')
  const [pod = '', podPort] = value.split(' . ')
  const [network = '', container = '', ifname = ''] = owner.split('/')
  return {
    protocol, port: Number(port), ...(address !== undefined && { address }), to: { address: pod, port: Number(podPort) }, network, container, ifname,
    ...(PORTS.exec(map)![2] && { conditional: true }), ...(dead && { gone: true }),
  }
}

const order = (a: Port, b: Port): number => a.port - b.port || compare(a.protocol, b.protocol) || compare(a.address ?? '', b.address ?? '') || Number(a.to.address.includes(':')) - Number(b.to.address.includes(':'))
const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** As a table. Both families of a port share a line, and so do ports in a row that lead to ports in a row. */
export function portTable(list: Port[]): string {
  if (list.length === 0) return ''
  return `\n${columns([['port', 'to', 'pod', ''], ...ranges(list).map((range) => cells(range[0]!, range.at(-1)!))]).join('')}`
}

/** The ports of one owner, `network/container/ifname`: `8080/tcp 9000-9005/udp`. */
export const portsOf = (list: Port[], owner: string): string =>
  ranges(list.filter(({ network, container, ifname }) => `${network}/${container}/${ifname}` === owner)).map((range) => portText(range[0]!, range.at(-1)!)).join(' ')

/** Ports in rows; each is one of a family, or of both. */
function ranges(list: Port[]): Port[][][] {
  const found: Port[][][] = []
  const open = new Map<string, Port[][]>()
  for (const both of Object.values(Object.groupBy(list, (one) => JSON.stringify({ ...one, to: one.to.port })))) {
    const same = JSON.stringify(both!.map(({ port, to, ...rest }) => [rest, to.address, to.port - port]))
    const before = open.get(same)
    if (before && before.at(-1)![0]!.port + 1 === both![0]!.port) before.push(both!)
    else {
      open.set(same, [both!])
      found.push(open.get(same)!)
    }
  }
  return found
}

function cells(first: Port[], last: Port[]): string[] {
  const [{ network, container, ifname, conditional, gone }] = first as [Port]
  const to = first.map((one, i) => at(one.to.address, one.to.port, last[i]!.to.port)).join(' ')
  return [portText(first, last), `${to}${conditional ? ', under conditions' : ''}`, `${network}/${container}/${ifname}`, gone ? 'is gone: podwire gc takes it back' : '']
}

const portText = ([first]: Port[], last: Port[]): string => `${at(first!.address, first!.port, last[0]!.port)}/${first!.protocol}`

/** `192.0.2.1:8000-8005`, `[::1]:80`, `8080`. */
function at(address: string | undefined, port: number, last: number): string {
  const range = last === port ? String(port) : `${port}-${last}`
  return address === undefined ? range : address.includes(':') ? `[${address}]:${range}` : `${address}:${range}`
}
