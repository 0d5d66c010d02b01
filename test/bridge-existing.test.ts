// A bridge that is there already, somebody's own or of a configuration that has changed since: it is brought to what is asked for
// where that harms nobody who is on it.

import { call, ip, netns, sh, works } from './world.ts'
import t from 'tap'

sh('mount -t sysfs sysfs /sys') // that of this namespace, as on a node
for (const name of ['a', 'b', 'c']) netns(name)

const conf = { cniVersion: '1.1.0', name: 'podnet', type: 'bridge', isGateway: true, ipam: { type: 'host-local', subnet: '10.1.2.0/24' } }
const place = (name: string) => ({ container: name, netns: `/run/netns/${name}` })
const add = (name: string, keys: object = {}) => call('bridge', 'ADD', { ...conf, ...keys }, place(name))
const del = (name: string) => call('bridge', 'DEL', conf, place(name))
const check = (name: string, added: { json: any }, keys: object = {}) => call('bridge', 'CHECK', { ...conf, ...keys, prevResult: added.json }, place(name)).json?.msg
const of = (key: string): string => sh(`ip -j -d link show cni0 | jq -r '.[0].${key}'`)
const clean = () => {
  for (const name of ['a', 'b', 'c']) del(name)
  sh('ip link del cni0; rm -rf /var/lib/cni')
}

t.test('MTU: never more than a port takes', async (t) => {
  ip('link add cni0 mtu 9000 type bridge && ip link set cni0 mtu 9000') // a second time: said by somebody, and not the kernel's choice
  const small = add('a', { mtu: 1400 })
  t.equal(of('mtu'), '1400', 'lowered: longer packets from the node would be lost')
  t.match(small.json.interfaces.map((one: any) => one.mtu), [undefined, 1400, 1400])
  const large = add('b', { mtu: 9000 })
  t.equal(large.status, 0, large.stdout)
  t.equal(of('mtu'), '1400', 'not raised while a port takes no more')
  t.equal(ip('-n b link show eth0').match(/mtu (\d+)/)![1], '9000')
  t.equal(check('b', large, { mtu: 9000 }), undefined, 'and that is right')
  t.ok(works('ip netns exec b ping -c1 -W30 -s 8000 10.1.2.1'), 'in fragments')
  del('a')
  add('c', { mtu: 9000 })
  t.equal(of('mtu'), '9000', 'raised when that port is gone')
  ip('link set cni0 mtu 9500')
  t.equal(check('b', large, { mtu: 9000 }), 'bridge cni0 has MTU 9500, more than 9000')
  clean()
})

t.test('MTU: a bridge with IPv6 addresses keeps what IPv6 needs', async (t) => {
  ip('link add cni0 up type bridge && ip addr add fd00::1/64 dev cni0 nodad')
  t.match(add('a', { mtu: 576 }).json, { code: 100, msg: 'bridge cni0 has MTU 1500 and address fd00::1/64, which it would lose with an MTU of 576: IPv6 needs 1280' })
  t.equal(sh('ip -br link show type veth; ls /var/lib/cni/networks/podnet | grep "^10" || true'), '', 'nothing is left')
  t.equal(of('mtu'), '1500')
  clean()
})

t.test("its MAC address stays, also if it was a port's, and its neighbours are not forgotten", async (t) => {
  ip('link add cni0 up type bridge && ip link add nic up address 02:00:00:00:00:01 type veth peer name wire && ip link set nic master cni0')
  t.equal(of('address'), '02:00:00:00:00:01', 'as the kernel has it: the lowest')
  t.equal(add('a').json.interfaces[0].mac, '02:00:00:00:00:01')
  ip('link del nic')
  t.equal(of('address'), '02:00:00:00:00:01', 'the port is gone')
  ip('neigh add 10.1.2.200 lladdr 02:00:00:00:00:99 dev cni0 nud permanent')
  add('b')
  del('a')
  t.equal(of('address'), '02:00:00:00:00:01')
  t.match(ip('neigh show dev cni0'), '10.1.2.200 lladdr 02:00:00:00:00:99')
  clean()
})

t.test('a bridge of ours has its MAC address from the beginning, locally administered, each another', async (t) => {
  const macs = [1, 2, 3].map(() => {
    add('a', { isGateway: false })
    t.equal(sh('cat /sys/class/net/cni0/addr_assign_type'), '3')
    const mac = of('address')
    clean()
    return mac
  })
  t.equal(new Set(macs).size, 3)
  for (const mac of macs) t.match(mac, /^.[26ae]:/)
})

