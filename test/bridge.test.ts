// bridge in a world of its own:
//
//     pod (netns)                      this namespace
//     eth0 10.1.2.2/24 ──── veth ──┐
//                                  ├── cni0 10.1.2.1/24
//     eth0 10.1.2.3/24 ──── veth ──┘
//     other (netns)

import { call, ip, netns, nft, sh, state, works } from './world.ts'
import { readFileSync } from 'node:fs'
import t from 'tap'
import { cli } from '../src/cli/cli.ts'
import type { Fact } from '../src/facts.ts'
import { Netns } from '../src/kernel/netns.ts'
import { add } from '../src/state.ts'

const conf = {
  cniVersion: '1.1.0',
  name: 'podnet',
  type: 'bridge',
  isDefaultGateway: true,
  ipMasq: true,
  hairpinMode: true,
  ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]], routes: [{ dst: '0.0.0.0/0' }] },
}
const other = { container: 'c2', netns: '/run/netns/other' }

t.afterEach(() => sh('rm -rf /var/lib/cni'))

t.test('ADD wires dual-stack pods to one bridge, CHECK agrees, DEL leaves the bridge alone', async (t) => {
  netns('pod')
  netns('other')
  const before = state()
  const added = call('bridge', 'ADD', conf)
  t.equal(added.status, 0, added.stdout)
  const [bridge, host, pod] = added.json.interfaces
  t.match([bridge.name, host.name, pod.name, pod.sandbox], ['cni0', /^veth[0-9a-f]{11}$/, 'eth0', '/run/netns/pod'])
  t.equal(bridge.mac, sh('cat /sys/class/net/cni0/address 2>/dev/null || ip -j link show cni0 | jq -r .[0].address'))
  t.same(added.json.ips.map((one: any) => [one.address, one.gateway, one.interface]), [['10.1.2.2/24', '10.1.2.1', 2], ['fd00:1::2/64', 'fd00:1::1', 2]])
  t.same(added.json.routes, [{ dst: '0.0.0.0/0', gw: '10.1.2.1' }, { dst: '::/0', gw: 'fd00:1::1' }], 'the default route of IPAM is not doubled')

  t.match(ip('-d link show cni0'), 'bridge')
  t.match(ip('addr show cni0'), 'inet 10.1.2.1/24')
  t.match(ip(`-d link show ${host.name}`), /master cni0 .*\n[^]*hairpin on/)
  t.equal(ip('-n pod route').replace(/ +$/gm, ''), 'default via 10.1.2.1 dev eth0\n10.1.2.0/24 dev eth0 proto kernel scope link src 10.1.2.2')
  t.match(nft('get element inet podwire masquerade_ip { 10.1.2.2 }'), 'comment "podnet/c1/eth0"')

  const second = call('bridge', 'ADD', conf, other)
  t.equal(second.status, 0, second.stdout)
  t.equal(second.json.interfaces[0].mac, bridge.mac, "the bridge's MAC address does not change as pods come")
  for (const address of ['10.1.2.1', '10.1.2.3', 'fd00:1::1', 'fd00:1::3']) t.ok(works(`ip netns exec pod ping -c1 -W30 ${address}`), `the pod reaches ${address}`)
  for (const address of ['10.1.2.2', 'fd00:1::2']) t.ok(works(`ping -c1 -W30 ${address}`), `the node reaches ${address}`)

  t.equal(call('bridge', 'CHECK', { ...conf, prevResult: added.json }).status, 0, call('bridge', 'CHECK', { ...conf, prevResult: added.json }).stdout)
  ip(`link set ${host.name} nomaster`)
  const damaged = call('bridge', 'CHECK', { ...conf, prevResult: added.json })
  t.match(damaged.json, { code: 102, msg: `interface ${host.name} is not a port of bridge cni0` })
  sh(damaged.json.details)
  t.equal(call('bridge', 'CHECK', { ...conf, prevResult: added.json }).status, 0, 'repaired')

  t.equal(call('bridge', 'DEL', conf, other).status, 0)
  t.equal(sh('ip -j link show cni0 | jq -r .[0].address'), bridge.mac, 'nor as they go')
  t.equal(call('bridge', 'DEL', { ...conf }, { netns: '' }).status, 0, 'without the namespace')
  ip('netns del other')
  sh('ip link del cni0; nft delete table inet podwire')
  t.equal(state(), before, 'nothing is left but what is shared')
  ip('netns del pod')
})

