// portmap: ports of the node that lead to a pod. What ADD makes, as facts; pure.
//
//   a packet to an address of the node                        elements: protocol . port [. address] : pod . port
//     │  prerouting (from outside, from pods), output (from the node)
//     ▼
//   fib daddr type local ──► chain hostports ── dnat to … map @hostips_ip, @hostports_ip ──► the pod
//                                                                    │  postrouting
//                            127.0.0.1, and pods of its own network ─┴─ hairpin_ip: masquerade, so that the answer comes back
//
// Maps and not rules: a packet and an ADD cost the same at one port and at a thousand. What is only forwarded through the node,
// to such a port of somebody else's, is not looked at (GHSA-jv3w-x3r3-g6rm). Keys are the reference's.
// https://www.cni.dev/plugins/current/meta/portmap/

import type { Belongings, Chained, Pod } from '../chained.ts'
import { COMMON, type NetConf } from '../cni/conf.ts'
import type { Schema } from '../cni/schema.ts'
import type { Chain, Element, Fact, Plan, PortFlows } from '../facts.ts'
import { addressText, cidrText, network, parseAddress, parseCidr, type Cidr, type Family } from '../ip.ts'
import { GUARD, opened } from '../localhost.ts'
import { hash, owner } from '../names.ts'
import { MASQUERADE } from '../nat.ts'
import { conditionText } from './condition.ts'

export interface PortMapping {
  hostPort: number
  containerPort: number
  protocol?: string
  hostIP?: string
}

export interface PortmapConf extends NetConf {
  snat?: boolean
  masqAll?: boolean
  markMasqBit?: number
  externalSetMarkChain?: string
  backend?: string
  conditionsV4?: string[]
  conditionsV6?: string[]
}

const PORT: Schema = { type: 'integer', minimum: 1, maximum: 65535, expected: 'a port from 1 to 65535' }
const CONDITIONS: Schema = { type: 'array', items: { type: 'string', expected: 'a word' }, expected: 'a list of words such as ["ip", "saddr", "192.0.2.0/24"]' }

const KEYS: Record<string, Schema> = {
  snat: { type: 'boolean', expected: 'true or false', default: true, description: 'the node itself by 127.0.0.1 and ::1, and pods of the same network, reach the ports as well: masqueraded' },
  masqAll: { type: 'boolean', expected: 'true or false', default: false, description: 'whoever comes is masqueraded: the pod sees an address of the node' },
  markMasqBit: { type: 'integer', minimum: 0, maximum: 31, expected: 'a bit from 0 to 31', default: 13, description: 'accepted for compatibility: what is masqueraded needs no mark here' },
  externalSetMarkChain: { type: 'string', expected: 'the name of a chain of iptables', description: 'accepted if it is KUBE-MARK-MASQ, whose work podwire does itself; no other chain of iptables can be called from nf_tables' },
  backend: { type: 'string', enum: ['nftables', 'iptables'], expected: '"nftables" or "iptables" (both mean nf_tables over netlink)', description: 'accepted for compatibility' },
  conditionsV4: { ...CONDITIONS, description: 'what a packet must be, too, in words of nft (`ip saddr != 192.0.2.0/24`, `iifname "eth0"`) or of iptables (`! -s 192.0.2.0/24`, `-d`, `-i`)' },
  conditionsV6: { ...CONDITIONS, description: 'the same for IPv6' },
}

const RUNTIME: Record<string, Schema> = {
  portMappings: {
    type: 'array',
    expected: 'a list of {hostPort, containerPort, protocol, hostIP}',
    description: 'ports of the node that lead to the pod',
    items: {
      type: 'object',
      expected: 'an object with hostPort, containerPort, protocol, hostIP',
      required: ['hostPort', 'containerPort'],
      properties: {
        hostPort: { ...PORT, description: 'port of the node' },
        containerPort: { ...PORT, description: 'port of the pod' },
        protocol: { type: 'string', pattern: '^(?:[tT][cC][pP]|[uU][dD][pP]|[sS][cC][tT][pP])$', expected: 'tcp, udp or sctp', default: 'tcp', description: '`tcp`, `udp` or `sctp`' },
        hostIP: { type: 'string', format: 'address', expected: 'an IP address, or none', description: "the node's address; without one all of both families, `0.0.0.0` and `::` all of one" },
      },
    },
  },
}

