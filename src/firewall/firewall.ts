// firewall: what the node forwards to a pod and from it. What ADD makes, as facts; pure.
//
//   a packet is forwarded
//     │  CNI-ADMIN          the operator's rules
//     ▼
//   firewall_mark         a pod's: marked                                    ┐ only where iptables drops
//   isolation             between bridges with such pods, or on one: drop    │ what no rule accepts
//   iptables' FORWARD ──► CNI-FORWARD: CNI-ADMIN, then what is marked: accept │
//   firewall_unmark       as it was                                          ┘
//
//   a frame is switched ──► bridge podwire, forward: from or to an isolated pod's port: drop
//
// Elements and not rules: a packet and an ADD cost the same for one pod and for a thousand. Keys are the reference's.
// https://www.cni.dev/plugins/current/meta/firewall/

import type { Belongings, Chained, Pod } from '../chained.ts'
import { taken } from '../chains.ts'
import { COMMON, type NetConf } from '../cni/conf.ts'
import type { Schema } from '../cni/schema.ts'
import type { Element, Fact, Iptables, Plan, Source } from '../facts.ts'
import { addressText, bits, cidrText, hostCidr, parseAddress, parseCidr, type Family } from '../ip.ts'
import { owner } from '../names.ts'

export interface FirewallConf extends NetConf {
  backend?: string
  iptablesAdminChainName?: string
  firewalldZone?: string
  ingressPolicy?: string
}

const KEYS: Record<string, Schema> = {
  ingressPolicy: { type: 'string', enum: ['open', 'same-bridge', 'isolated'], expected: '"open", "same-bridge" or "isolated"', default: 'open', description: "`same-bridge`: nothing is forwarded between the pod's bridge and others with such pods; `isolated`: nor between pods on the bridge" },
  iptablesAdminChainName: { type: 'string', pattern: '^[A-Za-z_][A-Za-z0-9_.-]{0,27}$', expected: 'the name of a chain: at most 28 letters, digits, "_", "." and "-"', default: 'CNI-ADMIN', description: "a chain for the operator's own rules, which podwire makes and leaves alone" },
  backend: { type: 'string', enum: ['iptables', 'nftables', 'firewalld'], expected: '"iptables", "nftables" or "firewalld"', description: "`firewalld`: it has to run; `iptables` and `nftables`: it is left alone; absent: it is told of the pod where it runs. All else is the same with each" },
  firewalldZone: { type: 'string', expected: 'the name of a zone', default: 'trusted', description: "firewalld's zone that the pod's addresses become sources of" },
}

/** Addresses of pods. */
export const ADDRESSES = { 4: 'firewall_ip', 6: 'firewall_ip6' } as const satisfies Record<Family, string>
/** Bridges with such pods, pairs of one and itself where its pods may reach each other; and the ports for whose sake they are there. */
const [BRIDGES, PORTS] = ['firewall_bridges', 'firewall_ports']
const [SAME_BRIDGE, SAME_BRIDGE_PORTS] = ['firewall_same_bridge', 'firewall_same_bridge_ports']
const ISOLATED = 'firewall_isolated'

const owns: Belongings = {
  maps: (name) => name.startsWith('firewall_'),
  with: (elements) => elements.flatMap((element) => [...shared(element), ...sourceOf(element)]),
}

export const firewall: Chained<FirewallConf> = {
  schema: { $id: 'firewall', type: 'object', properties: { ...COMMON, ...KEYS } },
  keys: KEYS,
  runtime: {},
  problems,
  idle,
  plan,
  owns,
}

