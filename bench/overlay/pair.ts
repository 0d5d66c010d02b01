// Two nodes on one underlay, three pods, and between the nodes a VXLAN made by hand as well as it can be made: what the
// agent is measured against, and where single settings are tried.
//
//      node a 192.0.2.1                    node b 192.0.2.2
//     ┌────────────────────────┐          ┌────────────────────────┐
//     │ 10.244.1.2   a1        │          │        b1   10.244.2.2 │
//     │ 10.244.1.3   a2   eth0 ├── veth ──┤ eth0                   │
//     │                 vxlan0 │  (8472)  │ vxlan0                 │
//     └────────────────────────┘          └────────────────────────┘

import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { Namespace } from '../world.ts'

export interface Pod {
  netns: Namespace
  address: string
}

export interface Node {
  name: 'a' | 'b'
  /** 1 and 2: the last byte of its address, and the third one of its pods'. */
  number: number
  netns: Namespace
  pods: Pod[]
}

export interface Pair {
  name: string
  a: Node
  b: Node
}

const UNDERLAY_MTU = 1500
const VXLAN_OVERHEAD = 50 // outer Ethernet less inner, IPv4, UDP, VXLAN
const MTU = UNDERLAY_MTU - VXLAN_OVERHEAD
const SYSCTLS = ['net/ipv4/ip_forward', 'net/ipv6/conf/all/forwarding']

export const underlayAddress = ({ number }: { number: number }): string => `192.0.2.${number}`
export const podCIDR = ({ number }: { number: number }): string => `10.244.${number}.0/24`
const vtep = (number: number): string => `10.244.${number}.0`
const vtepMac = (number: number): string => `02:00:00:00:00:0${number}`

/** Two nodes that reach each other and forward, without pods and without an overlay. */
export function underlay(name: string): Pair {
  const [a, b] = (['a', 'b'] as const).map((letter, i): Node => ({ name: letter, number: i + 1, netns: new Namespace(`${name}-${letter}`), pods: [] })) as [Node, Node]
  a.netns.ip(`link add eth0 mtu ${UNDERLAY_MTU} type veth peer name eth0 mtu ${UNDERLAY_MTU} netns ${b.netns.path}`)
  for (const node of [a, b]) {
    node.netns.ip(`
link set lo up
addr add ${underlayAddress(node)}/24 dev eth0
link set eth0 up
route add default via 192.0.2.254`)
    node.netns.inside(() => SYSCTLS.forEach((key) => writeFileSync(`/proc/sys/${key}`, '1')))
  }
  return { name, a, b }
}

/** The same with pods wired as ptp wires them, and a VXLAN. `link` are further words for the device. */
export function handmade(name: string, link = ''): Pair {
  const pair = underlay(name)
  wire(pair.a, 2)
  wire(pair.a, 3)
  wire(pair.b, 2)
  vxlan(pair.a, pair.b, link)
  vxlan(pair.b, pair.a, link)
  return pair
}

function wire(node: Node, host: number): void {
  const pod = { netns: new Namespace(`${node.netns.name}${host - 1}`), address: `10.244.${node.number}.${host}` }
  const [veth, gateway] = [`veth${host}`, `10.244.${node.number}.1`]
  node.netns.ip(`
link add ${veth} mtu ${MTU} type veth peer name eth0 mtu ${MTU} netns ${pod.netns.path}
addr add ${gateway}/32 dev ${veth}
link set ${veth} up
route add ${pod.address} dev ${veth}`)
  pod.netns.ip(`
link set lo up
addr add ${pod.address}/24 dev eth0 noprefixroute
link set eth0 up
route add ${gateway} dev eth0
route add ${podCIDR(node)} via ${gateway}
route add default via ${gateway}`)
  node.pods.push(pod)
}

function vxlan({ netns, number }: Node, peer: Node, link: string): void {
  const [local, remote] = [underlayAddress({ number }), underlayAddress(peer)]
  netns.ip(`
link add vxlan0 address ${vtepMac(number)} mtu ${MTU} type vxlan id 1 dstport 8472 local ${local} dev eth0 nolearning ${link}
addr add ${vtep(number)}/32 dev vxlan0
link set vxlan0 up
neigh add ${vtep(peer.number)} lladdr ${vtepMac(peer.number)} dev vxlan0 nud permanent
route add ${podCIDR(peer)} via ${vtep(peer.number)} dev vxlan0 onlink`)
  netns.inside(() => execFileSync('bridge', ['fdb', 'append', vtepMac(peer.number), 'dev', 'vxlan0', 'dst', remote]))
}
