// Keys that say nothing: programs that write configurations do not leave out what they have nothing to say about. What that is
// of each JSON type is said once, beside the schemas (src/cni/schema.ts), and holds for every key of every one.

import { call, netns } from './world.ts'
import t from 'tap'
import { compile } from '../src/cni/compile.ts'
import { canonical, validate, type Schema } from '../src/cni/schema.ts'
import { PLUGINS } from '../src/plugins.ts'
import { parsePeers } from '../src/vxlan/file.ts'
import { PEERS } from '../src/vxlan/node.ts'

/** Values of keys that must be there. */
const REQUIRED: Record<string, unknown> = { ipam: { type: 'host-local' }, type: 'host-local', dst: '0.0.0.0/0', address: '10.1.2.3/24', hostPort: 8080, containerPort: 80, containerID: 'c1', ifname: 'eth0', name: 'a', addresses: ['192.0.2.1'], podCIDRs: [], nodes: [] }

interface Key {
  path: string
  schema: Schema
  required: boolean
  /** A configuration in which the key has a value, and beside it what must be there. */
  with(value: unknown): Record<string, unknown>
}

/** Every key of a schema, at any depth. */
function keys(schema: Schema, path = '', wrap = (object: Record<string, unknown>): Record<string, unknown> => object): Key[] {
  const beside = Object.fromEntries((schema.required ?? []).map((key) => [key, REQUIRED[key]]))
  return Object.entries(schema.properties ?? {}).flatMap(([name, inner]) => {
    const of = (value: unknown) => wrap({ ...beside, [name]: value })
    const at = path ? `${path}.${name}` : name
    let [items, list] = [inner, (value: unknown) => value]
    for (; items.items; items = items.items) {
      const outer = list
      list = (value) => outer([value])
    }
    return [{ path: at, schema: inner, required: schema.required?.includes(name) ?? false, with: of }, ...keys(items, at, (object) => of(list(object)))]
  })
}

/** What is wrong with a configuration, or how it is read. */
function read(schema: Schema, conf: Record<string, unknown>): string {
  const value = canonical(schema, conf, [])
  try {
    validate(schema, compile(schema), value)
    return JSON.stringify(value)
  } catch (error) {
    return (error as Error).message
  }
}

