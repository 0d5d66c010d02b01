// Plans: a configuration and leases in, the lines an operator would type out. Pure: no kernel.

import t from 'tap'
import { show } from '../src/show.ts'
import { ptp } from '../src/ptp/ptp.ts'
import type { Wiring } from '../src/wire.ts'
import { wiring } from './wiring.ts'

const pod = wiring('ptp')
const plan = (changes: Partial<Wiring> = {}) => ptp.plan({ ...pod, ...changes }).map((fact) => show(fact)).filter(Boolean).join('\n')
const lines = (changes: Partial<Wiring>, part: string) => plan(changes).split('\n').filter((line) => line.includes(part))

t.test('an IPv4 pod', async (t) => {
  t.equal(
    plan(),
    `sysctl -qw net/ipv4/ip_forward=1
ip link add vethec43057c07a address a6:1f:88:26:64:a6 mtu 1450 type veth peer name eth0 address 5e:ed:7b:18:44:e3 mtu 1450 netns pod
ip link set vethec43057c07a alias podnet/c1/eth0
sysctl -qew net/ipv6/conf/vethec43057c07a/accept_ra=0
sysctl -qw net/ipv4/conf/vethec43057c07a/forwarding=1
sysctl -qew net/ipv4/conf/vethec43057c07a/arp_announce=2
ip link set vethec43057c07a up
ip -n pod addr add 10.1.2.3/24 dev eth0 noprefixroute
ip -n pod link set eth0 up
ip -n pod route add 10.1.2.1/32 dev eth0 src 10.1.2.3 scope link
ip -n pod route add 10.1.2.0/24 via 10.1.2.1 dev eth0 src 10.1.2.3
ip -n pod route add default via 10.1.2.1 dev eth0
ip -n pod neigh add 10.1.2.1 lladdr a6:1f:88:26:64:a6 dev eth0 nud permanent
ip addr add 10.1.2.1/32 dev vethec43057c07a
ip route add 10.1.2.3/32 dev vethec43057c07a scope host`,
  )
})

t.test('an IPv6 pod: no duplicate address detection, and its namespace set up for it', async (t) => {
  const ips = [{ address: 'fd00:1::3/64', gateway: 'fd00:1::1' }]
  t.equal(
    plan({ ips, routes: [{ dst: '::/0' }], advertised: ['uplink0'] }),
    `sysctl -qew net/ipv6/conf/uplink0/accept_ra=2
sysctl -qw net/ipv6/conf/all/forwarding=1
ip link add vethec43057c07a address a6:1f:88:26:64:a6 mtu 1450 type veth peer name eth0 address 5e:ed:7b:18:44:e3 mtu 1450 netns pod
ip link set vethec43057c07a alias podnet/c1/eth0
sysctl -qew net/ipv6/conf/vethec43057c07a/accept_ra=0
sysctl -qw net/ipv6/conf/vethec43057c07a/disable_ipv6=0
sysctl -qew net/ipv6/conf/vethec43057c07a/accept_dad=0
sysctl -qew net/ipv6/conf/vethec43057c07a/addr_gen_mode=0
ip netns exec pod sysctl -qw net/ipv6/conf/eth0/disable_ipv6=0
ip netns exec pod sysctl -qew net/ipv6/conf/eth0/keep_addr_on_down=1
ip netns exec pod sysctl -qew net/ipv6/conf/eth0/accept_ra=0
ip link set vethec43057c07a up
ip -n pod addr add fd00:1::3/64 dev eth0 noprefixroute nodad
ip -n pod link set eth0 up
ip -n pod -6 route add fd00:1::1/128 dev eth0 src fd00:1::3
ip -n pod -6 route add fd00:1::/64 via fd00:1::1 dev eth0 src fd00:1::3
ip -n pod -6 route add default via fd00:1::1 dev eth0
ip -n pod neigh add fd00:1::1 lladdr a6:1f:88:26:64:a6 dev eth0 nud permanent
ip addr add fd00:1::1/128 dev vethec43057c07a nodad
ip -6 route add fd00:1::3/128 dev vethec43057c07a`,
  )
})

