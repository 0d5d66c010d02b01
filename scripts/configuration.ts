// Writes the tables of docs/configuration.md and docs/operations.md: keys from the schemas by which configurations are
// checked, error codes from their one list, the agent's metrics. What stands around the tables is written by hand. And
// conf/peers.schema.json, from the schema of the peers file. test/docs.test.ts holds all of them against this.
// Run: node scripts/configuration.ts

import { readFileSync, writeFileSync } from 'node:fs'
import { CODES } from '../src/cni/error.ts'
import type { Schema } from '../src/cni/schema.ts'
import { EXTRAS } from '../src/extras.ts'
import { PLUGINS } from '../src/plugins.ts'
import { Metrics } from '../src/vxlan/metrics.ts'
import { NODE, PEERS } from '../src/vxlan/node.ts'

/** A key: where it is (`ipam.routes[].dst`), what it may be, whether it must be there. */
export interface Key {
  path: string
  schema: Schema
  required: boolean
}

/** An example of each key, and what a schema does not say about it because no error would. */
export const EXAMPLES: Record<string, { example?: unknown; meaning?: string }> = {
  cniVersion: { example: '1.0.0', meaning: 'version of the CNI specification that the request is in; absent: 0.1.0. In a conflist the runtime chooses from `cniVersion` and `cniVersions`' },
  name: { example: 'podnet', meaning: 'the network, a name for a file: letters, digits, `.`, `_`, `-`; must be there' },
  type: { example: 'ptp', meaning: 'the plugin: `ptp`, `bridge`, `loopback`, `host-local`, `static`, `vxlan`, `portmap`, `bandwidth`, `firewall`, `tuning`, `sbr`, each also with the prefix `podwire-`; `podwire` is `ptp`' },
  dns: { example: { nameservers: ['10.1.2.1'] } },
  'dns.nameservers': { example: ['10.1.2.1'] },
  'dns.domain': { example: 'example.org' },
  'dns.search': { example: ['example.org'] },
  'dns.options': { example: ['ndots:5'] },
  args: { meaning: 'what a runtime adds for this attachment' },
  'args.cni': { example: { mac: '0a:58:0a:01:02:03' }, meaning: 'its conventional keys' },
  'args.cni.ips': { example: ['10.1.2.9'] },
  'args.cni.mac': { example: '0a:58:0a:01:02:03' },
  runtimeConfig: { meaning: 'what a runtime says about capabilities that the configuration declares' },
  'runtimeConfig.ips': { example: ['10.1.2.9/24'] },
  'runtimeConfig.mac': { example: '0a:58:0a:01:02:03' },
  'runtimeConfig.ipRanges': { example: [[{ subnet: '10.1.3.0/24' }]], meaning: 'range sets from the runtime, before those of ipam' },
  capabilities: { example: { ips: true, mac: true, ipRanges: true }, meaning: 'in a conflist: what the runtime may pass as `runtimeConfig`' },
  prevResult: { meaning: 'result of the plugin before in the list, or of ADD for CHECK and DEL; the runtime adds it' },
  'cni.dev/valid-attachments': { example: [{ containerID: 'c1', ifname: 'eth0' }], meaning: 'GC: the attachments that live. Absent: only what is provably dead goes' },
  'cni.dev/valid-attachments[].containerID': { example: 'c1', meaning: 'container ID' },
  'cni.dev/valid-attachments[].ifname': { example: 'eth0', meaning: 'interface name' },
  'cni.dev/attachments': { example: [{ containerID: 'c1', ifname: 'eth0' }], meaning: 'GC: the older name of the same key; the union of both counts' },
  'cni.dev/attachments[].containerID': { example: 'c1', meaning: 'container ID' },
  'cni.dev/attachments[].ifname': { example: 'eth0', meaning: 'interface name' },
  ipMasq: { example: true },
  ipMasqBackend: { example: 'nftables' },
  bridge: { example: 'cni0' },
  isGateway: { example: true },
  isDefaultGateway: { example: true },
  forceAddress: { example: true },
  hairpinMode: { example: true },
  promiscMode: { example: true },
  portIsolation: { example: true },
  enabledad: { example: true },
  disableContainerInterface: { example: true },
  vlan: { example: 100 },
  vlanTrunk: { example: [{ id: 5 }, { minID: 10, maxID: 19 }] },
  'vlanTrunk[].id': { example: 5 },
  'vlanTrunk[].minID': { example: 10 },
  'vlanTrunk[].maxID': { example: 19 },
  preserveDefaultVlan: { example: true },
  macspoofchk: { example: false },
  'runtimeConfig.portMappings': { example: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] },
  'runtimeConfig.portMappings[].hostPort': { example: 8080 },
  'runtimeConfig.portMappings[].containerPort': { example: 80 },
  'runtimeConfig.portMappings[].protocol': { example: 'udp' },
  'runtimeConfig.portMappings[].hostIP': { example: '192.0.2.1' },
  portmap: { example: { snat: true } },
  snat: { example: true },
  masqAll: { example: false },
  markMasqBit: { example: 13 },
  externalSetMarkChain: { example: 'KUBE-MARK-MASQ' },
  backend: { example: 'nftables' },
  conditionsV4: { example: ['ip', 'saddr', '!=', '192.0.2.0/24'] },
  conditionsV6: { example: ['!', '-s', '2001:db8::/32'] },
  'runtimeConfig.bandwidth': { example: { ingressRate: 10_000_000, ingressBurst: 800_000 } },
  'runtimeConfig.bandwidth.ingressRate': { example: 10_000_000 },
  'runtimeConfig.bandwidth.ingressBurst': { example: 800_000 },
  'runtimeConfig.bandwidth.egressRate': { example: 1_000_000_000 },
  'runtimeConfig.bandwidth.egressBurst': { example: 200_000_000 },
  bandwidth: { example: { egressRate: 10_000_000, egressBurst: 800_000 } },
  ingressRate: { example: 10_000_000 },
  ingressBurst: { example: 800_000 },
  egressRate: { example: 1_000_000_000 },
  egressBurst: { example: 200_000_000 },
  firewall: { example: { ingressPolicy: 'same-bridge' } },
  ingressPolicy: { example: 'same-bridge' },
  iptablesAdminChainName: { example: 'CNI-ADMIN' },
  firewalldZone: { example: 'trusted' },
  tuning: { example: { sysctl: { 'net.core.somaxconn': '1024' } } },
  sysctl: { example: { 'net.core.somaxconn': '1024', 'net.ipv4.conf.IFNAME.arp_filter': '1' } },
  mac: { example: '0a:58:0a:01:02:03' },
  promisc: { example: true },
  allmulti: { example: true },
  txQLen: { example: 500 },
  dataDir: { example: '/run/cni/tuning' },
  table: { example: 5000 },
  gateways: { example: ['10.1.2.1', 'fd00:1:2::1'] },
  addSourceHints: { example: true },
  overlay: { example: '/run/podwire' },
  nonMasqueradeCIDRs: { example: ['10.0.0.0/8'] },
  mtu: { example: 1450 },
  ipam: { example: { type: 'host-local', subnet: '10.1.2.0/24' }, meaning: 'where addresses come from' },
  'ipam.type': { example: 'host-local' },
  'ipam.subnet': { example: '10.1.2.0/24' },
  'ipam.rangeStart': { example: '10.1.2.10' },
  'ipam.rangeEnd': { example: '10.1.2.99' },
  'ipam.gateway': { example: '10.1.2.1' },
  'ipam.ranges': { example: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1:2::/64' }]] },
  'ipam.routes': { example: [{ dst: '0.0.0.0/0' }] },
  'ipam.routes[].dst': { example: '0.0.0.0/0' },
  'ipam.routes[].gw': { example: '10.1.2.1' },
  'ipam.routes[].mtu': { example: 1400 },
  'ipam.routes[].advmss': { example: 1360 },
  'ipam.routes[].priority': { example: 100 },
  'ipam.routes[].table': { example: 100 },
  'ipam.routes[].scope': { example: 253 },
  'ipam.dataDir': { example: '/run/podwire/networks' },
  'ipam.resolvConf': { example: '/etc/resolv.conf' },
  'ipam.addresses': { example: [{ address: '10.1.2.3/24', gateway: '10.1.2.1' }] },
  'ipam.addresses[].address': { example: '10.1.2.3/24' },
  'ipam.addresses[].gateway': { example: '10.1.2.1' },
  node: { example: 'a' },
  peers: { example: [{ name: 'a', addresses: ['192.0.2.1'], podCIDRs: ['10.244.1.0/24'] }] },
  peersFile: { example: '/etc/podwire/peers.json' },
  vni: { example: 1 },
  port: { example: 8472 },
  underlay: { example: 'eth0' },
  directRouting: { example: true },
  clusterCIDRs: { example: ['10.244.0.0/16', 'fd00:10:244::/48'] },
  masquerade: { example: false },
  checksumOffload: { example: false },
  'ipam.dns': { example: { nameservers: ['10.1.2.1'] } },
}

