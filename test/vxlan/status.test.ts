// `podwire status` for people, scripts and shells: its exit status says whether all is well, what it prints to be typed is enough, and
// whoever may not look at everything is told so.
//
//   a (agent) ── u0 ── bridge lan          its peers are in the file only

import '../world.ts'
import { chmodSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { DAMAGES } from './damages.ts'
import { Agent, kernel, node, on, peers, podwireOn, segment, until } from './nodes.ts'

segment('a')
peers(node('a', 1), node('b', 2), node('c', 3))
const agent = await Agent.ready('a')
await agent.settled()
t.teardown(() => agent.stop('SIGKILL'))

const ALL: [what: string, damage: string][] = [
  ...DAMAGES.map((line): [string, string] => [line, line]),
  ['an MTU that is too small for IPv6', 'ip link set podwire.1 mtu 1200'],
  ['IPv6 switched off', 'sysctl -qw net/ipv6/conf/podwire.1/disable_ipv6=1'],
  ['all of that', DAMAGES.join('; ')],
  ['all of that that leaves the device alone', DAMAGES.filter((line) => !line.includes('link')).join('; ')],
]
const repair = `status --state-dir ${agent.stateDir} --repair`

t.test('what is printed to be typed repairs all of it, typed once', async (t) => {
  t.same(agent.podwireStatus('--repair'), { status: 0, stdout: '', stderr: '' })
  const whole = kernel('a')
  agent.pause()
  for (const [what, damage] of ALL)
    await t.test(what, async (t) => {
      on('a', damage.replaceAll('; ', '\n'))
      t.equal(agent.podwireStatus().status, 1, 'it is seen')
      podwireOn('a', `${repair} | sh -e`)
      t.equal(agent.podwireStatus().stdout.match(/(wrong|repair) .*/g)?.join('\n'), undefined)
      t.same(agent.podwireStatus('--repair'), { status: 0, stdout: '', stderr: '' })
      t.equal(kernel('a'), whole)
    })
  agent.resume()
})

t.test('who may not see everything sees what can be seen, and that it is not all', async (t) => {
  // As root without a privilege, which has to heed modes of files.
  const asked = (...args: string[]) => {
    const podwire = `${process.execPath} --disable-warning=ExperimentalWarning src/main.ts`
    const command = `${podwire} status --state-dir ${agent.stateDir} ${args.join(' ')}`
    const said = on('a', `env -u NODE_OPTIONS setpriv --bounding-set=-all --inh-caps=-all --no-new-privs ${command}; echo status $?`)
    const [, stdout, code] = /^([^]*?)\n?status (\d+)$/.exec(said)!
    return { status: Number(code), stdout: stdout! }
  }
  const SENTENCE = 'what nf_tables holds (masquerading, ports of pods): root alone can look at it'
  const { status, stdout } = asked()
  t.equal(status, 2, 'nothing is wrong of what is seen')
  t.match(stdout, /^overlay +ready$/m)
  t.match(stdout, new RegExp(`^unseen    ${SENTENCE.replace(/[()]/g, '\\$&')}$`, 'm'))
  t.equal(asked('--repair').stdout, `# ${SENTENCE}`)
  const { well, unseen, ports } = JSON.parse(asked('--json').stdout)
  t.same([well, unseen, ports], [false, ['what nf_tables holds (masquerading, ports of pods)'], undefined])

  agent.pause()
  on('a', 'ip route del 10.244.2.0/24')
  t.match(asked(), { status: 1, stdout: /^ {2}repair {2}ip route add 10\.244\.2\.0\/24 /m }, 'what is wrong is said')
  agent.resume()
  await agent.settled()

  mkdirSync('/var/lib/cni/networks/podwire', { recursive: true })
  const closed = {
    '/var/lib/cni/networks/podwire': 'the leases of pods',
    [agent.confDir]: `${agent.confDir}/10-podwire.conflist`,
    [agent.stateDir]: `the state of the agent in ${agent.stateDir}`,
  }
  for (const [path, what] of Object.entries(closed)) {
    chmodSync(path, 0)
    t.match(asked(), { status: 2, stdout: `; ${what}: root alone can look at it` })
    chmodSync(path, 0o755)
  }
})

t.test('exit status 0 means that all is well', async (t) => {
  const conflist = `${agent.confDir}/10-podwire.conflist`
  t.equal(agent.podwireStatus().status, 0)
  agent.pause()
  renameSync(conflist, '/run/aside')
  t.match(agent.podwireStatus(), { status: 1, stdout: `wrong     ${conflist} is missing: the runtime starts no pods without it` })
  t.match(agent.podwireStatus('--repair').stdout, new RegExp(`^# ${conflist} is missing: [^\\n]*\\n$`))
  renameSync('/run/aside', conflist)
  agent.resume()

  peers(node('a', 1), node('b', 2), node('c', 3), node('d', 2))
  await agent.reads()
  t.match(agent.podwireStatus(), { status: 1, stdout: /^d\n {2}wrong +its podCIDR/m })
  t.match(agent.podwireStatus('--repair').stdout, /^# d: its podCIDR 10\.244\.2\.0\/24 overlaps .*$/m)
  writeFileSync('/run/peers.json', '{')
  await until('it says so', () => agent.said().source.reason !== '')
  t.match(agent.podwireStatus(), { status: 1, stdout: /^nodes +from \/run\/peers\.json, which cannot be read: /m })
  peers(node('a', 1), node('b', 2), node('c', 3))
  await until('all is well again', () => agent.podwireStatus().status === 0)
})

t.test('numbers are exact', async (t) => {
  const { networks } = JSON.parse(agent.podwireStatus('--json').stdout)
  t.same(networks, [
    { network: '10.244.1.0/24', used: 0, free: 253 },
    { network: 'fd00:10:244:1::/64', used: 0, free: '18446744073709551614' },
  ])
})

t.test('without an agent', async (t) => {
  await agent.stop()
  const { status, stdout } = agent.podwireStatus()
  t.equal(status, 1, 'nobody repairs')
  t.match(stdout, /^agent {5}not running: changes are not repaired\nnodes {5}from \/run\/peers\.json\n/m)
  t.equal(agent.podwireStatus('--repair').stdout, '# no agent runs: changes are not repaired\n')
})
