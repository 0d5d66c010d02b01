// The documents say what is: keys, error codes, examples, outputs and file names are held against the sources, and what a
// reader types is typed. A block ```console is a session: its commands are run and their output must be the page's.

import { call, ip, netns, sh, works } from './world.ts'
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import t from 'tap'
import { page, PAGES, PEERS_SCHEMA, peersSchema } from '../scripts/configuration.ts'
import { cli } from '../src/cli/cli.ts'
import { alone, EXAMPLES, keys } from '../src/cli/keys.ts'
import { CODES } from '../src/cni/error.ts'
import { readEnvironment } from '../src/cni/request.ts'
import { configuration } from '../src/cni/serve.ts'
import { PLUGINS } from '../src/plugins.ts'
import { uninstall } from '../src/vxlan/uninstall.ts'
import { conflist, NETWORK } from '../src/vxlan/conflist.ts'
import { parsePeers } from '../src/vxlan/file.ts'
import { nodesIn, type Node } from '../src/vxlan/node.ts'
import { peersOf } from '../src/vxlan/peers.ts'
import { BIN, blocks, DOCUMENTS, install, OPERATIONS, read, there, withAgent } from './pages.ts'

const example = JSON.parse(read('conf/10-ptp.conflist'))

/** What a runtime makes of a conflist for a plugin. */
const request = (version: string) => ({ ...example.plugins[0], name: example.name, cniVersion: version })

t.test('the tables are those of the sources (node scripts/configuration.ts writes them)', async (t) => {
  for (const file of PAGES) t.equal(page(read(file)), read(file), file)
})

t.test('the schema of the peers file is that of the sources, for any program, and conf/peers.json is valid', async (t) => {
  t.equal(peersSchema(), read(PEERS_SCHEMA), PEERS_SCHEMA)
  const valid = new Ajv2020({ strict: true }).compile(JSON.parse(read(PEERS_SCHEMA)))
  const peers = JSON.parse(read('conf/peers.json'))
  t.ok(valid(peers), JSON.stringify(valid.errors))
  t.equal(parsePeers(read('conf/peers.json'), 'conf/peers.json').size, 2, 'for podwire, too')
  t.equal(join('conf', peers.$schema), PEERS_SCHEMA, 'it names its schema')
  for (const wrong of [{}, { nodes: {} }]) {
    t.notOk(valid(wrong), JSON.stringify(wrong))
    t.throws(() => parsePeers(JSON.stringify(wrong), 'peers.json'), { code: 7 }, 'podwire refuses it, too')
  }
  for (const wrong of [5, {}, { name: '', addresses: ['192.0.2.1'], podCIDRs: [] }, { name: 'a', addresses: [1], podCIDRs: [] }, { name: 'a', addresses: ['192.0.2.1'] }, { name: 'a', addresses: ['192.0.2.1'], podCIDRs: [], created: 5 }]) {
    t.notOk(valid({ nodes: [...peers.nodes, wrong] }), JSON.stringify(wrong))
    const nodes = [...parsePeers(JSON.stringify({ nodes: [...peers.nodes.map((node: Node) => ({ ...node, name: `${node.name}0` })), wrong] }), 'peers.json').values()]
    t.same(nodes.map(({ wrong }) => wrong?.length ?? 0), [0, 0, 1], 'podwire refuses that node, too, and no other')
  }
})