const MAPS = { 4: { ports: 'hostports_ip', ips: 'hostips_ip', hairpin: 'hairpin_ip', address: 'ipv4_addr' }, 6: { ports: 'hostports_ip6', ips: 'hostips_ip6', hairpin: 'hairpin_ip6', address: 'ipv6_addr' } } as const
/** Ends of pods that have ports: by what is in there, and no link any more, a holder is known to be dead. */
export const PUBLISHED = 'hostports_dev'

const isOurs = (name: string): boolean => /^(?:hostports|hostips|hairpin)_/.test(name)

const owns: Belongings = { maps: isOurs, with: flows }

export const portmap: Chained<PortmapConf> = {
  schema: { $id: 'portmap', type: 'object', properties: { ...COMMON, runtimeConfig: { ...COMMON.runtimeConfig, properties: { ...COMMON.runtimeConfig!.properties, ...RUNTIME } }, ...KEYS } },
  keys: KEYS,
  runtime: RUNTIME,
  problems,
  unsupported: ({ externalSetMarkChain: name }) => (name === undefined || name === 'KUBE-MARK-MASQ' ? [] : [`externalSetMarkChain is "${name}": a chain of iptables cannot be called from nf_tables; without the key podwire masquerades by itself`]),
  idle,
  plan,
  owns,
}

/** The facts of a pod's ports; none if it has none. */
function plan(pod: Pod, conf: PortmapConf): Plan {
  const elements = elementsOf(pod, conf)
  if (elements.length === 0) return []
  const whose = owner(pod.attachment)
  const suffix = suffixOf(conf)
  const name = (text: string) => `${text}${suffix}`
  const addresses = addressesOf(pod).filter(({ family }) => elements.some(({ map }) => map.startsWith(MAPS[family].ports) || map.startsWith(MAPS[family].ips)))
  return [
    ...GUARD,
    ...([4, 6] as const).flatMap((family): Fact[] => [
      { fact: 'map', name: name(MAPS[family].ports), type: 'inet_proto . inet_service', data: `${MAPS[family].address} . inet_service`, keep: true },
      { fact: 'map', name: name(MAPS[family].ips), type: `inet_proto . inet_service . ${MAPS[family].address}`, data: `${MAPS[family].address} . inet_service`, keep: true },
      { fact: 'map', name: MAPS[family].hairpin, type: MAPS[family].address, data: 'verdict', keep: true },
    ]),
    { fact: 'map', name: PUBLISHED, type: 'ifname', keep: true },
    ...chains(conf, suffix),
    ...(conf.snat === false && !conf.masqAll ? [] : hairpins(addresses, conf.masqAll === true, whose)),
    ...(pod.host === undefined ? [] : [{ fact: 'element', map: PUBLISHED, key: `"${pod.host}"`, owner: whose } as const]),
    ...elements,
    // Behind the guard: what it guards is open at no moment.
    ...(conf.snat === false ? [] : [...reflection(pod), ...addresses.flatMap(({ family }) => localhost(pod, family, elements))]),
    ...flows(elements),
  ]
}

// Where frames on a bridge pass IP's hooks (br_netfilter), what a pod sends to its own port is turned round before it is routed,
// and has to leave by the port it came in. A promiscuous bridge turns it round as well: both would do so twice.
const reflection = ({ host, bridge }: Pod): Fact[] => (host === undefined || !bridge || bridge.promisc ? [] : [{ fact: 'port', dev: host, master: bridge.name, hairpin: true }])

/** What the kernel needs so that the node's own 127.0.0.1 and ::1 can lead to another interface and back. */
function localhost({ host, bridge }: Pod, family: Family, elements: Element[]): Fact[] {
  const dev = bridge?.name ?? host
  const reached = elements.some(({ map, key }) => map.startsWith(MAPS[family].ports) || (map.startsWith(MAPS[family].ips) && isLoopback(key.split(' . ')[2]!)))
  if (dev === undefined || !reached) return []
  const kept = bridge !== undefined && { keep: true as const }
  return family === 4
    ? [{ ...opened(dev), ...kept }]
    : // The answer comes for ::1 and over this interface; a route by way of lo alone would not take it (RT6_LOOKUP_F_IFACE).
      [{ fact: 'route', type: 'local', dev, dst: '::1/128', table: RT_TABLE_LOCAL, metric: 1024, append: true, ...kept }]
}

