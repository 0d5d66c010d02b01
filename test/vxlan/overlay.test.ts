// The overlay as a plan: nodes and options to the lines that an operator would type.

import t from 'tap'
import { show } from '../../src/show.ts'
import type { Node } from '../../src/vxlan/node.ts'
import { overlay, type OverlayOptions } from '../../src/vxlan/overlay.ts'
import { peersOf, type Underlay } from '../../src/vxlan/peers.ts'

const node = (name: string, n: number): Node => ({ name, addresses: [`192.0.2.${n}`, `2001:db8::${n}`], podCIDRs: [`10.244.${n}.0/24`, `fd00:10:244:${n}::/64`] })
const underlays = {
  4: { local: '192.0.2.1', dev: 'eth0', mtu: 1500, onLink: ['192.0.2.0/24', '2001:db8::/64'] },
  6: { local: '2001:db8::1', dev: 'eth0', mtu: 1500, onLink: ['192.0.2.0/24', '2001:db8::/64'] },
} satisfies Record<string, Underlay>
const plain: OverlayOptions = { vni: 1, port: 8472, mtu: undefined, directRouting: false, masquerade: true, nonMasqueradeCIDRs: [], checksumOffload: undefined, uplinks: [], advertised: [] }

/** The plan of node a in a cluster of nodes, whose pods have these families. */
function plan(nodes: Node[], underlay: Underlay, options: Partial<OverlayOptions> = {}, families = [4, 6]) {
  const some = nodes.map((one) => ({ ...one, podCIDRs: one.podCIDRs.filter((cidr) => families.includes(cidr.includes(':') ? 6 : 4)) }))
  const self = some[0]!
  const { peers } = peersOf(self, new Map(some.map((one) => [one.name, one])), underlay)
  return overlay(self, self.podCIDRs, underlay, peers, { ...plain, ...options })
}

const lines = (...args: Parameters<typeof plan>): string => plan(...args).map((fact) => show(fact)).join('\n')

t.test('two nodes, pods of both families, over IPv4', async (t) => {
  t.equal(
    lines([node('a', 1), node('b', 2)], underlays[4]),
    `
sysctl -qew net/ipv4/ip_forward_use_pmtu=1
sysctl -qw net/ipv4/ip_forward=1
sysctl -qw net/ipv6/conf/all/forwarding=1
ip link add podwire.1 address 0a:e4:e8:dd:94:13 mtu 1450 type vxlan id 1 dstport 8472 local 192.0.2.1 dev eth0 nolearning df inherit
sysctl -qew net/ipv6/conf/podwire.1/addr_gen_mode=1
sysctl -qew net/ipv6/conf/podwire.1/accept_ra=0
sysctl -qw net/ipv4/conf/podwire.1/forwarding=1
sysctl -qw net/ipv6/conf/podwire.1/disable_ipv6=0
ip link set podwire.1 up
ip addr add 10.244.1.0/32 dev podwire.1
ip addr add fd00:10:244:1::/128 dev podwire.1 nodad
bridge fdb add e6:64:13:21:c6:3b dev podwire.1 dst 192.0.2.2 self permanent
ip neigh add 10.244.2.0 lladdr e6:64:13:21:c6:3b dev podwire.1 nud permanent
ip neigh add fd00:10:244:2:: lladdr e6:64:13:21:c6:3b dev podwire.1 nud permanent
ip route add 10.244.2.0/24 via 10.244.2.0 dev podwire.1 onlink proto 119
ip -6 route add fd00:10:244:2::/64 via fd00:10:244:2:: dev podwire.1 onlink proto 119
nft add table inet podwire
nft add set inet podwire cluster_ip '{ type ipv4_addr ; flags interval ; }'
nft add element inet podwire cluster_ip '{ 10.244.1.0-10.244.2.255, 224.0.0.0/4 }'
nft add set inet podwire cluster_ip6 '{ type ipv6_addr ; flags interval ; }'
nft add element inet podwire cluster_ip6 '{ fd00:10:244:1::-fd00:10:244:2:ffff:ffff:ffff:ffff, ff00::/8 }'
nft add chain inet podwire overlay '{ type nat hook postrouting priority srcnat ; policy accept ; }'
nft add rule inet podwire overlay ip daddr @cluster_ip return
nft add rule inet podwire overlay ip6 daddr @cluster_ip6 return
nft add rule inet podwire overlay ip saddr 10.244.1.0/24 masquerade fully-random
nft add rule inet podwire overlay ip6 saddr fd00:10:244:1::/64 masquerade fully-random`.trim(),
  )
})

// What of the plan says how b's pods are reached, for each underlay, pods' families and directRouting.
const mac = 'e6:64:13:21:c6:3b'
const neigh = { 4: `ip neigh add 10.244.2.0 lladdr ${mac} dev podwire.1 nud permanent`, 6: `ip neigh add fd00:10:244:2:: lladdr ${mac} dev podwire.1 nud permanent` }
const through = { 4: 'ip route add 10.244.2.0/24 via 10.244.2.0 dev podwire.1 onlink proto 119', 6: 'ip -6 route add fd00:10:244:2::/64 via fd00:10:244:2:: dev podwire.1 onlink proto 119' }
const direct = { 4: 'ip route add 10.244.2.0/24 via 192.0.2.2 dev eth0 proto 119', 6: 'ip -6 route add fd00:10:244:2::/64 via 2001:db8::2 dev eth0 proto 119' }

