// Any configuration and any environment: an answer that is one (test/binary.ts judges each: one JSON document or nothing, a
// typed code, never 108 or 999, no stack trace), and nothing left behind. In this process, in a world of its own.

import { CONF, inside, POD, type Env } from '../binary.ts'
import { netns, sh } from '../world.ts'
import fc from 'fast-check'
import { writeFileSync } from 'node:fs'
import t from 'tap'

netns('pod')
writeFileSync('/run/file', '')

const BASE = {
  ...CONF, ipMasq: true, ipMasqBackend: 'nftables', nonMasqueradeCIDRs: ['10.0.0.0/8'], mtu: 1400, dns: { nameservers: ['10.1.2.1'], search: ['a'] },
  args: { cni: { ips: ['10.1.2.9'], mac: '0a:58:0a:01:02:03' } },
  runtimeConfig: { ips: [], mac: '0a:58:0a:01:02:04', ipRanges: [[{ subnet: '10.1.5.0/24' }]], portMappings: [{ HostPort: 1, ContainerPort: 1 }] },
  prevResult: { cniVersion: '1.1.0', interfaces: [{ name: 'eth0', sandbox: POD, mtu: 1400 }], ips: [{ address: '10.1.2.2/24', gateway: '10.1.2.1', interface: 0 }], routes: [{ dst: '0.0.0.0/0' }], dns: {} },
  'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: 'eth0' }],
  ipam: { type: 'host-local', dataDir: '/run/leases', ranges: [[{ subnet: '10.1.2.0/24', rangeStart: '10.1.2.2', rangeEnd: '10.1.2.20', gateway: '10.1.2.1' }], [{ subnet: 'fd00:1::/64' }]], routes: [{ dst: '0.0.0.0/0', gw: '10.1.2.1', mtu: 1300, advmss: 1200, priority: 7, table: 100, scope: 0 }], addresses: [{ address: '10.1.2.7/24', gateway: '10.1.2.1' }], dns: {}, resolvConf: '/etc/resolv.conf' },
}

/** Every way from the top to a value. */
const paths = (value: unknown, path: string[] = []): string[][] => [path, ...(typeof value === 'object' && value !== null ? Object.entries(value).flatMap(([key, inner]) => paths(inner, [...path, key])) : [])]

/** A copy with one value changed, taken away, or one more key beside it. */
function changed(value: any, [key, ...rest]: string[], change: (old: unknown) => unknown): any {
  if (key === undefined) return change(value)
  const inner = changed(value[key], rest, change)
  if (Array.isArray(value)) return inner === undefined ? value.filter((_, i) => String(i) !== key) : value.map((item, i) => (String(i) === key ? inner : item))
  return { ...value, [key]: inner }
}

