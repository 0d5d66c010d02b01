// What was tried on the hand-made overlay, each alone, on both nodes. Names are those of --variation.

import { execFileSync } from 'node:child_process'
import { handmade, type Node, type Pair } from './pair.ts'

/** What the others are held against. */
export const BASE = 'plain'

interface Variation {
  /** Further words for `ip link add … type vxlan`. */
  link?: string
  /** Lines of a shell on each node, with sysfs of its own. */
  node?: string
  /** Lines of a shell in each pod. */
  pod?: string
}

const VETHS = 'for veth in $(ls /sys/class/net | grep ^veth); do'
const SINGLE_FRAMES = 'ethtool -K eth0 tx-udp_tnl-segmentation off tx-udp_tnl-csum-segmentation off gro on'
const MASQUERADE = `nft -f - <<'END'
table inet nat {
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade
  }
}
END`
const raw = (match: string) => `nft -f - <<'END'
table inet untracked {
  chain prerouting {
    type filter hook prerouting priority raw
    ${match} notrack
  }
  chain output {
    type filter hook output priority raw
    ${match} notrack
  }
}
END`

export const VARIATIONS: Record<string, Variation> = {
  plain: {},
  masquerade: { node: MASQUERADE },
  'masquerade, outer packets untracked': { node: `${MASQUERADE}\n${raw('udp dport 8472')}` },
  'masquerade, pod to pod untracked': { node: `${MASQUERADE}\n${raw('ip saddr 10.244.0.0/16 ip daddr 10.244.0.0/16')}` },
  'no UDP checksum': { link: 'noudpcsum' },
  'df inherit': { link: 'df inherit' },
  'GRO on veths': { node: `${VETHS} ethtool -K $veth gro on; done`, pod: 'ethtool -K eth0 gro on' },
  'GRO off on vxlan0': { node: 'ethtool -K vxlan0 gro off' },
  'tx checksum off on vxlan0': { node: 'ethtool -K vxlan0 tx-checksum-ip-generic off' },
  'threaded NAPI on vxlan0': { node: 'echo 1 > /sys/class/net/vxlan0/threaded' },
  'no queue': { node: `ip link set eth0 txqueuelen 0; ${VETHS} ip link set $veth txqueuelen 0; done` },
  'RPS on vxlan0': { node: 'echo 2 > /sys/class/net/vxlan0/queues/rx-0/rps_cpus' },
  // From here on the underlay delivers single frames, as network cards do that cannot segment what is in a tunnel.
  'single frames': { node: SINGLE_FRAMES },
  'single frames, no GRO below': { node: `${SINGLE_FRAMES}\nethtool -K eth0 gro off` },
  'single frames, GRO off on vxlan0': { node: `${SINGLE_FRAMES}\nethtool -K vxlan0 gro off` },
  'single frames, no UDP checksum': { node: SINGLE_FRAMES, link: 'noudpcsum' },
  'single frames, UDP GRO forwarding': { node: `${SINGLE_FRAMES}\nethtool -K eth0 rx-udp-gro-forwarding on\nethtool -K vxlan0 rx-udp-gro-forwarding on` },
  'single frames, tx checksum off on vxlan0': { node: `${SINGLE_FRAMES}\nethtool -K vxlan0 tx-checksum-ip-generic off` },
}

/** Two nodes of that name with a variation. */
export function variation(name: string, key: string): Pair {
  const found = VARIATIONS[key]
  if (!found) throw new Error(`--variation ${key}: expected one of ${Object.keys(VARIATIONS).join(', ')}`)
  const pair = handmade(name.replaceAll(/[^a-z0-9]+/gi, '-'), found.link)
  for (const node of [pair.a, pair.b]) apply(node, found)
  return pair
}

function apply({ netns, pods }: Node, { node, pod }: Variation): void {
  const shell = (name: string, lines: string) => execFileSync('ip', ['netns', 'exec', name, 'bash', '-e'], { input: lines, stdio: ['pipe', 'ignore', 'inherit'] })
  if (node) shell(netns.name, node)
  if (pod) for (const { netns: { name } } of pods) shell(name, pod)
}