t.test('every key has a row', async (t) => {
  const rows = new Set([...read('docs/configuration.md').matchAll(/^\| `([^`]+)` \|/gm)].map(([, path]) => path))
  const paths = new Set(Object.values(PLUGINS).flatMap(({ schema }) => keys(schema).map(({ path }) => path)))
  t.ok(paths.size > 40, `${paths.size} keys`)
  t.same([...paths].filter((path) => !rows.has(alone(path))), [])
})

t.test('every example is a right value of its key', async (t) => {
  for (const [path, { example }] of Object.entries(EXAMPLES)) {
    if (example === undefined) continue
    const notes: string[] = []
    const plugin = Object.values(PLUGINS).find(({ schema }) => keys(schema).some((key) => key.path === path))!
    const conf = { type: plugin.schema.$id, ...nested(path.split('.'), example) }
    if (!conf.ipam?.type) conf.ipam = { type: 'host-local', ...conf.ipam }
    t.doesNotThrow(() => configuration(plugin, conf, 'podnet', '1.1.0', notes), path)
    t.same(notes, [], path)
  }
  t.throws(() => configuration(PLUGINS.ptp!, nested(['mtu'], 'big'), 'podnet', '1.1.0', []), 'and a wrong one is noticed')
})

/** `{a: {b: [{c: value, …}]}}` of `a.b[].c`, with what must stand beside c. */
function nested([first, ...rest]: string[], value: unknown, at = ''): any {
  const name = first!.replaceAll('[]', '')
  const path = at ? `${at}.${first}` : first!
  const beside = Object.fromEntries(['dst', 'address', 'containerID', 'ifname', 'name', 'addresses', 'podCIDRs', 'hostPort', 'containerPort'].filter((key) => at.endsWith('[]') && `${at}.${key}` in EXAMPLES).map((key) => [key, EXAMPLES[`${at}.${key}`]!.example]))
  const inner = rest.length > 0 ? nested(rest, value, path) : value
  return { ...beside, [name]: first!.match(/\[\]/g)?.reduce((list: unknown) => [list], inner) ?? inner }
}

t.test('CNI_ARGS are as the table says', async (t) => {
  const rows = [...read('docs/configuration.md').matchAll(/^\| (`\w+`(?:, `\w+`)*) \| .* \| `(\w+=\S+)` \|$/gm)]
  t.equal(rows.length, 5)
  const env = (args: string) => ({ CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c1', CNI_NETNS: '/run/netns/pod', CNI_IFNAME: 'eth0', CNI_PATH: '/', CNI_ARGS: args })
  for (const [, names, example] of rows) for (const args of [example!, ...names!.match(/K8S_\w+/g)?.map((name) => `${name}=x`) ?? []]) t.doesNotThrow(() => readEnvironment(env(args)).args, args)
  t.throws(() => readEnvironment(env('OTHER=1')).args, { code: 4 })
})

t.test('every error code has a row, the same as podwire explain', async (t) => {
  for (const [code, { meaning, remedy }] of Object.entries(CODES)) {
    t.ok(read('docs/operations.md').includes(`| ${code} | ${meaning} | ${remedy} |`), code)
    t.match(cli(['explain', code]).stdout, meaning)
  }
})

t.test('what the agent logs is in the page, and what is in the page the agent logs', async (t) => {
  const source = readdirSync('src/vxlan').filter((file) => file.endsWith('.ts')).map((file) => read(`src/vxlan/${file}`)).join('')
  const logged = [...source.matchAll(/\blog\.\w+\(([^{)]*)/g)].flatMap(([, text]) => [...text!.matchAll(/'([^']+)'/g)].map(([, message]) => message!))
  const [, rows = ''] = read(OPERATIONS).split('| Message | When |')
  const told = [...rows.split('\n\n')[0]!.matchAll(/^\| ([a-z ,;]+) \|/gim)].flatMap(([, messages]) => messages!.split('; '))
  t.ok(logged.length > 10, `${logged.length} messages`)
  t.same(told.sort(), [...new Set(logged)].sort())
})

t.test('every sentence about a node that cannot be used has a row that says what to do', async (t) => {
  const self: Node = { name: 'a', addresses: ['192.0.2.1'], podCIDRs: ['10.244.1.0/24'] }
  const others: [addresses: string[], podCIDRs: string[]][] = [
    [['192.0.2.2'], []], [['192.0.2.3'], ['here']], [['192.0.2.4'], ['10.244.0.0/16']], [['192.0.2.5', 'there'], ['10.244.5.0/24']],
    [[], ['10.244.6.0/24']], [['there'], ['10.244.7.0/24']], [['2001:db8::8'], ['10.244.8.0/24']], [['192.0.2.1'], ['10.244.9.0/24']],
    [['127.0.0.1', '192.0.2.255', '10.244.5.7', '192.0.2.10'], ['169.254.0.0/16', '10.244.10.0/31', '10.245.0.0/24']], [Array.from({ length: 99 }, () => '192.0.2.11'), ['10.244.11.0/24']],
  ]
  const twins = ['nal8g', 'nhzw9'].map((name, i): Node => ({ name, addresses: [`192.0.2.${20 + i}`], podCIDRs: [`10.244.${20 + i}.0/24`] })) // one MAC address
  const nodes = [self, ...others.map(([addresses, podCIDRs], i): Node => ({ name: `n${i}`, addresses, podCIDRs })), ...nodesIn([5]).values(), ...twins]
  const { problems } = peersOf(self, new Map(nodes.map((node) => [node.name, node])), { local: '192.0.2.1', dev: 'eth0', mtu: 1500, onLink: ['192.0.2.0/24'] }, { clusterCIDRs: ['10.244.0.0/16', '169.254.0.0/16'], vni: 1 })
  const [, rows = ''] = read(OPERATIONS).split('| Sentence | What to do |')
  const told = [...rows.split('\n\n')[0]!.matchAll(/^\| (.*) \| .* \|$/gm)].map(([, sentence]) => sentence!)
  const says = (row: string, sentence: string) => new RegExp(`^${row.replace(/[()[\]]/g, '\\$&').replaceAll('…', '.+')}$`).test(sentence)
  for (const { node, sentence } of problems) t.equal(told.filter((row) => says(row, sentence)).length, 1, `${node}: ${sentence}`)
  for (const row of told) t.ok(problems.some(({ sentence }) => says(row, sentence)), row)
})

t.test('no line of a page is long, but for those of tables, pictures and what podwire prints', async (t) => {
  for (const file of DOCUMENTS) {
    const prose = read(file).replace(/^```[^]*?^```$/gm, '').split('\n').filter((line) => !/^(\||!\[)/.test(line))
    t.same(prose.filter((line) => line.length > 140), [], file)
  }
})

t.test('links lead somewhere', async (t) => {
  const slugs = (file: string) => [...read(file).matchAll(/^#+ (.*)$/gm)].map(([, title]) => title!.toLowerCase().replace(/[^\w\- ]/g, '').replaceAll(' ', '-'))
  for (const file of DOCUMENTS)
    for (const [, target] of read(file).matchAll(/\]\(([^):\s]+)\)/g)) {
      const [path, anchor] = target!.split('#')
      const there = path ? join(dirname(file), path) : file
      t.ok(existsSync(there), `${file}: ${target}`)
      if (anchor) t.ok(slugs(there).includes(anchor), `${file}: ${target}`)
    }
})

t.test('the drawings of the house have the rooms that there are', async (t) => {
  for (const directory of ['src', 'src/vxlan']) {
    const [drawing = ''] = blocks('docs/architecture.md', 'text').filter((block) => new RegExp(`^${directory}/$`, 'm').test(block))
    const lines = drawing.slice(drawing.indexOf(`${directory}/\n`)).split('\n').slice(1).filter((line) => /^ {2}\S/.test(line))
    const drawn = lines.map((line) => line.trim().split(/ {2,}/)[0]!.replace(/\/$/, ''))
    const there = readdirSync(directory).filter((name) => name.endsWith('.ts') || readdirSync(join(directory, name)).length > 0)
    t.same([...drawn].sort(), there.sort(), directory)
  }
})

t.test('examples in JSON are configurations that podwire has a plan for', async (t) => {
  const json = DOCUMENTS.flatMap((file) => blocks(file, 'json').map((text) => [file, text] as const))
  t.ok(json.length >= 4)
  for (const [file, text] of json) {
    writeFileSync('/run/example.json', text)
    const { status, stdout, stderr } = cli(['plan', '/run/example.json', ...('nodes' in JSON.parse(text) ? ['--node', 'a'] : [])])
    t.equal(status, 0, `${file}: ${stderr}`)
    t.equal(stderr.replace(/^.*( are an example)\n/gm, ''), '')
    t.match(stdout, /^ip /m)
  }
  for (const example of ['conf/10-ptp.conflist', 'conf/peers.json']) t.ok(blocks('README.md', 'json').includes(read(example)), `${example} is in the README`)
  const written = blocks('docs/configuration.md', 'json').map((text) => JSON.parse(text)).find(({ name }) => name === NETWORK)
  t.same(written, conflist(['10.244.1.0/24', 'fd00:10:244:1::/64'], 1450, '/run/podwire'), 'the conflist that the agent writes')
})

t.test('conf/10-ptp.conflist wires a pod in each of its versions', async (t) => {
  t.same(cli(['plan', 'conf/10-ptp.conflist']).stderr, '')
  for (const version of [example.cniVersion, ...example.cniVersions]) {
    netns('pod')
    const added = call('ptp', 'ADD', request(version))
    t.equal(added.status, 0, added.stdout)
    for (const { address } of added.json.ips) t.ok(works(`ping -c1 -W30 ${address.split('/')[0]}`), `${version}: the node reaches ${address}`)
    t.equal(added.json.ips.length, 2)
    t.equal(call('ptp', 'CHECK', { ...request(version), prevResult: added.json }).status, 0)
    t.equal(call('ptp', 'DEL', request(version)).status, 0)
    ip('netns del pod')
  }
  sh('nft delete table inet podwire; rm -r /var/lib/cni')
})

t.test('the files are installed as the page says, over a plugin that is running, too', async (t) => {
  const [block = ''] = blocks(OPERATIONS, 'sh').filter((block) => block.includes('install -d'))
  mkdirSync('/run/clone/dist/bin', { recursive: true })
  mkdirSync('/run/clone/dist/lib/podwire', { recursive: true })
  sh('cp -r conf /run/clone; cp "$(command -v sleep)" /run/clone/dist/bin/podwire; cd /run/clone/dist/lib/podwire; touch libatomic.so.1 libatomic.so.1.LICENSE')
  const run = () => sh(`cd /run/clone; ${there(block)}`)

  run()
  const names = ['podwire', ...Object.keys(PLUGINS).flatMap((name) => [name, `podwire-${name}`])].sort()
  t.same(readdirSync(BIN), names)
  t.same(readdirSync('/run/opt/cni/lib/podwire'), ['libatomic.so.1', 'libatomic.so.1.LICENSE'])
  t.same(readdirSync('/run/etc/cni/net.d'), ['10-ptp.conflist'])
  t.equal(new Set(names.map((name) => statSync(join(BIN, name)).ino)).size, 1, 'one file under all names')
  run()
  t.same(readdirSync(BIN), names, 'again')

  const before = statSync(join(BIN, 'ptp')).ino
  sh(`${BIN}/ptp 60 >/dev/null 2>&1 & pid=$!; while ! readlink /proc/$pid/exe | grep -q ptp; do :; done; ! cp --no-target-directory conf/10-ptp.conflist ${BIN}/ptp 2>/dev/null && cd /run/clone && ${there(block)}\n kill $pid`)
  t.notSame(statSync(join(BIN, 'ptp')).ino, before, 'a new file')
  t.equal(new Set(names.map((name) => statSync(join(BIN, name)).ino)).size, 1)
})

/** What a command prints, errors too, as lines. */
const printed = (command: string): string => sh(`{ ${command}\n} 2>&1 || true`).replace(/[ \t]*$/gm, '').replace(/.$/, '$&\n')

t.test('sessions go as the pages say', async (t) => {
  install('podwire', 'ptp')
  Object.assign(process.env, { PATH: `${BIN}:${process.env.PATH}`, LC_ALL: 'C' })

  const [tryIt = ''] = blocks(OPERATIONS, 'sh').filter((block) => block.includes('ip netns add try'))
  t.match(sh(`set -e; ${there(tryIt)}`), '1 received')
  t.equal(sh('ls /var/lib/cni/networks/podnet'), 'last_reserved_ip.0\nlock')
  sh('rm -r /var/lib/cni')

  const session = (file: string, overlay: boolean) => {
    for (const block of blocks(file, 'console')) if (OVERLAY.test(block) === overlay) for (const [, command, output] of block.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)) t.equal(printed(there(command!)), there(output!), command!)
  }
  await withAgent(() => DOCUMENTS.forEach((file) => file !== OPERATIONS && session(file, true)))
  session(OPERATIONS, true)
  t.same(uninstall({ vni: 1, stateDir: '/run/podwire', confDir: '/run/etc/cni/net.d', binDir: '/run/none', libDir: '/run/none' }).problems, [])
  sh('ip link del eth0')

  for (const file of DOCUMENTS) if (file !== OPERATIONS) session(file, false)
  netns('web-0')
  t.equal(call('ptp', 'ADD', request('1.0.0'), { container: 'web-0', netns: '/run/netns/web-0' }).status, 0)
  session(OPERATIONS, false)
  t.equal(call('ptp', 'DEL', request('1.0.0'), { container: 'web-0', netns: '/run/netns/web-0' }).status, 0)
})

const OVERLAY = /podwire status|podwire\.1|inet podwire overlay/
