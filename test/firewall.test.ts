// firewall: who reaches whom, by packets.
//
//   a1, a2 ── cni0 ──┐
//   b1, b2 ── cni1 ──┼── this namespace (the node) ── far 192.0.2.2, 2001:db8::2
//   o1     ── cni2 ──┘
//   10.1.N.0/24, fd00:N::/64; far has routes to the pods

import { call, nft, sh, state, works } from './world.ts'
import t, { type Test } from 'tap'
import { firewall } from '../src/firewall/firewall.ts'
import { ask, server, silent } from './traffic.ts'

const NETWORKS: Record<string, { bridge: string; n: number }> = { a: { bridge: 'cni0', n: 1 }, b: { bridge: 'cni1', n: 2 }, o: { bridge: 'cni2', n: 3 } }
const PODS = ['a1', 'a2', 'b1', 'b2', 'o1']
const networkOf = (pod: string) => pod[0]!
const who = (pod: string) => ({ container: pod, netns: `/run/netns/${pod}` })

const bridgeConf = (network: string) => {
  const { bridge, n } = NETWORKS[network]!
  return { cniVersion: '1.1.0', name: network, type: 'bridge', bridge, isDefaultGateway: true, ipam: { type: 'host-local', ranges: [[{ subnet: `10.1.${n}.0/24` }], [{ subnet: `fd00:${n}::/64` }]], routes: [{ dst: '0.0.0.0/0' }] } }
}
const firewallConf = (network: string, keys: object, prevResult?: object) => ({ cniVersion: '1.1.0', name: network, type: 'firewall', ...keys, ...(prevResult && { prevResult }) })

/** Addresses by pod. */
const addresses: Record<string, string[]> = { far: ['192.0.2.2', '2001:db8::2'] }
const results: Record<string, any> = {}

/** A pod on its bridge with firewall behind it, or within the same entry. */
function add(pod: string, keys: object, within = false) {
  const conf = bridgeConf(networkOf(pod))
  const wired = call('bridge', 'ADD', within ? { ...conf, firewall: keys } : conf, who(pod))
  t.equal(wired.status, 0, wired.status === 0 ? 'bridge' : wired.stdout)
  const result = within ? wired : call('firewall', 'ADD', firewallConf(networkOf(pod), keys, wired.json), who(pod))
  t.equal(result.status, 0, result.status === 0 ? 'firewall' : result.stdout)
  addresses[pod] = wired.json.ips.map(({ address }: { address: string }) => address.replace(/\/.*/, ''))
  results[pod] = wired.json
  return result
}

function del(pod: string, within = false, more = {}) {
  if (!within) t.equal(call('firewall', 'DEL', firewallConf(networkOf(pod), {}), { ...who(pod), ...more }).stdout, '')
  t.equal(call('bridge', 'DEL', bridgeConf(networkOf(pod)), { ...who(pod), ...more }).stdout, '')
}

/** Whether each address answers, asked all at once. */
function reached(t: Test, expected: Record<string, string>): void {
  const pairs = Object.entries(expected).flatMap(([from, others]) => Object.keys(addresses).filter((to) => to !== from).map((to) => ({ from, to, want: others.split(' ').includes(to) ? 'yes' : 'no' })))
  const pings = pairs.flatMap(({ from, to, want }) => addresses[to]!.map((address) => `(ip netns exec ${from} ping -c1 -W${want === 'yes' ? 2 : 0.3} ${address} >&2 && echo "${from} ${to} yes" || echo "${from} ${to} no") &`))
  const seen = new Set(sh(`${pings.join('\n')}\nwait`).split('\n'))
  for (const { from, to, want } of pairs) t.same(['yes', 'no'].filter((answer) => seen.has(`${from} ${to} ${answer}`)), [want], `${from} to ${to}`)
}