t.test('without ipam, a pod is on the bridge and has no address', async (t) => {
  netns('pod')
  const { ipam: _, isDefaultGateway: __, ipMasq: ___, ...plain } = conf
  const added = call('bridge', 'ADD', plain)
  t.equal(added.status, 0, added.stdout)
  t.same(added.json.ips ?? [], [])
  t.match(ip('-n pod link show eth0'), 'UP')
  t.equal(call('bridge', 'CHECK', { ...plain, prevResult: added.json }).status, 0)
  t.equal(call('bridge', 'DEL', plain).status, 0)
  sh('ip link del cni0; ip netns del pod')
})

t.test('what is not a bridge is said to be what it is, and stays', async (t) => {
  netns('pod')
  ip('link add cni0 type veth peer name x')
  const added = call('bridge', 'ADD', conf)
  t.match(added.json.msg, '"cni0" already exists but is not a bridge: it is of type veth')
  t.match(ip('-d link show cni0'), 'veth')
  t.equal(ip('-n pod -br link show type veth'), '', 'nothing is left in the pod')
  ip('link del cni0')
  t.match(call('bridge', 'ADD', { ...conf, promiscMode: true }).json, { code: 7, msg: /cannot set hairpin mode and promiscuous mode at the same time/ })
  t.equal(sh('ls /var/lib/cni/networks/podnet | grep -c "^10\\|^fd" || true'), '0', 'and nothing leased')
  ip('netns del pod')
})

t.test('a re-used address is reached at once, by the node and by other pods that remember its former holder (plugins#858)', async (t) => {
  for (const name of ['pod', 'other', 'next']) netns(name)
  const first = call('bridge', 'ADD', conf)
  call('bridge', 'ADD', conf, other)
  for (const address of ['10.1.2.2', 'fd00:1::2']) t.ok(works(`ping -c1 -W30 ${address} && ip netns exec other ping -c1 -W30 ${address}`), `${address}, first holder`)
  call('bridge', 'DEL', { ...conf, prevResult: first.json })
  sh('rm /var/lib/cni/networks/podnet/last_reserved_ip.*')
  const again = call('bridge', 'ADD', conf, { container: 'c3', netns: '/run/netns/next' })
  t.same(again.json.ips.map((one: any) => one.address), ['10.1.2.2/24', 'fd00:1::2/64'])
  for (const address of ['10.1.2.2', 'fd00:1::2']) {
    t.ok(works(`ping -c1 -W30 ${address}`), `${address} from the node`)
    t.ok(works(`ip netns exec other ping -c1 -W30 ${address}`), `${address} from another pod`)
  }
  call('bridge', 'DEL', conf, other)
  call('bridge', 'DEL', conf, { container: 'c3', netns: '/run/netns/next' })
  sh('ip link del cni0; nft delete table inet podwire; for n in pod other next; do ip netns del $n; done')
})

t.test("the bridge has several networks' gateways; forceAddress takes the others of a network away", async (t) => {
  for (const name of ['pod', 'other']) netns(name)
  const second = { ...conf, name: 'second', ipam: { type: 'host-local', subnet: '10.9.0.0/24' } }
  t.equal(call('bridge', 'ADD', conf).status, 0)
  t.equal(call('bridge', 'ADD', second, other).status, 0)
  t.match(ip('-4 -br addr show cni0'), /10\.1\.2\.1\/24 10\.9\.0\.1\/24/)
  t.equal(call('bridge', 'DEL', second, other).status, 0)
  const forced = call('bridge', 'ADD', { ...second, forceAddress: true, ipam: { type: 'host-local', subnet: '10.9.0.0/24', gateway: '10.9.0.254' } }, other)
  t.equal(forced.status, 0, forced.stdout)
  t.match(ip('-4 -br addr show cni0'), /10\.1\.2\.1\/24 10\.9\.0\.254\/24/)
  call('bridge', 'DEL', conf)
  call('bridge', 'DEL', second, other)
  sh('ip link del cni0; nft delete table inet podwire; for n in pod other; do ip netns del $n; done')
})

t.test('enabledad: an IPv6 address that somebody on the link has is refused, and nothing stays', async (t) => {
  netns('pod')
  const slow = { ...conf, enabledad: true, ipam: { type: 'host-local', subnet: 'fd00:2::/64' } }
  t.equal(call('bridge', 'ADD', slow).status, 0)
  t.notMatch(ip('-n pod -6 addr show eth0 scope global'), /tentative|nodad/)
  t.equal(call('bridge', 'DEL', slow).status, 0)
  netns('rival')
  ip('link add rival0 master cni0 up type veth peer name eth0 netns rival')
  ip('-n rival link set eth0 up && ip -n rival addr add fd00:2::3/64 dev eth0 nodad')
  t.match(call('bridge', 'ADD', slow).json, { code: 100, msg: /^ip -n pod addr add fd00:2::3\/64 dev eth0: somebody else on the link has fd00:2::3\/64/ })
  t.equal(ip('-n pod -br link show type veth'), '')
  t.equal(sh('ls /var/lib/cni/networks/podnet | grep -c "^fd" || true'), '0')
  sh('ip link del cni0; ip link del rival0; nft delete table inet podwire; ip netns del pod; ip netns del rival')
})