/** The keys of a node, which podwire judges for each node by itself: no schema of a plugin has them. */
const NODE_EXAMPLES: typeof EXAMPLES = {
  'peers[].name': { example: 'a' },
  'peers[].addresses': { example: ['192.0.2.1', '2001:db8::1'] },
  'peers[].podCIDRs': { example: ['10.244.1.0/24', 'fd00:10:244:1::/64'] },
  'peers[].created': { example: '2026-01-31T12:00:00Z' },
}

/** A key as it is in an entry of the plugin's own: within ptp and bridge it stands under the plugin's name. */
export const alone = (path: string): string => path.replace(new RegExp(`^(?:${Object.keys(EXTRAS).join('|')})\\.`), '')

/** A range's keys have the same examples wherever ranges are. */
const exampleOf = (path: string) => EXAMPLES[path] ?? NODE_EXAMPLES[path] ?? EXAMPLES[path.replace(/^(runtimeConfig\.ipRanges|ipam\.ranges)\[\]\[\]/, 'ipam')]

/** Every key of a plugin's configuration. */
export function keys(schema: Schema, at = ''): Key[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, inner]) => {
    const path = at ? `${at}.${name}` : name
    let [items, below] = [inner, path]
    for (; items.items; items = items.items) below += '[]'
    return [{ path, schema: inner, required: schema.required?.includes(name) ?? false }, ...keys(items, below)]
  })
}

