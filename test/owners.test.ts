// Whose a thing is, asked before it is taken away: the same container and interface name in two networks, and what others made under
// names that would be podwire's.

import { call, ip, netns, podnet, sh, works } from './world.ts'
import t from 'tap'

const a = { ...podnet, name: 'net-a' }
const b = { ...podnet, name: 'net-b', ipam: { type: 'host-local', subnet: '10.9.0.0/24' } }
const limited = { runtimeConfig: { bandwidth: { egressRate: 8_000_000, egressBurst: 800_000 } } }
const pods = (): string => sh('ip -br link show type veth | sort; ip -br link show type ifb; ls /var/lib/cni/networks/* | grep -v -e lock -e last; nft -s list table inet podwire')

t.test('DEL and GC of a container in another network take nothing of this one', async (t) => {
  netns('pod')
  const added = call('ptp', 'ADD', { ...a, ...limited })
  t.equal(added.status, 0, added.stdout)
  const before = pods()
  for (const more of [{}, { prevResult: added.json }, limited]) for (const type of ['ptp', 'bridge']) t.equal(call(type, 'DEL', { ...b, type, ...more }).stdout, '', `DEL of ${type}`)
  t.equal(call('bandwidth', 'DEL', { cniVersion: '1.1.0', name: 'net-b', type: 'bandwidth', prevResult: added.json }).stdout, '')
  for (const valid of [undefined, []]) t.equal(call('ptp', 'GC', { ...b, ...(valid && { 'cni.dev/valid-attachments': valid }) }).stdout, '', 'GC')
  t.equal(pods(), before, 'all is there')
  t.ok(works('ip netns exec pod ping -c1 -W2 10.1.2.1'))
  t.equal(call('ptp', 'CHECK', { ...a, ...limited, prevResult: added.json }).stdout, '')
  t.match(call('ptp', 'ADD', b, { netns: netns('pod2') }).json, { code: 101, msg: /already has an interface eth0 in another network: its host end veth\w+ belongs to net-a\/c1\/eth0/ })
  t.equal(call('ptp', 'DEL', { ...a, ...limited }).stdout, '')
  t.equal(sh('ip -br link show type veth; ip -br link show type ifb'), '', 'its own DEL takes it')
  sh('ip netns del pod; ip netns del pod2; nft flush ruleset; rm -r /var/lib/cni')
})

t.test('routing by source of an interface stays when another network is told to take its own back', async (t) => {
  netns('pod')
  const prevResult = call('ptp', 'ADD', a).json
  const sbr = (name: string) => ({ cniVersion: '1.1.0', name, type: 'sbr', prevResult })
  t.equal(call('sbr', 'ADD', sbr('net-a')).status, 0)
  const before = sh('ip -n pod rule; ip -n pod route show table all')
  t.equal(call('sbr', 'DEL', sbr('net-b')).stdout, '')
  t.equal(sh('ip -n pod rule; ip -n pod route show table all'), before)
  t.equal(call('sbr', 'DEL', sbr('net-a')).stdout, '')
  t.not(sh('ip -n pod rule'), before.split('\n').slice(0, 4).join('\n'))
  call('ptp', 'DEL', a)
  sh('ip netns del pod; nft flush ruleset; rm -r /var/lib/cni')
})

t.test('a host port whose pod is gone is free, also where another network has an interface of its name', async (t) => {
  netns('pod')
  const published = { runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] } }
  call('ptp', 'ADD', { ...a, ...published })
  sh('ip -n pod link del eth0')
  call('ptp', 'ADD', b)
  netns('pod2')
  t.equal(call('ptp', 'ADD', { ...a, name: 'net-c', ipam: { type: 'host-local', subnet: '10.8.0.0/24' }, ...published }, { container: 'c2', netns: '/run/netns/pod2' }).status, 0)
  call('ptp', 'DEL', { ...a, name: 'net-c', ipam: { type: 'host-local', subnet: '10.8.0.0/24' } }, { container: 'c2', netns: '/run/netns/pod2' })
  call('ptp', 'DEL', b)
  sh('ip netns del pod; ip netns del pod2; nft flush ruleset; rm -r /var/lib/cni')
})

t.test('a lease whose interface another network has now is a dead one', async (t) => {
  netns('pod')
  const dated = (network: string) => sh(`touch -d '2 minutes ago' /var/lib/cni/networks/${network}/10.*`)
  call('ptp', 'ADD', b)
  sh('ip -n pod link del eth0')
  call('ptp', 'ADD', a)
  dated('net-b')
  t.equal(call('ptp', 'GC', b).stdout, '')
  t.equal(sh('ls /var/lib/cni/networks/net-b | grep ^10 || true'), '')
  t.match(ip('-br link show type veth'), 'veth', 'the interface stays')
  call('ptp', 'DEL', a)
  sh('ip netns del pod; nft flush ruleset; rm -r /var/lib/cni')
})

t.test('what somebody else made under a name of ours stays', async (t) => {
  netns('pod')
  const host = call('ptp', 'ADD', a).json.interfaces[0].name
  call('ptp', 'DEL', a)
  for (const made of [`ip link add ${host} type bridge`, `ip link add ${host} type veth peer name other && ip link set ${host} alias link-pod-of-others`]) {
    sh(made)
    t.equal(call('ptp', 'DEL', a).stdout, '')
    t.ok(works(`ip link show ${host}`), made)
    t.match(call('ptp', 'ADD', a).json, { code: 101 })
    ip(`link del ${host}`)
  }
  sh('ip netns del pod; nft flush ruleset; rm -r /var/lib/cni')
})

t.test("a pod's interface that is no veth of ours stays at DEL", async (t) => {
  netns('pod')
  for (const made of ['ip -n pod link add eth0 type bridge', 'ip -n pod link add eth0 type veth peer name eth1', 'ip link add theirs type veth peer name eth0 netns pod && ip link set theirs alias link-pod-of-others']) {
    sh(made)
    t.equal(call('ptp', 'DEL', a).stdout, '')
    t.ok(works('ip -n pod link show eth0'), made)
    ip('-n pod link del eth0')
  }
  sh('ip link add theirs type veth peer name eth0 netns pod')
  t.equal(call('ptp', 'DEL', a).stdout, '')
  t.notOk(works('ip -n pod link show eth0'), 'one that the reference wired, which gives no alias, goes')
  ip('netns del pod')
})
