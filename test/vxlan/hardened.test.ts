// An overlay on nodes whose underlay is a tunnel of its own (MTU 1280 leaves 1230), and on nodes that somebody has hardened.
//
//     p (pod) ── a ── 192.0.2.0/24 ── b ── q (pod)

import { call, ip, works } from '../world.ts'
import t from 'tap'
import { Agent, inside, node, on, peers, pod, segment, until, wire } from './nodes.ts'

segment('a', 'b')
const four = (name: string, n: number) => node(name, n, { podCIDRs: [`10.244.${n}.0/24`] })

/** Two agents, a pod on each, what is done with them, and their end. */
async function withPods(run: (p: string[], q: string[], agents: [Agent, Agent]) => void | Promise<void>): Promise<void> {
  const agents = (await Promise.all([Agent.ready('a'), Agent.ready('b')])) as [Agent, Agent]
  const [p, q] = [pod(agents[0], 'p'), pod(agents[1], 'q')]
  await run(p, q, agents)
  for (const [agent, name] of [[agents[0], 'p'], [agents[1], 'q']] as const) {
    t.equal(wire(agent, 'DEL', name).stdout, '')
    ip(`netns del ${name}`)
  }
  await Promise.all(agents.map((agent) => agent.stop()))
  for (const name of ['a', 'b']) on(name, 'ip link del podwire.1; nft flush ruleset')
}

t.test('an underlay with an MTU of 1280: IPv4 pods have 1230, and reach each other', async (t) => {
  for (const name of ['a', 'b']) on(name, 'ip link set u0 mtu 1280')
  peers(four('a', 1), four('b', 2))
  await withPods(async (_, q, agents) => {
    t.match(ip('-n p link show eth0'), 'mtu 1230 ')
    await until('packets pass', () => works(`ip netns exec p ping -c1 -W1 -M do -s 1202 ${q[0]}`))
    t.notOk(agents.some(({ log }) => /refused|cannot/.test(log)), 'nobody complains')
  })
  const entry = { cniVersion: '1.1.0', name: 'podnet', type: 'vxlan', node: 'a', peers: [four('a', 1), four('b', 2)] }
  const prevResult = { cniVersion: '1.1.0', interfaces: [{ name: 'eth0', sandbox: '/run/netns/pod' }], ips: [{ address: '10.244.1.2/24', interface: 0 }] }
  ip('netns add pod')
  for (const command of ['ADD', 'CHECK', 'STATUS']) t.equal(inside('a', () => call('vxlan', command, { ...entry, prevResult })).status, 0, `${command} of the entry vxlan`)
  ip('netns del pod')
  on('a', 'ip link del podwire.1; nft flush ruleset')
})

t.test('IPv6 pods need 1280: the agent says so, and is not ready', async (t) => {
  peers(node('a', 1), node('b', 2))
  const agent = new Agent('a')
  await until('it says why', () => agent.log.includes('an MTU of 1230 is left inside the overlay, and pods need 1280'))
  t.ok(await until('it is not ready', () => !agent.status().ready))
  await agent.stop()
  for (const name of ['a', 'b']) on(name, 'ip link set u0 mtu 1500')
})

t.test('arp_ignore, forwarding of interfaces that are made: pods reach each other, the node, and who is beside it', async (t) => {
  for (const name of ['a', 'b']) on(name, 'sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.arp_ignore=2 net.ipv4.conf.default.forwarding=0')
  peers(four('a', 1), four('b', 2))
  await withPods(async (p, q, [agent]) => {
    await until('from pod to pod', () => works(`ip netns exec p ping -c1 -W1 ${q[0]}`))
    t.ok(works('ip netns exec p ping -c1 -W2 192.0.2.254'), 'outside')
    t.ok(works(`ip netns exec b ping -c1 -W2 ${p[0]}`), 'a node to a pod on the other')
    t.equal(wire(agent, 'STATUS', 'p').stdout, '')
  })
})
