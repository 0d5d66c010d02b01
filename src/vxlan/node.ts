// What podwire needs to know of a node, whoever tells it: a Node object of Kubernetes or a file of peers.

import type { Schema } from '../cni/schema.ts'

export interface Node {
  name: string
  /** Where the node is reached on the underlay; those of Kubernetes' type InternalIP. The first one's family is the primary. */
  addresses: string[]
  /** The networks of the node's pods, at most one of a family. */
  podCIDRs: string[]
  /** When the node came to be, ISO 8601: of two that claim one network, the older keeps it. */
  created?: string
}

/** The nodes by their names. */
export type Nodes = ReadonlyMap<string, Node>

/** A file of peers: all nodes of the overlay, this one among them. */
export interface PeersFile {
  nodes: Node[]
}

const ADDRESSES: Schema = {
  type: 'array',
  minItems: 1,
  expected: 'a list of IP addresses',
  description: "the node's addresses on the underlay, the primary family's first",
  items: { type: 'string', expected: 'an IP address' },
}

// Addresses and networks that are none hurt only their node, so their form is judged in vxlan/peers.ts.
const POD_CIDRS: Schema = {
  type: 'array',
  expected: 'a list of networks in CIDR notation',
  description: "the networks of the node's pods, one of each family",
  items: { type: 'string', expected: 'a network in CIDR notation such as "10.244.1.0/24"' },
}

export const NODE: Schema = {
  type: 'object',
  expected: 'an object with name, addresses, podCIDRs',
  required: ['name', 'addresses', 'podCIDRs'],
  properties: { name: { type: 'string', pattern: '.', expected: 'the name of the node', description: "the node's name" }, addresses: ADDRESSES, podCIDRs: POD_CIDRS, created: { type: 'string', expected: 'a time such as "2026-01-31T12:00:00Z"', description: 'when the node came to be: of two that claim one network, the older keeps it; without it, the first by name' } },
}

export const NODES: Schema = { type: 'array', expected: 'a list of nodes', description: 'all nodes of the overlay, this one among them', items: NODE }

export const PEERS: Schema = { $id: 'peers', type: 'object', required: ['nodes'], properties: { nodes: NODES } }
