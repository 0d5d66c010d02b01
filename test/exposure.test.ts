// 127.0.0.0/8 of the node, opened to pods with ports, and its guard: after `nft flush ruleset` the one would be there without the other.

import { call, netns, podnet, sh, works } from './world.ts'
import t from 'tap'
import { cli } from '../src/cli/cli.ts'
import { GUARD, opened } from '../src/localhost.ts'
import { portmap } from '../src/portmap/portmap.ts'
import { show } from '../src/show.ts'

const published = { ...podnet, runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] } }
const isGuarded = (): boolean => works('nft list chain inet podwire localhost | grep -q "ip daddr 127.0.0.0/8 drop"')

for (const type of ['ptp', 'bridge'])
  t.test(`${type}: what a flush takes, STATUS tells of, and the next ADD brings back, whatever it asks for`, async (t) => {
    const conf = { ...published, type, isGateway: true }
    const other = { ...podnet, type, isGateway: true, name: 'other', ipMasq: false, ipam: { type: 'host-local', subnet: '10.9.0.0/24' } }
    netns('pod')
    netns('pod2')
    const { json } = call(type, 'ADD', conf)
    t.ok(isGuarded())
    for (const asked of [conf, { ...other, name: 'podnet', ipam: { ...other.ipam, dataDir: '/run/empty' } }]) {
      sh('nft flush ruleset')
      t.match(call(type, 'STATUS', asked).json, { code: 51, msg: /^nft (table|chain) inet podwire.* is missing: 127\.0\.0\.0\/8 of this node is open/, details: /nft add/ })
      t.match(call('portmap', 'STATUS', { cniVersion: '1.1.0', name: 'podnet', type: 'portmap' }).json, { code: 51 }, 'so does an entry portmap')
      t.equal(call(type, 'ADD', other, { container: 'c2', netns: '/run/netns/pod2' }).status, 0)
      t.ok(isGuarded(), 'another pod brought it back')
      call(type, 'DEL', other, { container: 'c2', netns: '/run/netns/pod2' })
    }
    sh('nft flush chain inet podwire localhost')
    t.match(cli(['status', '--state-dir', '/run/none']), { status: 1, stdout: 'wrong     nft chain inet podwire localhost lacks the rule' })
    t.match(call(type, 'STATUS', conf).json, { code: 51, msg: 'nft chain inet podwire localhost lacks the rule' }, 'a chain without its rules is none')
    call(type, 'DEL', { ...conf, prevResult: json })
    sh('ip link del cni0 2>/dev/null; nft flush ruleset')
    t.equal(call(type, 'STATUS', conf).stdout, '', 'where nothing is open nothing is lacking')
    sh('ip netns del pod; ip netns del pod2; rm -r /var/lib/cni')
  })

t.test("what an operator has opened for all interfaces is the operator's", async (t) => {
  netns('pod')
  sh('sysctl -qw net.ipv4.conf.default.route_localnet=1')
  const conf = { ...podnet, ipMasq: false }
  call('ptp', 'ADD', conf)
  t.equal(call('ptp', 'STATUS', conf).stdout, '')
  call('ptp', 'DEL', conf)
  sh('sysctl -qw net.ipv4.conf.default.route_localnet=0; ip netns del pod; rm -r /var/lib/cni')
})

t.test('the guard is there before anything is open, and longer', async (t) => {
  const pod = { attachment: { network: 'podnet', containerID: 'c1', ifname: 'eth0' }, ips: [{ address: '10.1.2.3/24', gateway: '10.1.2.1' }], routes: [], host: 'veth0', bridge: undefined, mtu: 1500 }
  const plan = portmap.plan(pod, published as never).map((fact) => show(fact))
  const [guard, exposure] = [plan.indexOf(show(GUARD[1]!)), plan.indexOf(show(opened('veth0')))]
  t.ok(guard >= 0 && exposure > guard, `${guard} before ${exposure}`)
})
