// bridge: a veth pair between the pod and a bridge of the node, which all pods of the network share. What ADD makes, as
// facts; pure.
//
//        pod                               node
//   ┌──────────────┐                ┌────────────────────────────────┐
//   │ eth0         │                │ veth1f09a3c22e1 ──┐            │
//   │ 10.1.2.3/24 ─┼────── veth ────┼─                  ├─ cni0      │── forwards ── the world (masqueraded)
//   └──────────────┘                │  veth of others ──┘ 10.1.2.1/24│
//                                   └────────────────────────────────┘
//
// Keys, defaults and the result's shape are the reference's. https://www.cni.dev/plugins/current/main/bridge/

import { COMMON } from '../cni/conf.ts'
import type { Interface, IP, Result, ResultRoute } from '../cni/result.ts'
import type { Schema } from '../cni/schema.ts'
import { extraKeys, extraRuntime } from '../extras.ts'
import type { Condition, Fact, Plan, Route, VlanRange } from '../facts.ts'
import { addressText, cidrText, network, parseAddress, parseCidr, type Cidr, type Family } from '../ip.ts'
import { IP_RANGES, IPAM } from '../ipam/conf.ts'
import { hostIfname, mac, owner } from '../names.ts'
import { masquerade } from '../nat.ts'
import { answers, distinct, forwarding, ipamRoute, isConnected, isLocal, isMain, kept, MASQUERADE_KEYS, misled, nextToPods, optional, podIPv6 } from '../pod.ts'
import type { Wirer, Wiring, WireConf } from '../wire.ts'
import { macspoof } from './macspoof.ts'

export interface BridgeConf extends WireConf {
  bridge?: string
  isGateway?: boolean
  isDefaultGateway?: boolean
  forceAddress?: boolean
  hairpinMode?: boolean
  promiscMode?: boolean
  portIsolation?: boolean
  enabledad?: boolean
  disableContainerInterface?: boolean
  macspoofchk?: boolean
  vlan?: number
  vlanTrunk?: { id?: number; minID?: number; maxID?: number }[]
  preserveDefaultVlan?: boolean
}

const vid = (description: string): Schema => ({ type: 'integer', minimum: 1, maximum: 4094, expected: 'a VLAN ID from 1 to 4094', description })
const flag = (description: string): Schema => ({ type: 'boolean', expected: 'true or false', default: false, description })

export const BRIDGE: Schema = {
  $id: 'bridge',
  type: 'object',
  properties: {
    ...COMMON,
    runtimeConfig: { ...COMMON.runtimeConfig, properties: { ...COMMON.runtimeConfig!.properties, ipRanges: IP_RANGES, ...extraRuntime() } },
    bridge: { type: 'string', pattern: '^[^/\\s:]{1,15}$', expected: 'the name of an interface: at most 15 characters, no "/", ":" or blanks', default: 'cni0', description: 'the bridge; made if there is none' },
    isGateway: flag('the bridge gets the gateway\'s address of each network, and the node forwards'),
    isDefaultGateway: flag('the same, and the pod gets default routes to it'),
    forceAddress: flag('other addresses of the bridge in the same network go'),
    hairpinMode: flag('what a pod sends to itself by way of a service or host port comes back to it'),
    promiscMode: flag('the bridge receives all frames; not together with hairpinMode'),
    portIsolation: flag('pods on the bridge reach the node, but not each other'),
    enabledad: flag('IPv6 addresses wait for duplicate address detection'),
    disableContainerInterface: flag("the pod's interface stays down; not together with ipam"),
    vlan: { type: 'integer', minimum: 0, maximum: 4094, expected: 'a VLAN ID from 0 to 4094', default: 0, description: 'the VLAN of the pod: its frames have no tag on its side. The gateway is then the interface `BRIDGE.VLAN` of the node. 0: none' },
    vlanTrunk: {
      type: 'array',
      expected: 'a list of VLANs and of ranges: [{"id": 5}, {"minID": 10, "maxID": 19}]',
      items: { type: 'object', expected: 'a VLAN or a range: {"id": 5} or {"minID": 10, "maxID": 19}', properties: { id: vid('one VLAN'), minID: vid('the first of a range'), maxID: vid('and the last') } },
      description: 'VLANs that the pod is in with tagged frames. Without `vlan` its other frames are of VLAN 1',
    },
    preserveDefaultVlan: flag("with VLANs, the port stays in the bridge's default VLAN, too"),
    macspoofchk: flag('frames of the pod with another source MAC address than its own are dropped'),
    ...MASQUERADE_KEYS,
    ...extraKeys(),
    mtu: { type: 'integer', minimum: 0, maximum: 65535, expected: 'an MTU in bytes from 68 to 65535 (1280 or more with IPv6), or 0 for that of the default route', default: 0, description: "bytes, of both ends, and at most of the bridge; 0: that of a bridge that is there, else of the interface with the node's default route" },
    ipam: { ...IPAM, required: [] },
  },
}

