// cni-rules 1.2 to 1.4: commands, the environment, CNI_ARGS.

import { BIN, call, CONF, each, inside, POD, request, run } from '../binary.ts'
import { ip, netns } from '../world.ts'
import { readFileSync, mkdirSync, writeFileSync } from 'node:fs'
import t from 'tap'

netns('pod')

type Refused = [name: string, env: ReturnType<typeof request>, error: object]

/** Requests that must be refused, and what the error object has: the first by the executable, the others in this process. */
async function refused(t: Tap, [first, ...others]: [Refused, ...Refused[]]) {
  t.match((await call('ptp', first[1])).json, first[2], first[0])
  for (const [name, env, error] of others) t.match(inside('ptp', env).json, error, name)
}
type Tap = { match(found: unknown, wanted: object, name: string): unknown }

t.test('R1 R11 commands are case-sensitive; an unknown one is named', async (t) => {
  await refused(t, [
    ['add', request('add'), { code: 4, msg: 'unknown CNI_COMMAND: add' }],
    ['FOO', request('FOO'), { code: 4, msg: 'unknown CNI_COMMAND: FOO', details: 'ADD, DEL, CHECK, GC, STATUS, VERSION' }],
    ['a member of every object', request('constructor'), { code: 4, msg: 'unknown CNI_COMMAND: constructor' }],
  ])
  t.match((await call('ptp', request('FOO'), '{')).json, { code: 6 }, 'R11 the configuration is judged first')
})

const without = (command: string, ...names: string[]) => request(command, Object.fromEntries(names.map((name) => [name, undefined])))
const ALL = ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_ARGS', 'CNI_PATH']
const missing = (names: string) => ({ code: 4, msg: `required env variables [${names}] missing` })

t.test('R2 to R5, R7 variables that a command needs: several missing ones are reported together, in order', async (t) => {
  await refused(t, [
    ['R2 ADD', without('ADD', ...ALL), missing('CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH')],
    ['R2 CHECK', without('CHECK', ...ALL), missing('CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH')],
    ['R3 DEL', without('DEL', ...ALL), missing('CNI_CONTAINERID,CNI_IFNAME,CNI_PATH')],
    ['R4 GC', without('GC', ...ALL), missing('CNI_PATH')],
    ['R7 two of them', without('ADD', 'CNI_IFNAME', 'CNI_NETNS'), missing('CNI_NETNS,CNI_IFNAME')],
    ['R25 an empty container ID is a missing one', request('ADD', { CNI_CONTAINERID: '' }), missing('CNI_CONTAINERID')],
  ])
  t.equal((await call('ptp', request('DEL', { CNI_NETNS: '' }))).status, 0, 'R3 DEL with CNI_NETNS empty')
  t.equal((await call('ptp', without('STATUS', ...ALL))).status, 0, 'R5 STATUS needs nothing')
  t.match((await call('ptp', without('VERSION', ...ALL), '')).json, { supportedVersions: [] }, 'R6 nor does VERSION')
})

t.test('R8 R9 R25 R27 an invalid value is named with its variable, before what is missing', async (t) => {
  const id = { code: 4, msg: /^CNI_CONTAINERID=.*invalid characters in containerID/ }
  const dev = (why: string) => ({ code: 4, msg: new RegExp(`^CNI_IFNAME=.*${why}`) })
  await refused(t, [
    ['R25 /', request('ADD', { CNI_CONTAINERID: 'a/b' }), id],
    ['R25 a leading -', request('ADD', { CNI_CONTAINERID: '-a' }), id],
    ['R25 a newline at the end', request('ADD', { CNI_CONTAINERID: 'a\n' }), id],
    ['R25 letters of another alphabet', request('DEL', { CNI_CONTAINERID: 'é' }), id],
    ['R27 16 bytes', request('ADD', { CNI_IFNAME: 'a'.repeat(16) }), { ...dev('interface name is too long'), details: 'interface name should be less than 16 characters' }],
    ['R27 bytes, not characters', request('ADD', { CNI_IFNAME: 'ééééééé€' }), dev('too long')],
    ['R27 .', request('ADD', { CNI_IFNAME: '.' }), dev('interface name is . or ..')],
    ['R27 ..', request('DEL', { CNI_IFNAME: '..' }), dev('interface name is . or ..')],
    ['R27 /', request('ADD', { CNI_IFNAME: 'a/b' }), dev('interface name contains / or : or whitespace characters')],
    ['R27 :', request('ADD', { CNI_IFNAME: 'a:b' }), dev('contains /')],
    ['R27 blank', request('ADD', { CNI_IFNAME: 'a b' }), dev('contains /')],
    ['R27 no-break space', request('ADD', { CNI_IFNAME: 'a\u00a0b' }), dev('contains /')],
    ['R27 next line', request('ADD', { CNI_IFNAME: 'a\u0085b' }), dev('contains /')],
    ['R9 an invalid one before missing ones', request('ADD', { CNI_CONTAINERID: '/', CNI_PATH: '' }), id],
  ])
  t.equal((await call('ptp', request('STATUS', { CNI_IFNAME: 'a/b', CNI_CONTAINERID: '/' }))).status, 0, 'R9 what a command does not need is not judged')
  t.equal((await call('ptp', request('GC', { CNI_IFNAME: 'a/b', CNI_CONTAINERID: '/' }))).status, 0, 'R9 nor for GC')
})

