// cni-rules 1.6 to 1.11: what ADD, DEL, CHECK, STATUS, GC and VERSION promise. What ptp makes of it in the kernel is
// test/ptp.test.ts's.

import { BIN, call, CONF, inside, POD, request, shell } from '../binary.ts'
import { directory, ip, netns, sh, works } from '../world.ts'
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import t from 'tap'

netns('pod')

const leases = () => (existsSync('/run/leases/podnet') ? readdirSync('/run/leases/podnet').filter((name) => /^\d/.test(name)) : [])
const LO = { cniVersion: '1.1.0', name: 'lo', type: 'loopback' }

t.test('R43 R44 R52 R53 R55 ADD', async (t) => {
  const { json, stderr } = await call('ptp', request('ADD'), { ...CONF, dns: { nameservers: ['10.1.2.1'], search: ['a.b'] } })
  t.same([json.cniVersion, json.interfaces.map((i: { sandbox?: string }) => i.sandbox)], ['1.1.0', [undefined, POD]], 'R52 the sandbox is CNI_NETNS, and the node has none')
  t.same(json.ips, [{ address: '10.1.2.2/24', gateway: '10.1.2.1', interface: 1 }], 'R53 with the index of its interface')
  t.same(json.dns, { nameservers: ['10.1.2.1'], search: ['a.b'] }, 'R54')
  t.equal(stderr, '')
  t.ok(works(`ip -n pod link show ${json.interfaces[1].name} && ip link show ${json.interfaces[0].name}`), 'R43 the interface is there')

  t.match((await call('ptp', request('ADD'))).json, { code: 101, msg: 'interface eth0 already exists' }, 'R44 twice')
  t.match(inside('ptp', request('ADD', { CNI_CONTAINERID: 'c2' })).json, { code: 101 }, 'R44 R47 for another container')
  t.same(leases(), ['10.1.2.2'], 'and nothing was leased for it')

  const ipam = await call('host-local', request('ADD', { CNI_CONTAINERID: 'c3' }))
  t.same(ipam.json, { cniVersion: '1.1.0', ips: [{ address: '10.1.2.3/24', gateway: '10.1.2.1' }] }, 'R53 an IPAM result has no interfaces')
  t.match(inside('host-local', request('ADD', { CNI_CONTAINERID: 'c3' })).json, { code: 104, msg: '10.1.2.3 has been allocated to c3, duplicate allocation is not allowed' }, 'R55')
  t.equal((await call('host-local', request('DEL', { CNI_CONTAINERID: 'c3' }))).stdout, '')
})

t.test('R44 R47 R52 a namespace that is none', async (t) => {
  writeFileSync('/run/file', '')
  for (const [path, why] of [['/run/netns/gone', 'there is no such file'], ['/run/file', 'is not a network namespace'], ['/run', 'is not a network namespace']])
    t.match(inside('ptp', request('ADD', { CNI_CONTAINERID: 'c4', CNI_NETNS: path })).json, { code: 4, msg: `CNI_NETNS="${path}"`, details: 'expected' }, `${path} ${why}`)
  t.same(leases(), ['10.1.2.2'])
})

t.test('R49 a failed ADD leaves nothing', async (t) => {
  const conf = { ...CONF, ipam: { ...CONF.ipam, routes: [{ dst: '192.0.2.0/24', gw: '10.1.2.1', scope: 254 }] } }
  const before = sh('ip -br link; ip route; ip -n pod -br link')
  t.match((await call('ptp', request('ADD', { CNI_CONTAINERID: 'c5', CNI_IFNAME: 'eth5' }), conf)).json, { code: 100, details: 'what had been done was taken back' })
  t.equal(sh('ip -br link; ip route; ip -n pod -br link'), before)
  t.same(leases(), ['10.1.2.2'])
})

