// The overlay as facts: how a packet for a pod on another node gets there. Pure.
//
//   pod ── veth ── node a ── podwire.1 ══ VXLAN in UDP, over the underlay ══ podwire.1 ── node b ── veth ── pod
//
//   10.244.2.0/24 via 10.244.2.0 dev podwire.1   (route)   a pod's network is behind its node's VTEP address
//   10.244.2.0 lladdr 5a:…                       (neigh)   which has this MAC address
//   5a:… dst 192.0.2.2                           (fdb)     to which frames go inside packets to that node
//
// The first VXLAN networks flooded what they did not know, and the next asked user space at each miss (l2miss, l3miss: how
// flannel began). Three entries for each peer, made beforehand, need neither: flannel's layout since 2017, and of Rancher,
// k3s and others after it. The VTEP address is the network's own, which no pod gets.

import type { Addr, Fact, Fdb, Neigh, Plan, Route } from '../facts.ts'
import { addressText, bits, contains, parseCidr, type Family } from '../ip.ts'
import { vtepMac } from '../names.ts'
import { clusterMasquerade } from '../nat.ts'
import { forwarding, kept, optional, sysctl } from '../pod.ts'
import type { Realm } from '../reconcile.ts'
import type { Node } from './node.ts'
import type { Peer, Underlay } from './peers.ts'

/** The number by which routes are podwire's: `ip route show proto 119`. None that /etc/iproute2/rt_protos knows. */
export const RTPROT_PODWIRE = 119

export interface OverlayOptions {
  vni: number
  port: number
  /** Bytes; undefined: the underlay's less what VXLAN adds. */
  mtu: number | undefined
  /** Whether peers without a router between are reached without encapsulation. */
  directRouting: boolean
  masquerade: boolean
  nonMasqueradeCIDRs: string[]
  /** Whether the device leaves checksums to the hardware; undefined: as the kernel has it. */
  checksumOffload: boolean | undefined
  /** The node's interfaces with an IPv4 default route. */
  uplinks: string[]
  /** The node's interfaces whose IPv6 default route came by router advertisement. */
  advertised: string[]
}

// Outer IP, UDP and VXLAN headers, and the inner Ethernet header. RFC 7348 §5
const OVERHEAD: Record<Family, number> = { 4: 50, 6: 70 }

/** All that is an overlay's in the kernel. */
export const realmOf = (device: string): Realm => ({ dev: device, vni: vniOf(device) ?? 0, proto: RTPROT_PODWIRE, firewall: clusterMasquerade([], [], []) })

/** An interface's name has 15 characters at most (IFNAMSIZ): with eight digits the dot has no room. */
export const deviceName = (vni: number): string => `podwire${vni > 9_999_999 ? '' : '.'}${vni}`

/** The VNI of a device by its name; undefined if that is none of ours. */
export function vniOf(device: string): number | undefined {
  const vni = Number(/^podwire(?:\.(?=\d{1,7}$))?([1-9]\d*)$/.exec(device)?.[1])
  return vni <= 0xffffff && deviceName(vni) === device ? vni : undefined // RFC 7348 §5
}

/** Bytes that fit into the overlay. */
export const overlayMtu = (underlay: Underlay, mtu: number | undefined): number => mtu ?? underlay.mtu - overlayOverhead(underlay)

/** Bytes that VXLAN adds to a packet of a pod's. */
export const overlayOverhead = ({ local }: Underlay): number => OVERHEAD[familyOf(local)]

/**
 * Why pods with networks of these families cannot have that MTU over an underlay, or none at all; undefined if they can. What carries an
 * address of lo is not known, so nothing is too large for it.
 */
export function mtuProblem(underlay: Underlay, mtu: number | undefined, podCIDRs: string[]): string | undefined {
  const six = podCIDRs.some((cidr) => familyOf(cidr) === 6)
  const least = six ? 1280 : 68 // RFC 8200 §5, RFC 791
  const most = overlayMtu(underlay, undefined)
  const name = underlay.dev ?? underlay.local
  if (most < least) return `an MTU of ${most} is left inside the overlay, and pods need ${least}: the underlay ${name} has ${underlay.mtu}`
  if (mtu === undefined) return undefined
  const family = familyOf(underlay.local)
  const why = `it has ${underlay.mtu} and VXLAN over IPv${family} takes ${OVERHEAD[family]}`
  if (mtu > most && underlay.dev !== undefined) return `mtu ${mtu} is more than the underlay ${name} carries: expected at most ${most}, as ${why}`
  return mtu < least ? `mtu ${mtu} is too small: expected at least ${least}, which ${six ? 'IPv6' : 'IPv4'} needs` : undefined
}

