// ptp in a world of its own:
//
//     pod (netns)                      this namespace
//     eth0 10.1.2.2/24 ──── veth ──── veth<hash> 10.1.2.1/32

import { call, ip, netns, nft, podnet, sh, state, works } from './world.ts'
import t from 'tap'

const conf = podnet

t.test('ADD wires a dual-stack pod, CHECK agrees, DEL leaves nothing', async (t) => {
  netns('pod')
  const before = state()
  const added = call('ptp', 'ADD', conf)
  t.equal(added.status, 0, added.stdout)
  const host = added.json.interfaces[0].name

  t.match(ip('-n pod -4 addr show eth0'), 'inet 10.1.2.2/24 scope global noprefixroute eth0')
  t.match(ip('-n pod -6 addr show eth0 scope global'), 'inet6 fd00:1::2/64 scope global nodad noprefixroute')
  t.equal(ip('-n pod route').replace(/ +$/gm, ''), 'default via 10.1.2.1 dev eth0\n10.1.2.0/24 via 10.1.2.1 dev eth0 src 10.1.2.2\n10.1.2.1 dev eth0 scope link src 10.1.2.2')
  t.match(ip(`addr show ${host}`), 'inet 10.1.2.1/32 scope global')
  t.match(ip('route show 10.1.2.2'), `10.1.2.2 dev ${host} scope host`)
  t.match(ip(`link show ${host}`), 'alias podnet/c1/eth0')
  t.match(nft('get element inet podwire masquerade_ip { 10.1.2.2 }'), 'comment "podnet/c1/eth0"')
  t.equal(sh(`cat /proc/sys/net/ipv6/conf/${host}/accept_ra`), '0')
  t.ok(works('ip netns exec pod ping -c1 -W30 10.1.2.1'), 'the pod reaches the node')
  t.ok(works('ip netns exec pod ping -c1 -W30 fd00:1::1'), 'the pod reaches the node over IPv6')
  t.ok(works('ping -c1 -W30 10.1.2.2'), 'the node reaches the pod')
  t.ok(works('ip netns exec pod ip link set lo up && ip netns exec pod ping -c1 -W30 10.1.2.2'), 'the pod reaches itself')

  const checked = call('ptp', 'CHECK', { ...conf, prevResult: added.json })
  t.equal(checked.status, 0, checked.stdout)
  ip('-n pod route del default')
  const damaged = call('ptp', 'CHECK', { ...conf, prevResult: added.json })
  t.match(damaged.json, { code: 102, msg: 'route default via 10.1.2.1 dev eth0 is missing' })
  t.equal(damaged.json.details, '# route default via 10.1.2.1 dev eth0 is missing\nip -n pod route add default via 10.1.2.1 dev eth0')

  t.equal(call('ptp', 'DEL', conf).status, 0)
  t.equal(call('ptp', 'DEL', conf).status, 0, 'again')
  sh('nft delete table inet podwire')
  t.equal(state(), before, 'nothing is left but the shared table')
})
