// Generated nodes: dual-stack, as a controller manager makes them, with networks one after the other. Pure.

import type { Node } from '../../src/vxlan/node.ts'

const FIRST_POD_NETWORK = 10 << 24 // 10.0.0.0
const UNDERLAY = (198 << 24) | (18 << 16) // 198.18.0.0/15 is for benchmarks: RFC 2544

export const UNDERLAY_PREFIX = 15

/** So many nodes; the first one has the addresses that scale.ts gives to its namespace. */
export const nodes = (count: number): Node[] => Array.from({ length: count }, (_, i) => node(i))

/** The node with that number, from 0. */
export function node(i: number): Node {
  const hex = (i + 1).toString(16)
  return {
    name: `node-${String(i).padStart(5, '0')}`,
    addresses: [dotted(UNDERLAY + i + 1), `fd00:20::${hex}`],
    podCIDRs: [`${dotted(FIRST_POD_NETWORK + (i + 1) * 256)}/24`, `fd00:10:0:${hex}::/64`],
  }
}

const dotted = (value: number): string => [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.')

/** The same as an object of Kubernetes, of the size that kubelet and the cloud's controllers make it: about 15 KB. */
export function nodeObject(i: number): object {
  const { name, addresses, podCIDRs } = node(i)
  const numbered = (count: number, text: (n: number) => object) => Array.from({ length: count }, (_, n) => text(n))
  const pairs = (count: number, pair: (n: number) => [string, unknown]) => Array.from({ length: count }, (_, n) => pair(n))
  const time = '2026-01-01T00:00:00Z'
  return {
    metadata: {
      name,
      uid: `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`,
      resourceVersion: String(i + 1),
      creationTimestamp: time,
      labels: Object.fromEntries(pairs(25, (n) => [`label-${n}.example.com/of-a-node`, `value-${n}-${name}`])),
      annotations: Object.fromEntries(pairs(10, (n) => [`annotation-${n}.example.com/of-a-node`, `a longer value such as controllers leave ${n} ${name}`])),
      managedFields: numbered(4, (n) => ({ manager: `manager-${n}`, operation: 'Update', apiVersion: 'v1', time, fieldsType: 'FieldsV1', fieldsV1: Object.fromEntries(pairs(20, (field) => [`f:field-${field}`, { '.': {}, [`k:{"type":"${field}"}`]: {} }])) })),
    },
    spec: { podCIDR: podCIDRs[0], podCIDRs, providerID: `example:///${name}` },
    status: {
      capacity: { cpu: '16', memory: '65536Mi', pods: '110' },
      allocatable: { cpu: '15', memory: '60000Mi', pods: '110' },
      conditions: numbered(5, (n) => ({ type: `Condition${n}`, status: 'False', lastHeartbeatTime: time, lastTransitionTime: time, reason: `KubeletHasNoReason${n}`, message: `kubelet has a sentence about condition ${n}` })),
      addresses: [...addresses.map((address) => ({ type: 'InternalIP', address })), { type: 'Hostname', address: name }],
      nodeInfo: { kubeletVersion: 'v1.34.0', osImage: 'Linux', kernelVersion: '6.18.0', architecture: 'amd64' },
      images: numbered(50, (n) => ({ names: [`registry.example.com/some/image-${n}@sha256:${'0123456789abcdef'.repeat(4)}`, `registry.example.com/some/image-${n}:v1.${n}`], sizeBytes: 100_000_000 + n })),
    },
  }
}