for (const name of ['far', ...PODS]) sh(`ip netns add ${name} && ip -n ${name} link set lo up`)
sh(`ip link add u0 up type veth peer name eth0 netns far && ip link set u0 addrgenmode none && ip addr add 192.0.2.1/24 dev u0 && ip addr add 2001:db8::1/64 dev u0 nodad && ip addr add fe80::1/64 dev u0 nodad
ip -n far link set eth0 up && ip -n far addr add 192.0.2.2/24 dev eth0 && ip -n far addr add 2001:db8::2/64 dev eth0 nodad
ip -n far route add default via 192.0.2.1 && ip -n far -6 route add default via 2001:db8::1
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1`)
/** What is shared goes, and what the next test begins with is what the first had. */
const sweep = () => sh('for b in cni0 cni1 cni2; do ip link del $b 2>/dev/null || true; done; nft flush ruleset; rm -rf /var/lib/cni')
const clean = state()

for (const within of [false, true])
  t.test(`same-bridge: pods reach their own bridge and the world, and not other bridges with such pods (${within ? 'within bridge' : 'behind bridge'})`, async (t) => {
    for (const pod of ['a1', 'a2', 'b1']) add(pod, { ingressPolicy: 'same-bridge' }, within)
    add('o1', {}, within)
    reached(t, { a1: 'a2 o1 far', b1: 'o1 far', o1: 'a1 a2 b1 far', far: 'a1 a2 b1 o1' })
    del('a1', within)
    delete addresses.a1
    reached(t, { a2: 'o1 far', b1: 'o1 far' })
    del('a2', within, { netns: '' })
    delete addresses.a2
    t.notMatch(nft('list table inet podwire'), 'cni0', 'of a bridge that nobody is on nothing is left')
    t.match(nft('list set inet podwire firewall_bridges'), 'cni1')
    for (const pod of ['b1', 'o1']) {
      del(pod, within)
      delete addresses[pod]
    }
    t.notMatch(nft('list ruleset'), /comment/)
    sweep()
    t.equal(state(), clean)
  })

for (const within of [false, true])
  t.test(`isolated: a pod reaches the node and the world, and no other pod, on its bridge neither (${within ? 'within bridge' : 'behind bridge'})`, async (t) => {
    for (const pod of ['a1', 'a2']) add(pod, { ingressPolicy: 'isolated' }, within)
    add('b1', { ingressPolicy: 'same-bridge' }, within)
    add('b2', { ingressPolicy: 'isolated' }, within)
    add('o1', { ingressPolicy: 'open' }, within)
    reached(t, { a1: 'o1 far', b1: 'o1 far', b2: 'o1 far', o1: 'a1 a2 b1 b2 far', far: 'a1 a2 b1 b2 o1' })
    for (const address of ['10.1.1.1', 'fd00:1::1']) t.ok(works(`ip netns exec a1 ping -c1 -W30 ${address}`), 'the node')
    sh('ip -n a1 route add 10.1.1.3/32 via 10.1.1.1 dev eth0; ip -n a1 -6 route add fd00:1::3/128 via fd00:1::1 dev eth0; sysctl -qw net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.cni0.send_redirects=0')
    reached(t, { a1: 'o1 far' })
    for (const pod of ['a1', 'a2', 'b1', 'b2', 'o1']) {
      del(pod, within)
      delete addresses[pod]
    }
    t.notMatch(nft('list ruleset'), /comment/)
    sweep()
    t.equal(state(), clean)
  })