/** All facts of the overlay on one node, `podCIDRs` being its own networks. */
export function overlay(self: Node, podCIDRs: string[], underlay: Underlay, peers: Peer[], options: OverlayOptions): Plan {
  const dev = deviceName(options.vni)
  const families = new Set(podCIDRs.map(familyOf))
  return [
    // A node that forwards does not believe what it has learned of an IPv4 path, unless told otherwise: a pod would never hear
    // that its packet is too large for a link further on, once VXLAN's headers are around it.
    ...(families.has(4) ? [kept(optional('net/ipv4/ip_forward_use_pmtu', '1'))] : []),
    ...forwarding(options, (family) => families.has(family)),
    { fact: 'vxlan', name: dev, mac: vtepMac(self.name, options.vni), mtu: overlayMtu(underlay, options.mtu), id: options.vni, dstport: options.port, local: underlay.local, ...(underlay.dev !== undefined && { dev: underlay.dev }), keep: true },
    // Nobody listens on the overlay for router solicitations and multicast listener reports: no link-local address, none of them.
    ...[optional(`net/ipv6/conf/${dev}/addr_gen_mode`, '1'), optional(`net/ipv6/conf/${dev}/accept_ra`, '0')].map(kept),
    ...(families.has(4) ? [kept(sysctl(`net/ipv4/conf/${dev}/forwarding`, '1'))] : []),
    ...(families.has(6) ? [kept(sysctl(`net/ipv6/conf/${dev}/disable_ipv6`, '0'))] : []),
    ...(options.checksumOffload === undefined ? [] : [{ fact: 'feature', dev, name: 'tx-checksum-ip-generic', value: options.checksumOffload ? 'on' : 'off', keep: true } as const]),
    { fact: 'link set', dev, up: true, keep: true },
    ...podCIDRs.map((cidr): Addr => ({ fact: 'addr', dev, address: `${vtep(cidr)}/${bits(familyOf(cidr))}`, keep: true })),
    ...peers.flatMap((peer) => peerFacts(peer, podCIDRs, dev, underlay, options)),
    ...(options.masquerade ? clusterMasquerade(podCIDRs, [...podCIDRs, ...peers.flatMap((peer) => peer.podCIDRs)], options.nonMasqueradeCIDRs) : []),
  ]
}

/** The names of the peers whose the facts of an overlay of these parts are; the facts are the same objects. */
export function ownersOf({ podCIDRs, underlay, peers, options }: { podCIDRs: string[]; underlay: Underlay; peers: Peer[]; options: OverlayOptions }): Map<Fact | undefined, string> {
  return new Map(peers.flatMap((peer) => peerFacts(peer, podCIDRs, deviceName(options.vni), underlay, options).map((fact) => [fact, peer.node.name])))
}

type PeerFact = Neigh | Fdb | Route

/** The facts of one peer; the same objects as long as nothing of it changes. */
function peerFacts(peer: Peer, own: string[], dev: string, underlay: Underlay, { vni, directRouting }: OverlayOptions): PeerFact[] {
  const cidrs = peer.podCIDRs.filter((cidr) => own.some((mine) => familyOf(mine) === familyOf(cidr)))
  const direct = (cidr: string) => (directRouting ? peer.onLink[familyOf(cidr)] : undefined)
  const about = JSON.stringify([dev, underlay.dev, underlay.onLink, peer.address, cidrs, cidrs.map(direct)])
  const known = remembered.get(peer.node)
  if (known?.about === about) return known.facts
  const mac = vtepMac(peer.node.name, vni)
  const encapsulated = cidrs.filter((cidr) => direct(cidr) === undefined)
  const facts: PeerFact[] = [
    ...(encapsulated.length > 0 ? [{ fact: 'fdb', dev, lladdr: mac, dst: peer.address, keep: true } as const] : []),
    ...encapsulated.map((cidr): Neigh => ({ fact: 'neigh', dev, address: vtep(cidr), lladdr: mac, keep: true })),
    ...encapsulated.filter((cidr) => isWithin(cidr, underlay.onLink)).map((cidr): Route => ({ fact: 'route', dst: `${vtep(cidr)}/128`, dev, proto: RTPROT_PODWIRE, keep: true })),
    ...cidrs.map((cidr): Route => {
      const via = direct(cidr)
      const way = via !== undefined && underlay.dev !== undefined ? { dev: underlay.dev, via } : { dev, via: vtep(cidr), onlink: true as const }
      return { fact: 'route', dst: cidr, ...way, proto: RTPROT_PODWIRE, keep: true }
    }),
  ]
  remembered.set(peer.node, { about, facts })
  return facts
}

const remembered = new WeakMap<Node, { about: string; facts: PeerFact[] }>()

/**
 * True for an IPv6 network that is a part of a network on the underlay's link: the kernel refuses a gateway that another interface's
 * route leads to, `onlink` or not, so the VTEP address needs a route of its own (ip6_route_check_nh_onlink, net/ipv6/route.c).
 */
const isWithin = (cidr: string, onLink: string[]): boolean => cidr.includes(':') && onLink.some((link) => contains(parseCidr(link)!, parseCidr(cidr)!))

/** Addresses in the overlay: of this node's device, and of those of its peers that it can reach. */
export function vteps({ podCIDRs, peers }: { podCIDRs: string[]; peers: Peer[] }): { own: string[]; peers: { node: string; address: string }[] } {
  const families = new Set(podCIDRs.map(familyOf))
  const reached = ({ node, podCIDRs: cidrs }: Peer) => cidrs.filter((cidr) => families.has(familyOf(cidr))).map((cidr) => ({ node: node.name, address: vtep(cidr) }))
  return { own: podCIDRs.map(vtep), peers: peers.flatMap(reached) }
}

/** The address of a node's end of the overlay: that of its network. */
const vtep = (cidr: string): string => addressText(parseCidr(cidr)!)
const familyOf = (text: string): Family => (text.includes(':') ? 6 : 4)
