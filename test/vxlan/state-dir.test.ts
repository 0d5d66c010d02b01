// What the agent leaves in its directory is believed only as far as it can be true: who asks for the lock does not take it, and no
// file there names what is deleted, is printed as a terminal would obey it, or keeps a pod waiting.

import { call, ip, netns, sh, works } from '../world.ts'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { promisify } from 'node:util'
import t from 'tap'
import { uninstall } from '../../src/cli/agent.ts'
import { status } from '../../src/cli/status.ts'
import { vniOf } from '../../src/vxlan/overlay.ts'
import { StateDir, type Status } from '../../src/vxlan/state-dir.ts'

const DIR = '/run/state'
const STATUS = `${DIR}/status.json`
const ARGS = ['--state-dir', DIR, '--conf-dir', '/run/net.d', '--bin-dir', '/run/bin']
const { NODE_OPTIONS: _, ...env } = process.env

const node = (name: string, n: number) => ({ name, addresses: [`192.0.2.${n}`], podCIDRs: [`10.244.${n}.0/24`] })
const good = (device = 'podwire.1', vni = 1): Status & { parts: NonNullable<Status['parts']> } => ({
  node: 'a', device, problems: [], conflist: '/run/net.d/10-podwire.conflist', ready: true, reason: '', source: { phase: 'watching', reason: '', what: 'peers.json' }, promised: ['10.244.1.0/24'],
  heard: [{ node: 'b', address: '10.244.2.0', asked: 1, answered: 1, roundTrip: 0.3, missed: 0, missedLarge: 0 }],
  parts: {
    self: node('a', 1), podCIDRs: ['10.244.1.0/24'], underlay: { local: '192.0.2.1', dev: 'u0', mtu: 1500, onLink: ['192.0.2.0/24'] },
    peers: [{ node: node('b', 2), address: '192.0.2.2', podCIDRs: ['10.244.2.0/24'], onLink: { 4: '192.0.2.2' } }],
    options: { vni, port: 8472, mtu: undefined, directRouting: false, masquerade: true, nonMasqueradeCIDRs: [], checksumOffload: undefined, uplinks: [], advertised: [] },
  },
})

mkdirSync(DIR)
netns('pod')
ip('link add u0 type veth peer name far && ip link set u0 up && ip link set far up && ip addr add 192.0.2.1/24 dev u0')

const shown = (json = false) => status(['--state-dir', DIR, ...(json ? ['--json'] : [])])
const left = (content: unknown) => writeFileSync(STATUS, typeof content === 'string' ? content : JSON.stringify(content))