const RT_TABLE_LOCAL = 255
const isLoopback = (text: string): boolean => text === '::1' || text.startsWith('127.')

/** The chains, which all pods with the same conditions share. */
function chains(conf: PortmapConf, suffix: string): Chain[] {
  const lookups = ([4, 6] as const).flatMap((family) => {
    const ip = family === 4 ? 'ip' : 'ip6'
    return [`dnat ${ip} to meta l4proto . th dport . ${ip} daddr map @${MAPS[family].ips}${suffix}`, `dnat ${ip} to meta l4proto . th dport map @${MAPS[family].ports}${suffix}`]
  })
  const hostports = `hostports${suffix}`
  const jumps = suffix
    ? [`meta nfproto ipv4 ${conditionText(conf.conditionsV4)} fib daddr type local jump ${hostports}`, `meta nfproto ipv6 ${conditionText(conf.conditionsV6)} fib daddr type local jump ${hostports}`].map((rule) => rule.replace('  ', ' '))
    : [`fib daddr type local jump ${hostports}`]
  return [
    { fact: 'chain', name: hostports, rules: lookups, keep: true },
    { fact: 'chain', name: `prerouting${suffix}`, base: { type: 'nat', hook: 'prerouting', priority: 'dstnat' }, rules: jumps, keep: true },
    { fact: 'chain', name: `output${suffix}`, base: { type: 'nat', hook: 'output', priority: '-100' }, rules: jumps, keep: true },
    { fact: 'chain', name: 'hairpin', base: { type: 'nat', hook: 'postrouting', priority: 'srcnat - 5' }, rules: ([4, 6] as const).map((family) => `ct status dnat ${family === 4 ? 'ip' : 'ip6'} daddr vmap @${MAPS[family].hairpin}`), keep: true },
  ]
}

/** Who is masqueraded on the way to a pod: all, or the node by its loopback address and the pod's own network, the pod itself in it. */
function hairpins(addresses: Cidr[], all: boolean, whose: string): Fact[] {
  const chains = addresses.map((address) => {
    const [ip, loopback] = address.family === 4 ? ['ip', '127.0.0.0/8'] : ['ip6', '::1/128']
    const whom = all ? [''] : [`${ip} saddr ${loopback} `, `${ip} saddr ${cidrText(network(address))} `]
    // Named by whom it is about: how they are masqueraded can change while pods refer to it, who came with an older version too.
    return { address, name: `inside_${hash(8, ...whom.map((who) => `${who}masquerade`))}`, rules: whom.map((who) => `${who}${MASQUERADE}`) }
  })
  const distinct = new Map(chains.map(({ name, rules }) => [name, rules]))
  return [
    ...[...distinct].map(([name, rules]): Chain => ({ fact: 'chain', name, rules, keep: true })),
    ...chains.map(({ address, name }): Element => ({ fact: 'element', map: MAPS[address.family].hairpin, key: addressText(address), value: `goto ${name}`, owner: whose })),
  ]
}

/** An element for each port and family; of mappings of the same port the first counts. Remembered: a request needs them twice. */
function elementsOf(pod: Pod, conf: PortmapConf): Element[] {
  const of = [owner(pod.attachment), ...addressesOf(pod).map(addressText), suffixOf(conf)].join(' ')
  const before = known.get(mappings(conf))
  if (before?.of === of) return before.elements
  const elements = elementsFor(pod, conf)
  known.set(mappings(conf), { of, elements })
  return elements
}

const known = new WeakMap<PortMapping[], { of: string; elements: Element[] }>()

function elementsFor(pod: Pod, conf: PortmapConf): Element[] {
  const [suffix, whose] = [suffixOf(conf), owner(pod.attachment)]
  const families = addressesOf(pod).map((address) => {
    const [ports, ips] = [`${MAPS[address.family].ports}${suffix}`, `${MAPS[address.family].ips}${suffix}`]
    const all = { map: ports, exclusive: { map: ips, keys: 'longer' } as const, seen: new Set<string>() }
    const one = { map: ips, exclusive: { map: ports, keys: 'shorter' } as const, seen: new Set<string>() }
    return { family: address.family, text: addressText(address), all, one }
  })
  const list: Element[] = []
  for (const mapping of mappings(conf)) {
    const key = keyOf(mapping)
    const asked = mapping.hostIP ? parseAddress(mapping.hostIP)! : undefined
    for (const { family, text, all, one } of families) {
      const { map, exclusive, seen } = key.address ? one : all
      if ((asked && asked.family !== family) || seen.has(key.text)) continue
      seen.add(key.text)
      list.push({ fact: 'element', map, key: key.text, value: `${text} . ${mapping.containerPort}`, owner: whose, exclusive })
    }
  }
  return list
}

