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