t.test('R65 to R68, R71 CHECK', async (t) => {
  const { json: prevResult } = inside('ptp', request('CHECK'), CONF)
  t.match(prevResult, { code: 7, msg: 'Required prevResult missing' }, 'R65')
  inside('ptp', request('DEL'))
  const added = (await call('ptp', request('ADD'))).json
  const [address] = added.ips[0].address.split('/')
  const check = () => inside('ptp', request('CHECK'), { ...CONF, prevResult: added })
  t.equal((await call('ptp', request('CHECK'), { ...CONF, prevResult: added })).stdout, '', 'R70 R71 directly after ADD, and no output')

  ip('-n pod route add 192.0.2.0/24 dev eth0')
  t.equal(check().status, 0, 'R67 a later plugin may add what it likes')
  ip('-n pod route del 10.1.2.0/24')
  t.match((await call('ptp', request('CHECK'), { ...CONF, prevResult: added })).json, { code: 102, msg: `route 10.1.2.0/24 via 10.1.2.1 dev eth0 src ${address} is missing`, details: `# route 10.1.2.0/24 via 10.1.2.1 dev eth0 src ${address} is missing\nip -n pod route add 10.1.2.0/24` }, 'R66 a route')
  ip(`-n pod addr del ${address}/24 dev eth0`)
  rmSync(`/run/leases/podnet/${address}`)
  const { msg } = check().json
  t.match(msg, `${address}/24`, 'R66 an address')
  t.match(msg, 'Failed to find address added by container c1', 'R68 the lease')
  ip('-n pod link del eth0')
  t.match(check().json, { code: 3, msg: 'network podnet does not know container c1 (eth0): it has neither interface nor lease', details: 'Nothing needs to be cleaned up.' }, 'R66 the interface, and there is nothing else of it')
  t.equal(inside('ptp', request('CHECK', { CNI_NETNS: '/run/netns/gone' }), { ...CONF, prevResult: added }).json.code, 3, 'R52 an unknown container')
  t.match(inside('ptp', request('CHECK'), { ...CONF, prevResult: { ...added, interfaces: [] } }).json, { code: 7, msg: 'prevResult.interfaces has no eth0' })
  inside('ptp', request('DEL'))
})

t.test('R56 to R64 DEL', async (t) => {
  t.equal((await call('ptp', request('DEL', { CNI_CONTAINERID: 'never-added' }))).stdout, '', 'R57 R62 R63 an unknown container, without a word')
  writeFileSync('/run/file', '')
  for (const [i, path] of ['', '/run/netns/gone', '/run/file', '/run', POD].entries()) {
    const env = request('ADD', { CNI_CONTAINERID: `d${i}` })
    inside('ptp', env)
    t.equal(leases().length, 1)
    t.equal((await call('ptp', { ...env, CNI_COMMAND: 'DEL', CNI_NETNS: path })).stdout, '', `R58 R59 R60 CNI_NETNS=${path}`)
    t.equal(inside('ptp', { ...env, CNI_COMMAND: 'DEL', CNI_NETNS: path }).status, 0, 'R57 again')
    t.same(leases(), [], 'R60 the address is free')
    t.equal(ip('-n pod -br link show type veth') + ip('-br link show type veth'), '', 'the interface is gone')
  }
  const changed = [{ ...CONF, ipMasq: true }, { ...CONF, ipam: { ...CONF.ipam, subnet: '10.9.9.0/24' } }, { ...CONF, ipam: { ...CONF.ipam, subnet: '10.1.2.5/24' } }, { ...CONF, mtu: 'x' }, { ...CONF, prevResult: { cniVersion: '9' } }, { ...CONF, prevResult: [] }, { ...CONF, ipam: { ...CONF.ipam, routes: [{ dst: 1 }], ranges: 'no' } }]
  for (const conf of changed) {
    inside('ptp', request('ADD'), { ...CONF, ipMasq: true })
    t.equal(inside('ptp', request('DEL'), conf).status, 0, `R64 ${JSON.stringify(conf)}`)
    t.same(leases(), [])
  }
  t.notMatch(sh('nft list table inet podwire'), 'comment', 'R64 no masquerade element is left')
})

