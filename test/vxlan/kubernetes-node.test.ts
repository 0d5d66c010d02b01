// What is kept of a Node object, whatever is in it.

import fc from 'fast-check'
import t from 'tap'
import type { Client } from '../../src/vxlan/kubernetes/client.ts'
import { list } from '../../src/vxlan/kubernetes/list.ts'
import { nodeOf, same } from '../../src/vxlan/kubernetes/node.ts'

const whole = {
  metadata: { name: 'worker-1.example.com', uid: 'u', creationTimestamp: '2026-01-02T03:04:05Z', labels: { a: 'b' }, resourceVersion: '7' },
  spec: { podCIDR: '10.244.1.0/24', podCIDRs: ['10.244.1.0/24', 'fd00:10:244:1::/64'], taints: [] },
  status: { addresses: [{ type: 'InternalIP', address: '192.0.2.1' }, { type: 'InternalIP', address: '2001:db8::1' }, { type: 'ExternalIP', address: '198.51.100.1' }, { type: 'Hostname', address: 'worker-1' }], images: [] },
}
const kept = { name: 'worker-1.example.com', addresses: ['192.0.2.1', '2001:db8::1'], podCIDRs: ['10.244.1.0/24', 'fd00:10:244:1::/64'], created: '2026-01-02T03:04:05Z' }

t.test('name, InternalIPs in their order, podCIDRs and age are kept, and nothing else', async (t) => {
  t.same(nodeOf(whole), kept)
  t.same(nodeOf({ ...whole, spec: { podCIDR: '10.244.1.0/24' } })?.podCIDRs, ['10.244.1.0/24'], 'podCIDR where there is no podCIDRs')
  t.same(nodeOf({ ...whole, spec: {} })?.podCIDRs, [], 'none as yet')
  t.same(nodeOf({ ...whole, status: { addresses: [...whole.status.addresses, ...whole.status.addresses] } })?.addresses, kept.addresses, 'twice the same address is one')
})

t.test('what is broken in a Node is left out, the rest stays', async (t) => {
  const broken: [string, object, object][] = [
    ['no spec', { spec: undefined }, { podCIDRs: [] }],
    ['podCIDRs is no list', { spec: { podCIDRs: 'x', podCIDR: 5 } }, { podCIDRs: [] }],
    ['podCIDRs has more than texts', { spec: { podCIDRs: [null, '10.1.0.0/24', 7, {}] } }, { podCIDRs: ['10.1.0.0/24'] }],
    ['no status', { status: null }, { addresses: [] }],
    ['addresses is no list', { status: { addresses: { type: 'InternalIP' } } }, { addresses: [] }],
    ['addresses that are none', { status: { addresses: [null, 5, { type: 'InternalIP' }, { type: 'InternalIP', address: 'x; reboot' }, { type: 'InternalIP', address: '192.0.2.1' }] } }, { addresses: ['192.0.2.1'] }],
  ]
  for (const [what, change, expected] of broken) t.same(nodeOf({ ...whole, ...change }), { ...kept, ...expected }, what)
  t.notOk('created' in nodeOf({ ...whole, metadata: { name: 'a', creationTimestamp: 'yesterday' } })!, 'a time that is none')
})

t.test('an object without the name of a Node is none', async (t) => {
  for (const name of [undefined, '', 5, null, 'A', '../etc', 'a\nb', '-a', 'x'.repeat(254)]) t.equal(nodeOf({ ...whole, metadata: { name } }), undefined, JSON.stringify(name))
  fc.assert(fc.property(fc.anything(), (value) => nodeOf(value) === undefined || typeof nodeOf(value)!.name === 'string'))
  fc.assert(fc.property(fc.anything(), fc.anything(), (spec, status) => nodeOf({ metadata: { name: 'a' }, spec, status })!.name === 'a'))
})

t.test('a heartbeat is no change; an address, a network, an age is', async (t) => {
  const node = nodeOf(whole)!
  t.ok(same(node, nodeOf({ ...whole, metadata: { ...whole.metadata, resourceVersion: '8' }, status: { ...whole.status, conditions: [{}] } })!))
  t.notOk(same(node, { ...node, addresses: [...node.addresses].reverse() }), 'the primary family')
  t.notOk(same(node, { ...node, podCIDRs: [] }))
  t.notOk(same(node, { ...node, created: '2027-01-02T03:04:05Z' }), 'another node of that name')
})

t.test('a list of pages without end is given up', async (t) => {
  let pages = 0
  const answer = (metadata: object) => ({ server: 'https://api', get: async function* () { yield Buffer.from(JSON.stringify({ kind: 'NodeList', metadata, items: [] })) } }) as unknown as Client
  const endless = { server: 'https://api', get: async function* () { yield Buffer.from(JSON.stringify({ kind: 'NodeList', metadata: { resourceVersion: '1', continue: `token-${++pages}` }, items: [] })) } } as unknown as Client
  const read = (client: Client) => list(client, { silence: 1, total: 1 }, () => {}, () => {})
  await t.rejects(read(endless), { message: /has no end after 1000 pages/ })
  await t.rejects(read(answer({ resourceVersion: '1', continue: 'x'.repeat(5000) })), { message: /token for the next page has more than 4096 characters/ })
  await t.rejects(read(answer({ resourceVersion: '9'.repeat(1e6) })), { message: /not with a list of Nodes/ }, 'a number that takes minutes to compare')
  t.equal(await read(answer({ resourceVersion: '12345' })), '12345')
})

t.test('of one Node so much is kept, and no more', async (t) => {
  const addresses = Array.from({ length: 5000 }, (_, i) => ({ type: 'InternalIP', address: `10.0.${i >> 8}.${i & 255}` }))
  const node = nodeOf({ ...whole, status: { addresses }, spec: { podCIDRs: Array.from({ length: 5000 }, () => 'x'.repeat(1e4)) } })!
  t.ok(JSON.stringify(node).length < 2000, `${JSON.stringify(node).length} characters`)
})
