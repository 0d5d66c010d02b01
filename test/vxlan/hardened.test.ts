// An overlay on nodes whose underlay is a tunnel of its own (MTU 1280 leaves 1230), and on nodes that somebody has hardened.
//
//     p (pod) ── a ── 192.0.2.0/24 ── b ── q (pod)

import { call, ip, works } from '../world.ts'
import { spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { uninstall } from '../../src/vxlan/uninstall.ts'
import { Agent, inside, node, on, peers, pod, segment, until, wire } from './nodes.ts'

segment('a', 'b')
const four = (name: string, n: number) => node(name, n, { podCIDRs: [`10.244.${n}.0/24`] })

/** Two agents, a pod on each, what is done with them, and their end. */
async function withPods(run: (p: string[], q: string[], agents: [Agent, Agent]) => void | Promise<void>): Promise<void> {
  const agents = (await Promise.all([Agent.ready('a'), Agent.ready('b')])) as [Agent, Agent]
  for (const agent of agents) await agent.settled() // overlay.json may still be that of the agent before
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

t.test('after nft flush ruleset the agent brings back what guards 127.0.0.0/8, and uninstall leaves it while it is open', async (t) => {
  peers(four('a', 1))
  const agent = await Agent.ready('a')
  await agent.settled()
  ip('netns add p')
  const keys = { runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] } }
  t.match(wire(agent, 'ADD', 'p', keys), { status: 0, stderr: '' })
  const guarded = () => works("nsenter --net=/run/netns/a nft list chain inet podwire localhost | grep -q 'ip daddr 127.0.0.0/8 drop'")
  for (const damage of ['nft flush ruleset', 'nft flush chain inet podwire localhost']) {
    on('a', damage)
    await until(`the guard is there again after ${damage}`, guarded)
  }
  await until('it says so', () => agent.log.includes('msg=repaired what="the guard of 127.0.0.0/8 was missing"'))
  await t.test('while somebody else has the table it is not tried in a hot loop, and said once', async (t) => {
    const before = agent.log.length
    const owner = spawn('nsenter', ['--net=/run/netns/a', 'nft', '-i'], { stdio: ['pipe', 'ignore', 'inherit'] })
    t.teardown(() => owner.kill())
    agent.pause()
    on('a', 'nft delete table inet podwire')
    owner.stdin.write('add table inet podwire { flags owner; }\n')
    await until('it has the table', () => works('nsenter --net=/run/netns/a nft list tables | grep -q podwire'))
    agent.resume()
    const said = () => agent.log.slice(before).match(/msg="the kernel refuses" .*EPERM/g)?.length ?? 0
    await until('it is said', () => said() > 0)
    const errors = agent.metric('podwire_errors_total{code="EPERM"}')
    for (const end = performance.now() + 2_000; performance.now() < end; await sleep(5)) on('a', 'ip link add y type veth peer name z && ip link del y')
    t.ok(said() <= 3, agent.log.slice(before))
    t.ok(agent.metric('podwire_errors_total{code="EPERM"}') - errors <= 40, 'a few facts, a few times')
    owner.stdin.end()
    await until('it is there again', guarded)
  })
  await agent.stop()
  on('a', `nft flush set inet podwire hostports_dev; for map in hostports_ip hairpin_ip; do nft flush map inet podwire $map; done 2>/dev/null; true`)
  t.same(inside('a', () => uninstall({ vni: 1, stateDir: agent.stateDir, confDir: agent.confDir, binDir: agent.binDir, libDir: '/run/a/lib/podwire', force: true })).problems, [])
  t.ok(guarded(), 'the pod is there still')
  ip('netns del p')
  on('a', 'ip link show type veth | grep -o "veth[0-9a-f]*" | while read name; do ip link del $name; done; true')
  inside('a', () => uninstall({ vni: 1, stateDir: agent.stateDir, confDir: agent.confDir, binDir: agent.binDir, libDir: '/run/a/lib/podwire' }))
  t.equal(on('a', 'nft list ruleset'), '', 'and then nothing is')
})

t.test('a node that says another address takes nothing from one that was there, however old it is', async (t) => {
  const old = (name: string, n: number, more: object = {}) => ({ ...four(name, n), created: `2026-01-0${n}T00:00:00Z`, ...more })
  peers(old('b', 2), old('a', 3), old('c', 4))
  const agent = await Agent.ready('a')
  peers(old('b', 2, { addresses: ['10.244.4.7', '192.0.2.4'] }), old('a', 3), old('c', 4))
  await until('the liar is named', () => agent.log.includes('node=b why="its address 10.244.4.7'))
  t.match(on('a', 'ip route show proto 119'), '10.244.4.0/24')
  t.notMatch(on('a', 'ip route show proto 119'), '10.244.2.0/24', 'who has no address any more is no peer')
  await agent.stop()
})
