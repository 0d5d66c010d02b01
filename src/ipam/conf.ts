// The `ipam` part of a configuration: what host-local and static understand.

import type { Schema } from '../cni/schema.ts'
import { DNS, type Dns, type NetConf } from '../cni/conf.ts'
import { parseRoute, type ResultRoute } from '../cni/result.ts'
import type { RangeConf } from './ranges.ts'

export interface IpamConf extends RangeConf {
  type: string
  ranges?: RangeConf[][]
  routes?: ResultRoute[]
  dataDir?: string
  resolvConf?: string
  addresses?: { address: string; gateway?: string }[]
  dns?: Dns
}

export type ConfWithIpam = NetConf & { ipam: IpamConf }

const ADDRESS = (expected: string, description: string): Schema => ({ type: 'string', expected, description })
const U32 = (expected: string, description: string): Schema => ({ type: 'integer', minimum: 0, maximum: 0xffffffff, expected, description })
const object = (expected: string, properties: Record<string, Schema>, required: string[] = []): Schema => ({ type: 'object', expected, properties, required })

/** Formats inside ranges are judged by ranges.ts, which knows what belongs together. */
const RANGE: Record<string, Schema> = {
  subnet: ADDRESS('a network in CIDR notation such as "10.1.2.0/24"', 'network to lease from'),
  rangeStart: ADDRESS('an IP address in subnet', 'first address to lease; default: the one after the network address'),
  rangeEnd: ADDRESS('an IP address in subnet', 'last address to lease; default: the one before the broadcast address, for IPv6 the last'),
  gateway: ADDRESS('an IP address', 'never leased, and the next hop of routes; default: the one after the network address'),
}
const RANGES: Schema = {
  type: 'array',
  expected: 'a list of range sets, each a list of ranges: [[{"subnet": "10.1.2.0/24"}]]',
  description: 'range sets; one address is leased from each',
  items: { type: 'array', minItems: 1, expected: 'a list of at least one range', items: object('a range: {"subnet": "10.1.2.0/24"}', RANGE) },
}

export const ROUTE: Schema = object('a route: {"dst": "0.0.0.0/0"}', {
  dst: { type: 'string', format: 'cidr', expected: 'a destination in CIDR notation such as "0.0.0.0/0"', description: 'destination' },
  gw: { type: 'string', format: 'address', expected: 'an IP address', description: 'next hop; default: the gateway of the address family' },
  mtu: U32('an MTU in bytes', 'path MTU, bytes'),
  advmss: U32('an MSS in bytes', 'maximum segment size to advertise, bytes'),
  priority: U32('a metric from 0 to 4294967295', 'metric'),
  table: U32('a routing table from 0 to 4294967295', 'routing table'),
  scope: { type: 'integer', minimum: 0, maximum: 255, expected: 'a scope from 0 to 255 (0 global, 253 link, 254 host)', description: 'scope: 0 global, 253 link, 254 host' },
}, ['dst'])

const STATIC: Record<string, Schema> = {
  addresses: {
    type: 'array',
    expected: 'a list of addresses: [{"address": "10.1.2.3/24"}]',
    description: 'static: the addresses',
    items: object('an address: {"address": "10.1.2.3/24", "gateway": "10.1.2.1"}', {
      address: { type: 'string', format: 'cidr', expected: 'an address with prefix length such as "10.1.2.3/24"', description: 'address with prefix length' },
      gateway: { type: 'string', format: 'address', expected: 'an IP address', description: 'gateway of the subnet' },
    }, ['address']),
  },
}

/** The schema of `ipam`; `dns` differs from the top level's only in what it replaces. */
export const IPAM: Schema = {
  type: 'object',
  expected: 'an object with type, such as {"type": "host-local", "subnet": "10.1.2.0/24"}',
  required: ['type'],
  properties: {
    type: { type: 'string', pattern: '^[^/\\0]+$', expected: 'the name of an IPAM plugin, such as "host-local" or "static"', description: 'IPAM plugin: `host-local` and `static` are served in process, any other is looked for in CNI_PATH' },
    ...RANGE,
    ranges: RANGES,
    routes: { type: 'array', expected: 'a list of routes: [{"dst": "0.0.0.0/0"}]', items: ROUTE, description: 'routes of the pod' },
    dataDir: { type: 'string', pattern: '^/[^\\0]*$', expected: 'an absolute path', default: '/var/lib/cni/networks', description: 'where leases are kept, in a directory per network' },
    resolvConf: { type: 'string', pattern: '^/[^\\0]*$', expected: 'an absolute path', description: "a resolv.conf to take the result's dns from" },
    ...STATIC,
    dns: { ...DNS, description: "static: the result's dns" },
  },
}

/** The routes of the configuration, as results have them. */
export const ipamRoutes = ({ ipam }: Partial<ConfWithIpam>): ResultRoute[] => (ipam?.routes ?? []).map((route, i) => parseRoute(route, `ipam.routes[${i}]`))

/** `runtimeConfig.ipRanges`. */
export const IP_RANGES: Schema = RANGES
