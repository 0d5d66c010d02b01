// Other people's IPAM executables: the reference's under other names, and small ones that behave badly.

import { call, directory, ip, netns, sh, state } from '../world.ts'
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { CniError } from '../../src/cni/error.ts'
import type { ConfWithIpam } from '../../src/ipam/conf.ts'
import { delegate } from '../../src/ipam/delegate.ts'
import { BUILT, builtIsMissing, execute, REFERENCE, referenceIsMissing } from '../reference.ts'

const path = directory('/run/ipam')
const pod = netns('pod')

/** An executable of IPAM: a shell script. It finds its standard input in $stdin. */
function script(name: string, text: string): string {
  writeFileSync(join(path, name), `#!/bin/bash\nstdin=$(cat; echo .); stdin=\${stdin%.}\n${text}\n`, { mode: 0o755 })
  return name
}
const leases = `[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.3/24", "gateway": "10.1.2.1"}], "dns": {}}'`
/** Writes down what it was asked. */
const record = 'env -u _ -u SHLVL -u PWD | sort >/run/asked.$CNI_COMMAND.env; printf %s "$stdin" >/run/asked.$CNI_COMMAND.stdin; echo "$CNI_COMMAND" >>/run/asked'
const asked = (): string => {
  const commands = existsSync('/run/asked') ? readFileSync('/run/asked', 'utf8').trim().replaceAll('\n', ' ') : 'nothing'
  rmSync('/run/asked', { force: true })
  return commands
}

const conf = (type: string, more: object = {}) => ({ cniVersion: '1.0.0', name: 'podnet', type: 'ptp', ipam: { type, ...more } })

/** Sends a request to ptp in an environment as a runtime's, which an executable of IPAM inherits. */
function ptp(command: string, request: object, container = 'c1') {
  const environment = { CNI_COMMAND: command, CNI_CONTAINERID: container, CNI_NETNS: pod, CNI_IFNAME: 'eth0', CNI_PATH: path }
  Object.assign(process.env, environment)
  const answer = call('ptp', command, request, { container, path })
  for (const name of Object.keys(environment)) delete process.env[name]
  return answer
}

/** How an ADD, or what else, of the executable of that name ends when it is given so many milliseconds. */
function refusal(type: string, milliseconds = 5000, verb: 'add' | 'del' | 'check' | 'status' = 'add'): Pick<CniError, 'code' | 'message' | 'details'> {
  const ipam = delegate({ path: ['/nowhere', path], stdin: Buffer.from('{}') }, milliseconds)
  try {
    ipam[verb]({ conf: conf(type) as unknown as ConfWithIpam, attachment: { network: 'podnet', containerID: 'c1', ifname: 'eth0' }, args: {} })
  } catch (error) {
    const { code, message, details } = error as CniError
    return { code, message, details }
  }
  return { code: 0, message: 'it did well', details: undefined }
}