for (const below of [4, 6] as const)
  for (const families of [[4], [6], [4, 6]] as (4 | 6)[][])
    for (const directRouting of [false, true])
      t.test(`over IPv${below}, pods of IPv${families.join(' and IPv')}${directRouting ? ', direct' : ''}`, async (t) => {
        const text = lines([node('a', 1), node('b', 2)], underlays[below], { directRouting }, families)
        const fdb = `bridge fdb add ${mac} dev podwire.1 dst ${below === 4 ? '192.0.2.2' : '2001:db8::2'} self permanent`
        const wanted = directRouting ? families.map((family) => direct[family]) : [fdb, ...families.map((family) => neigh[family]), ...families.map((family) => through[family])]
        t.same(text.split('\n').filter((line) => /^ip neigh|^bridge|route add/.test(line)), wanted)
        t.match(text, ` mtu ${below === 4 ? 1450 : 1430} type vxlan id 1 dstport 8472 local ${underlays[below].local} dev eth0 `)
        t.equal(text.includes('sysctl -qw net/ipv4/ip_forward=1'), families.includes(4))
        t.equal(text.includes('sysctl -qw net/ipv6/conf/all/forwarding=1'), families.includes(6))
        t.same(text.match(/(?<=ip addr add )\S+/g), families.map((family) => ({ 4: '10.244.1.0/32', 6: 'fd00:10:244:1::/128' })[family]))
      })

t.test('directRouting takes the overlay to nodes behind a router, and for the family that has no address', async (t) => {
  const far = { ...node('b', 2), addresses: ['198.51.100.2'] }
  t.match(lines([node('a', 1), far], underlays[4], { directRouting: true }), `bridge fdb add ${mac} dev podwire.1 dst 198.51.100.2`)
  const half = lines([node('a', 1), { ...node('b', 2), addresses: ['192.0.2.2'] }], underlays[4], { directRouting: true })
  for (const line of [direct[4], through[6], neigh[6]]) t.match(half, line)
  t.notMatch(half, neigh[4])
})

t.test('IPv6 pods inside of the underlay\'s own network: the VTEP address has a route of its own, since the kernel wants no gateway of another interface', async (t) => {
  const inner = (name: string, n: number): Node => ({ ...node(name, n), podCIDRs: [`192.0.2.${64 + 32 * n}/27`, `2001:db8::${n}:0/112`] })
  const routes = (options: Partial<OverlayOptions>) => lines([inner('a', 1), inner('b', 2)], underlays[4], options).split('\n').filter((line) => line.includes('route add'))
  t.same(routes({}), ['ip -6 route add 2001:db8::2:0/128 dev podwire.1 proto 119', 'ip route add 192.0.2.128/27 via 192.0.2.128 dev podwire.1 onlink proto 119', 'ip -6 route add 2001:db8::2:0/112 via 2001:db8::2:0 dev podwire.1 onlink proto 119'])
  t.same(routes({ directRouting: true }), ['ip route add 192.0.2.128/27 via 192.0.2.2 dev eth0 proto 119', 'ip -6 route add 2001:db8::2:0/112 via 2001:db8::2 dev eth0 proto 119'])
})

t.test('options', async (t) => {
  const with_ = (options: Partial<OverlayOptions>, underlay: Underlay = underlays[4]) => lines([node('a', 1), node('b', 2)], underlay, options)
  t.match(with_({ vni: 42, port: 4789 }), /ip link add podwire\.42 .* type vxlan id 42 dstport 4789/)
  t.not(/address (\S+)/.exec(with_({ vni: 42 }))![1], /address (\S+)/.exec(with_({}))![1], 'each VNI has its own MAC address')
  t.match(with_({ mtu: 1300 }), ' mtu 1300 type vxlan')
  t.match(with_({}, { ...underlays[4], mtu: 9000 }), ' mtu 8950 type vxlan')
  t.match(with_({}, { ...underlays[6], mtu: 9000 }), ' mtu 8930 type vxlan')
  t.notMatch(with_({ masquerade: false }), 'nft')
  t.match(with_({ nonMasqueradeCIDRs: ['10.0.0.0/8', '203.0.113.7/32'] }), /cluster_ip '\{ 10\.0\.0\.0\/8, 203\.0\.113\.7(\/32)?, 224/)
  t.match(with_({ advertised: ['eth0'] }), 'sysctl -qew net/ipv6/conf/eth0/accept_ra=2\nsysctl -qw net/ipv6/conf/all/forwarding=1')
  const onLo = with_({ directRouting: true }, { local: '192.0.2.1', dev: undefined, mtu: 1500, onLink: [] })
  t.match(onLo, 'local 192.0.2.1 nolearning')
  t.match(onLo, through[4], 'and nothing is direct without an interface')
})

t.test('a peer that stays as it is has the same facts, the very objects', async (t) => {
  const [a, b, c] = [node('a', 1), node('b', 2), node('c', 3)]
  const of = (...nodes: Node[]) => {
    const { peers } = peersOf(a, new Map([a, ...nodes].map((one) => [one.name, one])), underlays[4])
    return overlay(a, a.podCIDRs, underlays[4], peers, plain).filter((fact) => 'dev' in fact && 'keep' in fact && show(fact).includes('10.244.2.0'))
  }
  const before = of(b)
  t.equal(before.length, 2, 'a neighbour and a route')
  for (const after of [of(b, c), of(c, b), of(b)]) for (const [i, fact] of after.entries()) t.equal(fact, before[i])
  t.not(of({ ...b, addresses: ['192.0.2.9'] })[0], before[0])
})
