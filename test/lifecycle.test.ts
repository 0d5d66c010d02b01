// An attachment's life when things are not as they should be: DEL after anything, ADD twice, GC, STATUS.

import { writeFileSync } from 'node:fs'
import { call, directory, ip, netns, nft, sh, works } from './world.ts'
import t from 'tap'

const conf = { cniVersion: '1.1.0', name: 'podnet', type: 'ptp', ipMasq: true, ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]], routes: [{ dst: '0.0.0.0/0' }] } }
const leases = () => sh('ls /var/lib/cni/networks/podnet 2>/dev/null | grep -E "^(10|fd)" || true').split('\n').filter(Boolean)
const elements = () => (works('nft list table inet podwire') ? sh('nft list table inet podwire | grep -o " : goto" | wc -l') : '0')
const veths = () => sh('ip -br link show type veth | wc -l')
const nothing = (t: { same: (a: unknown, b: unknown, m: string) => unknown }) => t.same([leases(), elements(), veths()], [[], '0', '0'], 'nothing is left')

t.beforeEach(() => void netns('pod'))
t.afterEach(() => sh('ip netns del pod 2>/dev/null; rm -rf /var/lib/cni; nft flush ruleset; true'))

for (const [name, path, prepare] of [
  ['empty', '', ''],
  ['missing', '/run/netns/gone', ''],
  ['a plain file', '/run/file', 'touch /run/file'],
  ['a directory', '/run/directory', 'mkdir -p /run/directory'],
] as const)
  t.test(`DEL with CNI_NETNS ${name}`, async (t) => {
    sh(prepare || 'true')
    t.equal(call('ptp', 'ADD', conf).status, 0)
    const deleted = call('ptp', 'DEL', conf, { netns: path })
    t.same([deleted.status, deleted.stdout], [0, ''])
    nothing(t)
  })

t.test('DEL of a pod whose namespace went first, repeated, and of a container that never was', async (t) => {
  const added = call('ptp', 'ADD', conf)
  ip('netns del pod')
  for (const config of [{ ...conf, prevResult: added.json }, conf, conf]) t.equal(call('ptp', 'DEL', config, { netns: '' }).status, 0)
  t.equal(call('ptp', 'DEL', conf, { container: 'never' }).status, 0)
  nothing(t)
})

t.test('DEL with a configuration that has become invalid, and a prevResult that is rubbish', async (t) => {
  call('ptp', 'ADD', conf)
  const broken = { ...conf, mtu: 'big', ipam: { ...conf.ipam, ranges: 7 }, prevResult: { ips: 'x' } }
  t.match(call('ptp', 'CHECK', broken).json, { code: 7 })
  const deleted = call('ptp', 'DEL', broken)
  t.equal(deleted.status, 0, deleted.stdout)
  t.match(deleted.stderr, /mtu is "big"/)
  nothing(t)
})

t.test("DEL takes the pod's end that another plugin wired under another host name", async (t) => {
  ip('link add veth12345678 type veth peer name eth0 netns pod')
  t.equal(call('ptp', 'DEL', conf).status, 0)
  t.equal(veths(), '0')
})

