// What the kernel refuses at first, or for ever: what it costs, what is said, and that all that ready promises comes when it is so.
//
//   a (agent) ── u0 ── bridge lan          its peers are in the file only

import { call, ip, sh } from '../world.ts'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { vtepMac } from '../../src/names.ts'
import { Agent, inside, node, on, peers, segment, until } from './nodes.ts'

const [A, B, C, D] = [node('a', 1), node('b', 2), node('c', 3), node('d', 4)]
const CONFLIST = '/run/a/net.d/10-podwire.conflist'
const BOUND = 30_000

segment('a')
peers(A, B)

const networks = (): string[] => (existsSync(CONFLIST) ? JSON.parse(readFileSync(CONFLIST, 'utf8')).plugins[0].ipam.ranges.map(([{ subnet }]: [{ subnet: string }]) => subnet) : [])

/** A node without anything of podwire's, but for the lease of a pod that is dead: where it is. */
function clean(): string {
  on('a', 'ip link del podwire.1 2>/dev/null; nft delete table inet podwire 2>/dev/null; true')
  rmSync('/run/a', { recursive: true, force: true })
  rmSync('/var/lib/cni', { recursive: true, force: true })
  ip('netns add dead')
  const conf = { cniVersion: '1.1.0', name: 'podwire', type: 'ptp', ipam: { type: 'host-local', ranges: [[{ subnet: '10.244.1.0/24' }]] } }
  const { json } = inside('a', () => call('ptp', 'ADD', conf, { container: 'dead', netns: '/run/netns/dead' }))
  ip(`netns del dead && ip -n a link del ${json.interfaces[0].name} 2>/dev/null || true`)
  const lease = `/var/lib/cni/networks/podwire/${json.ips[0].address.split('/')[0]}`
  sh(`touch -d "2 minutes ago" ${lease}`)
  return lease
}