for (const schema of [...Object.values(PLUGINS).map(({ schema }) => schema), PEERS]) {
  t.test(`every key of ${schema.$id}`, async (t) => {
    const all = keys(schema)
    t.ok(all.length >= 4)
    for (const key of all) {
      const { path, schema: inner, required } = key
      t.equal(typeof inner.type, 'string', `${path} is of one type; null is of every, and in no schema`)
      t.not(inner.enum?.includes(''), true, `${path}: nor is the empty string`)
      const without = read(schema, JSON.parse(JSON.stringify(key.with(undefined))))
      t.equal(read(schema, key.with(null)), without, `${path}: null`)
      if (inner.type === 'string' && !required) t.equal(read(schema, key.with('')), without, `${path}: ""`)
      if (inner.type === 'integer') t.equal(read(schema, key.with(0)).startsWith('{'), inner.minimum === 0, `${path}: 0 is a value`)
      if (inner.type === 'boolean') t.match(read(schema, key.with(false)), /^{/, `${path}: false is a value`)
      if (inner.type === 'array' && !required) t.match(read(schema, key.with([])), /^{/, `${path}: a list without elements`)
      if (inner.type === 'object' && !inner.required?.length) t.match(read(schema, key.with({})), /^{/, `${path}: an object without keys`)
    }
  })
}

t.test('a value of another type, and null among the elements of a list, is refused', async (t) => {
  for (const key of keys(PLUGINS.ptp!.schema)) {
    // What a result is, is judged by its version (src/cni/result.ts), and what a version is, before the rest.
    if (key.path === 'prevResult' || key.path === 'cniVersion') continue
    const { type } = key.schema
    for (const [of, value] of Object.entries({ string: 'x', integer: 1, boolean: true, array: [], object: {} })) if (of !== type) t.notMatch(read(PLUGINS.ptp!.schema, key.with(value)), /^{/, `${key.path}: ${of}`)
    if (key.schema.items) t.notMatch(read(PLUGINS.ptp!.schema, key.with([null])), /^{/, `${key.path}: [null]`)
  }
})

t.test('the file of peers is read by the same rules', async (t) => {
  const [a, b] = [{ name: 'a', addresses: ['192.0.2.1'], podCIDRs: ['10.244.1.0/24'] }, { name: 'b', addresses: ['192.0.2.2'], podCIDRs: ['10.244.2.0/24'] }]
  t.same([...parsePeers(JSON.stringify({ $schema: null, nodes: [{ ...a, created: null }, { ...b, created: '' }] }), 'peers.json').values()], [a, b])
  const twice = (text: string) => JSON.stringify({ nodes: [a, b] }).replace('"name":"b"', text)
  const wrong = (text: string) => [...parsePeers(twice(text), 'peers.json').values()].map((node) => node.wrong)
  t.same(wrong('"name":"c","name":"b"'), [undefined, ['nodes[1].name stands twice']], 'what one node says twice hurts that one')
  t.same(wrong('"NAME":"b","Name":"c"'), [undefined, ['nodes[1].Name is the same key as NAME: expected one of them']])
  t.throws(() => parsePeers(`${JSON.stringify({ nodes: [a] }).slice(0, -1)},"nodes":[]}`, 'peers.json'), { message: 'peers.json: nodes stands twice' })
})

netns('pod')
const plain = { cniVersion: '1.0.0', name: 'podnet', type: 'ptp', ipam: { type: 'host-local', subnet: '10.1.2.0/24', routes: [{ dst: '0.0.0.0/0' }] } }
const RANGE = { rangeStart: '', rangeEnd: null, gateway: '' }

t.test('a pod has the same network where all keys are there and say nothing', async (t) => {
  const wordy = {
    ...plain, mtu: 0, ipMasqBackend: '', nonMasqueradeCIDRs: null, overlay: '', portmap: null, bandwidth: null, tuning: null,
    dns: { nameservers: [], domain: '', search: null, options: [] }, args: { cni: { ips: [], mac: '' } }, capabilities: null, prevResult: null,
    runtimeConfig: { ips: null, mac: '', ipRanges: null, portMappings: [], bandwidth: { ingressRate: 0, ingressBurst: 0, egressRate: null } },
    ipam: { ...plain.ipam, ...RANGE, ranges: [], dataDir: '', resolvConf: '', addresses: null, dns: {}, routes: [{ dst: '0.0.0.0/0', gw: '', mtu: 0, advmss: 0, priority: 0, table: null, scope: null }] },
  }
  const results = [plain, wordy].map((conf) => {
    const { json, stdout } = call('ptp', 'ADD', conf)
    t.equal(call('ptp', 'CHECK', { ...conf, prevResult: json }).stdout, '', stdout)
    t.equal(call('ptp', 'DEL', { ...conf, prevResult: json }).stdout, '')
    return JSON.stringify(json).replaceAll('10.1.2.3', '10.1.2.2')
  })
  t.equal(results[1], results[0])
  t.notMatch(results[0]!, 'dns')
})

t.test('what is empty is printed as Go prints it: not at all', async (t) => {
  const dns = { nameservers: [], search: [], options: ['ndots:5'], domain: '' }
  const conf = { ...plain, dns }
  const { json } = call('ptp', 'ADD', conf)
  t.same(json.dns, { options: ['ndots:5'] })
  call('ptp', 'DEL', conf)
  const prevResult = { cniVersion: '1.0.0', interfaces: [], ips: [], routes: null, dns: { nameservers: [], search: null, domain: '' } }
  t.same(call('tuning', 'ADD', { cniVersion: '1.0.0', name: 'podnet', type: 'tuning', prevResult }).json, { cniVersion: '1.0.0' }, 'also of what others say')
  const ipam = { type: 'static', addresses: [{ address: '10.1.2.3/24', gateway: '' }], dns: { nameservers: [] } }
  t.same(call('static', 'ADD', { cniVersion: '1.0.0', name: 'podnet', type: 'static', ipam }).json, { cniVersion: '1.0.0', ips: [{ address: '10.1.2.3/24' }] })
})

t.test('an entry of vlanTrunk that names no VLAN is refused', async (t) => {
  const conf = { ...plain, type: 'bridge', vlanTrunk: [{ id: null }] }
  t.match(call('bridge', 'ADD', conf).json, { code: 7, msg: /vlanTrunk\[0\] names no VLAN/ })
})
