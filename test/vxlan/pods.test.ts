// Pods on two nodes reach each other, nodes and host-network pods, over every underlay and with pods of every family; nobody
// is translated but who leaves the cluster.
//
//   p (pod) ── a ── u0 ┐                  .------- 203.0.113.9, 2001:db8:9::9 on its lo: the world outside
//                      ├── bridge lan ── outside
//   q (pod) ── b ── u0 ┘                  192.0.2.254, 2001:db8::fe
//
// Agents are told everything while they run, by the file of peers: underlay and families change under them, as when a
// cluster is changed to dual-stack.

import { spawn, type ChildProcess } from 'node:child_process'
import { ip, sh, works } from '../world.ts'
import t, { type Test } from 'tap'
import { Agent, kernel, node, on, peers, pod, segment, until, wire } from './nodes.ts'

type Family = 4 | 6

segment('a', 'b')
ip('-n outside addr add 203.0.113.9/32 dev lo && ip -n outside addr add 2001:db8:9::9/128 dev lo nodad')
// Of pods the world knows nothing, but for the part named in nonMasqueradeCIDRs.
ip('-n outside route add 10.244.1.0/24 via 192.0.2.1 && ip -n outside -6 route add fd00:10:244:1::/64 via 2001:db8::1')
on('outside', "nft 'table inet world { chain in { type filter hook input priority -10; ip saddr 10.244.0.0/16 ip daddr 192.0.2.254 drop; ip6 saddr fd00::/16 ip6 daddr 2001:db8::fe drop; }; }'")
const OUTSIDE = { 4: '192.0.2.254', 6: '2001:db8::fe' }
const INSIDE = { 4: '203.0.113.9', 6: '2001:db8:9::9' } // named in nonMasqueradeCIDRs
const NODE = { a: { 4: '192.0.2.1', 6: '2001:db8::1' }, b: { 4: '192.0.2.2', 6: '2001:db8::2' } }
let [a, b]: Agent[] = []

const cluster = (below: Family, families: Family[]): void =>
  peers(...['a', 'b'].map((name, i) => {
    const all = node(name, i + 1)
    return { ...all, addresses: below === 4 ? all.addresses : all.addresses.toReversed(), podCIDRs: all.podCIDRs.filter((_, j) => families.includes(j === 0 ? 4 : 6)) }
  }))

for (const direct of [false, true])
  t.test(direct ? 'direct routes' : 'encapsulated', async (t) => {
    cluster(4, [4, 6])
    const options = `--non-masquerade-cidrs 203.0.113.0/24,2001:db8:9::/48 ${direct ? '--direct-routing' : ''}`
    ;[a, b] = await Promise.all([Agent.ready('a', options), Agent.ready('b', options)])
    for (const below of [4, 6] as Family[])
      for (const families of (direct ? [[4, 6]] : [[4, 6], [4], [6]]) as Family[][]) await t.test(`over IPv${below}, pods of IPv${families.join(' and IPv')}`, (t) => everybodyReaches(t, below, families, direct))
    if (!direct) await t.test('a connection survives', survives)
    if (direct) await t.test('three nodes, the third behind a router: direct where it can be, encapsulated where not', three)
    await Promise.all([a.stop(), b.stop()])
    for (const name of ['a', 'b']) t.match(kernel(name), 'proto 119', 'the overlay stays when agents stop')
  })

async function everybodyReaches(t: Test, below: Family, families: Family[], direct: boolean): Promise<void> {
  cluster(below, families)
  for (const agent of [a!, b!]) await agent.reads()
  t.equal(/vxlan.* local (\S+)/.exec(on('a', 'ip -d link show podwire.1'))?.[1], NODE.a[below])
  const [p, q] = [pod(a!, 'p'), pod(b!, 'q')]
  t.equal(p.length, families.length)
  for (const [i, family] of families.entries()) {
    const [from, to] = [p[i]!, q[i]!]
    t.equal(source(t, 'p', 'q', to), from, `pod to pod, and it sees the pod's address`)
    t.equal(source(t, 'q', 'p', from), to, 'and the other way round')
    t.match(source(t, 'a', 'q', to), family === 4 ? /^(10\.244\.1\.0|192\.0\.2\.1)$/ : /^(fd00:10:244:1::|2001:db8::1)$/, 'a node, and a host-network pod on it, with an address of the node')
    t.ok(works(`ip netns exec p ping -c1 -W2 ${NODE.b[family]}`), 'pod to remote node')
    if (direct || (below === 6 && families.length === 1)) continue // seen often enough
    t.equal(source(t, 'p', 'outside', OUTSIDE[family]), NODE.a[family], 'outside sees the node')
    t.equal(source(t, 'p', 'outside', INSIDE[family]), from, 'but for networks that are not to be masqueraded')
  }
  if (direct) t.notMatch(on('a', 'ip route; ip -6 route'), 'via 10.244.2.0')
  unwire(t)
}

function unwire(t: Test): void {
  for (const [agent, name] of [[a!, 'p'], [b!, 'q']] as const) {
    t.equal(wire(agent, 'DEL', name).status, 0)
    ip(`netns del ${name}`)
  }
}

