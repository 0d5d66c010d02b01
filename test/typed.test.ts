// What the pages tell people to type outside of sessions (docs.test.ts runs those): each block ```sh is typed here, or by the test or
// script that is named below.

import { call, ip, netns, nft, podnet, sh, works } from './world.ts'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { parseOptions } from '../bench/options.ts'
import { parseOptions as parseOverlayOptions } from '../bench/overlay/options.ts'
import { blocks, DOCUMENTS, install, OPERATIONS, read, there, withAgent } from './pages.ts'

const HERE = 'test/typed.test.ts'
const TYPED: [beginning: string, by: string][] = [
  ['./scripts/demo.sh', 'test/demo.test.ts'],
  ['bash scripts/build-sea.sh', 'scripts/test.sh'],
  ['npm run bench  ', 'test/bench.test.ts'],
  ['npm run bench:overlay', 'test/bench-overlay.test.ts'],
  ['npm run bench:pods', 'test/bench-pods.test.ts'],
  ['set -e\ninstall -d', 'test/docs.test.ts'],
  ['ip netns add try', 'test/docs.test.ts'],
  ['podwire plan conf/peers.json', HERE],
  ['ln -sf', HERE],
  ['nft delete table inet podwire\n', HERE],
  ['kubectl', 'scripts/e2e-cluster.sh'],
  ['kind create cluster', 'scripts/e2e-cluster.sh'],
]

t.test('each block of commands is typed by somebody', async (t) => {
  for (const file of DOCUMENTS)
    for (const block of blocks(file, 'sh')) {
      const [, by = 'nobody'] = TYPED.find(([beginning]) => block.startsWith(beginning)) ?? []
      t.ok(existsSync(by), `${file}: ${block.split('\n')[0]}: ${by}`)
    }
  t.match(read('docs/kind.md'), 'None of these commands is typed by a test')
})

/** Blocks of operations.md that begin so, for this world. */
const blocksOf = (beginning: string): string[] => blocks(OPERATIONS, 'sh').filter((text) => text.startsWith(beginning)).map(there)

t.test('podwire is a command', async (t) => {
  install('podwire')
  mkdirSync('/run/usr/local/bin', { recursive: true })
  for (const time of ['once', 'again']) {
    sh(blocksOf('ln -sf')[0]!)
    t.match(sh('/run/usr/local/bin/podwire version'), /^podwire +\d/, time)
  }
  process.env.PATH = `/run/usr/local/bin:${process.env.PATH}`
})