export const bridge: Wirer = { schema: BRIDGE, plan, result, interfaces, podInterface: 2, problems, bridge: (conf) => ({ name: nameOf(conf), promisc: (conf as BridgeConf).promiscMode === true, gate: gateOf(conf) }) }

const nameOf = (conf: BridgeConf): string => conf.bridge || 'cni0'
const gates = (conf: BridgeConf): boolean => conf.isGateway === true || conf.isDefaultGateway === true
/** Where the gateways' addresses are. */
const gateOf = (conf: BridgeConf): string => (conf.vlan ? `${nameOf(conf)}.${conf.vlan}` : nameOf(conf))

/** Gateways that IPAM left open are the first addresses of their networks; each family has one default route by its gateway. */
function result({ conf, ips, routes }: Pick<Wiring, 'conf' | 'ips' | 'routes'>): Pick<Result, 'ips' | 'routes'> {
  const own = conf as BridgeConf
  const gated = ips.map((ip) => (ip.gateway === undefined && gates(own) ? { ...ip, gateway: first(parseCidr(ip.address)!) } : ip))
  if (!own.isDefaultGateway) return { ips: gated, routes }
  const gateways = new Map(gated.flatMap(({ gateway }): [string, string][] => (gateway === undefined ? [] : [[gateway.includes(':') ? '::/0' : '0.0.0.0/0', gateway]])).reverse())
  const led = routes.map((route) => (route.gw === undefined && !isLocal(route) && gateways.has(route.dst) ? { ...route, gw: gateways.get(route.dst)! } : route))
  const missing = [...gateways].reverse().filter(([dst]) => !led.some((route) => route.dst === dst && route.gw !== undefined && isMain(route)))
  return { ips: gated, routes: [...led, ...missing.map(([dst, gw]) => ({ dst, gw }))] }
}

/** The first address of a network. */
const first = (cidr: Cidr): string => addressText({ family: cidr.family, value: network(cidr).value + 1n })

