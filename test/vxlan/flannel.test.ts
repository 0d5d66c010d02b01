// What is weak in flannel's VXLAN back end (W1 to W8), each once against the agent. flannel pkg/backend/vxlan, pkg/subnet/kube
//
//   a (agent) ── u0 ── bridge lan          its peers are in the file only

import '../world.ts'
import t from 'tap'
import { vtepMac } from '../../src/names.ts'
import { Agent, kernel, node, on, peers, segment, until } from './nodes.ts'

const [A, B, C] = [node('a', 1), node('b', 2), node('c', 3)]
const only6 = (one: typeof A) => ({ ...one, addresses: one.addresses.slice(1), podCIDRs: one.podCIDRs.slice(1) })

segment('a')
peers(A, B, C)
let a = await Agent.ready('a')

t.test('W1 a device that was deleted comes back with its address, routes, neighbours and fdb, on the chosen address', async (t) => {
  on('a', 'ip addr add 192.0.2.200/24 dev u0') // flannel took the first address of the interface
  const before = kernel('a')
  on('a', 'ip link del podwire.1')
  await a.settled()
  t.equal(kernel('a'), before)
  t.match(before, 'local 192.0.2.1 ')
  on('a', 'ip addr del 192.0.2.200/24 dev u0')
})

t.test('W2 what belongs to nodes that went while the agent was away is removed when it starts', async (t) => {
  await a.stop()
  peers(A, B)
  t.match(kernel('a'), '10.244.3.0/24')
  a = await Agent.ready('a')
  await a.reads()
  t.notMatch(kernel('a'), new RegExp(`10\\.244\\.3\\.0|fd00:10:244:3|192\\.0\\.2\\.3 |${vtepMac('c', 1)}`))
  t.match(kernel('a'), '10.244.2.0/24')
})

t.test('W3 a peer with another MAC or underlay address leaves no old fdb entry', async (t) => {
  peers(A, { ...B, name: 'b2' })
  await a.reads()
  t.equal(on('a', 'bridge fdb show dev podwire.1'), `${vtepMac('b2', 1)} dst 192.0.2.2 self permanent`)
  peers(A, { ...B, name: 'b2', addresses: ['192.0.2.9'] })
  await a.reads()
  t.equal(on('a', 'bridge fdb show dev podwire.1'), `${vtepMac('b2', 1)} dst 192.0.2.9 self permanent`)
})

t.test('W4 a change of one family only is a change', async (t) => {
  peers(A, B)
  await a.reads()
  peers(A, { ...B, podCIDRs: ['10.244.2.0/24', 'fd00:10:244:22::/64'] })
  await a.reads()
  t.match(on('a', 'ip -6 route show proto 119'), 'fd00:10:244:22::/64')
  peers(A, { ...B, podCIDRs: ['10.244.22.0/24', 'fd00:10:244:22::/64'] })
  await a.reads()
  t.match(on('a', 'ip route show proto 119'), '10.244.22.0/24')
})

t.test('W5 over IPv6 the overlay takes 70 bytes and not 50', async (t) => {
  peers(only6(A), only6(B))
  await a.reads()
  t.match(on('a', 'ip -d link show podwire.1'), /mtu 1430 .* local 2001:db8::1 /s)
})

t.test('W8 with IPv6 alone a deleted device is seen, too', async (t) => {
  const before = kernel('a')
  on('a', 'ip link del podwire.1')
  await a.settled()
  t.equal(kernel('a'), before)
  t.notMatch(before, /inet 10\./)
})

t.test('W6 a route that is deleted comes back, though no node says anything', async (t) => {
  peers(A, B)
  await a.reads()
  const before = kernel('a')
  for (const line of ['ip route del 10.244.2.0/24', 'ip -6 route del fd00:10:244:2::/64']) {
    on('a', line)
    await a.settled()
    t.equal(kernel('a'), before)
  }
})

t.test('W7 more than 5000 nodes do not stop it from starting, nor from hearing the next change', async () => {
  await a.stop()
  const many = Array.from({ length: 5100 }, (_, i) => ({ name: `n${i}`, addresses: [`198.18.${i >> 8}.${i & 255}`], podCIDRs: [`10.${i >> 8}.${i & 255}.0/24`] }))
  const self = { ...A, podCIDRs: ['10.244.1.0/24'] }
  peers(self, ...many)
  a = await Agent.ready('a')
  const routes = () => Number(on('a', 'ip route show proto 119 | wc -l'))
  await until('all are there', () => routes() === 5100)
  peers(self, ...many.slice(1))
  await until('one is gone', () => routes() === 5099)
  peers(self)
  await until('all are gone', () => routes() === 0)
})

t.teardown(() => a.stop())