t.test('the lock', async (t) => {
  const state = new StateDir(DIR)
  const hold = async (how: string, seconds: string) => {
    const holder = spawn('flock', [how, '--no-fork', `${DIR}/lock`, 'sh', '-c', `echo held; exec sleep ${seconds}`], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(holder.stdout, 'data')
    return holder
  }
  for (const how of ['--shared', '--exclusive'])
    await t.test(`whoever has it for a moment (${how}) keeps no agent from its start`, async (t) => {
      const asker = await hold(how, '0.3')
      t.equal(state.taken(), how === '--exclusive', 'who asks shares it with others who ask')
      const agent = new StateDir(DIR)
      t.ok(agent.take(20_000))
      t.ok(state.taken())
      agent.giveBack()
      t.notOk(state.taken())
      if (asker.exitCode === null) await once(asker, 'exit')
    })
  await t.test('one that is held by an agent is not had', async (t) => {
    t.ok(state.take(0))
    t.notOk(new StateDir(DIR).take(50))
    t.throws(() => uninstall(ARGS), { message: /an agent is running with --state-dir \/run\/state: end it first/ })
    state.giveBack()
  })
})

t.test('of agents that start at once on a new directory one has it', async (t) => {
  writeFileSync('/run/take.ts', `
import { StateDir } from '${process.cwd()}/src/vxlan/state-dir.ts'
console.log(new StateDir(process.argv[2]).take(0))
process.stdin.resume() // until all have tried
`)
  const children = Array.from({ length: 6 }, () => spawn(process.execPath, ['--disable-warning=ExperimentalWarning', '/run/take.ts', '/run/fresh/deep'], { stdio: ['pipe', 'pipe', 'inherit'], env }))
  const said = await Promise.all(children.map(async (child) => String((await once(child.stdout, 'data'))[0]).trim()))
  t.same(said.sort(), ['false', 'false', 'false', 'false', 'false', 'true'])
  for (const child of children) child.kill('SIGKILL')
})

t.test('a lock that was removed before it was had locks nobody', async (t) => {
  const state = new StateDir('/run/removed')
  t.ok(state.take(0))
  rmSync('/run/removed/lock')
  t.ok(new StateDir('/run/removed').take(0), 'the name is free')
  state.giveBack()
  t.ok(new StateDir('/run/removed').taken())
})

const LINKS: [what: string, device: string, vni: number, line: string][] = [
  ['an interface that is none of ours', 'd0', 1, 'ip link add d0 type veth peer name d1'],
  ['a VXLAN device with another name', 'flannel.1', 1, 'ip link add flannel.1 type vxlan id 1 local 192.0.2.1 dstport 8472'],
  ['a link of another kind with our name', 'podwire.7', 7, 'ip link add podwire.7 type bridge'],
  ['a VXLAN device with our name and another VNI', 'podwire.7', 7, 'ip link add podwire.7 type vxlan id 8 local 192.0.2.1 dstport 8472'],
  ['a name that is nearly ours', 'podwire.07', 7, 'ip link add podwire.07 type vxlan id 7 local 192.0.2.1 dstport 8472'],
]

for (const [what, device, vni, line] of LINKS)
  t.test(`uninstall deletes nothing of ${what}`, async (t) => {
    rmSync(DIR, { recursive: true, force: true })
    mkdirSync(DIR)
    sh(line)
    ip(`link set ${device} up && ip addr add 198.51.100.1/24 dev ${device}`)
    left(good(device, vni))
    t.throws(() => uninstall(ARGS), { code: 107, message: vniOf(device) ? `interface ${device} stays: it is no VXLAN device with VNI ${vni}` : /status\.json is not what an agent writes: device is not a device of podwire/ })
    t.match(ip(`addr show ${device}`), '198.51.100.1/24')
    t.notOk(existsSync(STATUS), 'what the agent left is gone all the same')
    ip(`link del ${device}`)
  })

t.test('uninstall deletes the device of the last agent', async (t) => {
  mkdirSync(DIR, { recursive: true })
  ip('link add podwire.7 type vxlan id 7 local 192.0.2.1 dstport 8472')
  left(good('podwire.7', 7))
  t.equal(uninstall(ARGS), `removed: interface podwire.7 with its routes, ${DIR}\n`)
  t.notOk(works('ip link show podwire.7'))
  t.notOk(existsSync(DIR))
})

const without = (key: string) => Object.fromEntries(Object.entries(good()).filter(([name]) => name !== key))
const parts = (more: object) => ({ ...good(), parts: { ...good().parts, ...more } })
const peer = (more: object) => parts({ peers: [{ ...good().parts.peers[0], ...more }] })

const BAD: [what: string, content: unknown, sentence: RegExp][] = [
  ['nothing', '', /it is not JSON/],
  ['no JSON', '{"node":', /it is not JSON/],
  ['null', 'null', /all of it is not an object/],
  ['a list', '[]', /all of it is not an object/],
  ['a number', '7', /all of it is not an object/],
  ...['node', 'device', 'ready', 'reason', 'source', 'problems', 'conflist'].map((key): [string, unknown, RegExp] => [`no ${key}`, without(key), new RegExp(`: ${key} is missing`)]),
  ['nothing in it', '{}', /: node is missing/],
  ['a prototype', '{"__proto__": {"node": "a"}}', /: node is missing/],
  ['problems of another type', { ...good(), problems: { length: 1e9 } }, /problems is not a list/],
  ['a problem of another type', { ...good(), problems: [null] }, /problems\[0\] is not an object/],
  ['an interface that is a command', parts({ underlay: { ...good().parts.underlay, dev: '$(reboot)' } }), /parts\.underlay\.dev is not the name of an interface/],
  ['an uplink that is a command', parts({ options: { ...good().parts.options, uplinks: ['a;b'] } }), /parts\.options\.uplinks\[0\] is not the name/],
  ['an address that is a command', peer({ address: '192.0.2.2; reboot' }), /parts\.peers\[0\]\.address is not an IP address/],
  ['a network that is none', peer({ podCIDRs: ['$(reboot)/24'] }), /parts\.peers\[0\]\.podCIDRs\[0\] is not a network/],
  ['a way to a peer that is a command', peer({ onLink: { 4: '`reboot`' } }), /parts\.peers\[0\]\.onLink\.4 is not an IP address/],
  ['an own network that is none', parts({ podCIDRs: ['10.244.1.0'] }), /parts\.podCIDRs\[0\] is not a network/],
  ['an MTU that is a text', parts({ underlay: { ...good().parts.underlay, mtu: '1500; reboot' } }), /parts\.underlay\.mtu is not a number/],
  ['a port that is none', parts({ options: { ...good().parts.options, port: 1e9 } }), /parts\.options\.port is not a number/],
  ['another VNI', good('podwire.1', 2), /parts\.options\.vni is 2, and device is podwire\.1/],
]

for (const [what, content, sentence] of BAD)
  t.test(`podwire status says what is wrong with a status.json of ${what}`, async (t) => {
    mkdirSync(DIR, { recursive: true })
    left(content)
    const { status: code, stdout } = shown()
    t.equal(code, 1)
    t.match(stdout, sentence)
    t.match(JSON.parse(shown(true).stdout), { problem: sentence })
    t.throws(() => new StateDir(DIR).read(), { message: sentence })
  })

/** Where each field of status.json is, as its sentence names it, with the value there. */
function fields(value: unknown, path = ''): [path: string, value: unknown][] {
  if (typeof value !== 'object' || value === null) return [[path, value]]
  const inner = Object.entries(value).flatMap(([key, item]) => fields(item, Array.isArray(value) ? `${path}[${key}]` : path ? `${path}.${key}` : key))
  return [...(path ? [[path, value] as [string, unknown]] : []), ...inner]
}

/** The same status.json with another value in one place; undefined: without it. */
function altered(path: string, value: unknown): object {
  const copy = structuredClone(good()) as object
  const keys = path.split(/[.[\]]+/).filter(Boolean)
  const place = keys.slice(0, -1).reduce((at, key) => at[key as never], copy)
  Object.assign(place, { [keys.at(-1)!]: value })
  return copy
}

t.test('each field of status.json that is lacking or of another type is named', async (t) => {
  const all = fields(JSON.parse(JSON.stringify(good())))
  t.ok(all.length > 40)
  for (const [path, value] of all) {
    left(altered(path, typeof value === 'number' ? 'seven' : 7))
    t.match(shown().stdout, `overlay   unknown: ${STATUS} is not what an agent writes: ${path} is not `, path)
    left(altered(path, undefined))
    const { stdout } = shown()
    t.match(stdout, MAY_LACK.test(path) ? /^node {6}a$/m : `${STATUS} is not what an agent writes: ${path} is ${path.endsWith(']') ? 'not ' : 'missing'}`, `without ${path}`)
  }
})

const MAY_LACK = /^(heard|heard\[0\]\.(asked|answered|roundTrip)|parts|promised|parts\.options\.uplinks|parts\.underlay\.dev|parts\.peers\[0\]\.onLink\.4)$/

t.test('no terminal obeys what others said, and a sentence is one line', async (t) => {
  const evil = '\u001b]0;gone\u0007\u009b31m\u202e\nrepair    reboot\n  repair  reboot'
  const said = { ...peer({ node: { ...node('b', 2), name: `b${evil}` } }), node: `a${evil}`, reason: evil, conflist: `/run/${evil}`, problems: [{ node: 'c', sentence: evil }], source: { phase: 'watching', reason: evil, what: evil } }
  left(said)
  const { stdout } = shown()
  t.notMatch(stdout, /[\0-\x09\x0b-\x1f\x7f-\x9f\u202e]/)
  t.notMatch(stdout, /^(repair|  repair) +reboot/m)
  t.match(stdout, '\\u001b]0;gone\\u0007')
})

t.test('what is printed to be typed is typed as it is meant', async (t) => {
  left(good())
  const lines = shown().stdout.split('\n').flatMap((line) => /^(?: {2})?repair +(.*)$/.exec(line)?.[1] ?? [])
  t.ok(lines.length > 2)
  for (const line of lines) t.match(line, /^(ip|bridge|nft|sysctl) /, 'each line of a repair is one')
})

t.test('a status.json of a hundred thousand peers is shown', async (t) => {
  const [one] = good().parts.peers
  left(parts({ peers: Array.from({ length: 100_000 }, (_, i) => ({ ...one, node: { name: `n${i}`, addresses: [], podCIDRs: [] }, podCIDRs: [] })) }))
  t.match(shown().stdout, 'n99999')
})

// They block a reader that is not careful, so they are read by a process that is ended in time.
const ODD: [what: string, line: string, sentence: RegExp][] = [
  ['a FIFO', 'mkfifo', /is a FIFO, not a file/],
  ['a directory', 'mkdir', /is a directory, not a file/],
  ['a file of gigabytes', 'truncate -s 3G', /has more than \d+ bytes/],
  ['a symlink', 'ln -s /etc/passwd', /is a symlink, which is not followed/],
]

writeFileSync('/run/ask.ts', `
import { status } from '${process.cwd()}/src/cli/status.ts'
import { Netns } from '${process.cwd()}/src/kernel/netns.ts'
import { overlayStatus, requireOverlay } from '${process.cwd()}/src/vxlan/readiness.ts'
const attempt = (what) => { try { return what() } catch (error) { return [error.code, error.message].join(' ') } }
const netns = new Netns()
console.log(JSON.stringify([attempt(() => status(['--state-dir', '${DIR}']).stdout), attempt(() => requireOverlay(netns, '${DIR}')), attempt(() => overlayStatus(netns, '${DIR}'))]))
`)
const ask = async (): Promise<string[]> => JSON.parse((await promisify(execFile)(process.execPath, ['--disable-warning=ExperimentalWarning', '/run/ask.ts'], { timeout: 30_000, killSignal: 'SIGKILL', env })).stdout)

for (const [what, line, sentence] of ODD)
  t.test(`${what} in the place of the agent's files`, async (t) => {
    rmSync(DIR, { recursive: true, force: true })
    mkdirSync(DIR)
    for (const name of ['status.json', 'overlay.json', 'lock']) sh(`${line} ${DIR}/${name}`)
    const [page, added, asked] = await ask()
    t.match(page, new RegExp(`overlay +unknown: .*status\\.json ${sentence.source}`))
    t.match(added, new RegExp(`^11 the overlay is not ready: .*overlay\\.json ${sentence.source}`))
    t.match(asked, new RegExp(`^50 the overlay is not ready: .*overlay\\.json ${sentence.source}`))
  })

const UNREADY: [what: string, content: string, sentence: RegExp][] = [
  ['nothing', '', /overlay\.json is not what an agent writes/],
  ['null', 'null', /overlay\.json is not what an agent writes/],
  ['ready by a text', '{"device": "lo", "ready": "yes", "reason": ""}', /overlay\.json is not what an agent writes/],
  ['no device', '{"ready": true, "reason": ""}', /overlay\.json is not what an agent writes/],
  ['a device that is a list', '{"device": ["lo"], "ready": true, "reason": ""}', /overlay\.json is not what an agent writes/],
]

for (const [what, content, sentence] of UNREADY)
  t.test(`an overlay.json of ${what} makes no pod wait, and wires none`, async (t) => {
    rmSync(DIR, { recursive: true, force: true })
    mkdirSync(DIR)
    writeFileSync(`${DIR}/overlay.json`, content)
    const conf = { cniVersion: '1.1.0', name: 'podwire', type: 'podwire', overlay: DIR, ipam: { type: 'host-local', ranges: [[{ subnet: '10.244.1.0/24' }]] } }
    t.match(call('podwire', 'ADD', conf).json, { code: 11, msg: sentence })
    t.match(call('podwire', 'STATUS', conf).json, { code: 50, msg: sentence })
  })