t.test('R27 a name of 15 bytes is one', async (t) => {
  const env = request('ADD', { CNI_IFNAME: 'ünï.x-y_z@1+' })
  t.equal((await call('ptp', env)).json.interfaces[1].name, 'ünï.x-y_z@1+')
  t.equal((await call('ptp', { ...env, CNI_COMMAND: 'DEL' })).status, 0)
})

t.test('R10 started by hand, each plugin says on stderr what it is, and that is no error', async (t) => {
  await each(['ptp', 'loopback', 'host-local', 'static', 'podwire-ptp'], async (name) => {
    const { status, stdout, stderr } = await run(`${BIN}/${name}`, [], {}, '')
    t.equal(status, 0, name)
    t.equal(stdout, '')
    t.match(stderr, new RegExp(`^${name}: .*CNI protocol versions supported: 0.1.0, .*1.1.0.*podwire help\n$`))
  })
})

t.test("R22 the plugin's own namespace is refused before any work", async (t) => {
  const before = ip('-br link')
  for (const command of ['ADD', 'DEL']) t.match((await call('ptp', request(command, { CNI_NETNS: '/proc/self/ns/net' }))).json, { code: 8, msg: "plugin's netns and netns from CNI_NETNS should not be the same" })
  t.equal(ip('-br link'), before)
  const loopback = await call('loopback', request('DEL', { CNI_NETNS: '/proc/self/ns/net' }))
  t.equal(loopback.json.code, 8, 'nor does loopback take down the lo of the node')
  t.match(ip('link show lo'), 'LOWER_UP')

  const env = request('ADD', { CNI_NETNS: '/proc/self/ns/net', CNI_NETNS_OVERRIDE: 'True', CNI_IFNAME: 'both' })
  t.equal((await call('ptp', env)).status, 0, 'unless CNI_NETNS_OVERRIDE says that it is meant')
  t.equal((await call('ptp', { ...env, CNI_COMMAND: 'DEL' })).status, 0)
  t.equal(ip('-br link'), before)
})

t.test('R24 R110 an IPAM executable gets our environment and the complete configuration, and its stderr is ours', async (t) => {
  mkdirSync('/run/bin')
  const answer = { cniVersion: '1.1.0', ips: [{ address: '10.9.0.2/24', gateway: '10.9.0.1' }] }
  writeFileSync('/run/bin/other', `#!/bin/sh\nenv | sort >/run/seen.env\ncat >/run/seen.json\necho heard me >&2\necho '${JSON.stringify(answer)}'\n`, { mode: 0o755 })
  const conf = { ...CONF, unknown: { key: [1] }, ipam: { type: 'other', its: 'own' } }
  const env = request('ADD', { CNI_PATH: '/nowhere:/run/bin', CNI_ARGS: 'K8S_POD_NAME=p', TRACEPARENT: '00-1', PATH: process.env.PATH })
  const { json, stderr } = await call('ptp', env, conf)
  t.equal(json.ips[0].address, '10.9.0.2/24')
  t.match(stderr, 'heard me')
  t.same(JSON.parse(readFileSync('/run/seen.json', 'utf8')), conf)
  const seen = readFileSync('/run/seen.env', 'utf8').split('\n')
  for (const [name, value] of Object.entries(env)) t.ok(seen.includes(`${name}=${value}`), name)

  t.equal((await call('ptp', { ...env, CNI_COMMAND: 'DEL' }, conf)).status, 0, 'R111 DEL')
  t.match(readFileSync('/run/seen.env', 'utf8'), 'CNI_COMMAND=DEL', 'is forwarded')
  writeFileSync('/run/bin/other', `#!/bin/sh\necho '{"code": 123, "msg": "its own words", "details": "of its own"}'\nexit 1\n`)
  for (const command of ['ADD', 'STATUS', 'GC']) t.match((await call('ptp', { ...env, CNI_COMMAND: command }, conf)).json, { code: command === 'GC' ? 107 : 123, [command === 'GC' ? 'details' : 'msg']: 'its own words' }, `R76 R84 R111 its error of ${command} is ours`)
})

