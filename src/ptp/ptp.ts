// ptp: a veth pair between the pod and the node, and everything by routes. What ADD makes, as facts; pure.
//
//        pod                               node
//   ┌──────────────┐                ┌───────────────────┐
//   │ eth0         │                │ veth1f09a3c22e1   │
//   │ 10.1.2.3/24 ─┼────── veth ────┼─ 10.1.2.1/32      │── forwards ── other pods, the world (masqueraded)
//   └──────────────┘                └───────────────────┘
//   10.1.2.1 dev eth0                10.1.2.3 dev veth1f09a3c22e1
//   10.1.2.0/24 via 10.1.2.1
//
// The layout is the reference ptp's, so that pods of both can live side by side: also the pod's own subnet goes through
// the node, which has every other pod's route. https://www.cni.dev/plugins/current/main/ptp/

import { COMMON } from '../cni/conf.ts'
import type { Interface, IP, ResultRoute } from '../cni/result.ts'
import type { Schema } from '../cni/schema.ts'
import { extraKeys, extraRuntime } from '../extras.ts'
import type { Fact, Plan, Route } from '../facts.ts'
import { addressText, bits, cidrText, hostCidr, network, parseAddress, parseCidr } from '../ip.ts'
import { IP_RANGES, IPAM } from '../ipam/conf.ts'
import { hostIfname, mac, owner } from '../names.ts'
import { masquerade } from '../nat.ts'
import { answers, distinct, forwarding, ipamRoute, MASQUERADE_KEYS, misled, nextToPods, optional, podIPv6 } from '../pod.ts'
import type { Wirer, Wiring } from '../wire.ts'

export const PTP: Schema = {
  $id: 'ptp',
  type: 'object',
  required: ['ipam'],
  properties: {
    ...COMMON,
    runtimeConfig: { ...COMMON.runtimeConfig, properties: { ...COMMON.runtimeConfig!.properties, ipRanges: IP_RANGES, ...extraRuntime() } },
    ...MASQUERADE_KEYS,
    ...extraKeys(),
    mtu: { type: 'integer', minimum: 0, maximum: 65535, expected: 'an MTU in bytes from 68 to 65535 (1280 or more with IPv6), or 0 for that of the default route', default: 0, description: "bytes, both ends; 0: that of the interface with the node's default route" },
    overlay: { type: 'string', pattern: '^/[^\\0]*$', expected: 'an absolute path', description: 'state directory of `podwire agent`: ADD is told to wait (code 11) until its overlay is ready' },
    ipam: IPAM,
  },
}

export const ptp: Wirer = { schema: PTP, plan, interfaces, podInterface: 1, problems }

/** The facts of a pod on ptp. Every IP has a gateway (see problems). */
function plan({ attachment, conf, ips, routes, mtu, mac: requested, deaf, advertised, others }: Wiring): Plan {
  const dev = attachment.ifname
  const host = hostIfname(attachment)
  const addresses = ips.map(({ address }) => parseCidr(address)!)
  const has = (family: number) => addresses.some((address) => address.family === family)
  const facts: Plan = [
    ...addresses.map((address): Fact => ({ fact: 'flows', address: addressText(address) })),
    ...forwarding({ uplinks: deaf, advertised }, has),
    { fact: 'link', name: host, mac: mac(attachment, 'host'), ...(mtu !== undefined && { mtu }), alias: owner(attachment), peer: { name: dev, mac: requested ?? mac(attachment, 'pod') } },
    // No router lives in a pod: its advertisements would redirect the node (CVE-2020-10749).
    optional(`net/ipv6/conf/${host}/accept_ra`, '0'),
    ...nextToPods(host, has),
    ...(has(6) ? podIPv6(dev) : []),
    { fact: 'link set', dev: host, up: true },
    ...addresses.map((address): Fact => ({ fact: 'addr', in: 'pod', dev, address: cidrText(address), noprefixroute: true })),
    { fact: 'link set', in: 'pod', dev, up: true },
    ...podRoutes(dev, ips, routes).map((route) => ({ ...route, ...(others && { append: true as const }) })),
    // Whatever the node's settings let it answer, the pod finds its gateway.
    ...ips.map(({ gateway }): Fact => ({ fact: 'neigh', in: 'pod', dev, address: addressText(parseAddress(gateway!)!), lladdr: mac(attachment, 'host'), optional: true })),
    ...ips.map(({ gateway }): Fact => ({ fact: 'addr', dev: host, address: cidrText(hostCidr(parseCidr(`${gateway}/${gateway!.includes(':') ? 128 : 32}`)!)) })),
    ...addresses.map((address): Fact => ({ fact: 'route', dev: host, dst: cidrText(hostCidr(address)), ...(address.family === 4 && { scope: 254 }) })),
    ...addresses.flatMap((address) => (address.family === 4 ? [answers(dev, address)] : [])),
    ...(conf.ipMasq ? masquerade(addresses, conf.nonMasqueradeCIDRs ?? [], owner(attachment)) : []),
  ]
  return distinct(facts)
}

/** The result's interfaces, in the reference's order: 0 the node's end, 1 the pod's. */
function interfaces({ attachment, mtu, mac: requested }: Wiring, sandbox: string): Interface[] {
  const size = mtu !== undefined && { mtu }
  return [
    { name: hostIfname(attachment), mac: mac(attachment, 'host'), ...size },
    { name: attachment.ifname, mac: requested ?? mac(attachment, 'pod'), ...size, sandbox },
  ]
}

/** Sentences about leases and keys that do not fit together; none if the plan can be made. */
function problems({ conf, ips, routes, mtu }: Wiring): string[] {
  const found = misled({ ips, routes })
  if (ips.length === 0) found.push('IPAM plugin returned missing IP config: ptp needs at least one address')
  for (const { address, gateway } of ips) if (gateway === undefined) found.push(`IPAM (${conf.ipam?.type}) gave no gateway for ${address}: ptp needs one, it becomes the address of the node's end`)
  const least = ips.some(({ address }) => address.includes(':')) ? 1280 : 68 // RFC 8200 §5, RFC 791
  if (mtu !== undefined && mtu !== 0 && mtu < least) found.push(`mtu is ${mtu}: expected at least ${least}${least === 1280 ? ', because the pod has an IPv6 address' : ''}`)
  return found
}

function podRoutes(dev: string, ips: IP[], routes: ResultRoute[]): Route[] {
  const gateways = new Map(ips.map(({ gateway }) => [gateway!.includes(':') ? 6 : 4, gateway!] as const).reverse())
  const own = ips.flatMap(({ address, gateway }): Route[] => {
    const cidr = parseCidr(address)!
    const src = addressText(cidr)
    const link: Route = { fact: 'route', in: 'pod', dev, dst: `${gateway}/${bits(gateway!.includes(':') ? 6 : 4)}`, src, ...(cidr.family === 4 && { scope: 253 }) }
    const subnet: Route = { fact: 'route', in: 'pod', dev, dst: cidrText(network(cidr)), via: gateway!, src }
    return cidr.prefix === bits(cidr.family) ? [link] : [link, subnet]
  })
  return [...own, ...routes.map((route) => ipamRoute(dev, route, gateways))]
}
