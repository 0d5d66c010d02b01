// Who sees which source address:
//
//   pod1 10.1.2.2, fd00:1::2 ─┐
//                             ├─ this namespace (the node) ── 192.0.2.1, 2001:db8::1 ── outside 192.0.2.9, 2001:db8::9
//   pod2 10.1.2.3, fd00:1::3 ─┘                                                         and behind it 10.99.0.1

import { call, ip, netns, nft, sh, state, works } from './world.ts'
import t from 'tap'

const conf = {
  cniVersion: '1.1.0',
  name: 'podnet',
  type: 'ptp',
  ipMasq: true,
  nonMasqueradeCIDRs: ['10.99.0.0/16'],
  ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]], routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] },
}

netns('outside')
// (The node forwards already, and has no link-local address that settles while the test runs: both would change the dumps.)
sh(`echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
ip link add up0 mtu 1400 type veth peer name eth0 netns outside && ip link set up0 addrgenmode none
ip addr add 192.0.2.1/24 dev up0 && ip addr add 2001:db8::1/64 dev up0 nodad && ip link set up0 up
ip -n outside addr add 192.0.2.9/24 dev eth0 && ip -n outside addr add 2001:db8::9/64 dev eth0 nodad && ip -n outside addr add 10.99.0.1/32 dev lo
ip -n outside link set lo up && ip -n outside link set eth0 up && ip -n outside route add 10.1.2.0/24 via 192.0.2.1
ip route add default via 192.0.2.9 && ip -6 route add default via 2001:db8::9`)
// Tables as other programs have them, at the same hooks, and reverse path filters at their strictest.
nft(`-f - <<< '
table ip nat { chain POSTROUTING { type nat hook postrouting priority srcnat; policy accept; ip saddr 172.17.0.0/16 masquerade; }; }
table inet firewalld { chain nat_POSTROUTING { type nat hook postrouting priority srcnat + 10; policy accept; }; }'`)
sh('for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 > $f; done')

/** Pings from a namespace and says as whom the other end, which counts, saw it. */
function source(from: string, to: string): string {
  const [family, icmp] = to.includes(':') ? ['ip6', 'icmpv6'] : ['ip', 'icmp']
  sh(`ip netns exec outside nft -f - <<< '
    table inet seen {
      set who { typeof ${family} saddr; flags dynamic; }
      chain input { type filter hook input priority 0; ${family} daddr ${to} ${icmp} type echo-request add @who { ${family} saddr }; }
    }'`)
  const reached = works(`ip netns exec ${from} ping -c1 -W2 ${to}`)
  const seen = JSON.parse(sh('ip netns exec outside nft -j list set inet seen who; ip netns exec outside nft delete table inet seen')) as { nftables: { set?: { elem?: string[] } }[] }
  return reached ? (seen.nftables.find((entry) => entry.set)!.set!.elem ?? ['nobody']).join() : 'unreachable'
}

t.test('the world sees the node, what nonMasqueradeCIDRs names sees the pod', async (t) => {
  netns('pod')
  netns('pod2')
  const before = state()
  const [first, second] = [call('ptp', 'ADD', conf), call('ptp', 'ADD', conf, { container: 'c2', netns: '/run/netns/pod2' })]
  t.same([first.status, second.status], [0, 0], first.stdout + second.stdout)
  t.equal(first.json.interfaces[1].mtu, 1400, "the MTU is that of the default route's interface")
  t.match(ip('-n pod link show eth0'), 'mtu 1400')

  t.equal(source('pod', '192.0.2.9'), '192.0.2.1', 'IPv4 to the world: the node')
  t.equal(source('pod', '2001:db8::9'), '2001:db8::1', 'IPv6 to the world: the node')
  t.equal(source('pod', '10.99.0.1'), '10.1.2.2', 'a network of nonMasqueradeCIDRs: the pod')
  t.ok(works('ip netns exec pod ping -c1 -W30 10.1.2.3 && ip netns exec pod2 ping -c1 -W30 fd00:1::2'), 'pod to pod')
  t.ok(works('ip netns exec pod ping -c1 -W30 192.0.2.1 && ip netns exec pod ping -c1 -W30 2001:db8::1'), "pod to the node's own address")
  t.ok(works('ping -c1 -W30 10.1.2.2 && ping -c1 -W30 fd00:1::3'), 'node to pod')
  t.ok(works('ip netns exec outside ping -c1 -W30 10.1.2.2'), 'outside to pod, where it has a route')

  t.equal(source('pod2', '192.0.2.9'), '192.0.2.1')
  t.equal(source('pod2', '2001:db8::9'), '2001:db8::1')
  const tracked = () => sh('conntrack -L -f ipv4 2>/dev/null; conntrack -L -f ipv6 2>/dev/null')
  t.match(tracked(), /src=10\.1\.2\.2 [^]*src=fd00:1::2 /, 'connections are tracked')
  sh('iptables -F 2>/dev/null; true')
  t.equal(call('ptp', 'DEL', { ...conf, ipMasq: false, ipam: { ...conf.ipam, ranges: [[{ subnet: '10.7.0.0/16' }]] } }).status, 0, 'DEL with a configuration that has changed')
  t.notMatch(tracked(), /src=(10\.1\.2\.2|fd00:1::2) /, 'and are forgotten with the pod')
  t.match(tracked(), /src=10\.1\.2\.3 [^]*src=fd00:1::3 /, "another pod's are not")
  t.equal(source('pod2', '192.0.2.9'), '192.0.2.1', 'the other pod is masqueraded as before')
  t.equal(call('ptp', 'DEL', conf, { container: 'c2', netns: '' }).status, 0, 'DEL without a namespace')
  nft('delete table inet podwire')
  t.equal(state(), before)
})

t.test('a chain of ours with another hook is made anew', async (t) => {
  const pod = { netns: netns('hooked') }
  sh("nft add table inet podwire && nft add chain inet podwire postrouting '{ type filter hook input priority 0 ; }'")
  const added = call('ptp', 'ADD', conf, pod)
  t.equal(added.status, 0, added.stdout)
  t.match(nft('list chain inet podwire postrouting'), 'type nat hook postrouting priority srcnat')
  t.equal(call('ptp', 'CHECK', { ...conf, prevResult: added.json }, pod).status, 0)
  t.equal(call('ptp', 'DEL', conf, pod).status, 0)
  sh('nft delete table inet podwire; ip netns del hooked')
})