/** The facts of a pod on the bridge. */
function plan({ attachment, conf, ips, routes, mtu, chosen, mac: requested, deaf, advertised, others }: Wiring): Plan {
  const own = conf as BridgeConf
  const [dev, host, name] = [attachment.ifname, hostIfname(attachment), nameOf(own)]
  const addresses = ips.map(({ address }) => parseCidr(address)!)
  const has = (family: number) => addresses.some((address) => address.family === family)
  const size = mtu !== undefined && { mtu }
  const widest = mtu !== undefined && { mtu: Math.max(mtu, chosen ?? 0) } // tuning may have changed that of the pod since
  return distinct([
    ...addresses.map((address): Fact => ({ fact: 'flows', address: addressText(address) })),
    ...(gates(own) ? forwarding({ uplinks: deaf, advertised }, has) : []),
    { fact: 'bridge', name, ...widest, ...(own.promiscMode && { promisc: true as const }), ...((own.vlan || own.vlanTrunk) && { vlanFiltering: true as const }), keep: true },
    ...up(own, name, has),
    ...(own.macspoofchk ? macspoof(host, requested ?? mac(attachment, 'pod'), owner(attachment)) : []),
    { fact: 'link', name: host, mac: mac(attachment, 'host'), ...size, alias: owner(attachment), peer: { name: dev, mac: requested ?? mac(attachment, 'pod') } },
    // No router lives in a pod: its advertisements would redirect the node (CVE-2020-10749), should the port ever be none.
    optional(`net/ipv6/conf/${host}/accept_ra`, '0'),
    { fact: 'port', dev: host, master: name, ...(own.hairpinMode && { hairpin: true as const }), ...(own.portIsolation && { isolated: true as const }) },
    ...vlans(own, host),
    { fact: 'link set', dev: host, up: true },
    ...(has(6) ? podIPv6(dev) : []),
    ...(has(6) && own.enabledad ? ['accept_dad', 'enhanced_dad'].map((key): Fact => ({ ...optional(`net/ipv6/conf/${dev}/${key}`, '1'), in: 'pod' })) : []),
    ...addresses.map((address): Fact => ({ fact: 'addr', in: 'pod', dev, address: cidrText(address), ...(own.enabledad && address.family === 6 && { dad: true as const }) })),
    ...(own.disableContainerInterface ? [] : [{ fact: 'link set', in: 'pod', dev, up: true } as const]),
    ...podRoutes(dev, ips, routes).map((route) => ({ ...route, ...(others && { append: true as const }) })),
    ...(gates(own) && addresses.length > 0 ? gateways(own, ips, has) : []),
    // Others on the bridge may remember a former holder's MAC address (containernetworking/plugins#858).
    ...(has(4) ? [{ ...optional(`net/ipv4/conf/${dev}/arp_notify`, '1'), in: 'pod' as const }] : []),
    ...(has(6) ? [{ ...optional(`net/ipv6/conf/${dev}/ndisc_notify`, '1'), in: 'pod' as const }] : []),
    ...(addresses.length > 0 ? [{ fact: 'announcement', in: 'pod', dev, mac: requested ?? mac(attachment, 'pod') } as const] : []),
    ...addresses.flatMap((address) => (address.family === 4 ? [answers(dev, address)] : [])),
    // Last, beside what plugins behind have in nf_tables: one transaction.
    ...(conf.ipMasq ? masquerade(addresses, conf.nonMasqueradeCIDRs ?? [], owner(attachment)) : []),
  ])
}

/** The bridge, or its VLAN. What only switches frames asks nobody. */
const up = (conf: BridgeConf, dev: string, has: (family: Family) => boolean): Fact[] => [
  ...(gates(conf) && dev === gateOf(conf) ? nextToPods(dev, has, conf.enabledad).map(kept) : []),
  { fact: 'link set', dev, up: true, keep: true },
]

/** The port's VLANs: the pod's own, in which its frames have no tag, and those with tags. */
function vlans({ vlan, vlanTrunk, preserveDefaultVlan }: BridgeConf, dev: string): Fact[] {
  const tagged = (vlanTrunk ?? []).flatMap(({ id, minID, maxID }): VlanRange[] => [...(minID !== undefined && maxID !== undefined ? [{ vid: minID, ...(maxID > minID && { end: maxID }) }] : []), ...(id === undefined ? [] : [{ vid: id }])])
  if (!vlan && tagged.length === 0) return []
  // Who is named twice is what was said last.
  return [{ fact: 'vlans', dev, vlans: [...tagged, { vid: vlan || 1, native: true }], ...(!preserveDefaultVlan && { only: true as const }) }]
}

/** The gateways' addresses on the bridge, or on its VLAN, each once. */
function gateways(conf: BridgeConf, ips: IP[], has: (family: Family) => boolean): Fact[] {
  const name = gateOf(conf)
  // Each once, with the largest of its networks: the kernel has an IPv6 address with one prefix only.
  const largest = new Map<string, number>()
  for (const { address, gateway } of ips) {
    if (gateway !== undefined) largest.set(gateway, Math.min(parseCidr(address)!.prefix, largest.get(gateway) ?? Infinity))
  }
  const instead = conf.forceAddress && { instead: true as const }
  const addresses = [...largest].map(([gateway, prefix]): Fact => {
    return { fact: 'addr', dev: name, address: `${addressText(parseAddress(gateway)!)}/${prefix}`, ...instead, keep: true }
  })
  return [
    ...(conf.vlan ? vlanOf(conf, conf.vlan, has) : []),
    ...addresses,
    ...(has(4) ? [{ fact: 'condition', dev: name, name: 'arp_ignore', not: [8] } satisfies Condition] : []),
  ]
}