const fromArgs = (text: string) => request('ADD', { CNI_ARGS: text, CNI_CONTAINERID: 'a1' })

t.test('R30 R31 R32 CNI_ARGS', async (t) => {
  const wrong = (why: string) => ({ code: 4, msg: new RegExp(`^CNI_ARGS.*${why}`) })
  await refused(t, [
    ['R30 no pair', fromArgs('foo'), wrong('invalid pair "foo"')],
    ['R30 two =', fromArgs('IP=10.1.2.9=24'), wrong('invalid pair')],
    ['R30 no key', fromArgs('=1'), wrong('invalid pair')],
    ['R31 an unknown key', fromArgs('FOO=1;BAR=2'), wrong('unknown args \\["FOO=1","BAR=2"\\]')],
    ['R31 IgnoreUnknown=0', fromArgs('IgnoreUnknown=0;FOO=1'), wrong('unknown args')],
    ['R31 IgnoreUnknown=False', fromArgs('FOO=1;IgnoreUnknown=False'), wrong('unknown args')],
    ['R31 IgnoreUnknown=maybe', fromArgs('IgnoreUnknown=maybe'), wrong('IgnoreUnknown="maybe"')],
    ['R32 names are exact', fromArgs('ip=10.1.2.9'), wrong('unknown args \\["ip=10.1.2.9"\\]')],
    ['R32 a key twice', fromArgs('IP=10.1.2.9;IgnoreUnknown=1;IP=10.1.2.8'), wrong('IP stands twice, as 10.1.2.9 and as 10.1.2.8')],
    ['no address', fromArgs('IP=10.1.2.999'), wrong('IP.*10.1.2.999')],
    ['no MAC address', fromArgs('MAC=0a:58:0a:01:02'), wrong('MAC.*0a:58:0a:01:02')],
  ])
  const given = async (text: string, conf: object = CONF) => {
    const env = fromArgs(text)
    const { json, stdout } = await call('ptp', env, conf)
    await call('ptp', { ...env, CNI_COMMAND: 'DEL' }, conf)
    return json.code ? stdout : `${json.ips[0].address} ${json.interfaces[1].mac}`
  }
  t.match(await given('IgnoreUnknown=1;K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;K8S_POD_INFRA_CONTAINER_ID=c;K8S_POD_UID=d;X=y;IP=10.1.2.9;MAC=0a:58:0a:01:02:03'), '10.1.2.9/24 0a:58:0a:01:02:03', 'R31 as containerd sends them')
  t.match(await given('K8S_POD_NAME=b;IP=10.1.2.11;'), '10.1.2.11/24', 'R31 known ones without IgnoreUnknown, and a ; at the end')
  t.match(await given('IP=10.1.2.9;MAC=0a:58:0a:01:02:03', { ...CONF, args: { cni: { ips: ['10.1.2.10'], mac: '0a:58:0a:01:02:04', labels: [{ key: 'a', value: 'b' }] } } }), '10.1.2.10/24 0a:58:0a:01:02:04', 'R33 R117 what args say counts instead')
  t.match(await given('IP=10.1.2.9', { ...CONF, args: { cni: { ips: ['10.1.2.10'] } }, runtimeConfig: { ips: ['10.1.2.12/24'], mac: '0a:58:0a:01:02:05' } }), '10.1.2.12/24 0a:58:0a:01:02:05', 'and runtimeConfig before both')
})

t.test('R34 who has no use for CNI_ARGS does not fail on them', async (t) => {
  const lo = { cniVersion: '1.1.0', name: 'lo', type: 'loopback' }
  t.equal((await call('loopback', request('ADD', { CNI_ARGS: 'anything', CNI_IFNAME: 'lo' }), lo)).status, 0)
  t.equal((await call('ptp', request('DEL', { CNI_ARGS: 'anything' }))).status, 0, 'nor does DEL')
  t.equal((await call('ptp', request('GC', { CNI_ARGS: 'anything' }))).status, 0)
  t.equal((await call('ptp', request('STATUS', { CNI_ARGS: 'anything', CNI_NETNS: POD }))).status, 0)
})
