// firewall beside iptables whose chain FORWARD drops what no rule accepts, as Docker and ufw leave it.
//
//   pod, other ── this namespace (the node) ── far 192.0.2.2, 2001:db8::2
//   10.1.1.0/24, fd00:1::/64; far has routes to the pods

import { call, sh, works } from './world.ts'
import t, { type Test } from 'tap'

const ptp = { cniVersion: '1.1.0', name: 'podnet', type: 'ptp', ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.1.0/24' }], [{ subnet: 'fd00:1::/64' }]], routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] } }
const firewall = (prevResult?: object, keys = {}) => ({ cniVersion: '1.1.0', name: 'podnet', type: 'firewall', ...keys, ...(prevResult && { prevResult }) })
const other = { container: 'c2', netns: '/run/netns/other' }
const both = (command: string): string => sh(`iptables ${command} && ip6tables ${command}`)

for (const name of ['far', 'pod', 'other']) sh(`ip netns add ${name} && ip -n ${name} link set lo up`)
sh(`ip link add u0 up type veth peer name eth0 netns far && ip link set u0 addrgenmode none && ip addr add 192.0.2.1/24 dev u0 && ip addr add 2001:db8::1/64 dev u0 nodad && ip addr add fe80::1/64 dev u0 nodad
ip -n far link set eth0 up && ip -n far addr add 192.0.2.2/24 dev eth0 && ip -n far addr add 2001:db8::2/64 dev eth0 nodad
ip -n far route add default via 192.0.2.1 && ip -n far -6 route add default via 2001:db8::1
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1`)
t.afterEach(() => sh('nft flush ruleset; rm -rf /var/lib/cni'))

const FAR = ['192.0.2.2', '2001:db8::2']
const pings = (from: string, addresses: string[], seconds = 2) => addresses.map((address) => works(`ip netns exec ${from} ping -c1 -W${seconds} ${address}`))
const addressesOf = (result: any): string[] => result.ips.map(({ address }: { address: string }) => address.replace(/\/.*/, ''))

function wired(t: Test, who = {}) {
  const added = call('ptp', 'ADD', ptp, who)
  t.equal(added.status, 0, added.stdout)
  return added.json
}

t.test('pods are forwarded though FORWARD drops, as the reference would have it', async (t) => {
  both('-P FORWARD DROP')
  const pod = wired(t)
  t.same(pings('pod', FAR, 0.3), [false, false], 'without firewall')
  const added = call('firewall', 'ADD', firewall(pod))
  t.same(added.json, pod, added.stdout)
  t.same(pings('pod', FAR), [true, true], 'with it')
  t.same(pings('far', addressesOf(pod), 0.3), [false, false], 'nobody from outside')
  t.equal(call('firewall', 'CHECK', firewall(pod)).stdout, '')

  const rules = sh('iptables-save -t filter; ip6tables-save -t filter')
  t.equal(rules.match(/^-A .*$/gm)!.slice(0, 3).join('\n'), `-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
-A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN
-A CNI-FORWARD -m comment --comment "podwire: of pods" -m mark --mark 0x80000000/0x80000000 -j ACCEPT`)
  const second = wired(t, other)
  t.equal(call('firewall', 'ADD', firewall(second), other).status, 0)
  t.equal(sh('iptables-save -t filter; ip6tables-save -t filter').replace(/^#.*$/gm, ''), rules.replace(/^#.*$/gm, ''), 'a second pod adds no rule')
  t.same(pings('other', [...FAR, ...addressesOf(pod)]), [true, true, true, true])

  both('-A CNI-ADMIN -m comment --comment "mine" -j DROP')
  t.same(pings('pod', FAR, 0.3), [false, false], "the operator's chain comes first")
  both('-F CNI-ADMIN')
  t.same(pings('pod', FAR), [true, true])
  t.equal(call('firewall', 'DEL', firewall()).stdout, '')
  t.same(pings('pod', FAR, 0.3), [false, false], 'after DEL')
  t.same(pings('other', FAR), [true, true], 'the other')
  t.notMatch(sh('iptables-save; ip6tables-save; nft list ruleset'), /10\.1\.1\.2|fd00:1::2/, 'nothing of it is left')
  call('firewall', 'DEL', firewall(), { ...other, netns: '' })
  call('ptp', 'DEL', ptp)
  call('ptp', 'DEL', ptp, other)
})

t.test('iptables lists and deletes the rules, and restores what it has saved', async (t) => {
  both('-P FORWARD DROP')
  const pod = wired(t)
  t.equal(call('firewall', 'ADD', firewall(pod)).status, 0)
  sh('iptables-save | iptables-restore && ip6tables-save | ip6tables-restore')
  t.same(pings('pod', FAR), [true, true], 'restored')
  t.equal(call('firewall', 'CHECK', firewall(pod)).stdout, '', 'in the words of iptables they are the same rules')
  for (const rule of sh('iptables -S CNI-FORWARD').match(/^-A .*$/gm)!) t.ok(works(`iptables -C ${rule.slice(3)} && iptables -D ${rule.slice(3)}`), rule)
  sh('iptables -D FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD && iptables -X CNI-FORWARD && iptables -X CNI-ADMIN')
  const { json: error } = call('firewall', 'CHECK', firewall(pod))
  t.match(error, { code: 102, msg: /^iptables chain CNI-FORWARD is missing; iptables chain CNI-ADMIN is missing; iptables chain CNI-FORWARD is missing/ })
  sh(String(error.details).replaceAll(/^.*to repair it: /gm, ''))
  t.equal(call('firewall', 'CHECK', firewall(pod)).stdout, '', 'typed')
  t.same(pings('pod', FAR), [true, true])
  call('firewall', 'DEL', firewall())
  call('ptp', 'DEL', ptp)
})