t.test("the reference's host-local", { skip: referenceIsMissing }, async (t) => {
  copyFileSync(join(REFERENCE, 'host-local'), join(path, 'ref-local'))
  const local = conf('ref-local', { ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00::/64' }]], routes: [{ dst: '0.0.0.0/0' }], dataDir: '/var/lib/cni/ref' })
  const before = state('pod')
  const added = ptp('ADD', local)
  t.same(added.json.ips?.map((one: any) => `${one.address} via ${one.gateway} on ${one.interface}`), ['10.1.2.2/24 via 10.1.2.1 on 1', 'fd00::2/64 via fd00::1 on 1'], added.stdout)
  t.match(ip('-n pod route'), 'default via 10.1.2.1 dev eth0')
  t.equal(readFileSync('/var/lib/cni/ref/podnet/10.1.2.2', 'latin1'), 'c1\r\neth0')

  t.equal(ptp('CHECK', { ...local, prevResult: added.json }).stdout, '')
  sh('rm /var/lib/cni/ref/podnet/10.1.2.2 /var/lib/cni/ref/podnet/fd00::2')
  t.match(ptp('CHECK', { ...local, prevResult: added.json }).json, { code: 999, msg: 'host-local: Failed to find address added by container c1' })

  t.equal(ptp('DEL', local).stdout, '')
  t.equal(state('pod'), before)
  ptp('ADD', local)
  t.equal(ptp('DEL', { ...local, prevResult: added.json }).stdout, '')
  t.equal(state('pod'), before)
})

t.test("the reference's host-local has no address left: its error is ours", { skip: referenceIsMissing }, async (t) => {
  const local = conf('ref-local', { subnet: '10.1.2.0/30', dataDir: '/var/lib/cni/small' })
  ptp('ADD', local)
  ip('-n pod link del eth0')
  t.match(ptp('ADD', local, 'c2').json, { code: 999, msg: 'failed to allocate for range 0: no IP addresses available in range set: 10.1.2.1-10.1.2.2' })
  ptp('DEL', local)
  t.equal(ptp('ADD', local, 'c2').status, 0)
  ptp('DEL', local, 'c2')
})

t.test("the reference's static", { skip: referenceIsMissing }, async (t) => {
  copyFileSync(join(REFERENCE, 'static'), join(path, 'ref-static'))
  const fixed = conf('ref-static', { addresses: [{ address: '10.1.2.9/24', gateway: '10.1.2.1' }], routes: [{ dst: '192.0.2.0/24' }], dns: { nameservers: ['10.0.0.10'] } })
  const added = ptp('ADD', fixed)
  t.match(added.json, { ips: [{ address: '10.1.2.9/24' }], dns: { nameservers: ['10.0.0.10'] } })
  t.match(ip('-n pod route'), '192.0.2.0/24 via 10.1.2.1 dev eth0')
  t.equal(ptp('CHECK', { ...fixed, prevResult: added.json }).stdout, '')
  t.equal(ptp('DEL', fixed).status, 0)
})

t.test('it is asked what we were asked, in our environment', async (t) => {
  const recorder = { ...conf(script('recorder', `${record}; ${leases}`)), cniVersion: '1.1.0', unknown: { key: ['kept'] } }
  process.env.TRACEPARENT = '00-abc-def-01'
  const added = ptp('ADD', recorder)
  t.equal(asked(), 'ADD')
  t.equal(readFileSync('/run/asked.ADD.stdin', 'utf8'), JSON.stringify(recorder), 'the complete configuration')
  const environment = readFileSync('/run/asked.ADD.env', 'utf8')
  for (const line of ['CNI_COMMAND=ADD', 'CNI_CONTAINERID=c1', 'CNI_IFNAME=eth0', `CNI_NETNS=${pod}`, `CNI_PATH=${path}`, 'TRACEPARENT=00-abc-def-01']) t.match(environment, `${line}\n`)

  const prevResult = added.json
  for (const [command, more] of [['CHECK', { prevResult }], ['STATUS', {}], ['GC', { 'cni.dev/valid-attachments': [] }], ['DEL', { prevResult }]] as const) {
    t.equal(ptp(command, { ...recorder, ...more }).status, 0, command)
    t.equal(asked(), command)
    t.match(readFileSync(`/run/asked.${command}.stdin`, 'utf8'), JSON.stringify({ ...recorder, ...more }))
    t.match(readFileSync(`/run/asked.${command}.env`, 'utf8'), `CNI_COMMAND=${command}\n`)
  }
  delete process.env.TRACEPARENT
})

t.test('an ADD that fails is followed by its DEL', async (t) => {
  const before = state('pod')
  await t.test('when a later step of ours fails', async (t) => {
    t.match(ptp('ADD', conf(script('no-gateway', `${record}; ${leases.replace(', "gateway": "10.1.2.1"', '')}`))).json, { code: 7, msg: 'IPAM (no-gateway) gave no gateway for 10.1.2.3/24' })
    t.equal(asked(), 'ADD DEL')
    t.match(readFileSync('/run/asked.DEL.env', 'utf8'), 'CNI_CONTAINERID=c1\n')
  })
  await t.test('when it fails itself', async (t) => {
    t.match(refusal(script('half', `${record}; [ $CNI_COMMAND != ADD ] || exit 1`)), { code: 106 })
    t.equal(asked(), 'ADD DEL')
  })
  await t.test('when nobody understands its answer', async (t) => {
    t.match(refusal(script('babble', `${record}; echo '{"ips": [{"address": "everywhere"}]}'`)), { code: 7, message: 'the result of babble.ips[0].address is "everywhere": expected an address' })
    t.equal(asked(), 'ADD DEL')
  })
  await t.test('whose failure does not hide the first', async (t) => {
    t.match(ptp('ADD', conf(script('stubborn', `${record}; [ $CNI_COMMAND = ADD ] || { echo '{"code": 77, "msg": "no"}'; exit 1; }; ${leases.replace(', "gateway": "10.1.2.1"', '')}`))).json, { code: 7, msg: 'gave no gateway', details: 'the address could not be released: no' })
    asked()
  })
  t.equal(state('pod'), before)
})

t.test('its errors are ours, untouched', async (t) => {
  const error = script('refuser', `printf '%s' '{"cniVersion": "1.0.0", "code": 4711, "msg": "the sea is \\u00abfull\\u00bb", "details": "of fish"}'; exit 1`)
  for (const verb of ['add', 'del', 'check', 'status'] as const) t.same(refusal(error, 5000, verb), { code: 4711, message: 'the sea is «full»', details: 'of fish' }, verb)
  t.same(ptp('ADD', conf(script('laconic', `echo '{"code": 105, "msg": "no"}'; exit 1`))).json, { cniVersion: '1.0.0', code: 105, msg: 'no', details: '' }, 'whatever its code means to us')
  t.match(ptp('ADD', conf(error)).json, { cniVersion: '1.0.0', code: 4711, msg: 'the sea is «full»', details: 'of fish' })
  t.match(ptp('STATUS', { ...conf(error), cniVersion: '1.1.0' }).json, { cniVersion: '1.1.0', code: 4711 })
  t.match(ptp('GC', { ...conf(error), cniVersion: '1.1.0' }).json, { code: 107, details: 'the sea is «full»' })
})

t.test('one that behaves badly', async (t) => {
  await t.test('hangs: it is killed', async (t) => {
    const hangs = script('hangs', 'echo $$ >>/run/hangs; exec sleep 100')
    t.same(refusal(hangs, 200), { code: 11, message: `${path}/hangs ADD did not end within 0.2 s and was killed`, details: undefined })
    for (const pid of readFileSync('/run/hangs', 'utf8').trim().split('\n')) t.throws(() => process.kill(Number(pid), 0), { code: 'ESRCH' }, 'it lives no more')
  })
  await t.test('prints rubbish', async (t) => {
    const said = `${path}/rubbish ADD`
    const rubbish = (text: string) => refusal(script('rubbish', text))
    t.same(rubbish("printf 'out of cheese\\n'"), { code: 106, message: `${said} printed no JSON`, details: '"out of cheese\\n"' })
    t.same(rubbish('true'), { code: 106, message: `${said} printed no JSON`, details: '""' })
    t.same(rubbish('echo oops; exit 3'), { code: 106, message: `${said} ended with status 3 and without an error object`, details: '"oops\\n"' })
    t.match(rubbish(`echo '{"code": "7", "msg": 3}'; exit 1`), { code: 106, message: `${said} ended with status 1 and without an error object` })
    t.match(rubbish('echo null; exit 1'), { code: 106 })
    t.match(rubbish('echo null'), { code: 7, message: 'the result of rubbish is null: expected a result object' })
    t.match(rubbish(`echo '[]'`), { code: 7, message: 'the result of rubbish is []: expected a result object' })
    t.match(rubbish('head -c 300000 /dev/zero'), { code: 106 })
    t.match(rubbish(`printf '\\xff\\xfe'`), { code: 106 })
  })
  await t.test('dies by a signal', async (t) => {
    t.same(refusal(script('dies', 'echo half; kill -SEGV $$')), { code: 106, message: `${path}/dies ADD was ended by SIGSEGV`, details: '"half\\n"' })
  })
  await t.test('leaves a child that holds its output', async (t) => {
    t.equal(refusal(script('parent', `sleep 100 & echo $! >/run/child; ${leases}`)).code, 0)
    t.ok(process.kill(Number(readFileSync('/run/child', 'utf8')), 0), 'the child was still there when we were done')
    process.kill(Number(readFileSync('/run/child', 'utf8')), 'SIGKILL')
  })
  await t.test('does not read what it is given', async (t) => {
    writeFileSync(join(path, 'deaf'), `#!/bin/sh\nexec <&-\n${leases}\n`, { mode: 0o755 })
    t.equal(ptp('ADD', { ...conf('deaf'), padding: 'x'.repeat(500_000) }).status, 0)
    t.equal(ptp('DEL', conf('deaf')).status, 0)
  })
  await t.test('cannot be started', async (t) => {
    writeFileSync(join(path, 'orphan'), '#!/nowhere/interpreter\n', { mode: 0o755 })
    t.match(refusal('orphan'), { code: 106, message: `${path}/orphan ADD could not be run: ` })
  })
})

t.test('one that is not there', async (t) => {
  const nowhere = (name: string) => t.match(refusal(name), { code: 106, message: `failed to find plugin "${name}" in path [/nowhere:${path}]` })
  nowhere('none')
  mkdirSync(join(path, 'folder'))
  nowhere('folder')
  script('locked', leases)
  chmodSync(join(path, 'locked'), 0o644)
  nowhere('locked')
  sh(`ln -s /nowhere/at/all ${path}/dangling`)
  nowhere('dangling')
  for (const name of ['..', '.']) nowhere(name)
  t.match(ptp('ADD', conf('../ipam/recorder')).json, { code: 7, msg: 'ipam.type is "../ipam/recorder": expected the name of an IPAM plugin' })
  t.match(ptp('ADD', conf('none')).json, { code: 106 })
})

t.test('an answer of an old library, which names no interface by -1, and empty where it has nothing', async (t) => {
  const answer = { cniVersion: '0.3.1', ips: [{ version: '4', address: '10.1.2.3/24', gateway: '10.1.2.1', interface: -1 }], routes: [{ dst: '0.0.0.0/0', gw: '' }], dns: { nameservers: [], domain: '' } }
  const request = conf(script('old', `[ "$CNI_COMMAND" = ADD ] && echo '${JSON.stringify(answer)}'; exit 0`))
  const added = ptp('ADD', request)
  t.match(added.json, { ips: [{ address: '10.1.2.3/24', interface: 1 }] }, added.stdout)
  t.same([added.json.routes, added.json.dns], [[{ dst: '0.0.0.0/0' }], undefined])
  t.equal(ptp('CHECK', { ...request, prevResult: added.json }).stdout, '')
  t.equal(ptp('DEL', request).stdout, '')
})

t.test('through the executable as it is built', { skip: builtIsMissing }, async (t) => {
  const before = state('pod')
  const request = conf(script('built', `${record}; sleep 100 2>&- & echo $! >/run/child; echo "asked for $CNI_COMMAND" >&2; ${leases}`))
  const added = execute(join(BUILT, 'ptp'), 'ADD', request, { netns: pod, args: 'IgnoreUnknown=1;K8S_POD_NAME=web', path: `/nowhere:${path}` })
  t.equal(added.status, 0, added.stdout)
  t.match(added.json, { cniVersion: '1.0.0', ips: [{ address: '10.1.2.3/24', gateway: '10.1.2.1', interface: 1 }] })
  t.match(added.stderr, 'asked for ADD\n', 'its standard error is ours')
  t.ok(process.kill(Number(readFileSync('/run/child', 'utf8')), 'SIGKILL'), 'nobody waited for its child')
  t.match(readFileSync('/run/asked.ADD.env', 'utf8'), 'CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=web\n')
  t.equal(readFileSync('/run/asked.ADD.stdin', 'utf8'), JSON.stringify(request))

  const refused = execute(join(BUILT, 'ptp'), 'CHECK', { ...conf('refuser'), prevResult: added.json }, { netns: pod, path })
  t.match(refused.json, { code: 4711, msg: 'the sea is «full»', details: 'of fish' })
  t.equal(execute(join(BUILT, 'ptp'), 'DEL', request, { netns: pod, path }).status, 0)
  process.kill(Number(readFileSync('/run/child', 'utf8')), 'SIGKILL')
  t.equal(asked(), 'ADD DEL')
  t.equal(state('pod'), before)
})