t.test('published ports and what the pods themselves have begun pass, as with the reference', async (t) => {
  const published = { runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] } }
  const conf = { ...bridgeConf('a'), ...published, firewall: { ingressPolicy: 'isolated' } }
  const servers = [await server('a1', 'a1', 80), await server('far', 'far', 80)]
  t.equal(call('bridge', 'ADD', conf, who('a1')).status, 0)
  add('a2', { ingressPolicy: 'isolated' })
  add('b1', { ingressPolicy: 'same-bridge' })
  for (const address of ['192.0.2.1', '2001:db8::1']) {
    t.match(ask('far', address, 8080), 'a1 sees', `from outside by ${address}`)
    t.match(ask(undefined, address, 8080), 'a1 sees', `from the node by ${address}`)
    for (const pod of ['a2', 'b1']) t.ok(silent(pod, address, 8080), `${pod}, which may not reach a1, by way of ${address} neither`)
  }
  for (const address of addresses.far!) t.match(ask('a1', address, 80), 'far sees', `a1 to ${address}`)
  servers.forEach((one) => one.kill())
  t.equal(call('bridge', 'DEL', conf, who('a1')).status, 0)
  for (const pod of ['a2', 'b1']) {
    del(pod)
    delete addresses[pod]
  }
  sweep()
})

t.test("the operator's chain: its rules are seen first, and stay", async (t) => {
  add('a1', {})
  t.match(nft('list chain inet podwire CNI-ADMIN'), /hook forward/)
  nft(`add rule inet podwire CNI-ADMIN ip daddr 192.0.2.2 drop comment '"no"'`)
  add('a2', {})
  t.equal(call('firewall', 'CHECK', firewallConf('a', {}, results.a1), who('a1')).stdout, '')
  t.notOk(works('ip netns exec a1 ping -c1 -W0.3 192.0.2.2'))
  t.ok(works('ip netns exec a1 ping -c1 -W30 2001:db8::2'))
  del('a2')
  call('firewall', 'DEL', firewallConf('a', {}), who('a1'))
  t.match(nft('list chain inet podwire CNI-ADMIN'), 'comment "no"')
  const named = (iptablesAdminChainName: string) => call('firewall', 'ADD', firewallConf('a', { iptablesAdminChainName }, results.a1), who('a1'))
  t.equal(named('MINE').status, 0)
  t.match(nft('list chain inet podwire MINE'), /hook forward priority filter - 10/)
  t.match(nft('list chain inet podwire CNI-ADMIN'), 'comment "no"', 'one of another name is left, too')
  t.match(named('postrouting').json, { code: 7, msg: 'iptablesAdminChainName is "postrouting": podwire has a chain of that name itself' })
  t.match(named('a b').json, { code: 7, msg: /iptablesAdminChainName is "a b": expected the name of a chain/ })
  del('a1')
  for (const pod of ['a1', 'a2']) delete addresses[pod]
  sweep()
})

t.test('what is wrong is said before anything is touched', async (t) => {
  const wired = call('ptp', 'ADD', { ...bridgeConf('a'), type: 'ptp' }, who('a1')).json
  const before = state('a1')
  const add = (keys: object, prevResult?: object) => call('firewall', 'ADD', firewallConf('a', keys, prevResult), who('a1'))
  t.match(add({}).json, { code: 7, msg: 'Required prevResult missing' })
  t.match(add({ ingressPolicy: 'closed' }, wired).json, { code: 7, msg: 'ingressPolicy is "closed": expected "open", "same-bridge" or "isolated"' })
  t.match(add({ backend: 'pf' }, wired).json, { code: 7, msg: /^backend is "pf": expected/ })
  for (const ingressPolicy of ['same-bridge', 'isolated']) t.match(add({ ingressPolicy }, wired).json, { code: 7, msg: /make sure to chain "firewall" plugin with "bridge"/ })
  t.match(call('ptp', 'ADD', { ...bridgeConf('a'), type: 'ptp', firewall: { ingressPolicy: 'isolated' } }, who('a2')).json, { code: 7, msg: /make sure to chain "firewall" plugin with "bridge"/ })
  t.equal(state('a1'), before)
  t.same(add({ ingressPolicy: '', backend: '', iptablesAdminChainName: '', firewalldZone: '' }, wired).json, wired, 'empty is absent; the result is passed on')
  t.equal(call('firewall', 'DEL', firewallConf('a', {}), who('a1')).status, 0)
  t.equal(call('firewall', 'DEL', firewallConf('a', {}), { ...who('a1'), netns: '' }).status, 0, 'again')
  call('ptp', 'DEL', { ...bridgeConf('a'), type: 'ptp' }, who('a1'))
  sweep()
})