/** The source address with which a ping from one namespace arrives in another, as nf_tables there has seen it. */
function source(t: Test, from: string, to: string, address: string): string {
  const [match, set, saddr] = address.includes(':') ? ['icmpv6', 'ipv6_addr', 'ip6 saddr'] : ['icmp', 'ipv4_addr', 'ip saddr']
  const [there, ping] = [`nsenter --net=/run/netns/${to}`, `nsenter --net=/run/netns/${from} ping -c1 -W2 ${address}`]
  const seen = sh(`${there} nft 'table inet seen { set from { type ${set}; flags dynamic; }; chain in { type filter hook input priority 0; ${match} type echo-request add @from { ${saddr} }; }; }'
    ${ping} >/dev/null && echo answered; ${there} nft list set inet seen from; ${there} nft delete table inet seen`)
  t.match(seen, /^answered/, `${from} reaches ${to} at ${address}`)
  return /elements = \{ (\S+) \}/.exec(seen)?.[1] ?? 'nobody'
}

const ECHO = `require('net').createServer((socket) => socket.pipe(socket)).listen(7, '::')`
const TALK = `const socket = require('net').connect(7, process.argv[1]); let said = 0
  const say = () => socket.write(said++ + ' ')
  socket.on('connect', () => setInterval(say, 10)).on('data', (echo) => process.stdout.write(echo)).on('error', ({ message }) => process.stdout.write(message))`

/** Two TCP connections, inside the cluster and out of it, that go on talking whatever happens to agents, device and tables. */
async function survives(t: Test): Promise<void> {
  cluster(4, [4, 6])
  for (const agent of [a!, b!]) await agent.reads()
  pod(a!, 'p')
  const [q] = pod(b!, 'q')
  const children: ChildProcess[] = []
  t.teardown(() => children.forEach((child) => child.kill()))
  const run = (name: string, code: string, ...args: string[]) => {
    const child = spawn('nsenter', [`--net=/run/netns/${name}`, 'env', '-u', 'NODE_OPTIONS', process.execPath, '-e', code, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
    children.push(child)
    const heard = { text: '' }
    child.stdout!.on('data', (data) => (heard.text += data))
    return heard
  }
  for (const name of ['q', 'outside']) run(name, ECHO)
  for (const name of ['q', 'outside']) await until('somebody listens', () => ip(`netns exec ${name} cat /proc/net/tcp6`).includes(':0007 '))
  const talks = [run('p', TALK, q!), run('p', TALK, OUTSIDE[4])]
  const goesOn = async (what: string) => {
    const before = talks.map(({ text }) => text.length)
    await until(`both go on: ${what}`, () => talks.every(({ text }, i) => text.length > before[i]! + 20))
  }
  await goesOn('at first')
  for (const what of ['ip link del podwire.1', 'nft flush ruleset', 'ip route flush proto 119', 'ip link set podwire.1 mtu 1300']) {
    on('a', what)
    await a!.settled()
    await goesOn(what)
  }
  await a!.stop('SIGKILL')
  await goesOn('nobody watches')
  a = await Agent.ready('a')
  await goesOn('the agent is back')
  for (const { text } of talks) t.match(text, /^0 1 2 3 /, 'what was said came back')
  for (const { text } of talks) t.same(text.trim().split(' ').map(Number), text.trim().split(' ').map((_, i) => i), 'in order, and all of it')
  unwire(t)
}

/**
 *   a ── u0 ┐
 *   b ── u0 ┴── bridge lan ── outside (routes) ── u0 ── c (pod r)
 *                              198.51.100.254          198.51.100.3
 */
async function three(t: Test): Promise<void> {
  sh(`ip netns add c && ip -n c link set lo up && ip -n outside link add to-c up type veth peer name u0 netns c && ip -n c link set u0 up
    ip -n outside addr add 198.51.100.254/24 dev to-c && ip -n c addr add 198.51.100.3/24 dev u0 && ip -n c route add default via 198.51.100.254 && ip netns exec outside sysctl -qw net.ipv4.ip_forward=1`)
  peers(node('a', 1), node('b', 2), node('c', 3, { addresses: ['198.51.100.3'] }))
  const c = await Agent.ready('c', '--direct-routing')
  for (const agent of [a!, b!, c]) await agent.reads()
  t.match(on('a', 'ip route show proto 119'), /10\.244\.2\.0\/24 via 192\.0\.2\.2 dev u0.*10\.244\.3\.0\/24 via 10\.244\.3\.0 dev podwire\.1/s)
  const pods = { p: pod(a!, 'p'), q: pod(b!, 'q'), r: pod(c, 'r') }
  for (const from of ['p', 'q', 'r'] as const)
    for (const to of ['p', 'q', 'r'] as const) if (from !== to) for (const i of [0, 1]) t.equal(source(t, from, to, pods[to][i]!), pods[from][i], `${from} to ${to}`)
  await c.stop()
  unwire(t)
}