t.test('masquerading adds elements to maps and one chain for the list of networks that see the pod as it is', async (t) => {
  const conf = { ...pod.conf, ipMasq: true, nonMasqueradeCIDRs: ['10.0.0.0/8', 'fd00::/8'] }
  t.match(lines({ conf }, 'nft'), [
    'nft add table inet podwire',
    "nft add map inet podwire masquerade_ip '{ type ipv4_addr : verdict ; }'",
    "nft add map inet podwire masquerade_ip6 '{ type ipv6_addr : verdict ; }'",
    "nft add chain inet podwire postrouting '{ type nat hook postrouting priority srcnat ; policy accept ; }'",
    'nft add rule inet podwire postrouting ip saddr vmap @masquerade_ip',
    'nft add rule inet podwire postrouting ip6 saddr vmap @masquerade_ip6',
    /^nft add chain inet podwire outside_[0-9a-f]{8}$/,
    /ip daddr 10\.1\.2\.0\/24 return$/,
    /ip daddr 10\.0\.0\.0\/8 return$/,
    /ip6 daddr fd00::\/8 return$/,
    /ip daddr 224\.0\.0\.0\/4 return$/,
    /ip6 daddr ff00::\/8 return$/,
    /masquerade fully-random$/,
    /^nft add element inet podwire masquerade_ip '\{ 10\.1\.2\.3 comment "podnet\/c1\/eth0" : goto outside_[0-9a-f]{8} \}'$/,
  ])
})

t.test('IPAM routes keep their attributes', async (t) => {
  const routes = [
    { dst: '192.0.2.0/24', gw: '10.1.2.9', mtu: 1400, advmss: 1300, priority: 50, table: 100 },
    { dst: '198.51.100.0/24', scope: 253 },
    { dst: '203.0.113.7/24' },
  ]
  t.same(lines({ routes }, ' route add ').slice(2, 5), [
    'ip -n pod route add 192.0.2.0/24 via 10.1.2.9 dev eth0 table 100 metric 50 mtu 1400 advmss 1300 onlink',
    'ip -n pod route add 198.51.100.0/24 dev eth0 scope link',
    'ip -n pod route add 203.0.113.0/24 via 10.1.2.1 dev eth0',
  ])
})

t.test('equal routes are one, two ways to one place are two', async (t) => {
  const routes = [{ dst: '0.0.0.0/0' }, { dst: '0.0.0.0/0', gw: '10.1.2.1' }, { dst: '0.0.0.0/0', gw: '10.1.2.7' }]
  t.same(lines({ routes }, 'default'), ['ip -n pod route add default via 10.1.2.1 dev eth0', 'ip -n pod route append default via 10.1.2.7 dev eth0 onlink'])
})

t.test('two addresses of one subnet share its gateway and its route', async (t) => {
  const ips = [{ address: '10.1.2.3/24', gateway: '10.1.2.1' }, { address: '10.1.2.4/24', gateway: '10.1.2.1' }]
  t.equal(lines({ ips }, '10.1.2.0/24').length, 1)
  t.equal(lines({ ips }, 'addr add 10.1.2.1/32').length, 1)
  t.equal(lines({ ips }, 'scope host').length, 2)
})

t.test('a whole-length prefix has no subnet to route to', async (t) => {
  t.same(lines({ ips: [{ address: '10.1.2.3/32', gateway: '169.254.1.1' }] }, ' route add '), [
    'ip -n pod route add 169.254.1.1/32 dev eth0 src 10.1.2.3 scope link',
    'ip -n pod route add default via 169.254.1.1 dev eth0',
    'ip route add 10.1.2.3/32 dev vethec43057c07a scope host',
  ])
})

t.test('leases that do not fit are told before anything is made', async (t) => {
  t.same(ptp.problems({ ...pod, ips: [] }), ['IPAM plugin returned missing IP config: ptp needs at least one address'])
  t.match(ptp.problems({ ...pod, ips: [{ address: '10.1.2.3/24' }] }), [/gave no gateway for 10\.1\.2\.3\/24/])
  t.match(ptp.problems({ ...pod, mtu: 1000, ips: [{ address: 'fd00:1::3/64', gateway: 'fd00:1::1' }] }), [/mtu is 1000: expected at least 1280/])
})

t.test('a namespace by path is entered by nsenter, one in /run/netns by name', async (t) => {
  const sysctl = { fact: 'sysctl', in: 'pod', key: 'net/ipv6/conf/eth0/accept_ra', value: '0' } as const
  t.equal(show(sysctl, '/proc/7/ns/net'), 'nsenter --net=/proc/7/ns/net sysctl -qw net/ipv6/conf/eth0/accept_ra=0')
  t.equal(show(sysctl, 'pod'), 'ip netns exec pod sysctl -qw net/ipv6/conf/eth0/accept_ra=0')
})
