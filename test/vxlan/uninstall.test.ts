// `podwire uninstall`: not while pods run that only podwire can delete; what it says of what there was; how pods are deleted that somebody
// has left without their network.
//
//   p, q ── a (agent) ── u0 ── bridge lan

import { call, ip, sh, works } from '../world.ts'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { Agent, inside, kernel, node, on, peers, pod, podwireOn, segment, until, wire } from './nodes.ts'

const PLACES = '--state-dir /run/a/state --conf-dir /run/a/net.d --bin-dir /run/a/bin --library /run/a/results'

segment('a')
peers(node('a', 1), node('b', 2))

const files = (): string => sh('find /run/a /var/lib/cni -type f 2>/dev/null | sort')
const untouched = kernel('a')

/** Types a line of podwire's on the node: exit status, and what it printed. */
const typed = (line: string): string => on('a', `${podwireLine(line)} 2>&1; echo "status $?"`)
const podwireLine = (line: string): string => `env -u NODE_OPTIONS ${process.execPath} --disable-warning=ExperimentalWarning ${process.cwd()}/src/main.ts ${line}`

/** An agent that has ended, with two pods on its node; what the runtime's library keeps says how Kubernetes calls one of them. */
async function withPods(t: Test): Promise<Agent> {
  const agent = await Agent.ready('a')
  t.teardown(() => agent.stop())
  await until('the conflist is there', () => works('test -e /run/a/net.d/10-podwire.conflist'))
  pod(agent, 'q')
  ip('netns add p')
  t.equal(wire(agent, 'ADD', 'p', { runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80 }] } }).status, 0)
  const list = JSON.parse(sh('cat /run/a/net.d/10-podwire.conflist'))
  mkdirSync('/run/a/results', { recursive: true })
  const kept = {
    kind: 'cniCacheV1', containerId: 'p', ifName: 'eth0', networkName: 'podwire', netns: '/run/netns/p',
    config: Buffer.from(JSON.stringify(list)).toString('base64'),
    cniArgs: [['K8S_POD_NAMESPACE', 'default'], ['K8S_POD_NAME', 'web-0']],
    result: { cniVersion: '1.0.0', ips: [] },
  }
  writeFileSync('/run/a/results/podwire-p-eth0', JSON.stringify(kept))
  return agent
}

function deletePods(agent: Agent): void {
  for (const name of ['p', 'q']) t.equal(wire(agent, 'DEL', name).status, 0)
  ip('netns del p')
  ip('netns del q')
  sh('rm -r /run/a/results')
}

t.test('where nothing is it says so, and makes nothing', async (t) => {
  t.equal(typed(`uninstall ${PLACES}`), 'there was nothing of an overlay: neither an interface of VNI 1 nor anything in /run/a/net.d, /run/a/bin, /run/a/state\nstatus 0')
  t.equal(kernel('a'), untouched)
  t.equal(files(), '')
})

t.test('where only pods of other networks are, too', async (t) => {
  ip('netns add other')
  const conf = { cniVersion: '1.1.0', name: 'podnet', type: 'ptp', ipMasq: true, ipam: { type: 'host-local', subnet: '10.9.0.0/24' } }
  t.equal(inside('a', () => call('ptp', 'ADD', conf, { container: 'other', netns: '/run/netns/other' })).status, 0)
  const before = kernel('a')
  t.match(typed(`uninstall ${PLACES}`), /^there was nothing of an overlay: [^]*status 0$/)
  t.equal(kernel('a'), before)
  t.equal(inside('a', () => call('ptp', 'DEL', conf, { container: 'other', netns: '/run/netns/other' })).status, 0)
  ip('netns del other')
  on('a', 'nft delete table inet podwire')
  sh('rm -r /var/lib/cni')
})

t.test('while pods run it names them, and touches nothing', async (t) => {
  const agent = await withPods(t)
  await agent.stop()
  const [before, there] = [kernel('a'), files()]
  for (const line of ['uninstall', 'agent --uninstall']) {
    const said = typed(`${line} ${PLACES}`)
    t.match(said, /^podwire: 2 pods on this node have an interface of podwire's: /)
    for (const name of ['default/web-0 (podwire/p/eth0)', 'podwire/q/eth0']) t.ok(said.includes(name), name)
    t.match(said, /without its conflist and executables no runtime can delete them .*so delete them first:\n {2}kubectl drain .*\n[^]*--force[^]*\nstatus 1$/)
    t.equal(kernel('a'), before)
    t.equal(files(), there)
  }
  const again = await Agent.ready('a')
  t.match(typed(`uninstall ${PLACES}`), /2 pods on this node/, 'they come before the agent')
  deletePods(again)
  t.match(typed(`uninstall ${PLACES}`), /^podwire: an agent is running with --state-dir \/run\/a\/state: end it first\nstatus 1$/)
  await again.stop()
  const done = typed(`uninstall ${PLACES}`)
  t.equal(done, 'removed: interface podwire.1 with its routes, /run/a/net.d/10-podwire.conflist, /run/a/state, table inet podwire\nstatus 0')
  t.match(typed(`uninstall ${PLACES}`), /^there was nothing/)
  sh('rm -rf /var/lib/cni')
})

t.test('by force, what is left goes by the lines that it says', async (t) => {
  const agent = await withPods(t)
  await agent.stop()
  const said = typed(`uninstall --force ${PLACES}`)
  t.match(said, /^removed: interface podwire\.1 with its routes, \/run\/a\/net\.d\/10-podwire\.conflist, \/run\/a\/state\nleft: .*status 0$/s)
  for (const name of ['default/web-0 (podwire/p/eth0)', 'podwire/q/eth0']) t.ok(said.includes(name), name)
  t.match(said, /A runtime deletes these pods when it has a network again: put the conflist of another one into \/run\/a\/net\.d/)
  const lines = said.split('\n').filter((line) => /^(ip|rm|nft) /.test(line))
  const kinds = lines.map((line) => line.replace(/veth\w+/, 'veth'))
  t.same(kinds, ['ip link del veth', 'ip link del veth', 'rm -r /var/lib/cni/networks/podwire', 'nft delete table inet podwire'])
  on('a', lines.join('\n'))
  sh('rm -r /run/a/results')
  for (const name of ['p', 'q']) ip(`netns del ${name}`)
  t.equal(on('a', 'ip -br link show type veth | grep -c "^veth" || true'), '0')
  t.equal(on('a', 'nft list ruleset'), '')
  t.equal(files(), '')
  t.match(typed(`uninstall ${PLACES}`), /^there was nothing/)
})

t.test('by force, and then an agent once more: the pods can be deleted as ever', async (t) => {
  const agent = await withPods(t)
  await agent.stop()
  typed(`uninstall --force ${PLACES}`)
  const again = await Agent.ready('a')
  t.teardown(() => again.stop())
  await until('the conflist is there', () => works('test -e /run/a/net.d/10-podwire.conflist'))
  deletePods(again)
  t.same(readdirSync('/var/lib/cni/networks/podwire').filter((name) => /^\d|^fd/.test(name)), [])
})

t.test('a network whose name is a path is typed nowhere', async (t) => {
  on('a', 'ip link add evil type veth peer name live && ip link set evil alias "../c1/$(printf "\\033")eth0"')
  const said = podwireOn('a', `uninstall --force ${PLACES}`)
  t.match(said, /^removed: [^]*left: \.\.\/c1\/\\u001beth0\n[^]*\nip link del evil$/)
  t.notMatch(said, /^rm /m)
  on('a', 'ip link del evil')
})
