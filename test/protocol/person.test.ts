// The command line: what a person types, without a runtime. Every word of it works with no privileges and no network.

import { BIN, CONF, run } from '../binary.ts'
import { sh } from '../world.ts'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import t from 'tap'
import { cli } from '../../src/cli/cli.ts'
import { commonKeys, ownKeys } from '../../src/cli/keys.ts'
import { CODES } from '../../src/cni/error.ts'
import { PLUGINS } from '../../src/plugins.ts'

const words = (line: string) => line.split(' ').filter(Boolean)
/** Types a line at the executable, or in this process, for the many ways to say one thing. */
const podwire = (line: string, stdin = '') => run(`${BIN}/podwire`, words(line), {}, stdin)
const typed = (line: string) => cli(words(line))
const plan = (conf: object) => {
  writeFileSync('/run/typed', JSON.stringify(conf))
  return typed('plan /run/typed')
}
const LIST = { cniVersion: '1.0.0', cniVersions: ['1.1.0'], name: 'podnet', plugins: [{ ...CONF, ipMasq: true, capabilities: { portMappings: true } }, { type: 'portmap', runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80 }] } }, { type: 'macvlan' }, { type: 'loopback' }] }

t.test('podwire help says what it is and what to type', async (t) => {
  const alone = await podwire('help')
  t.match(alone.stdout, /wires Linux pods[^]*podwire plan CONF[^]*podwire explain[^]*podwire version/)
  t.same([alone.status, alone.stderr], [0, ''])
  for (const line of ['help', '--help', '-h']) t.same(typed(line), { status: 0, stdout: alone.stdout, stderr: '' }, line)
  for (const line of ['help plan', 'plan --help', 'plan x -h']) t.match(typed(line), { status: 0, stdout: /^podwire plan - [^]*--netns NAME/ }, line)
})

t.test('podwire help PLUGIN has each of its keys, with what it means and what is expected', async (t) => {
  for (const name of Object.keys(PLUGINS)) {
    const { status, stdout } = typed(`help ${name}`)
    t.match([status, stdout], [0, new RegExp(`^${name} - [a-z"].+\n\nPlace\n  [A-Z]`)], name)
    for (const { path } of [...ownKeys(name), ...commonKeys()]) t.ok(stdout.includes(`\n  ${path}\n      `), `${name}: ${path}`)
    t.same(stdout.split('\n').filter((line) => line.length > 100 && !line.startsWith('      example: ')), [], 'no line is longer than a terminal')
    t.same(typed(`help podwire-${name}`).stdout, stdout)
  }
  t.match(typed('help bridge').stdout, /\n  mtu\n {6}bytes[^]*?\n {6}expected: an MTU in bytes[^]*?\(default: 0\)\n {6}example: 1450\n/)
})

t.test('every option in the usage of a command has a line that says what it does', async (t) => {
  const commands = [...typed('help').stdout.matchAll(/^  podwire \[?(\w+)/gm)].map(([, command]) => command!)
  t.ok(commands.includes('uninstall'), commands.join(' '))
  const page = (command: string) => typed(`help ${command}`).stdout
  for (const command of commands) {
    const [, usage = '', rest = ''] = /^Usage\n((?: .*\n)+)([^]*)/m.exec(page(command)) ?? []
    const [, like] = /^ +as of podwire (\w+)$/m.exec(rest) ?? []
    const lines = usage.split('\n').filter((line) => !/\S {3,}\S/.test(line)) // without words of its own
    const explained = new Set([...`${rest}${like ? page(like) : ''}`.matchAll(/^ +(--[\w-]+)/gm)].map(([, option]) => option))
    t.same([...lines.join('\n').matchAll(/--[\w-]+/g)].map(([option]) => option).filter((option) => !explained.has(option)), [], `help ${command}`)
  }
})

t.test('podwire alone is podwire status, which says that there is no overlay', async (t) => {
  t.match(await podwire(''), { status: 0, stderr: '', stdout: /^overlay +none \(no agent has run here\)\. Networks and pods: none\n/ })
  t.same(typed('status'), typed(''))
  t.same(JSON.parse(typed('status --json').stdout), { well: true, findings: [], unseen: [], pods: [], ports: [] })
})

t.test('podwire version', async (t) => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
  for (const { status, stdout } of [await podwire('version'), typed('--version'), typed('-V')]) t.match([status, stdout], [0, new RegExp(`^podwire +${version.replaceAll('.', '\\.')}\nnode +v26\\.[^]*\ncni +0\\.1\\.0, .*1\\.1\\.0\n$`)])
})

t.test('podwire explain', async (t) => {
  const all = await podwire('explain')
  for (const [code, { meaning }] of Object.entries(CODES)) t.match(all.stdout, new RegExp(`^ *${code}  ${meaning.slice(0, 30).replace(/[().]/g, '.')}`, 'm'))
  t.match(typed('explain 102').stdout, /^code 102\n  meaning  CHECK found[^]*\n  remedy   /)
})

