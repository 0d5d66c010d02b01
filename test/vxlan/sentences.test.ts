// What the overlay's plan says, typed in a shell, makes the same kernel as the agent does; and what `podwire status` says to
// what is wrong, typed, repairs it.
//
//   made (reconcile) ── u0      typed (a shell) ── u0      two namespaces with one address, on no common wire

import { ip } from '../world.ts'
import t from 'tap'
import type { Plan } from '../../src/facts.ts'
import { show } from '../../src/show.ts'
import * as verb from '../../src/reconcile.ts'
import type { Node } from '../../src/vxlan/node.ts'
import { overlay, realmOf, type OverlayOptions } from '../../src/vxlan/overlay.ts'
import { peersOf, type Underlay } from '../../src/vxlan/peers.ts'
import { DAMAGES } from './damages.ts'
import { inside, kernel, node, on } from './nodes.ts'

const REALM = realmOf('podwire.1')
const options: OverlayOptions = { vni: 1, port: 8472, mtu: undefined, directRouting: false, checksumOffload: undefined, masquerade: true, nonMasqueradeCIDRs: ['10.0.0.0/9', '203.0.113.7/32', '10.255.255.0/24'], uplinks: [], advertised: [] }
const over4: Underlay = { local: '192.0.2.1', dev: 'u0', mtu: 1500, onLink: ['192.0.2.0/24', '2001:db8::/64'] }
const over6: Underlay = { ...over4, local: '2001:db8::1' }
const nodes = [node('a', 1), node('b', 2), node('c', 3, { addresses: ['198.51.100.3', '2001:db8:1::3'] })]

function plan(underlay: Underlay, more: Partial<OverlayOptions> = {}, cluster: Node[] = nodes): Plan {
  const self = cluster[0]!
  const { peers } = peersOf(self, new Map(cluster.map((one) => [one.name, one])), underlay)
  return overlay(self, self.podCIDRs, underlay, peers, { ...options, ...more })
}

const PLANS: [string, Plan][] = [
  ['over IPv4', plan(over4)],
  ['over IPv6', plan(over6)],
  ['direct where there is no router between', plan(over4, { directRouting: true })],
  ['an address on lo, another port, no masquerading', plan({ ...over4, dev: undefined }, { port: 4789, masquerade: false })],
  ['pods inside of the underlay\'s network', plan(over4, {}, nodes.map((one, i) => ({ ...one, podCIDRs: [`192.0.2.${64 + 32 * i}/27`, `2001:db8::${i + 1}:0/112`] })))],
  ['IPv4 pods alone', plan(over4, {}, nodes.map((one) => ({ ...one, podCIDRs: one.podCIDRs.slice(0, 1) })))],
  ['IPv6 pods alone, from the first network to the last', plan(over4, { nonMasqueradeCIDRs: ['::/16', 'ff00::/8', 'fe80::/10', '0.0.0.0/8', '255.255.255.255/32'] }, nodes.map((one) => ({ ...one, podCIDRs: one.podCIDRs.slice(1) })))],
]

for (const name of ['made', 'typed']) {
  ip(`netns add ${name} && ip -n ${name} link set lo up && ip -n ${name} link add u0 type veth peer name far && ip -n ${name} link set u0 up && ip -n ${name} link set far up`)
  ip(`-n ${name} addr add 192.0.2.1/24 dev u0 && ip -n ${name} addr add 2001:db8::1/64 dev u0 nodad && ip -n ${name} route add default via 192.0.2.254 && ip -n ${name} -6 route add default via 2001:db8::fe`)
}

const reconcile = (where: string, facts: Plan) => inside(where, (netns) => verb.reconcile(netns, facts, REALM).failed)
const compare = (where: string, facts: Plan) => inside(where, (netns) => verb.compare(netns, facts, REALM))
const uninstall = (where: string) => inside(where, (netns) => verb.uninstall(netns, REALM))

/** Types what is said to be wrong, until nothing is: a device that was made anew or was down has lost what stood on it. */
function type(facts: Plan): void {
  for (let round = 1; round <= 3; round++) {
    const wrong = compare('typed', facts)
    if (wrong.length === 0) return
    on('typed', `set -e\n${wrong.map(({ repair }) => repair).join('\n')}`)
  }
}