/** The facts of a pod. */
function plan(pod: Pod, conf: FirewallConf): Plan {
  const whose = owner(pod.attachment)
  const closed = familiesOf(pod).filter((family) => pod.filters?.drops(family) || pod.filters?.hasChain(family, adminChain(conf)))
  const drops = (family: Family) => pod.filters?.drops(family) === true
  return [
    { fact: 'table', keep: true },
    ...([4, 6] as const).map((family): Fact => ({ fact: 'map', name: ADDRESSES[family], type: family === 4 ? 'ipv4_addr' : 'ipv6_addr', keep: true })),
    { fact: 'chain', name: adminChain(conf), base: { type: 'filter', hook: 'forward', priority: 'filter - 10' }, rules: [], open: true, keep: true },
    ...(closed.some(drops) ? MARKING : []),
    ...isolation(pod, conf, whose),
    ...addressesOf(pod).map((address): Element => ({ fact: 'element', map: ADDRESSES[address.family], key: addressText(address), owner: whose })),
    ...closed.flatMap((family) => opening(family, adminChain(conf), drops(family))),
    ...(isZoned(pod, conf) ? addressesOf(pod).map((address): Source => ({ fact: 'source', zone: zoneOf(conf), address: cidrText(hostCidr(address)) })) : []),
    { fact: 'passage' },
  ]
}

/** Whether firewalld is asked: where it runs, or has to. */
export const isZoned = ({ filters }: Pod, { backend }: FirewallConf): boolean => backend === 'firewalld' || (!backend && filters?.firewalld() === true)
export const zoneOf = ({ firewalldZone }: FirewallConf): string => firewalldZone || 'trusted'

/** Bit of a packet's mark that is set for as long as iptables decides about it. */
const MARK = '0x80000000'
const KEEP = '0x7fffffff'

/**
 * What belongs to a pod as the reference would say it in two rules for each: from its address, or to it and of a connection that
 * there is. One rule of iptables accepts the mark, whatever the number of pods.
 */
const MARKING: Plan = [
  {
    fact: 'chain',
    name: 'firewall_mark',
    base: { type: 'filter', hook: 'forward', priority: 'filter - 5' },
    rules: Object.entries({ ip: ADDRESSES[4], ip6: ADDRESSES[6] }).flatMap(([ip, set]) => [`${ip} saddr @${set} meta mark set meta mark or ${MARK}`, `${ip} daddr @${set} ct state established,related meta mark set meta mark or ${MARK}`]),
    keep: true,
  },
  { fact: 'chain', name: 'firewall_unmark', base: { type: 'filter', hook: 'forward', priority: 'filter + 5' }, rules: [`meta mark set meta mark and ${KEEP}`], keep: true },
]

/** Chains and rules of iptables', under the reference's names. */
function opening(family: Family, admin: string, drops: boolean): Plan {
  const fact = (chain: string, rule?: string): Iptables => ({ fact: 'iptables', family, chain, ...(rule !== undefined && { rule, first: true }), keep: true })
  return [
    fact('CNI-FORWARD'),
    fact(admin),
    ...(drops ? [fact('CNI-FORWARD', `-m comment --comment "podwire: of pods" -m mark --mark ${MARK}/${MARK} -j ACCEPT`)] : []),
    fact('CNI-FORWARD', `-m comment --comment "CNI firewall plugin admin overrides" -j ${admin}`),
    fact('FORWARD', '-m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD'),
  ]
}

const adminChain = ({ iptablesAdminChainName }: FirewallConf): string => iptablesAdminChainName || 'CNI-ADMIN'

const addressesOf = ({ ips }: Pod) => ips.map(({ address }) => parseCidr(address)!)
const familiesOf = (pod: Pod): Family[] => [...new Set(addressesOf(pod).map(({ family }) => family))]

function isolation({ bridge, host }: Pod, { ingressPolicy }: FirewallConf, whose: string): Plan {
  if (!restricts(ingressPolicy) || !bridge || host === undefined) return []
  const pair = { type: 'ifname . ifname', keep: true } as const
  const mine: Element[] = [PORTS, ...(ingressPolicy === 'same-bridge' ? [SAME_BRIDGE_PORTS] : [])].map((map) => ({ fact: 'element', map, key: `"${bridge.gate ?? bridge.name}" . "${host}"`, owner: whose }))
  return [
    { fact: 'map', name: PORTS, ...pair },
    { fact: 'map', name: SAME_BRIDGE_PORTS, ...pair },
    { fact: 'map', name: BRIDGES, type: 'ifname', keep: true },
    { fact: 'map', name: SAME_BRIDGE, ...pair },
    { fact: 'chain', name: 'isolation', base: { type: 'filter', hook: 'forward', priority: 'filter' }, rules: [`iifname . oifname @${SAME_BRIDGE} return`, `iifname @${BRIDGES} oifname @${BRIDGES} drop`], keep: true },
    ...mine.flatMap(shared),
    ...mine,
    ...(ingressPolicy === 'isolated' ? unswitched(host, whose) : []),
  ]
}