/** It says why, promises nothing, and when that is over all comes. */
async function held(t: Test, lease: string, sentence: RegExp, repair: RegExp, end: () => void): Promise<void> {
  const agent = new Agent('a')
  t.teardown(() => agent.stop())
  await until('it says why', () => sentence.test(agent.status().reason) || agent.over, BOUND)
  t.match(agent.status(), { ready: false, reason: sentence })
  t.same(networks(), [], 'no conflist')
  t.match(agent.podwireStatus().stdout, repair)
  t.notMatch(agent.podwireStatus('--repair').stdout, /^(ip link del|kill)/m, 'what takes something from others is not typed unasked')
  t.match(agent.podwireStatus('--repair').stdout, /^# .* Whose is it\? Then: (ip link del|kill|ss) /m)
  end()
  await until('ready', () => agent.status().ready, BOUND)
  await until('the conflist', () => networks().length === 2, BOUND)
  await until('what is dead has gone', () => !existsSync(lease), BOUND)
  t.match(agent.status(), { ready: true, reason: '' })
  await agent.settled(BOUND)
}

t.test('another VXLAN device has the port, and goes', async (t) => {
  const lease = clean()
  on('a', 'ip link add x type vxlan external dstport 8472 && ip link set x up')
  await held(t, lease, /^ip link set podwire\.1 up: EADDRINUSE.*: interface x \(vxlan\) has UDP port 8472$/, /wrong +interface podwire\.1 is down: interface x .*\nrepair +ip link del x\n/, () => on('a', 'ip link del x'))
})

t.test('a process has the port, and ends', async (t) => {
  const lease = clean()
  const { NODE_OPTIONS: _, ...env } = process.env
  const holder = spawn('nsenter', ['--net=/run/netns/a', process.execPath, '-e', "require('node:dgram').createSocket('udp4').bind(8472, () => console.log('bound'))"], { stdio: ['ignore', 'pipe', 'inherit'], env })
  t.teardown(() => holder.kill('SIGKILL'))
  await once(holder.stdout, 'data')
  await held(t, lease, new RegExp(`EADDRINUSE.*: process ${holder.pid} \\(\\S+\\) has UDP port 8472$`), new RegExp(`repair +kill ${holder.pid}\\n`), () => holder.kill('SIGKILL'))
})

t.test('another device has the VNI, and goes', async (t) => {
  const lease = clean()
  on('a', 'ip link add flannel.1 type vxlan id 1 local 192.0.2.1 dstport 8472')
  await held(t, lease, /interface flannel\.1 has VNI 1 on port 8472 already/, /repair +ip link del flannel\.1\n/, () => on('a', 'ip link del flannel.1'))
})

t.test('a running node with net.ipv6.conf.all.disable_ipv6=1 gets an IPv6 network', async (t) => {
  clean()
  const only = (one: typeof A) => ({ ...one, podCIDRs: one.podCIDRs.slice(0, 1) })
  peers(only(A), only(B))
  const agent = await Agent.ready('a')
  t.teardown(() => agent.stop())
  await until('the conflist', () => networks().length === 1, BOUND)
  on('a', 'sysctl -qw net.ipv6.conf.all.disable_ipv6=1 && sysctl -qw net.ipv6.conf.u0.disable_ipv6=0')

  await t.test('while nothing can be set, it says so, and its IPv4 pods go on', async (t) => {
    sh('mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys')
    try {
      peers(A, B)
      await until('it says so', () => /disable_ipv6.*EROFS/.test(agent.status().reason), BOUND)
      t.match(agent.status(), { ready: true })
      t.same(networks(), A.podCIDRs.slice(0, 1), 'and promises nothing that is not so')
    } finally {
      sh('umount /proc/sys')
    }
  })

  await until('both are promised', () => networks().length === 2, BOUND)
  t.same(networks(), A.podCIDRs)
  await until('and nothing is wrong', () => agent.status().ready && agent.status().reason === '', BOUND)
  t.match(on('a', 'ip -6 addr show podwire.1'), 'fd00:10:244:1::/128')
  await agent.settled(BOUND)
  on('a', 'sysctl -qw net.ipv6.conf.all.disable_ipv6=0')
})

t.test("what the kernel refuses of one peer is that peer's problem", async (t) => {
  clean()
  peers(A, B, C)
  on('a', `ip link add podwire.1 address ${vtepMac('a', 1)} mtu 1450 type vxlan id 1 dstport 8472 local 192.0.2.1 dev u0 nolearning df inherit maxaddress 1`)
  const agent = await Agent.ready('a')
  t.teardown(() => agent.stop())
  const problems = () => agent.said().problems.map(({ node: name, sentence }) => `${name}: ${sentence}`)
  await until('it says so', () => problems().length > 0, BOUND)
  t.match(problems(), [/^c: the kernel refuses bridge fdb add .* dst 192\.0\.2\.3 .*: ENOSPC/])
  t.match(agent.status(), { ready: true, reason: '' })
  t.equal(agent.metric('podwire_peer_unusable{node="c"}'), 1)
  const { stdout } = agent.podwireStatus()
  t.match(stdout, /^c +192\.0\.2\.3 .*\n {2}wrong +the kernel refuses bridge fdb add .*: ENOSPC/m)
  t.notMatch(stdout, /repair +bridge fdb add/, 'the line that just failed is no repair')

  await t.test('it is said once, and tried again ever later', async (t) => {
    const tried = () => agent.metric('podwire_errors_total{code="ENOSPC"}')
    const before = tried()
    await until('it has been tried again', () => tried() > before + 1, BOUND)
    t.equal(agent.log.split('the kernel refuses').length - 1, 1, agent.log)
  })

  await t.test('others come and go without it', async (t) => {
    const reads = agent.metric('podwire_errors_total{code="ENOSPC"}')
    peers(A, B, C, D)
    await until('the new one is refused, too', () => problems().length === 2, BOUND)
    t.match(on('a', 'ip route show proto 119'), '10.244.4.0/24', 'what is not refused of it is there')
    t.ok(agent.metric('podwire_errors_total{code="ENOSPC"}') <= reads + 3)
  })

  await t.test('when there is room it gets it, though nobody says so', async (t) => {
    peers(A, C)
    await until('nothing is refused', () => problems().length === 0, BOUND * 2)
    t.match(on('a', 'bridge fdb show dev podwire.1'), '192.0.2.3')
    t.equal(agent.metric('podwire_peer_unusable{node="c"}'), 0)
    await agent.settled(BOUND)
  })
})

t.test('the conflist cannot be written, and then can', async (t) => {
  clean()
  peers(A, B)
  mkdirSync(`${CONFLIST}/in the way`, { recursive: true })
  const agent = new Agent('a')
  t.teardown(() => agent.stop())
  await until('it says why', () => agent.status().reason.includes('conflist') || agent.over, BOUND)
  t.match(agent.status(), { ready: false, reason: /^the conflist cannot be written: / })
  rmSync(CONFLIST, { recursive: true })
  await until('ready', () => agent.status().ready, BOUND)
  t.same(networks(), A.podCIDRs)
})

t.test('a keeper that cannot listen tries again, and looks meanwhile', async (t) => {
  writeFileSync('/run/deaf.ts', `
import { closeSync, openSync } from 'node:fs'
import { Keeper } from '${process.cwd()}/src/vxlan/keeper.ts'
import { Netns } from '${process.cwd()}/src/kernel/netns.ts'
import { realmOf } from '${process.cwd()}/src/vxlan/overlay.ts'
const netns = new Netns()
netns.rt
const said = []
const taken = []
console.log('ready') // what that opens is open
try { for (;;) taken.push(openSync('/dev/null')) } catch {}
const keeper = new Keeper(netns, realmOf('podwire.1'), { done() {}, heard() {}, look() {}, underlay() { said.push('look') }, deaf(why) {
  said.push(why)
  if (why === '') { console.log(JSON.stringify(said)); keeper.close(); netns.close() }
} })
taken.forEach((fd) => closeSync(fd))
`)
  const { NODE_OPTIONS: _, ...env } = process.env
  const { stdout, stderr } = spawnSync('bash', ['-c', `ulimit -n 64; exec timeout 60 ${process.execPath} --disable-warning=ExperimentalWarning /run/deaf.ts`], { encoding: 'utf8', env })
  t.match(stdout, /^ready\n\["the kernel cannot be listened to, .*: .*EMFILE",""\]\n$/, stderr)
})

const LEFT: [what: string, device: string, vni: number, line: string, sentence: RegExp][] = [
  ['the underlay', 'u0', 1, 'true', /the state of before is not believed.*device is not a device of podwire/],
  ['a link of another kind with our name', 'podwire.7', 7, 'ip link add podwire.7 type bridge', /the overlay of before would not go.*interface podwire\.7 stays/],
]

for (const [what, device, vni, line, sentence] of LEFT)
  t.test(`a status.json that names ${what} as the overlay of before: an agent that starts lets it be`, async (t) => {
    clean()
    peers(A, B)
    on('a', line)
    mkdirSync('/run/a/state', { recursive: true })
    const parts = { self: A, podCIDRs: A.podCIDRs, underlay: { local: '192.0.2.1', mtu: 1500, onLink: [] }, peers: [], options: { vni, port: 8472, directRouting: false, masquerade: true, nonMasqueradeCIDRs: [], advertised: [] } }
    writeFileSync('/run/a/state/status.json', JSON.stringify({ node: 'a', device, ready: true, reason: '', problems: [], conflist: '', source: { phase: 'watching', reason: '', what: '' }, parts }))
    const agent = await Agent.ready('a')
    t.teardown(() => agent.stop())
    t.match(agent.log, sentence)
    t.match(on('a', 'ip -br addr'), '192.0.2.1/24')
    t.match(on('a', `ip -br link show ${device}`), device)
  })
