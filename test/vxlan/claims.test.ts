// Whatever nodes say, the kernel takes what is made of it: nothing is left to be refused, and tried again for ever.
//
//   a ── u0 10.0.0.1/8, 2001:db8::1/64 ── nobody          its default routes lead to 10.255.255.254 and 2001:db8::fe

import fc from 'fast-check'
import { ip } from '../world.ts'
import t from 'tap'
import * as verb from '../../src/reconcile.ts'
import type { Node } from '../../src/vxlan/node.ts'
import { realmOf } from '../../src/vxlan/overlay.ts'
import { viewOf, type Wishes } from '../../src/vxlan/view.ts'
import { inside, on } from './nodes.ts'

ip('netns add a && ip -n a link set lo up && ip -n a link add u0 type veth peer name far && ip -n a link set far up && ip -n a link set u0 up')
ip('-n a addr add 10.0.0.1/8 dev u0 && ip -n a -6 addr add 2001:db8::1/64 dev u0 nodad && ip -n a route add default via 10.255.255.254 && ip -n a -6 route add default via 2001:db8::fe')

const self: Node = { name: 'a', addresses: ['10.0.0.1', '2001:db8::1'], podCIDRs: ['10.244.1.0/24', 'fd00:10:244:1::/64'] }
const wishes: Wishes = { vni: 1, port: 8472, underlay: undefined, mtu: undefined, directRouting: false, masquerade: true, nonMasqueradeCIDRs: [], clusterCIDRs: [], checksumOffload: undefined }

// Addresses and networks of every kind that the registries know, and beside, around and at the edges of what the node has.
const ADDRESSES = ['10.0.0.2', '10.0.0.0', '10.255.255.255', '10.255.255.254', '10.244.1.0', '10.244.2.0', '10.244.2.3', '198.51.100.4', '2001:db8::2', '2001:db8::', '2001:db8:1::2', '2001:db8::fe', '::ffff:10.0.0.9', '127.0.0.1', '0.0.0.0', '224.0.0.1', '255.255.255.255', '240.0.0.1', '169.254.1.1', 'fe80::1', 'ff02::1', '::', '::1', 'fec0::1', '2002::1', '64:ff9b::1', 'fd00::9']
const NETWORKS = ['10.244.2.0/24', '10.0.0.0/24', '10.0.0.0/30', '10.0.0.4/30', '10.255.255.252/30', '10.255.255.0/24', '10.244.2.0/31', '198.51.100.0/24', '192.168.0.0/16', '100.64.0.0/10', '0.0.0.0/0', '127.1.0.0/16', '169.254.2.0/24', '224.1.0.0/16', '240.1.0.0/16', '255.255.255.252/30', '1.0.0.0/8', '223.255.255.0/24', '2001:db8::/64', '2001:db8::/126', '2001:db8::2:0/112', '2001:db8::2:100/126', '2001:db8:0:0:8000::/65', '2001:db8:1::/64', 'fd00:10:244:2::/64', 'fd00:10:244:2::/126', 'fe80:1::/64', 'fe80::/64', 'ff05::/64', '::/64', '::/0', '100::/64', '2000::/3', 'fec0::/64', '2002::/64', 'fc00::/8']

const claims = fc.record({ addresses: fc.array(fc.constantFrom(...ADDRESSES), { maxLength: 3 }), podCIDRs: fc.array(fc.constantFrom(...NETWORKS), { maxLength: 3 }) })
const ROUNDS = 25

for (const underlay of ['10.0.0.1', '2001:db8::1'])
  for (const directRouting of [false, true])
    t.test(`over ${underlay}${directRouting ? ', direct' : ''}: what is made of what nodes say, the kernel takes`, async (t) => {
      let peers = 0
      const samples = fc.sample(fc.array(claims, { minLength: 1, maxLength: 8 }), { numRuns: ROUNDS, seed: 7 })
      for (const all of samples) {
        const nodes = new Map([self, ...all.map((one, i): Node => ({ name: `n${i}`, ...one, addresses: [...one.addresses, `10.0.9.${i}`, `2001:db8::9:${i}`].slice(i % 2) }))].map((one) => [one.name, one]))
        inside('a', (netns) => {
          const view = viewOf(netns, nodes, 'a', { ...wishes, underlay, directRouting })
          peers += view.peers.length
          const { failed } = verb.reconcile(netns, view.plan, realmOf('podwire.1'))
          if (failed.length > 0) t.fail(`${failed.map(({ sentence }) => sentence).join('; ')}\n${JSON.stringify(all)}`)
        })
      }
      t.ok(peers > ROUNDS, `${peers} peers`)
      for (const address of ['10.0.0.2', '10.255.255.254', '2001:db8::fe']) t.notMatch(on('a', `ip route get ${address}`), 'podwire.1', `${address} is reached past the overlay`)
      t.same(inside('a', (netns) => verb.uninstall(netns, realmOf('podwire.1'))), [])
    })

t.test('towards the cluster\'s networks pods keep their addresses, those of nodes to come among them', async (t) => {
  const clusterCIDRs = ['10.244.0.0/16', 'fd00:10:244::/48']
  const { plan } = inside('a', (netns) => viewOf(netns, new Map([['a', self]]), 'a', { ...wishes, clusterCIDRs }))
  t.match(plan.filter(({ fact }) => fact === 'set'), [{ elements: ['10.244.0.0/16', '224.0.0.0/4'] }, { elements: ['fd00:10:244::/48', 'ff00::/8'] }])
  t.throws(() => inside('a', (netns) => viewOf(netns, new Map([['a', self]]), 'a', { ...wishes, clusterCIDRs: ['10.0.0.0/8', 'fd00::/8'] })), { message: /its address 10\.0\.0\.1 is inside the cluster's networks/ })
})
t.teardown(() => ip('netns del a'))
