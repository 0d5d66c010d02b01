// The keys of a `vxlan` entry in a list of plugins.

import { COMMON, type NetConf } from '../cni/conf.ts'
import type { Schema } from '../cni/schema.ts'

export interface VxlanConf extends NetConf {
  node?: string
  peers?: unknown[]
  peersFile?: string
  vni?: number
  port?: number
  underlay?: string
  mtu?: number
  directRouting?: boolean
  masquerade?: boolean
  clusterCIDRs?: string[]
  nonMasqueradeCIDRs?: string[]
  checksumOffload?: boolean
}

// A node that is not as it should be hurts itself alone, so what is in the list is judged node by node: nodesIn, vxlan/node.ts.
const ANYTHING: Schema = {}

export const VXLAN: Schema = {
  $id: 'vxlan',
  type: 'object',
  properties: {
    ...COMMON,
    node: { type: 'string', pattern: '.', expected: 'the name of a node', description: "which of the nodes this one is; default: the host's name" },
    peers: { type: 'array', expected: 'a list of nodes', description: 'all nodes of the overlay, this one among them', items: ANYTHING },
    peersFile: { type: 'string', pattern: '^/[^\\0]*$', expected: 'an absolute path', description: 'a file with `{"nodes": […]}`, in the place of peers' },
    vni: { type: 'integer', minimum: 1, maximum: 0xffffff, expected: 'a VXLAN network identifier from 1 to 16777215', default: 1, description: 'VXLAN network identifier; the device is `podwire.<vni>`, of eight digits `podwire<vni>`' },
    port: { type: 'integer', minimum: 1, maximum: 65535, expected: 'a UDP port', default: 8472, description: 'UDP port' },
    underlay: { type: 'string', pattern: '.', expected: 'an interface, a network or an address', description: "what carries the overlay; default: the node's address, else the interface with the default route" },
    mtu: { type: 'integer', minimum: 68, maximum: 65535, expected: 'an MTU in bytes', description: "bytes; default: the underlay's less 50, or 70 over IPv6. That of the pods is the main plugin's" },
    directRouting: { type: 'boolean', expected: 'true or false', default: false, description: 'no encapsulation to nodes without a router between' },
    masquerade: { type: 'boolean', expected: 'true or false', default: true, description: 'pods get the address of the node towards the outside' },
    clusterCIDRs: { type: 'array', expected: 'a list of networks such as ["10.244.0.0/16"]', items: { type: 'string', format: 'cidr', expected: 'a network in CIDR notation such as "10.244.0.0/16"' }, description: 'the networks in which those of all pods lie: a node that says another, or an address inside of them, is not believed; default: any' },
    nonMasqueradeCIDRs: { type: 'array', expected: 'a list of networks such as ["10.0.0.0/8"]', items: { type: 'string', format: 'cidr', expected: 'a network in CIDR notation such as "10.0.0.0/8"' }, description: "destinations that keep the pod's address, beside those of pods and multicast" },
    checksumOffload: { type: 'boolean', expected: 'true or false', description: 'whether the device leaves checksums to the hardware; default: as the kernel has it, off before Linux 5.7, which got them wrong' },
  },
}
