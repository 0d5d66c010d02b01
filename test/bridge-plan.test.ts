// Plans of bridge: a configuration and leases in, the lines an operator would type out. Pure: no kernel.

import t from 'tap'
import { bridge, type BridgeConf } from '../src/bridge/bridge.ts'
import type { ResultRoute } from '../src/cni/result.ts'
import { show } from '../src/show.ts'
import type { Wiring } from '../src/wire.ts'
import { wiring } from './wiring.ts'

const pod = wiring('bridge')
const plan = (keys: Partial<BridgeConf> = {}, changes: Partial<Wiring> = {}) => bridge.plan({ ...pod, ...changes, conf: { ...pod.conf, ...keys } }).map((fact) => show(fact)).filter(Boolean).join('\n')

t.test('an IPv4 pod on a bridge that is its gateway', async (t) => {
  t.equal(
    plan({ isGateway: true }),
    `sysctl -qw net/ipv4/ip_forward=1
ip link add cni0 mtu 1450 type bridge
ip link set cni0 address $(cat /sys/class/net/cni0/address)
sysctl -qew net/ipv6/conf/cni0/accept_ra=0
sysctl -qw net/ipv4/conf/cni0/forwarding=1
sysctl -qew net/ipv4/conf/cni0/arp_announce=2
ip link set cni0 up
ip link add vethec43057c07a address a6:1f:88:26:64:a6 mtu 1450 type veth peer name eth0 address 5e:ed:7b:18:44:e3 mtu 1450 netns pod
ip link set vethec43057c07a alias podnet/c1/eth0
sysctl -qew net/ipv6/conf/vethec43057c07a/accept_ra=0
ip link set vethec43057c07a master cni0
ip link set vethec43057c07a up
ip -n pod addr add 10.1.2.3/24 dev eth0
ip -n pod link set eth0 up
ip -n pod route add default via 10.1.2.1 dev eth0
ip addr add 10.1.2.1/24 dev cni0
ip netns exec pod sysctl -qew net/ipv4/conf/eth0/arp_notify=1
ip -n pod link set eth0 address 5e:ed:7b:18:44:e3`,
  )
})

t.test('what is said of the port and the bridge, by name', async (t) => {
  const added = (keys: Partial<BridgeConf>) => plan(keys).split('\n').filter((line) => !plan().split('\n').includes(line))
  t.same(added({ hairpinMode: true, portIsolation: true }), ['bridge link set dev vethec43057c07a hairpin on isolated on'])
  t.same(added({ promiscMode: true }), ['ip link set cni0 promisc on'])
  t.same(added({ isGateway: true, forceAddress: true }), ['sysctl -qw net/ipv4/ip_forward=1', 'sysctl -qw net/ipv4/conf/cni0/forwarding=1', 'sysctl -qew net/ipv4/conf/cni0/arp_announce=2', 'ip addr flush dev cni0 to 10.1.2.0/24', 'ip addr add 10.1.2.1/24 dev cni0'])
  t.same(added({ bridge: 'br-a' }).map((line) => line.replaceAll('br-a', 'cni0')), plan().split('\n').filter((line) => line.includes('cni0')))
  t.same(plan({ disableContainerInterface: true }, { ips: [], routes: [] }).split('\n').filter((line) => line.includes('-n pod')), [], 'the pod is left as it is')
})

t.test('default routes: one for each family, by the gateway, with what IPAM says of them', async (t) => {
  const routes = (given: ResultRoute[], ips = pod.ips, keys: Partial<BridgeConf> = { isDefaultGateway: true }) => bridge.result!({ conf: { ...pod.conf, ...keys }, ips, routes: given }).routes
  const dual = [...pod.ips, { address: 'fd00::3/64' }, { address: '10.9.0.3/24' }]
  t.same(routes([]), [{ dst: '0.0.0.0/0', gw: '10.1.2.1' }])
  t.same(routes([{ dst: '0.0.0.0/0' }]), [{ dst: '0.0.0.0/0', gw: '10.1.2.1' }], 'not doubled')
  t.same(routes([{ dst: '0.0.0.0/0', mtu: 1400 }], dual), [{ dst: '0.0.0.0/0', mtu: 1400, gw: '10.1.2.1' }, { dst: '::/0', gw: 'fd00::1' }])
  t.same(routes([{ dst: '0.0.0.0/0', gw: '10.1.2.9' }]), [{ dst: '0.0.0.0/0', gw: '10.1.2.9' }], "IPAM's own gateway stands")
  t.same(routes([{ dst: '0.0.0.0/0', table: 100 }]), [{ dst: '0.0.0.0/0', table: 100, gw: '10.1.2.1' }, { dst: '0.0.0.0/0', gw: '10.1.2.1' }], "another table's is another")
  t.same(routes([{ dst: '0.0.0.0/0' }], pod.ips, { isGateway: true }), [{ dst: '0.0.0.0/0' }], 'who is only a gateway leaves them alone')
  t.same(bridge.result!({ conf: { ...pod.conf, isGateway: true } as BridgeConf, ips: dual, routes: [] }).ips.map(({ gateway }) => gateway), ['10.1.2.1', 'fd00::1', '10.9.0.1'], 'a gateway that IPAM leaves open is the first address')
})
