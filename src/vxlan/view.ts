// The overlay as this node has to see it: nodes, what the operator wants, and what the kernel tells of the host, to a plan.

import { release } from 'node:os'
import { cidrText, network, parseCidr } from '../ip.ts'
import type { Netns } from '../kernel/netns.ts'
import { uplink } from '../kernel/uplink.ts'
import type { Plan } from '../facts.ts'
import { quoted, type Node, type Nodes } from './node.ts'
import { mtuProblem, overlay, overlayMtu, type OverlayOptions } from './overlay.ts'
import { ownProblem, peersOf, type Bounds, type Peer, type Problem, type Underlay } from './peers.ts'
import { reachable } from './reachable.ts'
import { findUnderlay, type FindUnderlay } from './underlay.ts'

/** What an operator can say about an overlay. */
export interface Wishes {
  vni: number
  port: number
  /** An interface, a network or an address; undefined: found. */
  underlay: string | undefined
  mtu: number | undefined
  directRouting: boolean
  masquerade: boolean
  nonMasqueradeCIDRs: string[]
  /** The networks in which those of all pods lie; none: not said. */
  clusterCIDRs: string[]
  /** undefined: off where the kernel gets checksums of encapsulated packets wrong. */
  checksumOffload: boolean | undefined
}

export interface View {
  self: Node
  podCIDRs: string[]
  underlay: Underlay
  peers: Peer[]
  problems: Problem[]
  options: OverlayOptions
  /** Bytes. */
  mtu: number
  plan: Plan
}

/** Why there can be no overlay yet; a person has to change something, or the controller has not come to it. */
export class NotReady extends Error {}

/** The same, and what there is of an overlay does not carry what pods send. */
export class Narrow extends NotReady {}

/** Throws NotReady, or the kernel's errors. `find` tells the underlay; `before`: the peers until now. */
export function viewOf(netns: Netns, nodes: Nodes, name: string, wishes: Wishes, find: FindUnderlay = findUnderlay, before: readonly Peer[] = []): View {
  const self = nodes.get(name)
  if (!self) throw new NotReady(`node ${name} is not among the nodes (${some([...nodes.keys()])}): say with --node which one this is`)
  requireReadable(self, nodes)
  const podCIDRs = ownNetworks(self)
  const underlay = find(netns, self, wishes.underlay)
  const { clusterCIDRs } = wishes
  const bounds: Bounds = { ...reachable(netns, underlay, podCIDRs), clusterCIDRs, directRouting: wishes.directRouting, vni: wishes.vni }
  const wrong = ownProblem(self, underlay, bounds)
  if (wrong) throw new NotReady(`node ${name}, which is this one, cannot be used as it is: ${wrong}`)
  const { peers, problems } = peersOf(self, nodes, underlay, bounds, before)
  const has6 = podCIDRs.some((cidr) => cidr.includes(':'))
  const { vni, port, directRouting, masquerade, nonMasqueradeCIDRs } = wishes
  const { uplinks, advertised } = uplink(netns, has6 ? [4, 6] : [4])
  const options: OverlayOptions = { vni, port, mtu: wishes.mtu, directRouting, masquerade, nonMasqueradeCIDRs: [...clusterCIDRs, ...nonMasqueradeCIDRs], checksumOffload: wishes.checksumOffload ?? trusted(), uplinks, advertised: has6 ? advertised : [] }
  requireMtu(underlay, wishes.mtu, podCIDRs)
  const mtu = overlayMtu(underlay, wishes.mtu)
  return { self, podCIDRs, underlay, peers, problems, options, mtu, plan: overlay(self, podCIDRs, underlay, peers, options) }
}

/** Throws Narrow. */
export function requireMtu(underlay: Underlay, mtu: number | undefined, podCIDRs: string[]): void {
  const problem = underlay.example ? undefined : mtuProblem(underlay, mtu, podCIDRs)
  if (problem) throw new Narrow(problem)
}

/** Before Linux 5.7 packets that were translated and then encapsulated got wrong checksums from the hardware (flannel#1279). */
function trusted(): false | undefined {
  const [major = 0, minor = 0] = release().split('.').map(Number)
  return major < 5 || (major === 5 && minor < 7) ? false : undefined
}

/** Of what says nothing of this node that can be used, no overlay is made. */
function requireReadable({ name, addresses, wrong }: Node, nodes: Nodes): void {
  const twin = nodes.values().find(({ namesake }) => namesake === name)
  const sentences = [...(wrong ?? []), ...(twin?.wrong ?? [])]
  if (sentences.length > 0) throw new NotReady(`node ${name}, which is this one, cannot be used as it is: ${sentences.join('; ')}`)
  if (addresses.length === 0) throw new NotReady(`node ${name} has no address yet, so no other node can reach it: in Kubernetes kubelet says it (--node-ip), in a file its addresses`)
}

function ownNetworks({ name, podCIDRs }: Node): string[] {
  if (podCIDRs.length === 0) throw new NotReady(`node ${name} has no podCIDR yet: in Kubernetes the controller manager gives it one (--allocate-node-cidrs), in a file its podCIDRs`)
  return podCIDRs.map((text) => {
    const cidr = parseCidr(text)
    if (!cidr) throw new NotReady(`node ${name} has podCIDR ${quoted(text)}, which is no network in CIDR notation`)
    return cidrText(network(cidr))
  })
}

/** The first few of a list, and how many more. */
export const some = (list: string[]): string => (list.length <= 5 ? list.join(', ') : `${list.slice(0, 5).join(', ')} and ${list.length - 5} more`)