t.test('R45 R63 loopback', async (t) => {
  const { json } = await call('loopback', request('ADD', { CNI_IFNAME: 'ignored' }), LO)
  t.same(json.interfaces, [{ name: 'lo', mac: '00:00:00:00:00:00', sandbox: POD }])
  t.same(json.ips, [{ address: '127.0.0.1/8', interface: 0 }, { address: '::1/128', interface: 0 }])
  const prevResult = { cniVersion: '1.0.0', interfaces: [{ name: 'eth0', sandbox: POD }], ips: [{ address: '10.9.0.1/24', interface: 0 }], routes: [], dns: { domain: 'd' } }
  t.same(inside('loopback', request('ADD'), { ...LO, prevResult }).json, { cniVersion: '1.1.0', interfaces: prevResult.interfaces, ips: prevResult.ips, dns: prevResult.dns }, 'R45 prevResult is passed through')
  t.equal((await call('loopback', request('CHECK'), LO)).status, 0)
  t.equal((await call('loopback', request('DEL'), LO)).stdout, '')
  t.match((await call('loopback', request('CHECK'), LO)).json, { code: 102, msg: /lo.*down|lo.*up/ })
  for (const path of ['', '/run/netns/gone', '/run/file']) t.equal(inside('loopback', request('DEL', { CNI_NETNS: path }), LO).status, 0, `DEL with CNI_NETNS=${path}`)
  ip('-n pod addr add 192.0.2.1/32 dev lo')
  t.match(inside('loopback', request('ADD'), LO).json, { code: 100, msg: 'loopback interface has a non-loopback address: 192.0.2.1/32' })
  ip('-n pod addr del 192.0.2.1/32 dev lo')
  for (const command of ['STATUS', 'GC']) t.equal(inside('loopback', request(command), LO).stdout, '', command)
})

t.test('R18 R73 R74 R75 R79 STATUS', async (t) => {
  directory('/run/small')
  const full = { ...CONF, name: 'full', ipam: { ...CONF.ipam, subnet: '10.1.9.0/30' } }
  const before = sh('ip -br link; find /run | sort')
  t.equal((await call('ptp', request('STATUS'), full)).stdout, '', 'R73 able')
  t.equal(sh('ip -br link; find /run | sort'), before, 'R79 and nothing is touched by it')
  inside('host-local', request('ADD'), full)
  for (const plugin of ['ptp', 'host-local']) t.match((await call(plugin, request('STATUS'), full)).json, { code: 50, msg: 'no IP addresses available in range set: 10.1.9.1-10.1.9.2', details: '1 of 1 addresses are held' }, `R74 R75 ${plugin}: exhausted`)
  t.match(inside('ptp', request('ADD', { CNI_CONTAINERID: 'c2' }), full).json, { code: 50, msg: 'failed to allocate for range 0: no IP addresses available in range set: 10.1.9.1-10.1.9.2' }, 'as ADD says')
  inside('host-local', request('DEL'), full)
  t.equal(inside('ptp', request('STATUS'), full).status, 0, 'R73 able again')

  inside('ptp', request('ADD'))
  sh('sysctl -qw net.ipv4.ip_forward=0')
  t.match(inside('ptp', request('STATUS')).json, { code: 51, msg: 'net/ipv4/ip_forward is 0', details: 'sysctl -qw net/ipv4/ip_forward=1' }, 'R74 and pods that run may be cut off')
  inside('ptp', request('DEL'))
  sh('sysctl -qw net.ipv4.ip_forward=1')
})

