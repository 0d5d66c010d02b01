// The nodes from a file, edited in every way; and an agent that goes and comes back: what it leaves, and what it finds.
//
//   p (pod) ── a ── u0 ── bridge lan ── u0 ── b ── q (pod)

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { ip, sh, state, works } from '../world.ts'
import t from 'tap'
import { Agent, inside, kernel, node, on, peers, pod, podwireOn, segment, until, wire } from './nodes.ts'

const PEERS = '/run/peers.json'
const [A, B, C] = [node('a', 1), node('b', 2), node('c', 3)]
const text = (...nodes: object[]): string => JSON.stringify({ nodes })
const routes = (name: string): string => on(name, 'ip route show proto 119')

segment('a', 'b')
on('a', 'sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1') // a host's own setting, which stays
const untouched = inside('a', () => state())

t.test('a file that is not there yet', async (t) => {
  const agent = new Agent('a')
  await until('it says so', () => agent.status().reason !== '' || agent.over)
  t.match(agent.status(), { ready: false, reason: /nodes are not known yet: .*peers\.json/ })
  t.match(agent.get('/readyz'), { status: 503, body: /nodes are not known yet/ })
  t.match(agent.get('/healthz'), { status: 200 })
  peers(A, B)
  await agent.reads()
  t.match(agent.get('/readyz'), { status: 200 })

  await t.test('edited in place', async (t) => {
    peers(A, B, C)
    await agent.reads()
    t.match(routes('a'), '10.244.3.0/24')
  })

  await t.test('written in place bit by bit, by somebody slow', async (t) => {
    const whole = text(A, C)
    writeFileSync(PEERS, '')
    for (let i = 0; i < whole.length; i += 60) {
      writeFileSync(PEERS, whole.slice(i, i + 60), { flag: 'a' })
      await sleep(3)
    }
    await agent.reads()
    t.notMatch(routes('a'), '10.244.2.0/24')
  })

  await t.test('renamed into its place', async (t) => {
    writeFileSync('/run/new.json', text(A, B))
    renameSync('/run/new.json', PEERS)
    await agent.reads()
    t.match(routes('a'), '10.244.2.0/24')
    t.notMatch(routes('a'), '10.244.3.0/24')
  })

  await t.test('deleted and made again', async (t) => {
    rmSync(PEERS)
    await until('it says so', () => agent.said().source.reason.includes('there is no such file'))
    t.match(routes('a'), '10.244.2.0/24', 'the last good state stays')
    peers(A, B, C)
    await agent.reads()
    t.equal(agent.said().source.reason, '')
  })

  const broken: [string, string, RegExp][] = [
    ['no JSON', '{"nodes": [', /JSON/],
    ['nothing', '', /JSON/],
    ['no list', '{"nodes": {}}', /nodes is \{\}: expected a list of nodes/],
    ['no nodes', '{"peers": []}', /nodes is missing: expected a list of nodes/],
  ]
  for (const [what, content, sentence] of broken)
    await t.test(`broken, ${what}: it is named, and the last good state stays`, async (t) => {
      const before = kernel('a')
      writeFileSync(PEERS, content)
      await until('it is named', () => sentence.test(agent.said().source.reason)).catch(() => t.match(agent.said().source.reason, sentence))
      await until('in the log', () => sentence.test(agent.log.replaceAll('\\', '')))
      t.equal(kernel('a'), before)
      t.equal(agent.status().ready, true)
      t.match(agent.podwireStatus().stdout, sentence, 'podwire status says it, too')
      peers(A, B, C)
      await until('mended', () => agent.said().source.reason === '')
    })

  // What is wrong with one node | what is said of whom.
  const bad: [string, object, string, RegExp][] = [
    ['no address', { ...B, addresses: [] }, 'b', /^it has no address$/],
    ['no podCIDRs', { name: 'b', addresses: ['192.0.2.2'] }, 'b', /^nodes\[1\]\.podCIDRs is missing: expected a list of networks/],
    ['the name of another', { ...B, name: 'c' }, 'nodes[2]', /^nodes\[2\]\.name is "c": another node has that name$/],
  ]
  for (const [what, node, name, sentence] of bad)
    await t.test(`one node that is not as it should be, ${what}: it is named, and hurts nobody else`, async (t) => {
      writeFileSync(PEERS, text(A, node, C))
      await until('it is named', () => agent.said().problems.some((problem) => problem.node === name && sentence.test(problem.sentence))).catch(() => t.match(agent.said().problems, [{ sentence }]))
      t.match(routes('a'), name === 'nodes[2]' ? '10.244.2.0/24' : '10.244.3.0/24')
      t.match(agent.said(), { ready: true, source: { reason: '' } })
      peers(A, B, C)
      await agent.reads()
    })

  await t.test('a byte order mark in front, as some editors write it', async (t) => {
    writeFileSync(PEERS, `\uFEFF${text(A, B)}`)
    await until('it is read', () => !routes('a').includes('10.244.3.0/24'))
    t.equal(agent.said().source.reason, '')
    peers(A, B, C)
    await agent.reads()
  })

  await t.test('this node is missing in it, and comes back', async (t) => {
    const before = kernel('a')
    peers(B, C)
    await until('it says so', () => agent.status().reason.includes('node a is not among the nodes (b, c)'))
    t.equal(kernel('a'), before)
    peers(A, B)
    await agent.reads()
  })

  await t.test('a link to a file in a directory that is exchanged, as a ConfigMap is mounted', async () => {
    for (const [i, nodes] of [[A, C], [A, B]].entries()) {
      mkdirSync(`/run/..${i}`)
      writeFileSync(`/run/..${i}/peers.json`, text(...nodes))
      rmSync('/run/..data_tmp', { force: true })
      symlinkSync(`..${i}`, '/run/..data_tmp')
      renameSync('/run/..data_tmp', '/run/..data')
      if (i === 0) {
        symlinkSync('..data/peers.json', '/run/link.json')
        renameSync('/run/link.json', PEERS)
      }
      await agent.reads()
    }
    rmSync(PEERS)
    peers(A, B)
    await agent.reads()
  })

  await t.test('another agent with the same state directory is refused', async (t) => {
    const second = new Agent('a', '--listen 127.0.0.1:9467')
    t.equal(await second.end(), 1)
    t.match(second.log, `another agent is running with --state-dir ${agent.stateDir}`)
    t.ok(agent.whole)
  })

  await t.test('idle, it says nothing and does nothing', async (t) => {
    const [logged, ticks] = [agent.log, cpu(agent)]
    await sleep(1500)
    t.equal(agent.log, logged)
    const took = 10 * (cpu(agent) - ticks)
    t.comment(`${took} ms of CPU`)
    t.ok(took < 300, 'it does not poll')
  })
  await agent.stop()
})