/** A schema in which the elements of peers are nodes. */
const withNodes = (schema: Schema): Schema => ({ ...schema, properties: { ...schema.properties, peers: { ...schema.properties!.peers, items: NODE } } })

const common = (path: string): boolean => keys(PLUGINS.loopback!.schema).some((key) => key.path === path)
const STATIC = /^ipam\.(addresses|dns)\b/

/** The tables by name, and which keys are in each. */
const TABLES: Record<string, () => string> = {
  common: () => table(keys(PLUGINS.loopback!.schema)),
  ptp: () => table(keys(PLUGINS.ptp!.schema).filter(({ path }) => !common(path) && !/^(ipam|runtimeConfig)\./.test(path) && path === alone(path))),
  bridge: () => table(keys(PLUGINS.bridge!.schema).filter(({ path }) => !common(path) && !/^(ipam|runtimeConfig)\./.test(path) && path === alone(path))),
  'host-local': () => table(keys(PLUGINS['host-local']!.schema).filter(({ path }) => !common(path) && path !== 'ipam' && !STATIC.test(path))),
  static: () => table(keys(PLUGINS.static!.schema).filter(({ path }) => STATIC.test(path))),
  vxlan: () => table(keys(withNodes(PLUGINS.vxlan!.schema)).filter(({ path }) => !common(path))),
  sbr: () => table(keys(PLUGINS.sbr!.schema).filter(({ path }) => !common(path))),
  ...Object.fromEntries(Object.entries(EXTRAS).map(([name, { schema }]) => [name, () => table(keys(schema).filter(({ path }) => !common(path)))])),
  metrics: () => ['| Metric | Labels | Meaning |', '|---|---|---|', ...metrics().map(({ name, labelNames, help }) => `| \`${name}\` | ${labelNames.map((label) => `\`${label}\``).join(', ')} | ${help} |`)].join('\n'),
  codes: () => ['| Code | What it means | What to do |', '|---|---|---|', ...Object.entries(CODES).map(([code, { meaning, remedy }]) => `| ${code} | ${meaning} | ${remedy} |`)].join('\n'),
}

/** The page with its tables as they should be. */
export const page = (text: string): string =>
  text.replace(/(<!-- table (\S+) -->\n)[^]*?(<!-- end -->)/g, (_, begin: string, name: string, end: string) => `${begin}\n${TABLES[name]!()}\n\n${end}`)

const metrics = () => Object.values(new Metrics()) as unknown as { name: string; labelNames: string[]; help: string }[]

function table(rows: Key[]): string {
  return ['| Key | Type | Default | Meaning | Example |', '|---|---|---|---|---|', ...rows.map(row)].join('\n')
}

function row({ path, schema, required }: Key): string {
  const { example, meaning } = exampleOf(path) ?? {}
  const says = meaning ?? schema.description
  if (says === undefined) throw new Error(`the schema of ${path} has no description`)
  const given = required ? '(must be there)' : schema.default === undefined ? '' : code(schema.default)
  return `| \`${path}\` | ${type(schema)} | ${given} | ${says} | ${example === undefined ? '' : code(example)} |`
}

