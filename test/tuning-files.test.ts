// What tuning reads: what it wrote down itself, of which another attachment may have the name, and the list of sysctls that an
// administrator allows. Whatever stands there, nobody waits.

import './bounded.ts'
import { call, directory, ip, netns, sh } from './world.ts'
import { lstatSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { hash } from '../src/names.ts'
import { NO_FILE, ODD, put, take } from './odd.ts'

sh('mount -t tmpfs etc /etc')

const FILES = '/run/cni/tuning'
const BACKUP = `${FILES}/c1_eth0.json`
const prevResult = (pod: string, ifname = 'eth0') => ({ cniVersion: '1.1.0', interfaces: [{ name: ifname, sandbox: `/run/netns/${pod}` }], ips: [] })
const entry = (keys: object, name = 'podnet', pod = 'pod', ifname = 'eth0') => ({ cniVersion: '1.1.0', name, type: 'tuning', ...keys, prevResult: prevResult(pod, ifname) })
const mtu = (pod = 'pod', ifname = 'eth0'): string => /mtu (\d+)/.exec(ip(`-n ${pod} link show ${ifname}`))![1]!

t.before(() => {
  for (const pod of ['pod', 'other']) {
    netns(pod)
    ip(`-n ${pod} link add eth0 type veth peer name far`)
    ip(`-n ${pod} link add b_eth0 type veth peer name far2`)
  }
})

t.test('the same container ID and interface name in another network: each puts back its own, in any order', async (t) => {
  for (const order of [['podnet', 'second'], ['second', 'podnet']]) {
    const pods = { podnet: 'pod', second: 'other' } as Record<string, string>
    const request = (command: string, network: string) => call('tuning', command, entry({ mtu: network === 'podnet' ? 1400 : 1300 }, network, pods[network]), { netns: `/run/netns/${pods[network]}` })
    ip('-n other link set eth0 mtu 1450')
    for (const network of ['podnet', 'second']) t.equal(request('ADD', network).status, 0)
    t.same([mtu('pod'), mtu('other')], ['1400', '1300'])
    for (const network of order) {
      t.equal(request('DEL', network).stdout, '')
      t.equal(mtu(pods[network]), network === 'podnet' ? '1500' : '1450', `DEL of ${network}, in the order ${order}`)
    }
    t.same(readdirSync(FILES), [])
  }
})

t.test('DEL in a network that has nothing leaves what another has', async (t) => {
  call('tuning', 'ADD', entry({ mtu: 1400 }))
  const kept = readFileSync(BACKUP, 'utf8')
  t.equal(call('tuning', 'DEL', entry({}, 'second')).stdout, '')
  t.same([mtu(), readFileSync(BACKUP, 'utf8')], ['1400', kept])
  call('tuning', 'GC', { ...entry({}, 'second'), 'cni.dev/valid-attachments': [] })
  t.equal(readFileSync(BACKUP, 'utf8'), kept)
  t.equal(call('tuning', 'DEL', entry({})).stdout, '')
  t.same([mtu(), readdirSync(FILES)], ['1500', []])
})

t.test('GC knows whose is the file that another has the usual name of', async (t) => {
  for (const network of ['podnet', 'second']) call('tuning', 'ADD', entry({ mtu: 1400 }, network))
  const gc = (network: string, ...living: string[]) => call('tuning', 'GC', { ...entry({}, network), 'cni.dev/valid-attachments': living.map((containerID) => ({ containerID, ifname: 'eth0' })) })
  gc('podnet', 'c1')
  gc('second', 'c1')
  t.equal(readdirSync(FILES).length, 2)
  gc('second')
  t.same(readdirSync(FILES), ['c1_eth0.json'])
  gc('podnet')
  t.same(readdirSync(FILES), [])
  ip('-n pod link set eth0 mtu 1500')
})

t.test('container a_b and interface eth0, container a and interface b_eth0: the reference gives both one name', async (t) => {
  const request = (command: string, container: string, ifname: string, to: number) => call('tuning', command, entry({ mtu: to }, 'podnet', 'pod', ifname), { container, ifname })
  t.equal(request('ADD', 'a_b', 'eth0', 1400).status, 0)
  t.equal(request('ADD', 'a', 'b_eth0', 1300).status, 0)
  t.equal(request('DEL', 'a', 'b_eth0', 1300).stdout, '')
  t.same([mtu('pod', 'eth0'), mtu('pod', 'b_eth0')], ['1400', '1500'])
  t.equal(request('DEL', 'a_b', 'eth0', 1400).stdout, '')
  t.same([mtu('pod', 'eth0'), readdirSync(FILES)], ['1500', []])
})

t.test('a backup of the reference, which names no network, is put back by whoever deletes', async (t) => {
  ip('-n pod link set eth0 mtu 1400')
  writeFileSync(BACKUP, '{\n "mtu": 1500\n}')
  t.equal(call('tuning', 'DEL', entry({})).stdout, '')
  t.same([mtu(), readdirSync(FILES)], ['1500', []])
})

for (const kind of Object.keys(ODD))
  t.test(`${kind} in the place of a backup, or of what becomes one`, async (t) => {
    call('tuning', 'ADD', entry({ mtu: 1400 }))
    put(kind, BACKUP)
    t.equal(call('tuning', 'ADD', entry({ mtu: 1400 }, 'podnet', 'other'), { container: 'c2', netns: '/run/netns/other' }).status, 0)
    t.equal(call('tuning', 'DEL', entry({}, 'podnet', 'other'), { container: 'c2', netns: '/run/netns/other' }).stdout, '')
    t.equal(mtu('other'), '1450', "another's is put back")
    const deleted = call('tuning', 'DEL', entry({}))
    if (kind !== 'a device') t.equal(deleted.stdout, '') // which is a mount, that nobody but its maker can take away
    t.equal(mtu(), '1400', 'nothing was written down')
    take(BACKUP)
    ip('-n pod link set eth0 mtu 1500')
    t.equal(call('tuning', 'GC', { ...entry({}), 'cni.dev/valid-attachments': [] }).stdout, '')
    for (const name of ['c1_eth0.json', `.c1_eth0.json.${hash(8, 'podnet')}`]) {
      put(kind, `${FILES}/${name}`)
      const added = call('tuning', 'ADD', entry({ mtu: 1400 }))
      if (added.status !== 0) t.match(added.json, { code: 5, msg: `dataDir ${FILES}: ` })
      t.equal(mtu(), added.status === 0 ? '1400' : '1500', `${name}: what cannot be put back is not changed`)
      call('tuning', 'DEL', entry({}))
      take(`${FILES}/${name}`)
      ip('-n pod link set eth0 mtu 1500')
    }
  })

t.test('a data directory below /proc, or that a file stands in the way of', async (t) => {
  writeFileSync('/run/file', '')
  for (const dataDir of ['/proc/podwire/tuning', '/run/file', '/run/file/a/b', `/run/${'d'.repeat(300)}`]) {
    t.match(call('tuning', 'ADD', entry({ mtu: 1400, dataDir })).json, { code: 5, msg: `dataDir ${dataDir}: ` })
    t.equal(call('tuning', 'DEL', entry({ dataDir })).stdout, '')
    t.equal(mtu(), '1500')
  }
})

const LIST = `${directory('/etc/cni/tuning')}/allowlist.conf`
const KEY = 'net.core.somaxconn'
/** What ADD says of one sysctl under a list of one line. */
const said = (line: string, key = KEY): string => {
  writeFileSync(LIST, `${line}\n`)
  const { json } = call('tuning', 'ADD', entry({ sysctl: { [key]: '500' } }))
  return json.code === undefined ? 'allowed' : `${json.code}: ${json.msg}${json.details ? ` (${json.details})` : ''}`
}

t.test('expressions of the list that would take a backtracking engine for ever', async (t) => {
  const key = `net.${'a'.repeat(5000)}!`
  for (const line of ['(a+)+$', '^net\\.(a|a)*$', '(.*a){20}b', '^(([a-z])+.)+[A-Z]([a-z])+$', '^net\\.(a?){500}a{500}$', '(?:(?:a*)*)*b']) t.match(said(line, key), /^7: Sysctl net\.a+! is not allowed/, line)
})

t.test("the syntax of the list is RE2's, as it was for the reference", async (t) => {
  const allowed = ['^net\\.core\\.somaxconn$', '(?i)NET\\.CORE', '\\Anet\\.core\\.somaxconn\\z', '^net[[:punct:]]core', '\\pL+\\.core', '(?P<name>core)', 'net\\Q.\\Ecore', '[^\\x00-\\x1f]', 'so(?U)max.+', '^net\\.(ipv4|core)\\..*', 'somax', '']
  for (const line of allowed.slice(0, -1)) t.equal(said(line), 'allowed', line)
  for (const line of ['^core', 'net.core.somaxconn.', 'NET', '']) t.match(said(line), /^7: Sysctl net\.core\.somaxconn is not allowed/, line)
  for (const line of ['(net', 'net[', '(a)\\1', '(?=net)', '(?!net)', '(?<=n)et', 'a{1001}', '*', '\\K', 'a**', '(?>a)'])
    t.match(said(line), `7: ${LIST} has the line ${JSON.stringify(line)}: expected a regular expression, in the syntax of RE2 (`, line)
})

for (const kind of NO_FILE.filter((kind) => !/nothing/.test(kind)))
  t.test(`${kind} in the place of the list allows nothing, and nobody waits`, async (t) => {
    put(kind, LIST)
    const { json } = call('tuning', 'ADD', entry({ sysctl: { [KEY]: '500' } }))
    t.match(json, { code: 5, msg: `the list of sysctls that are allowed: ${LIST} ` })
    t.equal(call('tuning', 'ADD', entry({ mtu: 1500 })).status, 0, 'it is not read for what is no sysctl')
    t.equal(call('tuning', 'DEL', entry({})).stdout, '')
    take(LIST)
  })

t.test('a list too long to be one', async (t) => {
  put('a file of a terabyte', LIST)
  t.match(call('tuning', 'ADD', entry({ sysctl: { [KEY]: '500' } })).json, { code: 5, msg: `${LIST} has more than 1048576 bytes` })
  take(LIST)
  sh('mv /etc/cni/tuning /etc/cni/elsewhere; mkdir /etc/cni/tuning; echo core > /etc/cni/list')
  sh(`ln -s /etc/cni/list ${LIST}`)
  t.equal(call('tuning', 'ADD', entry({ sysctl: { [KEY]: '500' } })).status, 0, 'an administrator may keep it elsewhere')
  t.ok(lstatSync(LIST).isSymbolicLink())
})

t.test('thirty thousand sysctls are judged in a moment', async (t) => {
  sh(`rm ${LIST}`)
  const sysctl = Object.fromEntries(Array.from({ length: 30_000 }, (_, i) => [`net.none.${i}`, '1']))
  t.match(call('tuning', 'ADD', entry({ sysctl: { ...sysctl, 'net/none/29999': '1' } })).json, { code: 7, msg: 'sysctl has "net.none.29999" and "net/none/29999", which are the same' })
})