t.test('R80 to R86 GC', async (t) => {
  const add = (id: string) => inside('ptp', request('ADD', { CNI_CONTAINERID: id, CNI_IFNAME: 'eth0', CNI_NETNS: netns(id) }), { ...CONF, ipMasq: true })
  const conf = (lists: object) => ({ ...CONF, ipMasq: true, ...lists })
  const gc = (lists: object) => inside('ptp', { CNI_COMMAND: 'GC', CNI_PATH: BIN }, conf(lists))
  const alive = () => [leases().length, ip('-br link show type veth').split('\n').filter(Boolean).length, sh('nft list map inet podwire masquerade_ip').match(/comment/g)?.length ?? 0]
  const keep = (...ids: string[]) => ids.map((containerID) => ({ containerID, ifname: 'eth0' }))
  for (const id of ['g1', 'g2', 'g3', 'g4']) add(id)
  t.same(alive(), [4, 4, 4])

  t.equal((await call('ptp', { CNI_COMMAND: 'GC', CNI_PATH: BIN }, conf({}))).stdout, '', 'R81 R86 no list')
  t.same(alive(), [4, 4, 4], 'takes away nothing that may live')
  gc({ 'cni.dev/valid-attachments': null, 'cni.dev/attachments': null })
  t.same(alive(), [4, 4, 4], 'nor does null')
  await call('ptp', { CNI_COMMAND: 'GC', CNI_PATH: BIN }, conf({ 'cni.dev/valid-attachments': keep('g1', 'g2', 'g3') }))
  t.same(alive(), [3, 3, 3], 'R80 R82 what is not in the list goes: lease, link, masquerade element')
  gc({ 'cni.dev/attachments': keep('g1', 'g2') })
  t.same(alive(), [2, 2, 2], "R80 by the key's old name too")
  gc({ 'cni.dev/valid-attachments': keep('g1'), 'cni.dev/attachments': keep('g2') })
  t.same(alive(), [2, 2, 2], 'R80 of both, the union lives')
  t.match(gc({ 'cni.dev/valid-attachments': [{ containerID: 'g1' }, 5] }).json, { code: 7, msg: /valid-attachments\[0\].ifname is missing.*valid-attachments\[1\] is 5/ }, 'a list that is wrong takes nothing away')
  t.same(alive(), [2, 2, 2])
  gc({ 'cni.dev/valid-attachments': [] })
  t.same(alive(), [0, 0, 0], 'R81 an empty list means all')
  t.equal(gc({ 'cni.dev/valid-attachments': [] }).status, 0, 'again')
})

t.test('R90 R91 R92 VERSION', async (t) => {
  const versions = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0']
  for (const plugin of ['ptp', 'podwire'])
    t.same((await call(plugin, { CNI_COMMAND: 'VERSION' }, '')).json, { cniVersion: '1.1.0', supportedVersions: versions }, `R91 ${plugin}`)
  for (const [text, said] of [['{"cniVersion":"0.4.0"}', '0.4.0'], ['{"cniVersion":"9.9.9"}', '9.9.9'], ['{}', '1.1.0'], ['{"cniVersion":5}', '1.1.0'], ['rubbish', '1.1.0']])
    t.match(inside('ptp', { CNI_COMMAND: 'VERSION' }, text).json, { cniVersion: said }, `R90 ${text}`)
  t.match((await call('ptp', { CNI_COMMAND: 'VERSION' }, '{"cniVersion":"0.3.1"}', { stdio: ['pipe', 'pipe', 'pipe'] })).json.cniVersion, /0\.3\.1|1\.1\.0/, 'R90 from a pipe, if it is there in time')

  const open = '[ -p /run/open ] || mkfifo /run/open; exec 3<>/run/open; ' // nothing is in it, and somebody may still write
  for (const [what, line] of Object.entries({ closed: '"$BIN/ptp" <&-', 'an open pipe with nothing in it': '"$BIN/ptp" </run/open', 'a directory': '"$BIN/ptp" </run', 'a terminal': 'script -qec "$BIN/ptp" /dev/null </run/open' })) {
    const { status, stdout } = await shell(`${open} timeout 60 ${line}`, { CNI_COMMAND: 'VERSION' })
    t.same([status, JSON.parse(stdout).supportedVersions], [0, versions], `R6 R92 standard input is ${what}`)
  }
})