// No string begins with a slash: what is written stays below the directories of this world.
const word = fc.oneof(fc.constantFrom('', 'x', '10.1.2.3', '10.1.2.0/24', '10.1.2.1/32', 'fd00::1', 'fd00::/127', '0.0.0.0/0', '::/0', '255.255.255.255', '224.0.0.1', '::ffff:10.0.0.1/97', 'host-local', 'static', '0.2.0', '0.4.0', '1.0.0', 'iptables', 'ff:ff:ff:ff:ff:ff', 'a\0b', '..'), fc.string().map((text) => text.replace(/^\//, '')))
const leaf = fc.oneof(word, fc.constantFrom(null, true, false, 0, -0, 1, -1, 1.5, 68, 1280, 65535, 65536, 2 ** 31, 2 ** 32, 2 ** 53, Infinity), fc.integer())
const any = fc.letrec((tie) => ({ any: fc.oneof({ maxDepth: 3 }, { arbitrary: leaf, weight: 3 }, fc.array(tie('any'), { maxLength: 3 }), fc.dictionary(fc.oneof(fc.constantFrom(...new Set(paths(BASE).flat())), fc.string()), tie('any'), { maxKeys: 4 })) })).any
const path = fc.constantFrom(...paths(BASE).filter((p) => p.length > 0))
const mutation = fc.oneof(
  fc.record({ path, value: any }).map(({ path, value }) => (conf: object) => changed(conf, path, () => value)),
  path.map((path) => (conf: object) => changed(conf, path, () => undefined)),
  fc.record({ path, key: fc.string(), value: any }).map(({ path, key, value }) => (conf: object) => changed(conf, path, (old) => (typeof old === 'object' && old !== null && !Array.isArray(old) ? { ...old, [key]: value } : old))),
)
const configuration = fc.array(mutation, { maxLength: 3 }).map((mutations) => mutations.reduce<object>((conf, mutate) => attempt(() => mutate(conf), conf), BASE))
const attempt = <T>(run: () => T, otherwise: T): T => {
  try {
    return run()
  } catch {
    return otherwise // the way no longer leads anywhere
  }
}

const plugin = fc.constantFrom('ptp', 'ptp', 'loopback', 'host-local', 'static')
const command = fc.constantFrom('ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION')
const request = (command: string, env: Env = {}): Env => ({ CNI_COMMAND: command, CNI_CONTAINERID: 'c1', CNI_NETNS: POD, CNI_IFNAME: 'eth0', CNI_PATH: '/nowhere', ...env })

t.test('any configuration near a right one', async (t) => {
  const codes = new Set<number>()
  fc.assert(
    fc.property(plugin, command, configuration, (plugin, command, conf) => {
      const { json } = inside(plugin, request(command), JSON.stringify(conf))
      if (json?.code) codes.add(json.code)
    }),
    { numRuns: 400 },
  )
  t.ok(codes.has(7) && codes.size > 1, `errors of codes ${[...codes].sort((a, b) => a - b).join(', ')}`)
  sh('ip -n pod link del eth0 2>/dev/null || true')
})

t.test('what ADD makes of any configuration, DEL takes back with another', async (t) => {
  const state = () => sh('ip -br link; ip -n pod -br link; ip route; ip -6 route; find /run/leases /var/lib/cni -type f ! -name lock ! -name "last_reserved*" 2>/dev/null || true')
  inside('ptp', request('GC'), { ...BASE, 'cni.dev/valid-attachments': [] })
  sh('rm -rf /run/leases /var/lib/cni')
  const before = state()
  let added = 0
  fc.assert(
    fc.property(configuration, fc.constantFrom(POD, '', '/run/file', '/run/netns/gone'), (conf, path) => {
      const name = (conf as { name?: string }).name
      const { status } = inside('ptp', request('ADD'), JSON.stringify(conf))
      if (status !== 0) return state() === before
      added++
      const { ipam } = conf as { ipam: { type: string; dataDir?: string } }
      inside('ptp', request('DEL', { CNI_NETNS: path }), { ...CONF, name, ipam: { type: ipam.type, ...(ipam.dataDir && { dataDir: ipam.dataDir }) } })
      return state() === before
    }),
    { numRuns: 40 },
  )
  t.ok(added > 3, `${added} were added`)
})

t.test('any bytes, and any environment', async () => {
  const variable = fc.oneof(fc.constantFrom(undefined, '', POD, '/run/file', 'eth0', 'c1', '/nowhere', 'IP=10.1.2.3', 'IgnoreUnknown=1;a=b', 'MAC=0a:58:0a:01:02:03;IP=fd00::3/64,10.1.2.3'), fc.string().map((text) => text.replaceAll('\0', '')))
  const env = fc.record({ CNI_COMMAND: fc.oneof(command, variable), CNI_CONTAINERID: variable, CNI_NETNS: variable, CNI_IFNAME: variable, CNI_ARGS: variable, CNI_PATH: fc.constantFrom(undefined, '', '/nowhere', ':', '::/x') })
  const bytes = fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.string().map((text) => Buffer.from(text)), fc.json().map((text) => Buffer.from(text)))
  fc.assert(fc.property(plugin, env, fc.oneof(bytes, fc.constant(Buffer.from(JSON.stringify(CONF)))), (plugin, env, stdin) => void inside(plugin, env, stdin)), { numRuns: 400 })
  fc.assert(fc.property(plugin, command, bytes, (plugin, command, stdin) => void inside(plugin, request(command), stdin)), { numRuns: 300 })
})
