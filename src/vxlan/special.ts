// Addresses that IANA has set aside, where no pod's network and no node can be: RFC 6890 and the registries it made,
// https://www.iana.org/assignments/iana-ipv4-special-registry and …/iana-ipv6-special-registry. Pure.
//
// Not among them is what people number nodes and pods from: private (RFC 1918), shared (100.64.0.0/10, RFC 6598), benchmarking,
// documentation, unique local, 6to4. Link-local addresses are: no router forwards them, and each link has its own.

import { contains, lastAddress, network, parseCidr, type Cidr } from '../ip.ts'

const REGISTRY: [cidr: string, what: string][] = [
  ['0.0.0.0/8', '"this network", RFC 791'],
  ['127.0.0.0/8', 'loopback, RFC 1122'],
  ['169.254.0.0/16', 'link-local, RFC 3927'],
  ['192.0.0.0/24', 'IETF protocol assignments, RFC 6890'],
  ['224.0.0.0/4', 'multicast, RFC 5771'],
  ['255.255.255.255/32', 'limited broadcast, RFC 919'],
  ['240.0.0.0/4', 'reserved, RFC 1112'],
  ['::/128', 'unspecified, RFC 4291'],
  ['::1/128', 'loopback, RFC 4291'],
  ['::/96', 'IPv4-compatible, RFC 4291'],
  ['64:ff9b::/96', 'IPv4/IPv6 translation, RFC 6052'],
  ['64:ff9b:1::/48', 'IPv4/IPv6 translation, RFC 8215'],
  ['100::/64', 'discard-only, RFC 6666'],
  ['2001::/23', 'IETF protocol assignments, RFC 2928'],
  ['fe80::/10', 'link-local, RFC 4291'],
  ['ff00::/8', 'multicast, RFC 4291'],
]

// An IPv4-mapped address or network (::ffff:0:0/96) is read as IPv4, and judged as that: src/ip.ts.
const SPECIAL = REGISTRY.map(([text, what]) => ({ ...span(parseCidr(text)!), words: `${text} (${what})` }))

/** What is special in a network, or an address as one: `169.254.0.0/16 (link-local, RFC 3927)`; undefined if nothing is. */
export function specialIn(cidr: Cidr): string | undefined {
  const { family, from, to } = span(cidr)
  return SPECIAL.find((special) => special.family === family && from <= special.to && special.from <= to)?.words
}

/**
 * Of a network on a link, which of two addresses no host can have: `the broadcast address`, `the network address`. IPv4 alone, and
 * not where there are two addresses or one (RFC 3021).
 */
export function reservedOn(link: Cidr, address: Cidr): string | undefined {
  if (link.family !== 4 || link.prefix > 30 || !contains(link, address)) return undefined
  if (address.value === network(link).value) return 'the network address'
  return address.value === lastAddress(link).value ? 'the broadcast address' : undefined
}

function span(cidr: Cidr) {
  return { family: cidr.family, from: network(cidr).value, to: lastAddress(cidr).value }
}