t.test('wrong usage is one line on stderr and status 1: no argument is ignored, and what is mistyped has its neighbour named', async (t) => {
  const peers = resolve('conf/peers.json')
  writeFileSync('/run/conf', JSON.stringify(CONF))
  const lines: [string, RegExp][] = [
    ['status-of-things', /^podwire: there is no command "status-of-things"\. Commands: status, pods, check, repair, gc, agent, uninstall, plan, explain, version, help/],
    ['stauts', /there is no command "stauts": did you mean status\?/],
    ['constructor', /there is no command "constructor"/],
    ['__proto__', /there is no command "__proto__"/],
    ['--json', /there is no command "--json": options stand behind a command, as in podwire status --json/],
    ['ptp', /ptp is a plugin.*See: podwire help ptp/],
    ['status now', /"now" is one argument too many\. See: podwire help status/],
    ['status --jsno', /there is no option --jsno: did you mean --json\? See: podwire help status/],
    ['status --json=yes', /--json takes no value: --json=yes/],
    ['status --state-dir a --state-dir b', /--state-dir stands twice/],
    ['status --state-dir --json', /--state-dir needs a value: --json is an option itself/],
    ['explain 3 4', /"4" is one argument too many\. See: podwire help explain/],
    ['explain --all', /there is no option --all\./],
    ['explain 999', /there is no code "999"\. Codes: 1, 2,/],
    ['explain 1103', /there is no code "1103": did you mean 103\?/],
    ['version x', /"x" is one argument too many/],
    ['pods x', /"x" is one argument too many\. See: podwire help pods/],
    ['check a b', /"b" is one argument too many/],
    ['repair --jsno', /there is no option --jsno: did you mean --json\?/],
    ['gc a b', /"b" is one argument too many/],
    ['gc --dryrun', /there is no option --dryrun: did you mean --dry-run\?/],
    ['--version x', /"x" is one argument too many/],
    ['version --jsno', /there is no option --jsno/],
    ['help a b', /"b" is one argument too many/],
    ['help nonsense', /^podwire: there is no page "nonsense"\. Pages: /],
    ['help brigde', /there is no page "brigde": did you mean bridge\?/],
    ['help constructor', /there is no page "constructor"/],
    ['uninstall x', /"x" is one argument too many/],
    ['uninstall --brige x', /there is no option --brige: did you mean --bridge\?/],
    ['plan', /expected one configuration: podwire plan CONF\. See: podwire help plan/],
    ['plan a b', /"b" is one argument too many/],
    ['plan --frob a', /there is no option --frob\. See: podwire help plan/],
    ['plan a --netsn x', /there is no option --netsn: did you mean --netns\?/],
    ['plan a --netns', /--netns needs a value\. See: podwire help plan/],
    ['plan /run/conf --vni 5', /--vni is for a file of nodes, and \/run\/conf is a network configuration/],
    ['plan /run/conf --node a', /--node is for a file of nodes/],
    [`plan ${peers} --node a --ifname x`, /--ifname is for a network configuration, and .*peers\.json is a file of nodes/],
    [`plan ${peers} --node a --port 1 --port 2`, /--port stands twice/],
    ['plan /nonexistent', /^podwire: \/nonexistent: there is no such file \(code 5\)\n$/],
    ['plan /non/existent', /^podwire: \/non\/existent: there is no such directory \(code 5\)\n$/],
    ['plan /run/conf/x', /^podwire: \/run\/conf\/x: a file is on the way there, where a directory belongs \(code 5\)\n$/],
    ['plan /etc/passwd', /^podwire: \/etc\/passwd:1:1: "root" where a value belongs \(code 6\)\n$/],
    ['plan /dev/null', /\/dev\/null is empty/],
  ]
  for (const [line, said] of lines) t.match(typed(line), { status: 1, stdout: '', stderr: said }, line)
  t.match(await podwire('agent x'), { status: 1, stdout: '', stderr: /^podwire: "x" is one argument too many\. See: podwire help agent\n$/ })
  t.match(await podwire('agent --pers x'), { status: 1, stdout: '', stderr: /there is no option --pers: did you mean --peers\?/ })
  writeFileSync('/run/secret', '{}', { mode: 0 })
  mkdirSync('/run/secrets', { mode: 0 })
  const powerless = ['--bounding-set=-all', '--inh-caps=-all', '--no-new-privs']
  for (const file of ['/run/secret', '/run/secrets', '/run/secrets/conf'])
    t.match(await run('setpriv', [...powerless, `${BIN}/podwire`, 'plan', file], { PATH: process.env.PATH }, ''), { status: 1, stderr: `podwire: ${file} cannot be read: permission denied; it takes root, or the right to read it (code 5)\n` })
  t.match(await podwire('plan -'), { status: 1, stdout: '', stderr: /^podwire: standard input is empty: expected a JSON object \(code 6\)\n$/ })
})