t.test('ADD refuses what exists, and leases nothing', async (t) => {
  ip('link add other type veth peer name eth0 netns pod')
  t.match(call('ptp', 'ADD', conf).json, { code: 101, msg: /interface eth0 already exists in the container's network namespace/ })
  ip('link del other')
  call('ptp', 'ADD', conf)
  netns('pod2')
  t.match(call('ptp', 'ADD', conf, { netns: '/run/netns/pod2' }).json, { code: 101, msg: /container c1 already has an interface eth0/ })
  t.same(leases(), ['10.1.2.2', 'fd00:1::2'])
  call('ptp', 'DEL', conf)
  ip('netns del pod2')
  nothing(t)
})

t.test('a namespace that is none, and our own', async (t) => {
  sh('touch /run/file')
  t.match(call('ptp', 'ADD', conf, { netns: '/run/netns/gone' }).json, { code: 4, msg: /CNI_NETNS="\/run\/netns\/gone": there is no such file/ })
  t.match(call('ptp', 'ADD', conf, { netns: '/run/file' }).json, { code: 4, msg: /is not a network namespace/ })
  t.match(call('ptp', 'ADD', conf, { netns: '/proc/self/ns/net' }).json, { code: 8 })
  nothing(t)
})

t.test('IPv6 asked for on a node whose interfaces are told to have none: those of pods have it', async (t) => {
  sh('echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6')
  const added = call('ptp', 'ADD', conf)
  t.equal(added.status, 0, added.stdout)
  t.equal(call('ptp', 'CHECK', { ...conf, prevResult: added.json }).stdout, '')
  t.ok(works('ip netns exec pod ping -c1 -W2 fd00:1::1 && ping -c1 -W2 fd00:1::2'), 'the pod and the node reach each other')
  call('ptp', 'DEL', conf)
  sh('echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6')
  nothing(t)
})

t.test('requested MAC addresses: runtimeConfig before args before CNI_ARGS', async (t) => {
  const mac = (config: object) => {
    const added = call('ptp', 'ADD', config, { args: 'IgnoreUnknown=1;MAC=02:00:00:00:00:03' })
    const there = JSON.parse(ip('-n pod -j link show eth0'))[0].address
    t.equal(added.json.interfaces[1].mac, there)
    call('ptp', 'DEL', conf)
    return there
  }
  t.equal(mac(conf), '02:00:00:00:00:03')
  t.equal(mac({ ...conf, args: { cni: { mac: '02:00:00:00:00:02' } } }), '02:00:00:00:00:02')
  t.equal(mac({ ...conf, args: { cni: { mac: '02:00:00:00:00:02' } }, runtimeConfig: { mac: '02:00:00:00:00:01' } }), '02:00:00:00:00:01')
  t.equal(mac({ ...conf, runtimeConfig: { mac: '02-00-00-00-00-0A' } }), '02:00:00:00:00:0a', 'in whatever spelling')
})

t.test("an element is taken back by its owner only, and a former holder's is taken over", async (t) => {
  call('ptp', 'ADD', conf)
  nft("delete element inet podwire masquerade_ip '{ 10.1.2.2 }'")
  nft('add chain inet podwire elsewhere')
  nft(`add element inet podwire masquerade_ip '{ 10.1.2.2 comment "podnet/newer/eth0" : goto elsewhere }'`)
  t.equal(call('ptp', 'DEL', conf).status, 0)
  t.match(nft('list map inet podwire masquerade_ip'), 'podnet/newer/eth0', "a newer container's element stays")
  sh('rm /var/lib/cni/networks/podnet/last_reserved_ip.0')
  t.equal(call('ptp', 'ADD', conf, { container: 'c3' }).status, 0)
  t.match(nft('list map inet podwire masquerade_ip'), '10.1.2.2 comment "podnet/c3/eth0"', 'who has the lease has the element')
  call('ptp', 'DEL', conf, { container: 'c3' })
  nothing(t)
})

t.test('a chain that was changed by hand is found by CHECK and mended by the next ADD', async (t) => {
  const added = call('ptp', 'ADD', conf)
  nft('flush chain inet podwire postrouting')
  t.match(call('ptp', 'CHECK', { ...conf, prevResult: added.json }).json, { code: 102, msg: /nft chain inet podwire postrouting lacks the rule "ip saddr vmap @masquerade_ip"/ })
  nft('add rule inet podwire postrouting ip saddr vmap @masquerade_ip')
  nft('add rule inet podwire postrouting ip6 saddr vmap @masquerade_ip6')
  nft('add rule inet podwire postrouting counter')
  t.match(call('ptp', 'CHECK', { ...conf, prevResult: added.json }).json, { code: 102, msg: /postrouting has a rule too many, or out of place: "\[ counter \]"/ })
  netns('pod2')
  call('ptp', 'ADD', conf, { container: 'c2', netns: '/run/netns/pod2' })
  t.equal(call('ptp', 'CHECK', { ...conf, prevResult: added.json }).status, 0)
  call('ptp', 'DEL', conf)
  call('ptp', 'DEL', conf, { container: 'c2', netns: '/run/netns/pod2' })
  ip('netns del pod2')
  nothing(t)
})

t.test('GC removes what its list does not name, and without a list only what is provably dead', async (t) => {
  for (const n of [1, 2, 3]) call('ptp', 'ADD', conf, { container: `c${n}`, netns: netns(`gc${n}`) })
  const other = { ...conf, name: 'other', ipam: { type: 'host-local', subnet: '10.8.0.0/24' } }
  call('ptp', 'ADD', other, { container: 'o1' })
  t.equal(leases().length, 6)
  sh('ip netns del gc3')
  sh('until [ "$(ip -br link show type veth | wc -l)" = 3 ]; do sleep 0.01; done')
  t.equal(call('ptp', 'GC', conf).status, 0)
  t.equal(leases().length, 6, 'a lease younger than a minute stays: its ADD may be under way')
  sh('touch -d "2 minutes ago" /var/lib/cni/networks/podnet/*')
  t.equal(call('ptp', 'GC', conf).status, 0)
  t.same(leases(), ['10.1.2.2', '10.1.2.3', 'fd00:1::2', 'fd00:1::3'], 'the dead one is gone, the living ones stay')
  t.equal(call('ptp', 'GC', { ...conf, 'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: 'eth0' }] }).status, 0)
  t.same([leases(), elements(), veths()], [['10.1.2.2', 'fd00:1::2'], '3', '2'], 'c2 is gone, namespace and all; c1 and the other network are not')
  t.equal(call('ptp', 'GC', { ...conf, 'cni.dev/attachments': [] }).status, 0)
  t.equal(call('ptp', 'DEL', other, { container: 'o1' }).status, 0)
  sh('ip netns del gc1; ip netns del gc2')
  nothing(t)
})

t.test('STATUS tells the truth', async (t) => {
  t.equal(call('ptp', 'STATUS', conf).status, 0)
  call('ptp', 'ADD', conf)
  t.equal(call('ptp', 'STATUS', conf).status, 0)
  sh('echo 0 > /proc/sys/net/ipv4/ip_forward')
  t.match(call('ptp', 'STATUS', conf).json, { code: 51, msg: /ip_forward is 0/ })
  sh('echo 1 > /proc/sys/net/ipv4/ip_forward')
  nft('flush ruleset')
  t.match(call('ptp', 'STATUS', conf).json, { code: 51, msg: /nft table inet podwire is missing/ })
  call('ptp', 'DEL', conf)
  const small = { ...conf, ipam: { type: 'host-local', subnet: '10.6.0.0/30', dataDir: directory('/run/small') } }
  call('ptp', 'ADD', small)
  t.match(call('ptp', 'STATUS', small).json, { code: 50, details: /1 of 1 addresses are held/ })
  call('ptp', 'DEL', small)
  writeFileSync('/run/plain', '')
  t.match(call('ptp', 'STATUS', { ...conf, ipam: { ...conf.ipam, dataDir: '/run/plain' } }).json, { code: 50 })
})

t.test('what is printed is the result in the version asked for', async (t) => {
  const old = call('ptp', 'ADD', { ...conf, cniVersion: '0.2.0' })
  t.match(old.json, { cniVersion: '0.2.0', ip4: { ip: '10.1.2.2/24', gateway: '10.1.2.1' }, ip6: { ip: 'fd00:1::2/64' } })
  call('ptp', 'DEL', conf)
  t.match(call('ptp', 'ADD', { ...conf, cniVersion: '0.4.0' }).json, { ips: [{ version: '4' }, { version: '6' }], dns: {} })
  call('ptp', 'DEL', conf)
  nothing(t)
})