/** `tcp . 8080`, and behind it the node's address if it is one alone. */
function keyOf(mapping: PortMapping): { text: string; address: boolean } {
  const text = `${protocolOf(mapping)} . ${mapping.hostPort}`
  const asked = mapping.hostIP ? parseAddress(mapping.hostIP)! : undefined
  return asked && asked.value !== 0n ? { text: `${text} . ${addressText(asked)}`, address: true } : { text, address: false }
}

const protocolOf = ({ protocol }: PortMapping): string => (protocol || 'tcp').toLowerCase()

/** Elements that a request to podwire must find free, or its own. */
export const claims = (pod: Pod, conf: NetConf): Element[] => elementsOf(pod, conf as PortmapConf)

/** The connections of elements: tracked to their ports, and led to what they lead to. None of elements that lead nowhere. */
function flows(elements: Element[]): PortFlows[] {
  const ports = elements.filter(({ value }) => value?.includes(' . ')).map(({ key, value }) => {
    const [protocol = '', port, address] = key.split(' . ')
    return { protocol, port: Number(port), ...(address !== undefined && { address }), to: value!.split(' . ')[0]! }
  })
  return ports.length > 0 ? [{ fact: 'port flows', ports }] : []
}

/** The first address of each family, as the reference takes them. */
function addressesOf({ ips }: Pod): Cidr[] {
  const all = ips.map(({ address }) => parseCidr(address)!)
  return ([4, 6] as const).flatMap((family) => all.find((address) => address.family === family) ?? [])
}

const mappings = (conf: PortmapConf): PortMapping[] => ((conf.runtimeConfig as { portMappings?: PortMapping[] } | undefined)?.portMappings ?? [])

/** Ports under conditions have maps and chains of their own. */
const suffixOf = ({ conditionsV4 = [], conditionsV6 = [] }: PortmapConf): string => (conditionsV4.length + conditionsV6.length === 0 ? '' : `_${hash(8, conditionText(conditionsV4), conditionText(conditionsV6))}`)

function problems(_: Pod, conf: PortmapConf): string[] {
  const found: string[] = []
  if (conf.markMasqBit !== undefined && conf.externalSetMarkChain !== undefined) found.push('Cannot specify externalSetMarkChain and markMasqBit: expected one of them')
  const led = new Map<string, number>()
  for (const mapping of mappings(conf))
    for (const family of mapping.hostIP ? [parseAddress(mapping.hostIP)!.family] : [4, 6]) {
      const [{ hostPort, containerPort }, name] = [mapping, `${keyOf(mapping).text} ${family}`]
      const other = led.get(name) ?? containerPort
      const what = `runtimeConfig.portMappings has host port ${hostPort}/${protocolOf(mapping)} twice`
      if (other !== containerPort) found.push(`${what}, to ports ${other} and ${containerPort} of the container`)
      led.set(name, other)
    }
  return [...new Set(found)]
}

/** What of a request can come to nothing, though it is no error: sentences. */
export function unserved(pod: Pod, conf: NetConf): string[] {
  const families = new Set(addressesOf(pod).map(({ family }) => family))
  return mappings(conf as PortmapConf).flatMap((mapping) => {
    const family = mapping.hostIP ? parseAddress(mapping.hostIP)!.family : undefined
    if (family === undefined ? families.size > 0 : families.has(family)) return []
    const [where, lacking] = family === undefined ? ['', 'address'] : [` on ${mapping.hostIP}`, `IPv${family} address`]
    return [`host port ${mapping.hostPort}/${protocolOf(mapping)}${where} is not published: the pod has no ${lacking}`]
  })
}

/** Where some ports are published the others are only told of. */
function idle(pod: Pod, conf: PortmapConf): string[] {
  const none = unserved(pod, conf)
  return none.length === mappings(conf).length ? none : []
}