t.test('a plugin says what it is; with arguments, somebody means another program', async (t) => {
  t.match(await run(`${BIN}/bridge`, [], {}, ''), { status: 0, stdout: '', stderr: /^bridge: a CNI plugin \(podwire; CNI protocol versions supported: / })
  t.match(await run(`${BIN}/bridge`, words('vlan add dev veth0 vid 5'), {}, ''), { status: 1, stdout: '', stderr: /^bridge: this is a CNI plugin \(podwire\), which takes no arguments; a container runtime starts it\. The one of iproute2 is \/.*bin\/bridge\n$/ })
  t.match(await run(`${BIN}/podwire-tuning`, ['--help'], {}, ''), { status: 1, stdout: '', stderr: /^podwire-tuning: this is a CNI plugin[^]*See: podwire help\n$/ })
})

t.test('podwire plan of a configuration: what ADD would do, and nothing is done', async (t) => {
  writeFileSync('/run/conf', JSON.stringify(CONF))
  const before = sh('ip -d addr; find /run /var/lib | sort')
  const { status, stdout, stderr } = await podwire('plan /run/conf --netns blue --container c9 --ifname net1')
  t.same([status, stderr], [0, ''])
  for (const line of ['sysctl -qw net/ipv4/ip_forward=1', 'peer name net1', 'netns blue', 'ip -n blue addr add 10.1.2.2/24 dev net1 noprefixroute', 'alias podnet/c9/net1']) t.ok(stdout.includes(line), line)
  t.ok(typed('plan /run/conf --netns /proc/7/ns/net').stdout.includes('netns /proc/7/ns/net'), 'a namespace by its path')
  t.equal((await podwire('plan - --netns blue --container c9 --ifname net1', JSON.stringify(CONF))).stdout, stdout, 'from standard input')
  const [part] = JSON.parse(typed('plan /run/conf --json').stdout)
  t.match(part, { type: 'ptp', notes: [], warnings: [], plan: [{ fact: 'flows', address: '10.1.2.2' }, { fact: 'sysctl', key: 'net/ipv4/ip_forward', value: '1' }] })
  t.equal(sh('ip -d addr; find /run /var/lib | sort'), before)
  t.match(typed('plan /run/conf --ifname a/b'), { status: 1, stderr: /CNI_IFNAME="a\/b": interface name contains \/.*\(code 4\)/ })
})

t.test('podwire plan of a list, with a plugin in it that is not ours', async (t) => {
  const { status, stdout, stderr } = await podwire('plan -', JSON.stringify(LIST))
  t.equal(status, 0)
  t.match(stdout, /^# ptp\n[^]*nft add element inet podwire masquerade_ip[^]*\n# portmap\n[^]*nft add element inet podwire hostports_ip '\{ tcp \. 8080 comment \"podnet\/example\/eth0\" : 10\.1\.2\.2 \. 80 \}'\nsysctl -qw net\/ipv4\/conf\/veth\w+\/route_localnet=1\n\n# macvlan\n\n# loopback\nip -n pod link set lo up\n$/)
  t.match(stderr, /^podwire: no plugin "macvlan" in podwire, nor in CNI_PATH \(\/opt\/cni\/bin\)\n$/)
  sh('mkdir -p /run/bin; touch /run/bin/macvlan')
  t.match(await run(`${BIN}/podwire`, ['plan', '-', '--strict'], { CNI_PATH: '/run/bin' }, JSON.stringify(LIST)), { status: 0, stderr: /^podwire: type "macvlan" is not podwire's: its executable does its own work\n$/ })
  const lists: [object, RegExp][] = [
    [{ ...LIST, plugins: [] }, /plugins is \[\]: expected a list/],
    [{ ...LIST, plugins: {} }, /plugins is {}: expected a list/],
    [{ ...LIST, plugins: [{ type: 'loopback' }, 'ptp'] }, /plugins\[1\] is "ptp": expected the configuration of a plugin/],
    [{ ...LIST, name: '' }, /missing network name/],
    [{ ...LIST, cniVersion: '9.9.9' }, /incompatible CNI versions.*\(code 1\)/],
    [{ ...LIST, plugins: [{ ...CONF, ipMasq: 'yes', mtu: 'big' }] }, /ipMasq is "yes": expected true or false; mtu is "big": expected.*\(code 7\)/],
  ]
  for (const [list, said] of lists) t.match(plan(list), { status: 1, stdout: '', stderr: said })
})

t.test('podwire plan says what a configuration means that is accepted for compatibility, and whose addresses are examples', async (t) => {
  t.match(plan({ ...CONF, ipMasqBackend: 'iptables' }).stderr, /^podwire: ipMasqBackend "iptables" is served with nf_tables[^\n]*\n$/)
  t.match(plan({ ...CONF, ipam: { type: 'dhcp' } }), { status: 0, stdout: '192.0.2.2', stderr: /addresses come from dhcp at ADD/ })
})

t.test('podwire plan needs no privileges', async (t) => {
  const { status, stdout, stderr } = await run('setpriv', ['--bounding-set=-all', '--inh-caps=-all', '--no-new-privs', `${BIN}/podwire`, 'plan', '-'], { PATH: process.env.PATH }, JSON.stringify({ ...LIST, plugins: [LIST.plugins[0]] }))
  t.match([status, stdout, stderr], [0, 'ip -n pod addr add 10.1.2.2/24 dev eth0', ''])
})
