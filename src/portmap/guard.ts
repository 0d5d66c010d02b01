// Whether ports can be published, before anything is touched: who holds them, and who else listens on them.

import type { Pod } from '../chained.ts'
import type { NetConf } from '../cni/conf.ts'
import { CniError } from '../cni/error.ts'
import type { Element } from '../facts.ts'
import * as link from '../kernel/link.ts'
import { listeners, overlap, type Socket } from '../kernel/listen.ts'
import * as nft from '../kernel/nft.ts'
import { encodeRule, RuleError } from '../kernel/nft-rule.ts'
import { processesOf } from '../kernel/process.ts'
import * as state from '../state.ts'
import type { Kernel } from '../state.ts'
import { conditionText } from './condition.ts'
import { guardAgainstFormer } from './guard-former.ts'
import { claims, PUBLISHED, unserved, type PortmapConf } from './portmap.ts'

/** Error 109 if a living container holds one of the ports; one that is provably dead loses it. */
export function guardPorts(kernel: Kernel, pod: Pod, conf: NetConf, notes: string[]): void {
  requireUnderstood(conf)
  for (const note of unserved(pod, conf)) notes.push(note)
  const wanted = claims(pod, conf)
  const dead = new Set<string>()
  for (const [element, holder] of nft.holdersOf(kernel.host, wanted)) {
    if (dead.has(holder.owner)) continue
    if (buried(kernel, holder)) dead.add(holder.owner)
    else throw new CniError(109, heldBy(element, holder), `delete that container, or choose another port; if it is gone, podwire gc takes back what it left, or: nft delete element inet podwire ${holder.map} '{ ${holder.key} }'`)
  }
  if (wanted.length > 0) guardAgainstFormer(kernel.host, pod.attachment, wanted)
  notes.push(...listening(inTheWay(kernel, wanted)))
}

/** `host port 8080/tcp is held by container 3f2a… (eth0)` */
export function heldBy(wanted: Element, { key, owner }: Element): string {
  const [network, container = '', ifname] = owner.split('/')
  const [protocol, port, address] = key.split(' . ')
  const where = address !== undefined || wanted.key.split(' . ').length > 2 ? ` on ${address ?? 'all addresses'}` : ''
  return owner === '' ? `host port ${port}/${protocol}${where} is held by an element without owner` : `host port ${port}/${protocol}${where} is held by container ${container} (${ifname}) of network ${network}`
}

/** Whether a holder is provably dead: the node's end of its pod was known, and is gone. What it had is taken back. */
function buried(kernel: Kernel, { owner }: Element): boolean {
  const own = nft.elements(kernel.host, (map) => /^(?:hostports|hostips|hairpin)_/.test(map), [owner]).filter((element) => element.owner === owner)
  const ends = own.filter(({ map }) => map === PUBLISHED)
  const isEnd = (there: link.LinkState | undefined) => there !== undefined && (there.alias === undefined || there.alias === owner)
  if (ends.length === 0 || ends.some(({ key }) => isEnd(link.get(kernel.host, JSON.parse(key))))) return false
  state.del(kernel, own)
  return true
}

function requireUnderstood(conf: NetConf): void {
  const { conditionsV4, conditionsV6 } = conf as PortmapConf
  for (const [key, words] of Object.entries({ conditionsV4, conditionsV6 })) {
    try {
      if (words) encodeRule(conditionText(words))
    } catch (error) {
      if (!(error instanceof RuleError)) throw error
      throw new CniError(7, `${key} is ${JSON.stringify(words)}: ${error.message}`)
    }
  }
}

/** Processes of the node that listen on one of the ports, on the address that is asked for or on all. There are few of them. */
function inTheWay({ host }: Kernel, wanted: Element[]): Socket[] {
  const protocols = (['tcp', 'udp'] as const).filter((protocol) => wanted.some(({ key }) => key.startsWith(`${protocol} `)))
  const sockets = protocols.flatMap((protocol) => listeners(host, protocol))
  const bound = Map.groupBy(sockets, ({ protocol, port }) => `${protocol} . ${port}`)
  const found = new Set<Socket>()
  for (const { key } of bound.size > 0 ? wanted : []) {
    const [protocol, port, address] = key.split(' . ')
    for (const one of bound.get(`${protocol} . ${port}`) ?? []) if (overlap(address, one.address!)) found.add(one)
  }
  return sockets.filter((one) => found.has(one))
}

function listening(sockets: Socket[]): string[] {
  const processes = sockets.length > 0 ? processesOf(sockets.map(({ inode }) => inode)) : undefined
  const said = ({ inode }: Socket) => processes?.get(inode)?.said ?? 'a process of this node'
  return sockets.map((socket) => `${said(socket)} listens on ${socket.address}, port ${socket.port}/${socket.protocol}: while the pod has that port, nobody reaches the process there`)
}