t.test('a node of the file of peers: what its agent makes can be looked at as the table says', async (t) => {
  const [plan = '', agent = ''] = blocks('README.md', 'sh').find((text) => text.startsWith('podwire plan conf/peers.json'))!.split('\n')
  t.equal(agent, 'podwire agent --peers conf/peers.json --node a', 'as the agent below is started')
  const [, service = ''] = /^ExecStart=(.*)$/m.exec(blocks(OPERATIONS, 'ini').join(''))!
  t.equal(service.replace('/opt/cni/bin/', '').replace('/etc/podwire', 'conf').replace('%H', 'a'), agent, 'and as a service does')
  const [, rows = ''] = read(OPERATIONS).split('| What | As | Goes |')
  const commands = rows.split('\n\n')[0]!.split('\n').flatMap((row) => [...(row.split(' | ')[1] ?? '').matchAll(/`([a-z]+ [^`]+)`/g)].map(([, command]) => command!))
  t.ok(commands.length >= 9, commands.join('; '))
  await withAgent(() => {
    t.match(sh(plan), 'ip link add podwire.1', plan)
    for (const command of commands) if (works(`command -v ${command.split(' ')[0]}`)) t.match(sh(command), /podwire|10\.244|fd00:10:244|192\.0\.2\.2/, command)
  })
  sh('ip link del podwire.1; ip link del eth0')
})

const ID = '9c41f2aa05d8c4ab6ff02f5a0d3d2ab4de3ea0a0f4f80d1f9a1ff5a1b3c77e10'
const full = { ...podnet, firewall: {}, macspoofchk: true, type: 'bridge', bridge: 'cni0', isGateway: true, runtimeConfig: { bandwidth: { egressRate: 8_000_000, egressBurst: 800_000 } } }

t.test('a pod is found by what runtimes show of its ID, and an operator has rules for it', async (t) => {
  netns('pod')
  t.equal(call('bridge', 'ADD', full, { container: ID }).status, 0)
  const [, find = ''] = /`(ip link \| grep [^`]+)`/.exec(read(OPERATIONS))!
  t.match(sh(find.replace('ID', ID.slice(0, 13))), /veth\w+@[^]*alias podnet\/9c41/, find)
  const [, rule = ''] = /`(nft add rule inet podwire CNI-ADMIN [^`]+)`/.exec(read('docs/configuration.md').replaceAll('\n  ', ' '))!
  sh(rule)
  t.match(nft('list chain inet podwire CNI-ADMIN'), 'ip daddr 192.0.2.0/24 drop', rule)
})

t.test('when the last pod is gone, what pods shared goes by hand', async (t) => {
  const left = () => sh("nft list ruleset; ip -br link; ls /var/lib/cni/networks").split('\n').filter((line) => /podwire|cni0|bwp|podnet/.test(line))
  sh('ip link del $(ip -br link show type veth | grep -o "^veth[^@]*")') // another plugin's DEL knows of no ifb
  t.ok(left().length >= 4, left().join('; '))
  sh(blocksOf('nft delete table inet podwire').find((text) => text.includes('type ifb'))!)
  t.notMatch(left().join('\n'), /podwire|bwp/)

  t.equal(call('bridge', 'DEL', full, { container: ID }).status, 0)
  t.equal(call('bridge', 'ADD', full, { container: ID }).status, 0)
  t.notOk(works('podwire uninstall --bridge cni0'), 'somebody is on it')
  t.equal(call('bridge', 'DEL', full, { container: ID }).status, 0)
  sh(`set -e; ${blocksOf('nft delete table inet podwire').find((text) => text.includes('--bridge'))}`)
  t.same(left(), [])
  ip('netns del pod')
})

t.test('the line that finds an error in the log of containerd finds what containerd writes', async (t) => {
  netns('pod')
  const { json } = call('ptp', 'ADD', { ...podnet, ipam: { ...podnet.ipam, ranges: [[{ subnet: '10.1.2.0/33' }]] } })
  // As its CRI of 1.6 to 2.1 does (RunPodSandbox), around the error of libcni's AddNetworkList.
  const error = `failed to setup network for sandbox ${JSON.stringify(ID)}: plugin type=${JSON.stringify('ptp')} failed (add): ${json.msg}; ${json.details}`
  const log = `time="2026-01-31T12:00:00Z" level=error msg="RunPodSandbox for &PodSandboxMetadata{Name:web-0,Namespace:default,Attempt:0,} failed, error" error=${JSON.stringify(error)}`
  const [, grep = ''] = /`journalctl -u containerd \| (grep [^`]+)`/.exec(read(OPERATIONS))!
  t.match(sh(`${grep} <<'LOG'\n${log}\nLOG`), '10.1.2.0/33')
})

t.test('the options of the benchmarks are those that there are', async (t) => {
  const lines = blocks('docs/performance.md', 'sh').join('').split('\n').filter(Boolean).map((line) => line.replace(/ *#.*/, '').split(/ +(?:-- )?/))
  t.ok(lines.length >= 7)
  const scripts = JSON.parse(readFileSync('package.json', 'utf8')).scripts
  for (const [npm, run, script, ...options] of lines) {
    t.match([npm, run, scripts[script!]], ['npm', 'run', /^node /], options.join(' '))
    t.doesNotThrow(() => (script === 'bench' ? parseOptions(options) : parseOverlayOptions(options)), options.join(' '))
  }
  for (const script of ['bench/bench.ts', 'bench/overlay/overlay.ts']) t.match(sh(`${process.execPath} --disable-warning=ExperimentalWarning ${script} --help`), /^npm run bench/)
})

