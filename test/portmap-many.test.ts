// Thousands of host ports (an RTP range): what they cost grows with their number and not with its square, told by what is said to the
// kernel and not by time; and who is in the way is found among them.
//
//   far 192.0.2.2, 2001:db8::2 ── u0 192.0.2.1, 2001:db8::1 (node) ── pods a, b, c 10.1.2.0/24, fd00:1::/64

import { call, ip, netns, nft, podnet, sh, state } from './world.ts'
import { execFileSync } from 'node:child_process'
import t from 'tap'
import { cli } from '../src/cli/cli.ts'
import { Netlink, type Request } from '../src/kernel/netlink.ts'
import { ask, server } from './traffic.ts'

const conf = { ...podnet, ipMasq: false }
const who = (name: string) => ({ container: name.repeat(64), netns: `/run/netns/${name}` })
const range = (first: number, count: number, more: object = {}) => Array.from({ length: count }, (_, i) => ({ hostPort: first + i, containerPort: 1 + i, protocol: 'udp', ...more }))
const published = (portMappings: object[]) => ({ ...conf, runtimeConfig: { portMappings } })
const count = (map: string): number => Number(sh(`nft list map inet podwire ${map} 2>/dev/null | grep -o comment | wc -l`))

sh(`sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1`)
for (const name of ['a', 'b', 'c', 'far']) netns(name)
sh(`ip link add u0 type veth peer name eth0 netns far && ip link set u0 addrgenmode none up && ip addr add 192.0.2.1/24 dev u0 && ip addr add 2001:db8::1/64 dev u0 nodad
ip -n far link set eth0 up && ip -n far addr add 192.0.2.2/24 dev eth0 && ip -n far addr add 2001:db8::2/64 dev eth0 nodad`)
t.afterEach(() => {
  for (const name of ['a', 'b', 'c']) call('ptp', 'DEL', conf, who(name))
  sh('nft delete table inet podwire 2>/dev/null; rm -rf /var/lib/cni')
})

/** How many messages are sent to the kernel while something runs. */
function messages(run: () => void): number {
  let sent = 0
  const prototype = Netlink.prototype as any
  const plain = Object.fromEntries(['get', 'change', 'collect', 'scan', 'batch'].map((verb) => [verb, prototype[verb]]))
  for (const [verb, method] of Object.entries(plain))
    prototype[verb] = function (this: Netlink, what: Request | Request[], ...rest: unknown[]) {
      sent += Array.isArray(what) ? what.length : 1
      return method.call(this, what, ...rest)
    }
  try {
    run()
  } finally {
    Object.assign(prototype, plain)
  }
  return sent
}

const succeeds = (type: string, command: string, request: object) => {
  const answer = call(type, command, request, who('a'))
  if (answer.status !== 0) throw new Error(answer.stdout.slice(0, 300))
  return answer.json
}

/** What each verb says to the kernel for so many ports, by ptp and by portmap behind it. */
function said(ports: number): Record<string, number> {
  const request = published(range(10_000, ports))
  const found: Record<string, number> = {}
  const counting = (name: string, run: () => void) => void (found[name] = messages(run))
  let prevResult: object = {}
  counting('ADD', () => (prevResult = succeeds('ptp', 'ADD', request)))
  counting('CHECK', () => succeeds('ptp', 'CHECK', { ...request, prevResult }))
  counting('status', () => cli(['status']))
  counting('DEL', () => succeeds('ptp', 'DEL', conf))
  prevResult = succeeds('ptp', 'ADD', conf)
  const behind = { ...request, type: 'portmap', prevResult }
  counting('ADD of portmap', () => succeeds('portmap', 'ADD', behind))
  counting('CHECK of portmap', () => succeeds('portmap', 'CHECK', behind))
  counting('DEL of portmap', () => succeeds('portmap', 'DEL', behind))
  t.equal(count('hostports_ip'), 0)
  succeeds('ptp', 'DEL', conf)
  succeeds('ptp', 'ADD', request)
  counting('GC of portmap', () => succeeds('portmap', 'GC', { ...behind, 'cni.dev/valid-attachments': [] }))
  t.equal(count('hostports_ip'), 0)
  succeeds('ptp', 'DEL', conf)
  return found
}

t.test('ten times as many ports are few messages more', async (t) => {
  const [few, many] = [said(300), said(3000)]
  for (const [verb, sent] of Object.entries(many)) t.ok(sent - few[verb]! <= 2 * 15, `${verb}: ${few[verb]} for 300, ${sent} for 3000`) // two maps, 200 elements in a message
})

