// Links of different MTUs on the way: no packet that is larger than the path is lost without its sender being told.
//
//   p (pod) ── a ──1500── r1 ──1380── r2 ──1420── b ── q (pod)
//              192.0.2.0/24  203.0.113.0/24  198.51.100.0/24
//              2001:db8:1::  2001:db8:2::    2001:db8:3::

import { ip, sh, works } from '../world.ts'
import t, { type Test } from 'tap'
import { Agent, on, peers, pod, until, wire } from './nodes.ts'

type Family = 4 | 6

const PATH = 1380
const OVERHEAD = { 4: 50, 6: 70 } // what VXLAN adds, by the family of the underlay
const HEADERS = { 4: 28, 6: 48 } // what ping adds: IP and ICMP, by the family of the pods

const LINKS = [['a', 'r1', 1500], ['r1', 'r2', 1380], ['r2', 'b', 1420]] as const
for (const name of ['a', 'r1', 'r2', 'b']) sh(`ip netns add ${name} && ip -n ${name} link set lo up && ip netns exec ${name} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0`)
for (const [i, [left, right, mtu]] of LINKS.entries()) {
  const net = ['192.0.2', '203.0.113', '198.51.100'][i]
  ip(`-n ${left} link add to-${right} up mtu ${mtu} type veth peer name to-${left} mtu ${mtu} netns ${right} && ip -n ${right} link set to-${left} up`)
  for (const [j, [name, dev]] of ([[left, `to-${right}`], [right, `to-${left}`]] as const).entries()) ip(`-n ${name} addr add ${net}.${j + 1}/24 dev ${dev} && ip -n ${name} addr add 2001:db8:${i + 1}::${j + 1}/64 dev ${dev} nodad`)
}
const ROUTES = { a: ['192.0.2.2', '2001:db8:1::2'], r1: ['203.0.113.2', '2001:db8:2::2'], r2: ['203.0.113.1', '2001:db8:2::1'], b: ['198.51.100.1', '2001:db8:3::1'] }
for (const [name, [via4, via6]] of Object.entries(ROUTES)) ip(`-n ${name} route add default via ${via4} && ip -n ${name} -6 route add default via ${via6}`)

const NODES = [
  { name: 'a', addresses: ['192.0.2.1', '2001:db8:1::1'], podCIDRs: ['10.244.1.0/24', 'fd00:10:244:1::/64'] },
  { name: 'b', addresses: ['198.51.100.2', '2001:db8:3::2'], podCIDRs: ['10.244.2.0/24', 'fd00:10:244:2::/64'] },
]

t.test('over a path narrower than either end', async (t) => {
  peers(...NODES)
  const [a, b] = await Promise.all([Agent.ready('a'), Agent.ready('b')])
  for (const below of [4, 6] as Family[]) {
    peers(...NODES.map((node) => ({ ...node, addresses: below === 4 ? node.addresses : node.addresses.toReversed() })))
    for (const agent of [a, b]) await agent.reads()
    const [p, q] = [pod(a, 'p'), pod(b, 'q')]
    t.match(ip('-n p link show eth0'), `mtu ${1500 - OVERHEAD[below]} `)
    t.match(ip('-n q link show eth0'), `mtu ${1420 - OVERHEAD[below]} `)
    for (const [i, inner] of ([4, 6] as Family[]).entries()) {
      await until('small packets pass', () => works(`ip netns exec p ping -c1 -W1 ${q[i]}`))
      await t.test(`IPv${inner} over IPv${below}, from the wide end`, (t) => told(t, 'p', q[i]!, 1500, below, inner))
      await t.test(`IPv${inner} over IPv${below}, from the narrow end`, (t) => told(t, 'q', p[i]!, 1420, below, inner))
    }
    for (const [agent, name] of [[a, 'p'], [b, 'q']] as const) {
      t.equal(wire(agent, 'DEL', name).status, 0)
      ip(`netns del ${name}`)
      on(agent.node, 'ip route flush cache; ip -6 route flush cache')
    }
  }
  await Promise.all([a.stop(), b.stop()])
})

/** From a pod whose node has a link of that MTU. */
async function told(t: Test, from: string, to: string, mtu: number, below: Family, inner: Family): Promise<void> {
  const path = PATH - OVERHEAD[below]
  const size = mtu - OVERHEAD[below] - HEADERS[inner]
  const ping = (bytes: number, fragments: 'do' | 'dont') => `ip netns exec ${from} ping -M ${fragments} -c1 -W0.1 -s ${bytes} ${to}`
  if (inner === 4) await until('a packet that may be fragmented arrives', () => works(ping(size, 'dont')))
  // The first one tells the node, the next one the pod. man 8 tracepath
  await until('the sender is told', () => new RegExp(`mtu ?[=:] ?${path}`, 'i').test(sh(`${ping(size, 'do')} 2>&1 || true`)))
  t.match(ip(`-n ${from} route get ${to}`), `mtu ${path}`, 'and remembers')
  t.ok(works(ping(path - HEADERS[inner], 'do')), 'as large as the path: it arrives')
  t.notOk(works(ping(path - HEADERS[inner] + 1, 'do')), 'one byte more: refused at once')
  await until('larger ones in fragments', () => works(ping(size, 'dont')))
}