t.test('CHECK sees what is missing and how to repair it; GC leaves what lives', async (t) => {
  add('a1', { ingressPolicy: 'isolated' })
  add('a2', { ingressPolicy: 'same-bridge' })
  const check = (pod: string, ingressPolicy: string) => call('firewall', 'CHECK', firewallConf('a', { ingressPolicy }, results[pod]), who(pod))
  const whole = () => [check('a1', 'isolated').stdout, check('a2', 'same-bridge').stdout]
  t.same(whole(), ['', ''])
  const DAMAGES = [
    'flush chain inet podwire isolation', 'delete chain inet podwire CNI-ADMIN', 'flush set inet podwire firewall_bridges', 'flush set inet podwire firewall_same_bridge', 'flush set inet podwire firewall_ports',
    'flush set inet podwire firewall_ip6', 'flush chain bridge podwire forward', 'flush set bridge podwire firewall_isolated', 'delete table bridge podwire', 'delete table inet podwire',
  ]
  for (const damage of DAMAGES) {
    nft(damage)
    const found = ([['a1', 'isolated'], ['a2', 'same-bridge']] as const).flatMap(([pod, policy]) => {
      const { json } = check(pod, policy)
      if (json) sh(json.details)
      return json ?? []
    })
    t.match(found, [{ code: 102 }], damage)
    t.same(whole(), ['', ''])
  }
  const gc = (list?: string[]) => call('firewall', 'GC', { ...firewallConf('a', {}), ...(list && { 'cni.dev/valid-attachments': list.map((containerID) => ({ containerID, ifname: 'eth0' })) }) })
  t.equal(gc(['a1', 'a2']).stdout, '')
  t.equal(gc().stdout, '', 'without a list nothing tells who lives')
  t.same(whole(), ['', ''])
  t.equal(gc(['a2']).stdout, '')
  t.notMatch(nft('list ruleset'), /a\/a1/)
  t.equal(check('a2', 'same-bridge').stdout, '')
  t.equal(gc([]).stdout, '')
  t.notMatch(nft('list ruleset'), /comment/, 'of the bridge neither')
  for (const pod of ['a1', 'a2']) {
    del(pod)
    delete addresses[pod]
  }
  sweep()
})

t.test('GC of the plugin that wires takes along what a dead pod had within it', async (t) => {
  add('a1', { ingressPolicy: 'isolated' }, true)
  add('a2', { ingressPolicy: 'same-bridge' }, true)
  const gc = () => call('bridge', 'GC', bridgeConf('a'))
  sh(`ip link del ${results.a1.interfaces[1].name}`)
  t.equal(gc().stdout, '')
  t.notMatch(nft('list ruleset'), 'a/a1')
  t.match(nft('list set inet podwire firewall_bridges'), 'cni0', 'whom the other shares it with is left')
  sh(`ip link del ${results.a2.interfaces[1].name}`)
  t.equal(gc().stdout, '')
  t.notMatch(nft('list ruleset'), 'comment')
  for (const pod of ['a1', 'a2']) delete addresses[pod]
  sweep()
})

t.test("on a VLAN it is the gateway's interface that packets pass", async (t) => {
  const pod = { attachment: { network: 'a', containerID: 'a1', ifname: 'eth0' }, ips: [], routes: [], host: 'veth1', bridge: { name: 'cni0', promisc: false, gate: 'cni0.100' }, mtu: 1500 }
  const keys = firewall.plan(pod, { cniVersion: '1.1.0', name: 'a', type: 'firewall', ingressPolicy: 'same-bridge' }).flatMap((fact) => (fact.fact === 'element' ? [fact.key] : []))
  t.same(keys, ['"cni0.100"', '"cni0.100" . "cni0.100"', '"cni0.100" . "veth1"', '"cni0.100" . "veth1"'])
})