t.test('addresses: that of the gateway beside others; alone in its network when forced', async (t) => {
  ip('link add cni0 up type bridge && ip addr add 192.0.2.7/24 dev cni0 && ip addr add 10.1.2.254/24 dev cni0')
  t.equal(add('a').status, 0)
  t.same(ip('-4 -br addr show cni0').split(/ +/).slice(2), ['192.0.2.7/24', '10.1.2.254/24', '10.1.2.1/24'])
  for (const address of ['10.1.2.1', '10.1.2.254']) t.ok(works(`ip netns exec a ping -c1 -W30 ${address}`), address)
  t.equal(add('b', { forceAddress: true }).status, 0)
  t.same(ip('-4 -br addr show cni0').split(/ +/).slice(2), ['192.0.2.7/24', '10.1.2.1/24'])
  clean()
})

t.test('router advertisements: not from pods; but how the node has its default route stays', async (t) => {
  const accepts = () => sh('cat /proc/sys/net/ipv6/conf/cni0/accept_ra')
  const dual = { ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]] } }
  sh('sysctl -qw net.ipv6.conf.default.accept_ra=2')
  const added = add('a')
  t.equal(accepts(), '0', 'a bridge of ours, whatever the default')
  sh('sysctl -qw net.ipv6.conf.default.accept_ra=1; sysctl -qw net.ipv6.conf.cni0.accept_ra=1')
  t.equal(check('a', added), 'bridge cni0 accepts router advertisements')
  add('b')
  t.equal(accepts(), '0', 'one that is there')
  clean()

  for (const [keys, expected] of [[{ isGateway: false }, '1'], [dual, '2'], [dual, '2']] as const) {
    if (!works('ip link show cni0')) ip('link add cni0 up type bridge && ip link add nic up type veth peer name wire && ip link set nic master cni0 && ip link set wire up && ip -6 route add default via fe80::1 dev cni0 proto ra')
    const added = add('c', keys)
    t.equal(added.status, 0, added.stdout)
    t.equal(accepts(), expected, 'the node has its default route by it')
    t.equal(check('c', added, keys), undefined)
    del('c')
  }
  sh('ip link del nic')
  clean()
})

t.test('a bridge that is down comes up; promiscuous mode is turned on, and not off', async (t) => {
  ip('link add cni0 type bridge')
  const added = add('a', { promiscMode: true })
  t.same(['UP', 'PROMISC'].filter((flag) => !of('flags').includes(flag)), [])
  add('b')
  t.ok(of('flags').includes('PROMISC'), 'for those who want it')
  ip('link set cni0 promisc off')
  t.equal(check('a', added, { promiscMode: true }), 'bridge cni0 is not in promiscuous mode')
  clean()
})

t.test('what is not a bridge is said to be what it is', async (t) => {
  ip('link add v type veth peer name w && ip link add x type vxlan id 7 dstport 8472 && ip link add ifb7 type ifb')
  for (const [bridge, kind] of [['v', 'it is of type veth'], ['x', 'it is of type vxlan'], ['ifb7', 'it is of type ifb'], ['lo', "it is the machine's own interface"]])
    t.match(add('a', { bridge }).json, { code: 100, msg: `"${bridge}" already exists but is not a bridge: ${kind}` })
  ip('link del v && ip link del x && ip link del ifb7')
})

t.test("without mtu, pods get that of a bridge that is there, whatever the node's uplink has", async (t) => {
  netns('wide')
  ip('link add br-wide mtu 9000 up type bridge')
  const conf = { cniVersion: '1.1.0', name: 'wide', type: 'bridge', bridge: 'br-wide', ipam: { type: 'host-local', subnet: '10.8.0.0/24' } }
  const who = { container: 'wide', netns: '/run/netns/wide' }
  const added = call('bridge', 'ADD', conf, who)
  t.equal(added.status, 0, added.stdout)
  t.match(ip('-n wide link show eth0'), 'mtu 9000')
  t.match(ip('link show br-wide'), 'mtu 9000')
  t.equal(call('bridge', 'CHECK', { ...conf, prevResult: added.json }, who).stdout, '')
  call('bridge', 'DEL', conf, who)
  ip('link del br-wide')
})