/** A VLAN of the bridge as an interface of the node. */
const vlanOf = (conf: BridgeConf, id: number, has: (family: Family) => boolean): Fact[] => [
  { fact: 'vlans', dev: nameOf(conf), self: true, vlans: [{ vid: id }], keep: true },
  { fact: 'vlan', name: gateOf(conf), lower: nameOf(conf), id, keep: true },
  kept(optional(`net/ipv6/conf/${gateOf(conf)}/accept_ra`, '0')),
  ...up(conf, gateOf(conf), has),
]

function podRoutes(dev: string, ips: IP[], routes: ResultRoute[]): Route[] {
  const gateway = new Map(ips.flatMap(({ gateway }) => (gateway === undefined ? [] : [[gateway.includes(':') ? 6 : 4, gateway] as const])).reverse())
  return routes.filter((route) => !isConnected(route, ips)).map((route) => ipamRoute(dev, route, gateway))
}

/** The result's interfaces, in the reference's order: 0 the bridge, 1 the node's end, 2 the pod's, 3 the gateway's if it is a VLAN. */
function interfaces({ attachment, conf, ips, mtu, mac: requested }: Wiring, sandbox: string, macOf: (dev: string) => string): Interface[] {
  const size = mtu !== undefined && { mtu }
  const own = conf as BridgeConf
  const [name, gate] = [nameOf(own), gateOf(own)]
  return [
    { name, mac: macOf(name) },
    { name: hostIfname(attachment), mac: mac(attachment, 'host'), ...size },
    { name: attachment.ifname, mac: requested ?? mac(attachment, 'pod'), ...size, sandbox },
    ...(gate !== name && gates(own) && ips.length > 0 ? [{ name: gate, mac: macOf(gate) }] : []),
  ]
}

/** Sentences about leases and keys that do not fit together; none if the plan can be made. */
function problems({ conf, ips, routes, mtu }: Wiring): string[] {
  const own = conf as BridgeConf
  const found = misled({ ips, routes })
  if (own.hairpinMode && own.promiscMode) found.push('cannot set hairpin mode and promiscuous mode at the same time: hairpinMode and promiscMode are both true')
  if (own.disableContainerInterface && conf.ipam?.type) found.push('cannot use IPAM when disableContainerInterface is true: addresses need an interface that is up')
  if (conf.ipam?.type && ips.length === 0) found.push('IPAM plugin returned missing IP config')
  for (const [i, { id, minID, maxID }] of (own.vlanTrunk ?? []).entries()) {
    if ([id, minID, maxID].every((one) => one === undefined)) found.push(`vlanTrunk[${i}] names no VLAN: expected {"id": 5} or {"minID": 10, "maxID": 19}`)
    if ((minID === undefined) !== (maxID === undefined)) found.push(`vlanTrunk[${i}] has ${minID === undefined ? 'maxID and no minID' : 'minID and no maxID'}: a range needs both`)
    if (minID !== undefined && maxID !== undefined && minID > maxID) found.push(`vlanTrunk[${i}] goes from minID ${minID} to maxID ${maxID}: the first is the smaller`)
  }
  if (gates(own) && gateOf(own).length > 15) found.push(`the gateway of VLAN ${own.vlan} would be the interface ${gateOf(own)}: a name has at most 15 characters, choose a shorter one for the bridge`)
  const least = ips.some(({ address }) => address.includes(':')) ? 1280 : 68 // RFC 8200 §5, RFC 791
  if (mtu !== undefined && mtu !== 0 && mtu < least) found.push(`mtu is ${mtu}: expected at least ${least}${least === 1280 ? ', because the pod has an IPv6 address' : ''}`)
  return found
}
