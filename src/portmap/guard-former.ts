// Ports that the reference's portmap has led to its pods, on a node that changes over: whose they are, and whether that pod lives.
// Whoever came first would get the packets, without a word.

import { IDENTIFIER } from '../cni/request.ts'
import { CniError } from '../cni/error.ts'
import type { Element } from '../facts.ts'
import { former } from '../former.ts'
import { addressText, parseAddress, type Family } from '../ip.ts'
import { tables } from '../kernel/former.ts'
import { ledPorts, type LedPort } from '../kernel/hostports.ts'
import * as link from '../kernel/link.ts'
import type { Netns } from '../kernel/netns.ts'
import * as route from '../kernel/route.ts'
import type { Attachment } from '../names.ts'
import { printable } from '../printable.ts'
import * as state from '../state.ts'

/** Error 109 if a pod of the reference's has one of the ports; one that is provably dead loses it. */
export function guardAgainstFormer(host: Netns, { network, containerID }: Attachment, wanted: Element[]): void {
  const asked = wanted.flatMap(claimOf)
  const ports = (family: Family) => new Set(asked.filter((one) => one.family === family).map(({ port }) => port))
  for (const led of ledPorts(host, { 4: ports(4), 6: ports(6) })) {
    if (led.container === containerID && (led.network ?? network) === network) continue
    if (!asked.some((one) => collides(one, led))) continue
    if (!isDead(host, led)) throw new CniError(109, heldBy(led), remedy(led))
    const dead = { network: led.network ?? '', containerID: led.container, ifname: '' }
    const problems = state.del({ host }, former(dead, tables(host), 'portmap'))
    if (problems.length > 0) throw new CniError(109, heldBy(led), problems.join('; '))
  }
}

interface Claim {
  family: Family
  /** `tcp . 8080` */
  port: string
  address?: string
}

/** What an element claims; under conditions several may have a port. */
function claimOf({ map, key }: Element): Claim[] {
  const [, six] = /^host(?:port|ip)s_ip(6?)$/.exec(map) ?? []
  const [protocol, port, address] = key.split(' . ')
  return six === undefined ? [] : [{ family: six ? 6 : 4, port: `${protocol} . ${port}`, ...(address !== undefined && { address }) }]
}

const collides = (one: Claim, other: LedPort): boolean =>
  one.family === other.family && one.port === other.port && sameOrAny(one.address, other.address)

const sameOrAny = (a: string | undefined, b: string | undefined): boolean =>
  a === undefined || b === undefined || addressText(parseAddress(a)!) === addressText(parseAddress(b)!)

/** No interface leads to the pod's address any more, or a bridge on which nobody is. */
function isDead(host: Netns, { to }: LedPort): boolean {
  if (to === undefined) return false
  const links = link.list(host)
  return route.onWay(host, to).every(({ kind, index }) => kind === 'bridge' && !links.some(({ master }) => master === index))
}

function heldBy({ port, address, container, network }: LedPort): string {
  const [protocol, number] = port.split(' . ')
  const where = address === undefined ? '' : ` on ${address}`
  const holder = `container ${container}${network === undefined ? '' : ` of network ${network}`}`
  return printable(`host port ${number}/${protocol}${where} is held by ${holder}, by another program's portmap`)
}

/** Names that others have written are typed only if they are names. */
function remedy({ container, network = 'any' }: LedPort): string {
  const choose = 'delete that container, or choose another port'
  if (!IDENTIFIER.test(container) || !IDENTIFIER.test(network)) return choose
  const conf = JSON.stringify({ cniVersion: '1.0.0', name: network, type: 'portmap' })
  const env = `CNI_COMMAND=DEL CNI_CONTAINERID=${container} CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin`
  return `${choose}; if it is gone, this takes its ports back:\necho '${conf}' | ${env} podwire`
}