t.test('it goes and comes back', async (t) => {
  peers(A, B)
  let [a, b] = await Promise.all([Agent.ready('a'), Agent.ready('b')])
  pod(a, 'p')
  const [q4, q6] = pod(b, 'q') as [string, string]
  await until('the way is there', () => works(`ip netns exec p ping -c1 -W1 ${q6}`) && works(`ip netns exec p ping -c1 -W1 ${q4}`))

  await t.test('stopped, killed and started again under a flood of pings: no packet is lost, nothing is written', async (t) => {
    const floods = [q4, q6].map((to) => run(`ip netns exec p ping -i 0.002 -w 30 ${to}`))
    const monitors = [run('ip -n a monitor link address route neigh'), run('ip netns exec a nft monitor')]
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      await a.stop(signal)
      t.match(kernel('a'), '10.244.2.0 lladdr', 'the overlay stays')
      a = await Agent.ready('a')
      await a.settled()
    }
    for (const flood of floods) flood.child.kill('SIGINT')
    for (const flood of floods) t.match(await flood.output(), /, 0% packet loss/)
    for (const monitor of monitors) {
      monitor.child.kill()
      t.notMatch(await monitor.output(), /podwire|proto 119/, 'the kernel tells of no change')
    }
    t.notMatch(a.log, /repaired|joined/)
  })

  await t.test('nodes that went while it was away are gone when it is back, and so is what else has changed', async (t) => {
    await a.stop('SIGKILL')
    peers(A, { ...B, podCIDRs: ['10.244.9.0/24', 'fd00:10:244:9::/64'] })
    on('a', 'ip route add 198.51.100.0/24 dev podwire.1 proto 119; ip link set podwire.1 mtu 1400')
    a = await Agent.ready('a')
    await a.reads()
    t.notMatch(kernel('a'), /10\.244\.2\.0|198\.51\.100/)
    t.match(kernel('a'), '10.244.9.0/24')
    peers(A, B)
    await a.reads()
  })

  await t.test('another VNI takes the place of the one before', async (t) => {
    await a.stop()
    a = await Agent.ready('a', '--vni 7')
    await until('it has begun', () => a.said().device === 'podwire.7')
    t.match(ip('-n a -d link show podwire.7'), 'vxlan id 7')
    t.notOk(works('ip -n a link show podwire.1'))
    t.match(routes('a'), 'dev podwire.7')
  })

  await t.test('uninstalled, it leaves nothing', async (t) => {
    const ports = { runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80 }] } }
    ip('netns add r')
    t.equal(wire(a, 'ADD', 'r', ports).status, 0)
    t.equal(wire(a, 'DEL', 'r').status, 0)
    ip('netns del r')
    for (const [agent, name] of [[a, 'p'], [b, 'q']] as const) {
      t.equal(wire(agent, 'DEL', name).status, 0)
      ip(`netns del ${name}`)
    }
    await Promise.all([a.stop(), b.stop()])
    const args = `--state-dir ${a.stateDir} --conf-dir ${a.confDir} --bin-dir ${a.binDir}`
    t.match(podwireOn('a', `uninstall ${args}`), /^removed: interface podwire\.7 with its routes, /)
    t.match(podwireOn('a', `uninstall ${args}`), /^there was nothing of an overlay: /, 'again')
    t.equal(inside('a', () => state()), untouched)
    t.same([a.stateDir, a.confDir, a.binDir].map((directory) => sh(`find ${directory} -type f 2>/dev/null || true`)), ['', '', ''], 'nor any file')
  })
})

/** What a process has used, in clock ticks of 10 ms. man 5 proc */
function cpu({ pid }: Agent): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return Number(fields[11]) + Number(fields[12])
}

/** A command that runs meanwhile. */
function run(line: string) {
  const child = spawn('bash', ['-c', `exec ${line}`], { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.on('data', (data) => (text += data))
  return { child, output: async () => (child.exitCode === null && child.signalCode === null && (await once(child, 'close')), text) }
}
