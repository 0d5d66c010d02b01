// What an agent is told, and what of it cannot be.

import { cidrText, contains, parseCidr } from '../ip.ts'
import type { Netns } from '../kernel/netns.ts'
import { nodeIn } from './file.ts'
import { parseListen } from './http.ts'
import type { Node } from './node.ts'
import { findUnderlay, NoUnderlay } from './underlay.ts'
import { NotReady, requireMtu, type Wishes } from './view.ts'

export interface AgentOptions extends Wishes {
  node: string
  /** The file of peers; undefined: Kubernetes. */
  peers: string | undefined
  kubeconfig: string | undefined
  /** Where the runtime's library keeps what pods were promised. */
  library: string
  confDir: string
  binDir: string
  libDir: string
  stateDir: string
  listen: string
  /** Where agents ask each other over the overlay; 0: they do not. */
  probePort: number
  /** How often, seconds. */
  probeInterval: number
  /** Where the node's /proc/sys is. */
  procSys: string
}

/**
 * Throws what is wrong with the options as far as it is known before anything is touched: of this node that is what the file of peers
 * says, if there is one.
 */
export function refuse(netns: Netns, options: AgentOptions): void {
  const { listen: address, peers, node } = options
  parseListen(address)
  const self = peers === undefined ? undefined : nodeIn(peers, node)
  if (self) requireInside(self, options.clusterCIDRs)
  refuseMtu(netns, self, options)
}

/** Throws NotReady. */
function requireInside({ name, podCIDRs }: Node, clusterCIDRs: string[]): void {
  const cluster = clusterCIDRs.flatMap((text) => parseCidr(text) ?? [])
  for (const cidr of podCIDRs.flatMap((text) => parseCidr(text) ?? []))
    if (cluster.length > 0 && !cluster.some((one) => contains(one, cidr) && one.prefix <= cidr.prefix))
      throw new NotReady(`node ${name}, which is this one, has podCIDR ${cidrText(cidr)}, which is not inside --cluster-cidr ${clusterCIDRs.join(',')}`)
}

/** Throws Narrow. Where the underlay is not known yet nothing is said: it may be still to come. */
function refuseMtu(netns: Netns, self: Node | undefined, { mtu, underlay: choice, node }: AgentOptions): void {
  if (mtu === undefined || (self === undefined && choice === undefined)) return
  try {
    const underlay = findUnderlay(netns, self ?? { name: node, addresses: [], podCIDRs: [] }, choice)
    const local = self === undefined ? LEAST : underlay.local // the family will be that of the node's address
    requireMtu({ ...underlay, local }, mtu, self?.podCIDRs ?? [])
  } catch (error) {
    if (!(error instanceof NoUnderlay)) throw error
  }
}

/** Over IPv4 VXLAN takes less. */
const LEAST = '0.0.0.0'