/** The type in words. */
function type({ type: name, items, format, enum: values, minimum, maximum }: Schema): string {
  if (values) return values.map(code).join(', ')
  if (name === 'array') return `list: ${items ? type(items) : 'any'}`
  if (minimum !== undefined || maximum !== undefined) return `${name}, ${minimum} to ${maximum}`
  return format ? `${FORMATS[format]}` : String(name)
}

const FORMATS: Record<string, string> = { cidr: 'CIDR', address: 'IP address', 'address-or-cidr': 'IP address or CIDR', mac: 'MAC address' }
const code = (value: unknown): string => `\`${JSON.stringify(value).replaceAll('|', '\\|')}\``

export const PAGES = ['docs/configuration.md', 'docs/operations.md']

/** The schema of the peers file for editors and other programs: https://json-schema.org/draft/2020-12 */
export const PEERS_SCHEMA = 'conf/peers.schema.json'
export const peersSchema = (): string => {
  const { $id, ...schema } = standard(PEERS)
  return `${JSON.stringify({ $schema: 'https://json-schema.org/draft/2020-12/schema', title: 'The nodes of a podwire overlay', ...schema }, null, 2)}\n`
}

/** Without keywords and formats that only podwire knows; what is allowed, in its words, is a description where there is no other. */
function standard({ expected, format, items, properties, description = expected, ...schema }: Schema): Record<string, unknown> {
  return {
    ...(description !== undefined && { description }),
    ...schema,
    ...(items && { items: standard(items) }),
    ...(properties && { properties: Object.fromEntries(Object.entries(properties).map(([key, inner]) => [key, standard(inner)])) }),
  }
}

if (import.meta.main) {
  if (process.argv.length > 2) {
    console.error(`configuration.ts: ${process.argv.slice(2).join(' ')}: expected no argument`)
    process.exit(2)
  }
  for (const file of PAGES) writeFileSync(file, page(readFileSync(file, 'utf8')))
  writeFileSync(PEERS_SCHEMA, peersSchema())
}