t.test('what cannot be told to others is the fact that failed, and everything is taken back', async (t) => {
  const before = state()
  const kernel = { host: new Netns(), pod: new Netns(netns('pod')) }
  const multicast: Fact = { fact: 'announcement', in: 'pod', dev: 'eth0', mac: '01:00:5e:00:00:01' } // which nobody can have
  const plan: Fact[] = [{ fact: 'link', name: 'veth0', mac: '02:00:00:00:00:01', alias: 'podnet/c1/eth0', peer: { name: 'eth0', mac: '02:00:00:00:00:02' } }, { fact: 'link set', in: 'pod', dev: 'eth0', up: true }, multicast]
  t.throws(() => add(kernel, plan, 'pod'), { fact: multicast, message: /^ip -n pod link set eth0 address 01:00:5e:00:00:01: EADDRNOTAVAIL/, left: [] })
  for (const each of Object.values(kernel)) each.close()
  ip('netns del pod')
  t.equal(state(), before)
})

t.test('conf/10-bridge.conflist, as it is in the page of keys, wires pods in each of its versions', async (t) => {
  const text = readFileSync('conf/10-bridge.conflist', 'utf8')
  t.ok(readFileSync('docs/configuration.md', 'utf8').includes(`\`\`\`json\n${text}\`\`\``))
  const { plugins, name, cniVersions } = JSON.parse(text)
  for (const cniVersion of cniVersions) {
    for (const pod of ['pod', 'other']) netns(pod)
    const request = { ...plugins[0], name, cniVersion }
    const [added, second] = [call('bridge', 'ADD', request), call('bridge', 'ADD', request, other)]
    t.equal(added.status, 0, added.stdout)
    const addresses = second.json.ips.map(({ address }: { address: string }) => address.split('/')[0]!)
    t.equal(addresses.length, 2)
    for (const address of addresses) t.ok(works(`ping -c1 -W30 ${address} && ip netns exec pod ping -c1 -W30 ${address}`), `${cniVersion}: node and pod reach ${address}`)
    t.equal(call('bridge', 'CHECK', { ...request, prevResult: added.json }).stdout, '')
    for (const each of [{}, other]) t.equal(call('bridge', 'DEL', request, each).stdout, '')
    for (const pod of ['pod', 'other']) ip(`netns del ${pod}`)
  }
  sh('ip link del cni0; nft delete table inet podwire')
})

t.test('podwire uninstall --bridge: what is called like an interface of its VLANs, and is none, stays', async (t) => {
  ip('link add cni0 type bridge && ip link add cni0.7 type veth peer name elsewhere')
  t.equal(cli(['uninstall', '--bridge', 'cni0']).status, 0)
  t.ok(works('ip link show cni0.7'))
  ip('link del cni0.7')
})

t.test('podwire uninstall --bridge: it goes when nobody is on it, and says who is', async (t) => {
  for (const pod of ['pod', 'other']) netns(pod)
  const uninstall = () => cli(['uninstall', '--bridge', 'cni0'])
  const [first] = [call('bridge', 'ADD', conf), call('bridge', 'ADD', conf, other)].map(({ json }) => json.interfaces[1].name)
  ip('link add nic master cni0 type veth peer name far && ip link add mac0 link cni0 type macvlan')
  t.equal(call('bridge', 'DEL', conf, other).status, 0)
  const refused = uninstall()
  t.equal(refused.status, 1)
  for (const who of [`${first} (podnet/c1/eth0)`, 'nic', 'mac0']) t.ok(refused.stderr.includes(who), `${who}: ${refused.stderr}`)
  t.notOk(refused.stderr.includes('far'))
  t.match(ip('-br addr show cni0'), '10.1.2.1/24', 'untouched')

  sh('ip link del nic; ip link del mac0')
  t.equal(call('bridge', 'DEL', conf).status, 0)
  for (const _ of ['gone', 'still gone']) t.same(uninstall(), { status: 0, stdout: 'there is no bridge cni0 any more\n', stderr: '' })
  t.notOk(works('ip link show cni0'))
  ip('link add cni0 type veth peer name x')
  t.match(uninstall().stderr, '"cni0" already exists but is not a bridge: it is of type veth')
  sh('ip link del cni0; nft delete table inet podwire; rm -rf /var/lib/cni; for pod in pod other; do ip netns del $pod; done')
})