for (const [what, facts] of PLANS)
  t.test(`the lines of a plan make what it makes: ${what}`, async (t) => {
    t.same(reconcile('made', facts), [])
    on('typed', `set -e\n${facts.map((fact) => show(fact)).join('\n')}`)
    t.match(kernel('typed'), 'podwire.1: <BROADCAST,MULTICAST,UP,LOWER_UP>')
    t.equal(kernel('typed'), kernel('made'))
    for (const where of ['made', 'typed']) t.same(compare(where, facts), [], 'and both are as the plan says')
    for (const where of ['made', 'typed']) t.same(uninstall(where), [])
    for (const name of ['made', 'typed']) t.notMatch(kernel(name), /vxlan|proto 119|table inet/, 'all of it goes')
  })

// From one plan to the other, as when nodes, their addresses or options change.
const [b, c] = [nodes[1]!, nodes[2]!]
const CHANGES: [string, Plan, Plan][] = [
  ['a node came', plan(over4, {}, [nodes[0]!, b]), plan(over4)],
  ['a node went', plan(over4), plan(over4, {}, [nodes[0]!, b])],
  ['a node has another address', plan(over4), plan(over4, {}, [nodes[0]!, { ...b, addresses: ['192.0.2.22'] }, c])],
  ['a node has other networks', plan(over4), plan(over4, {}, [nodes[0]!, { ...b, podCIDRs: ['10.244.9.0/24', 'fd00:10:244:9::/64'] }, c])],
  ['two nodes have changed networks', plan(over4), plan(over4, {}, [nodes[0]!, { ...b, podCIDRs: c.podCIDRs }, { ...c, podCIDRs: b.podCIDRs }])],
  ['a node has another name', plan(over4), plan(over4, {}, [nodes[0]!, { ...b, name: 'bb' }, c])],
  ['this node has other networks', plan(over4), plan(over4, {}, [{ ...nodes[0]!, podCIDRs: ['10.244.8.0/24', 'fd00:10:244:8::/64'] }, b, c])],
  ['this node has another name', plan(over4), plan(over4, {}, [{ ...nodes[0]!, name: 'aa' }, b, c])],
  ['the underlay has another address', plan({ ...over4, local: '192.0.2.9' }), plan(over4)],
  ['the underlay has another MTU', plan(over4), plan({ ...over4, mtu: 1400 })],
  ['direct routing is switched on', plan(over4), plan(over4, { directRouting: true })],
  ['direct routing is switched off', plan(over4, { directRouting: true }), plan(over4)],
  ['the underlay becomes IPv6', plan(over4), plan(over6)],
  ['another port', plan(over4), plan(over4, { port: 4789 })],
  ['the address moves to lo', plan(over4), plan({ ...over4, dev: undefined })],
  ['other networks are not masqueraded', plan(over4), plan(over4, { nonMasqueradeCIDRs: ['203.0.113.0/24'] })],
]

for (const [what, before, after] of CHANGES)
  t.test(`what is said to be typed makes one plan of another: ${what}`, async (t) => {
    for (const where of ['made', 'typed']) t.same(reconcile(where, before), [])
    t.same(reconcile('made', after), [])
    type(after)
    t.same(compare('typed', after), [])
    t.same(compare('made', after), [])
    t.equal(kernel('typed'), kernel('made'))
    for (const where of ['made', 'typed']) t.same(uninstall(where), [])
  })

let whole = ''
for (const damage of DAMAGES)
  t.test(`what is said to be typed repairs: ${damage}`, async (t) => {
    const facts = plan(over4)
    t.same(reconcile('typed', facts), [])
    whole ||= kernel('typed')
    on('typed', damage)
    t.ok(compare('typed', facts).length > 0, 'it is seen')
    type(facts)
    t.same(compare('typed', facts), [])
    t.equal(kernel('typed'), whole)
    t.same(uninstall('typed'), [])
  })

// Each begins where the last one should have ended.
t.beforeEach(() => ['made', 'typed'].forEach((where) => uninstall(where)))
t.teardown(() => ip('netns del made && ip netns del typed'))