const restricts = (policy: string | undefined): boolean => policy === 'same-bridge' || policy === 'isolated'

/** What a port's element keeps in place: its bridge among those with such pods, as long as one of them is there. */
function shared({ map, key }: Element): Element[] {
  const [bridge = ''] = key.split(' . ')
  const kept = { fact: 'element', users: map, owner: `bridge ${bridge.replaceAll('"', '')}` } as const
  if (map === PORTS) return [{ ...kept, map: BRIDGES, key: bridge }]
  return map === SAME_BRIDGE_PORTS ? [{ ...kept, map: SAME_BRIDGE, key: `${bridge} . ${bridge}` }] : []
}

/** What may be firewalld's of an address: in which zone is known when it is taken back. */
export const sourceOf = ({ map, key }: Element): Source[] => (map === ADDRESSES[4] || map === ADDRESSES[6] ? [{ fact: 'source', zone: '', address: cidrText(hostCidr(parseAddress(key)!)) }] : [])

/**
 * Frames of an isolated pod go to the node and come from it, and nowhere else. The rules of the reference see them only
 * where frames on a bridge pass iptables (br_netfilter).
 */
function unswitched(port: string, whose: string): Plan {
  const table = { family: 'bridge', keep: true } as const
  return [
    { fact: 'table', ...table },
    { fact: 'map', name: ISOLATED, type: 'ifname', ...table },
    { fact: 'chain', name: 'forward', base: { type: 'filter', hook: 'forward', priority: '-200' }, rules: [`iifname @${ISOLATED} drop`, `oifname @${ISOLATED} drop`], ...table }, // NF_BR_PRI_FILTER_BRIDGED
    { fact: 'element', family: 'bridge', map: ISOLATED, key: `"${port}"`, owner: whose },
  ]
}

/** A pod that runs, by its elements; undefined if there is none. */
export function podOf(elements: Element[]): Pod | undefined {
  const own = elements.filter(({ owner: one }) => one === elements[0]?.owner)
  const ips = own.filter(({ map }) => map === ADDRESSES[4] || map === ADDRESSES[6]).map(({ key }) => ({ address: `${key}/${bits(key.includes(':') ? 6 : 4)}` }))
  if (ips.length === 0) return undefined
  const [bridge, host] = own.find(({ map }) => map === PORTS)?.key.replaceAll('"', '').split(' . ') ?? []
  const [network = '', containerID = '', ifname = ''] = own[0]!.owner.split('/')
  return { attachment: { network, containerID, ifname }, ips, routes: [], host, bridge: bridge === undefined ? undefined : { name: bridge, promisc: false }, mtu: undefined }
}

function problems({ bridge }: Pod, conf: FirewallConf): string[] {
  const { ingressPolicy, iptablesAdminChainName: name = '' } = conf
  const why = taken(name)
  return [
    ...(restricts(ingressPolicy) && !bridge ? [`interface needs to be set for ingress policy "${ingressPolicy}", make sure to chain "firewall" plugin with "bridge": the pod's interface is not on a bridge`] : []),
    ...(why ? [`iptablesAdminChainName is "${name}": ${why}`] : []),
  ]
}

/** A policy shuts out without addresses, too. */
function idle({ attachment, ips }: Pod, { ingressPolicy }: FirewallConf): string[] {
  return ips.length === 0 && !restricts(ingressPolicy) ? [`prevResult.ips has no address of ${attachment.ifname}: firewall has nothing to let through`] : []
}
