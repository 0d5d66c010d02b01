// Host ports, the finer points, by packets: one address, conditions, who is masqueraded, what was tracked before, and what
// route_localnet must not let in.
//
//   far 192.0.2.2 ── u0 192.0.2.1, 192.0.2.11 (node) ── pod 10.1.2.2, other 10.1.2.3

import { execFileSync } from 'node:child_process'
import { call, netns, nft, sh } from './world.ts'
import t from 'tap'
import { ask, server, silent } from './traffic.ts'

const conf = { cniVersion: '1.1.0', name: 'podnet', type: 'ptp', ipam: { type: 'host-local', subnet: '10.1.2.0/24', routes: [{ dst: '0.0.0.0/0' }] } }
const other = { container: 'c2', netns: '/run/netns/other' }
const tcp = (more: object = {}) => ({ hostPort: 8080, containerPort: 80, protocol: 'tcp', ...more })
const udp = { hostPort: 8053, containerPort: 53, protocol: 'udp' }
const add = (mappings: object[], portmap: object = {}, who = {}) => call('ptp', 'ADD', { ...conf, portmap, runtimeConfig: { portMappings: mappings } }, who)

for (const name of ['far', 'pod', 'other']) netns(name)
sh(`ip link add u0 type veth peer name eth0 netns far && ip link set u0 up && ip addr add 192.0.2.1/24 dev u0 && ip addr add 192.0.2.11/24 dev u0
ip -n far link set eth0 up && ip -n far addr add 192.0.2.2/24 dev eth0 && ip -n far route add default via 192.0.2.1
sysctl -qw net.ipv4.ip_forward=1`)
const servers = [await server('pod', 'pod', 80, 53), await server('other', 'other', 80, 53), await server(undefined, 'node', 8053, 9999)]
t.teardown(() => servers.forEach((one) => one.kill()))
t.afterEach(() => {
  for (const who of [{}, other]) call('ptp', 'DEL', conf, who)
})

/** What a server says to datagrams from one and the same port of the far node, so that they are one connection to the kernel. */
const datagram = (address: string): string =>
  execFileSync('nsenter', ['--net=/run/netns/far', process.execPath, '-e', `const s = require('node:dgram').createSocket('udp4'); s.bind(4000, () => s.send('x', 8053, '${address}')).on('message', (m) => (console.log(String(m).trim()), s.close())); setTimeout(() => s.close(), 500).unref()`], { encoding: 'utf8' }).trim()

t.test('one address of the node, and not the others', async (t) => {
  t.equal(add([tcp({ hostIP: '192.0.2.11' })]).status, 0)
  t.equal(ask('far', '192.0.2.11', 8080), 'pod sees 192.0.2.2')
  for (const address of ['192.0.2.1', '127.0.0.1']) t.ok(silent(address === '127.0.0.1' ? undefined : 'far', address, 8080))
})

t.test('127.0.0.1 alone: the node reaches it, and nobody from outside', async (t) => {
  t.equal(add([tcp({ hostIP: '127.0.0.1' })]).status, 0)
  t.match(ask(undefined, '127.0.0.1', 8080), 'pod sees 10.1.2.1')
  t.ok(silent('far', '192.0.2.1', 8080))
})

t.test('an address beside all of them, of another pod', async (t) => {
  t.equal(add([tcp({ hostIP: '192.0.2.11' })]).status, 0)
  t.equal(add([tcp({ hostIP: '192.0.2.1' })], {}, other).status, 0)
  t.match([ask('far', '192.0.2.11', 8080), ask('far', '192.0.2.1', 8080)], ['pod sees 192.0.2.2', 'other sees 192.0.2.2'])
})

t.test('masqAll: whoever comes is masqueraded; snat false: nobody is', async (t) => {
  t.equal(add([tcp()], { masqAll: true }).status, 0)
  t.equal(ask('far', '192.0.2.1', 8080), 'pod sees 10.1.2.1')
  call('ptp', 'DEL', conf)
  t.equal(add([tcp()], { snat: false }).status, 0)
  t.equal(ask('far', '192.0.2.1', 8080), 'pod sees 192.0.2.2')
  t.ok(silent(undefined, '127.0.0.1', 8080))
  t.ok(silent('pod', '192.0.2.1', 8080))
})

for (const conditionsV4 of [['ip', 'saddr', '!=', '192.0.2.2'], ['!', '-s', '192.0.2.2/32'], ['-i', 'lo']])
  t.test(`under the condition ${conditionsV4.join(' ')}`, async (t) => {
    const added = add([tcp()], { conditionsV4 })
    t.equal(added.status, 0, added.stdout)
    t.ok(silent('far', '192.0.2.1', 8080))
    if (!conditionsV4.includes('lo')) t.match(ask('pod', '192.0.2.1', 8080), /^pod sees/)
    t.equal(call('ptp', 'CHECK', { ...conf, portmap: { conditionsV4 }, runtimeConfig: { portMappings: [tcp()] }, prevResult: added.json }).stdout, '')
  })

t.test('datagrams that flowed before go to the pod at once, and to the next one', async (t) => {
  t.equal(datagram('192.0.2.1'), 'node sees 192.0.2.2')
  t.equal(add([udp]).status, 0)
  t.equal(datagram('192.0.2.1'), 'pod sees 192.0.2.2', 'not to the process of before')
  t.equal(call('ptp', 'DEL', conf).status, 0)
  t.equal(datagram('192.0.2.1'), 'node sees 192.0.2.2')
  t.equal(add([udp], {}, other).status, 0)
  t.equal(datagram('192.0.2.1'), 'other sees 192.0.2.2')
})

t.test('flows to such a port of another machine are not forgotten', async (t) => {
  const through = await server('far', 'far', 8053)
  add([])
  t.match(ask('pod', '192.0.2.2', 8053, 'udp'), 'far sees 10.1.2.')
  const tracked = () => sh('conntrack -L -p udp --orig-dst 192.0.2.2 2>/dev/null | grep -o "sport=[0-9]*" | head -1')
  const before = tracked()
  t.match(before, 'sport=')
  t.equal(add([udp], {}, other).status, 0)
  t.equal(tracked(), before)
  through.kill()
})

t.test('what foreign tables flush does not touch them', async (t) => {
  t.equal(add([tcp()]).status, 0)
  sh('nft add table ip nat; nft flush table ip nat; nft delete table ip nat; iptables-nft -t nat -F; iptables-nft -F')
  t.equal(ask('far', '192.0.2.1', 8080), 'pod sees 192.0.2.2')
})

t.test("route_localnet opens nothing: a pod does not reach what the node has on 127.0.0.1", async (t) => {
  const added = add([tcp()])
  t.match(ask(undefined, '127.0.0.1', 8080), 'pod sees')
  // The pod is root in its namespace and sends where it likes.
  sh('ip -n pod route add 127.0.0.0/8 via 10.1.2.1 dev eth0; ip netns exec pod sysctl -qw net.ipv4.conf.all.route_localnet=1')
  t.ok(silent('pod', '127.0.0.1', 9999))
  nft('flush chain inet podwire localhost')
  t.match(ask('pod', '127.0.0.1', 9999), /^node sees/, 'without the chain it would (CVE-2020-8558)')
  t.match(call('ptp', 'CHECK', { ...conf, runtimeConfig: { portMappings: [tcp()] }, prevResult: added.json }).json, { code: 102, msg: /chain inet podwire localhost lacks the rule/ })
})