t.test('nor does the pod with one port pay for the others', async (t) => {
  const one = () => messages(() => call('ptp', 'ADD', published(range(9000, 1)), who('b')))
  const alone = one()
  call('ptp', 'DEL', conf, who('b'))
  succeeds('ptp', 'ADD', published(range(10_000, 3000)))
  t.ok(one() <= alone, 'messages')
})

const CONFLICTS: [held: object[], asked: object[], where: string][] = [
  [range(10_000, 300), range(10_299, 300), 'host port 10299/udp'],
  [range(10_000, 300), range(10_150, 1), 'host port 10150/udp'],
  [range(10_150, 1), range(10_000, 300), 'host port 10150/udp'],
  [range(10_150, 1, { hostIP: '192.0.2.1' }), range(10_000, 300), 'host port 10150/udp on 192.0.2.1'],
  [range(10_000, 300), range(10_150, 150, { hostIP: '192.0.2.1' }), 'host port 10150/udp on all addresses'],
  [range(10_150, 100, { hostIP: '2001:db8::1' }), range(10_000, 300, { hostIP: '::' }), 'host port 10150/udp on 2001:db8::1'],
]

t.test('who is in the way among hundreds is named, before anything was touched', async (t) => {
  for (const [held, asked, where] of CONFLICTS) {
    succeeds('ptp', 'ADD', published(held))
    const before = state('b')
    t.match(call('ptp', 'ADD', published(asked), who('b')).json, { code: 109, msg: `${where} is held by container ${'a'.repeat(64)} (eth0) of network podnet` })
    t.equal(state('b'), before, where)
    succeeds('ptp', 'DEL', conf)
  }
})

t.test('a pod that is gone loses all of its thousands to who asks for some', async (t) => {
  const { interfaces } = succeeds('ptp', 'ADD', published(range(10_000, 1000)))
  ip(`link del ${interfaces[0].name}`)
  const second = call('ptp', 'ADD', published(range(10_500, 1000)), who('b'))
  t.equal(second.status, 0, second.stdout.slice(0, 300))
  t.same([count('hostports_ip'), count('hostports_ip6')], [1000, 1000])
  t.notMatch(nft('list map inet podwire hostports_ip'), 'aaaa')
})

/** What a server says to datagrams from one and the same port of the far node, so that they are one connection to the kernel. */
const datagram = (address: string, port: number): string =>
  execFileSync('nsenter', ['--net=/run/netns/far', process.execPath, '-e', `const s = require('node:dgram').createSocket('udp${address.includes(':') ? 6 : 4}'); s.bind(4000, () => s.send('x', ${port}, '${address}')).on('message', (m) => (console.log(String(m).trim()), s.close())); setTimeout(() => s.close(), 5000).unref()`], { encoding: 'utf8' }).trim()

t.test('connections that were there are led to the pod, all others go on', async (t) => {
  const children = [await server(undefined, 'node', 10_050, 9999), await server('a', 'pod', 51)]
  t.teardown(() => children.forEach((child) => child.kill()))
  call('ptp', 'ADD', conf, who('c')) // something for which connections are tracked
  succeeds('ptp', 'ADD', published(range(20_000, 1)))
  for (const address of ['192.0.2.1', '2001:db8::1']) for (const port of [10_050, 9999]) t.match(datagram(address, port), /^node sees/)
  succeeds('ptp', 'DEL', conf)
  succeeds('ptp', 'ADD', published(range(10_000, 1000)))
  for (const address of ['192.0.2.1', '2001:db8::1']) t.match([datagram(address, 10_050), datagram(address, 9999)], [/^pod sees/, /^node sees/], address)
  t.match(ask('far', '192.0.2.1', 10_050, 'udp'), /^pod sees/)
  const tracked = () => sh('conntrack -L -f ipv4 2>/dev/null; conntrack -L -f ipv6 2>/dev/null').split('\n').filter((line) => line.includes('sport=4000')).map((line) => /dport=(\d+)/.exec(line)![1])
  t.same(tracked().sort(), ['10050', '10050', '9999', '9999'])
  call('portmap', 'DEL', { ...conf, type: 'portmap' }, who('a'))
  t.same(tracked().sort(), ['9999', '9999'], 'portmap takes back its own')
})

t.test('twenty thousand ports, as containerd writes them', async (t) => {
  const all = range(10_000, 20_000).map(({ hostPort }) => ({ HostPort: hostPort, ContainerPort: hostPort, Protocol: 'udp', HostIP: '' }))
  const request = { ...published(all), ipam: { type: 'host-local', subnet: '10.1.2.0/24' } }
  succeeds('ptp', 'ADD', request)
  t.equal(count('hostports_ip'), 20_000)
  t.match(cli(['status']).stdout, /^10000-29999\/udp +10\.1\.2\.2:10000-29999 /m)
  succeeds('ptp', 'DEL', request)
  t.equal(count('hostports_ip'), 0)
})
