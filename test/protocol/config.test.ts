// cni-rules 1.2, 1.3 and 1.5: the configuration on standard input. Order of judgement, versions, names, keys.

import { BIN, call, CONF, inside, request, run } from '../binary.ts'
import { netns } from '../world.ts'
import { existsSync } from 'node:fs'
import t from 'tap'

netns('pod')

const ADD = request('ADD')
const { name: _, ...NAMELESS } = CONF
const ipam = (changes: object) => ({ ...CONF, ipam: { ...CONF.ipam, ...changes } })

t.test('R12 what is wrong is judged in order: standard input, JSON, name, command, version', async (t) => {
  t.match((await call('ptp', ADD, '', { stdio: ['ignore', 'pipe', 'pipe'] })).json, { code: 6, msg: 'the configuration on standard input is empty' })
  t.match((await call('ptp', ADD, '{"name":')).json, { code: 6, msg: 'the configuration on standard input is not JSON' })
  const none = (await call('ptp', ADD, { ...NAMELESS, cniVersion: '9.9.9' })).json
  t.match(none, { code: 7, msg: 'missing network name' }, 'the name before the version')
  t.match(inside('ptp', ADD, { ...CONF, name: '' }).json, { code: 7, msg: 'missing network name' })
  t.match(inside('ptp', request('FOO'), { ...CONF, name: 'a/b' }).json, { code: 7, msg: 'invalid characters found in network name', details: 'a/b' }, 'the name before the command')
  t.match(inside('ptp', request('FOO'), { ...CONF, cniVersion: '9.9.9' }).json, { code: 4 }, 'the command before the version')
  t.match(inside('ptp', ADD, { ...CONF, cniVersion: '9.9.9', mtu: 'x' }).json, { code: 1 }, 'the version before the keys')
  for (const text of ['[]', 'null', '"conf"', '1', 'true']) t.match(inside('ptp', ADD, text).json, { code: 6, msg: `is ${text}: expected a JSON object` })
})

t.test('R26 network names', async (t) => {
  for (const name of ['a b', '-a', '.a', '../x', 'a/b', 'ä', 'a\n', 'a\0']) t.match(inside('ptp', ADD, { ...CONF, name }).json, { code: 7, msg: 'invalid characters found in network name' }, name)
  t.match(inside('ptp', ADD, { ...CONF, name: 'a'.repeat(300) }).json, { code: 7, msg: 'at most 255' }, 'longer than a directory may be called')
  t.match(inside('ptp', ADD, { ...CONF, name: 5 }).json, { code: 7, msg: 'name is 5: expected' })
  t.equal(inside('ptp', request('STATUS'), { ...CONF, name: 'A.b_c-9' }).status, 0)
  t.notOk(existsSync('/run/leases'), 'none of these has made a directory')
})

t.test('R13 to R17 versions', async (t) => {
  const unsupported = (await call('ptp', ADD, { ...CONF, cniVersion: '9.9.9' })).json
  t.match(unsupported, { cniVersion: '1.1.0', code: 1, msg: 'incompatible CNI versions', details: 'config is "9.9.9", plugin supports ["0.1.0",' }, 'R14')
  for (const cniVersion of ['1.0.1', '0.9.0', '1.1', '1', '01.1.0']) t.match(inside('ptp', ADD, { ...CONF, cniVersion }).json, { code: 1, msg: 'incompatible CNI versions' }, `R14 ${cniVersion}`)
  t.match(inside('ptp', request('CHECK'), { ...CONF, cniVersion: '0.3.1' }).json, { cniVersion: '0.3.1', code: 1, msg: 'config version does not allow CHECK' }, 'R15 older')
  t.match(inside('ptp', request('CHECK'), { ...CONF, cniVersion: '9.9.9' }).json, { code: 1, msg: 'plugin version does not allow CHECK' }, 'R15 newer')
  t.match(inside('ptp', request('CHECK'), { ...CONF, cniVersion: undefined }).json, { code: 1, msg: 'config version does not allow CHECK' }, 'R13 a missing version is 0.1.0')
  for (const command of ['GC', 'STATUS']) t.match(inside('ptp', request(command), { ...CONF, cniVersion: '1.0.0' }).json, { code: 1, msg: `config version does not allow ${command}`, details: 'set cniVersion (or cniVersions) to 1.1.0' }, `R16 ${command}`)
  for (const cniVersion of ['abc', '1.0.0.0', 'v1.0.0', '1.0.0 ', '1..0', '-1', 1, 1.1, true, {}, []]) t.match(inside('ptp', ADD, { ...CONF, cniVersion }).json, { code: 6, msg: 'cniVersion is ' }, `R17 ${JSON.stringify(cniVersion)}`)
})

t.test('R20 an error has the version of the configuration, whatever else is wrong', async (t) => {
  t.equal(inside('ptp', ADD, { ...NAMELESS, cniVersion: '0.4.0' }).json.cniVersion, '0.4.0')
  t.equal(inside('ptp', request('FOO'), { ...CONF, cniVersion: '1.0.0' }).json.cniVersion, '1.0.0')
  t.equal(inside('ptp', ADD, '').json.cniVersion, '1.1.0', 'the newest, if that cannot be read')
})

t.test('a wrong value is named with its path, the value and what is allowed; all at once, and before anything is touched', async (t) => {
  const wrong = { ...CONF, ipMasq: 'yes', mtu: 1.5, dns: { nameservers: '8.8.8.8' }, runtimeConfig: { mac: 'no' }, ipam: { ...CONF.ipam, dataDir: 'leases', routes: [{ dst: '0.0.0.0/0' }, { dst: 'default', gw: 'router' }, {}] } }
  const { json } = await call('ptp', ADD, wrong)
  t.equal(json.code, 7)
  for (const problem of ['ipMasq is "yes": expected true or false', 'mtu is 1.5: expected an MTU', 'dns.nameservers is "8.8.8.8": expected a list', 'runtimeConfig.mac is "no": expected a MAC address', 'ipam.dataDir is "leases": expected an absolute path', 'ipam.routes[1].dst is "default": expected a destination', 'ipam.routes[1].gw is "router": expected an IP address', 'ipam.routes[2].dst is missing: expected a destination'])
    t.ok(json.msg.includes(problem), problem)
  t.equal(json.msg.split('; ').length, 8)
  t.notOk(existsSync('/run/leases'))

  t.match(inside('ptp', ADD, { ...CONF, ipam: undefined }).json, { code: 7, msg: 'ipam is missing: expected an object with type' })
  t.match(inside('ptp', ADD, ipam({ type: undefined })).json, { code: 7, msg: 'ipam.type is missing: expected the name of an IPAM plugin' })
  t.match(inside('ptp', ADD, { ...CONF, mtu: '1400' }).json, { code: 7, msg: 'mtu is "1400"' }, 'R29 a number in quotes is none')
  t.match(inside('ptp', ADD, { ...CONF, ipMasqBackend: 'ebpf' }).json, { code: 7, msg: 'ipMasqBackend is "ebpf": expected "nftables" or "iptables"' })
  const many = inside('ptp', ADD, ipam({ routes: Array.from({ length: 5000 }, () => ({ dst: 'x' })) })).json
  t.match(many.msg, 'and 4980 more', 'but not thousands')
  t.ok(many.msg.length < 10_000)
})

t.test('R28 a type is the name of a file and no path', async (t) => {
  t.match((await call('ptp', ADD, { ...CONF, type: '../bin/ptp' })).json, { code: 7, msg: 'type is "../bin/ptp"' })
  for (const type of ['../host-local', '/bin/sh', 'a\0']) t.match(inside('ptp', ADD, ipam({ type })).json, { code: 7, msg: 'ipam.type is ' }, type)
  for (const type of ['.', '..', 'nothing-of-this-name']) t.match(inside('ptp', ADD, ipam({ type })).json, { code: 106, msg: 'failed to find plugin' }, type)
  t.match(inside('ptp', ADD, ipam({ type: 'hostlocal' })).json, { code: 106, details: 'ipam.type is "hostlocal": did you mean host-local?' })
})

t.test('R29 keys are read in any case, as runtimes send them', async (t) => {
  const containerd = {
    CNIVersion: '1.1.0', Name: 'podnet', TYPE: 'ptp', IpMasq: false, MTU: 1400,
    IPAM: { Type: 'host-local', Ranges: [[{ Subnet: '10.1.2.0/24', RangeStart: '10.1.2.30' }]], Routes: [{ Dst: '0.0.0.0/0' }], DataDir: '/run/leases' },
    runtimeConfig: {
      portMappings: [{ HostPort: 8081, ContainerPort: 80, Protocol: 'tcp', HostIP: '' }],
      bandwidth: { IngressRate: 1_000_000, IngressBurst: 1_000_000, EgressRate: 0, EgressBurst: 0 },
      dns: { Servers: ['10.0.0.10'], Searches: ['cluster.local'], Options: ['ndots:5'] },
      IPRanges: [[{ Subnet: '10.1.4.0/24', Gateway: '10.1.4.254' }]],
      cgroupPath: '/kubepods', 'io.kubernetes.cri.pod-annotations': { a: 'b' },
    },
    capabilities: { portMappings: true, bandwidth: true, dns: true, ipRanges: true },
  }
  const added = await call('ptp', ADD, containerd)
  t.match(added.json, { cniVersion: '1.1.0', interfaces: [{ mtu: 1400 }, { mtu: 1400 }], ips: [{ address: '10.1.4.1/24', gateway: '10.1.4.254' }, { address: '10.1.2.30/24', gateway: '10.1.2.1' }], routes: [{ dst: '0.0.0.0/0' }] })
  t.equal(added.stderr, '', 'and that is nothing to tell anyone')
  t.equal((await call('ptp', request('DEL'), containerd)).status, 0)
  t.match(inside('ptp', request('STATUS'), { ...CONF, mtu: 0, MTU: 'x' }), { status: 0, stderr: 'podwire: MTU is not a key of podwire: did you mean mtu?' }, 'the exact key counts before others')
})

t.test('R35 R36 R37 R39 R117 keys of others, of the list and of the runtime are accepted', async (t) => {
  const others = { capabilities: { portMappings: true }, disableCheck: 'true', disableGC: true, loadOnlyInlinedPlugins: true, cniVersions: ['0.4.0', '1.1.0'], plugins: [], 'cni.dev/future': { a: 1 }, args: { cni: { labels: [{ key: 'a', value: 'b' }] }, 'org.example': [1] }, runtimeConfig: { aliases: ['a'], deviceID: 'x', infinibandGUID: 'y', somethingNew: {} }, isGateway: true, vlan: 5000 }
  const { json, stderr } = await call('ptp', ADD, { ...CONF, ...others })
  t.equal(json.ips[0].address, '10.1.2.2/24')
  t.equal(stderr, '')
  t.equal((await call('ptp', request('DEL'), { ...CONF, ...others })).status, 0)
})

t.test('null is the same as absent', async (t) => {
  const conf = { ...CONF, args: null, runtimeConfig: null, capabilities: null, prevResult: null, mtu: null, ipMasq: null, dns: null, nonMasqueradeCIDRs: null, ipam: { type: 'host-local', dataDir: '/run/leases', subnet: null, gateway: null, resolvConf: null, routes: [{ dst: '0.0.0.0/0', gw: null, mtu: null }], ranges: [[{ subnet: '10.1.2.0/24', gateway: null, rangeStart: null, rangeEnd: null }]] } }
  const { json } = inside('ptp', request('ADD', { CNI_CONTAINERID: 'n1' }), conf)
  t.same([json.ips[0].address, json.routes], ['10.1.2.3/24', [{ dst: '0.0.0.0/0' }]])
  t.equal(inside('ptp', request('DEL', { CNI_CONTAINERID: 'n1' }), conf).status, 0)
  t.match(inside('ptp', ADD, ipam({ ranges: [[{ subnet: null }]] })).json, { code: 7, msg: 'ipam.ranges[0][0].subnet is missing' })
})

t.test('a key that is nearly one of ours is named: on stderr, in an error, and in a plan', async (t) => {
  const near = { ...CONF, ipmasq: true, mtuu: 1400, ipam: { ...CONF.ipam, subnets: '10.9.0.0/24', routes: [{ dst: '0.0.0.0/0', gv: '10.1.2.1' }], dataDirs: '/x' } }
  const said = ['ipmasq is read as ipMasq', 'ipam.subnets is not a key of podwire: did you mean subnet?', 'ipam.dataDirs is not a key of podwire: did you mean dataDir?']
  const status = await call('ptp', request('STATUS'), near)
  const failed = await call('ptp', ADD, { ...near, mtu: -1 })
  const planned = await run(`${BIN}/podwire`, ['plan', '-'], {}, JSON.stringify(near))
  for (const sentence of said) {
    t.ok(status.stderr.includes(`podwire: ${sentence}\n`), sentence)
    t.ok(failed.stderr.includes(`podwire: ${sentence}\n`), 'with an error on stderr')
    t.ok(failed.json.details.split('\n').includes(sentence), 'and once in its details')
    t.ok(planned.stderr.includes(sentence), 'in a plan')
  }
  t.equal(status.status! + planned.status!, 0, 'it is no error by itself')
  const wrong = await run(`${BIN}/podwire`, ['plan', '-'], {}, JSON.stringify({ ...near, mtu: -1 }))
  t.match(wrong, { status: 1, stderr: /mtu is -1.*\(code 7\)[^]*did you mean subnet/ }, 'and in the error of a plan')
})

t.test('podwire is the plugin of the type in the configuration, when a runtime calls it', async (t) => {
  const interfaces: Record<string, number> = {}
  for (const type of ['podwire', 'podwire-ptp', 'host-local', 'loopback']) {
    const conf = type === 'loopback' ? { cniVersion: '1.1.0', name: 'lo', type } : { ...CONF, type }
    interfaces[type] = (await call('podwire', ADD, conf)).json.interfaces?.length ?? 0
    await call('podwire', request('DEL'), conf)
  }
  t.same(interfaces, { podwire: 2, 'podwire-ptp': 2, 'host-local': 0, loopback: 1 })
  t.match((await call('podwire', ADD, { ...CONF, type: 'brigde' })).json, { code: 7, msg: 'type is "brigde": did you mean bridge? Expected one of ptp, bridge' })
  for (const type of ['macvlan', 'constructor']) t.match((await call('podwire', ADD, { ...CONF, type })).json, { code: 7, msg: `type is "${type}": expected one of ptp, bridge, loopback, host-local, static` })
  t.match((await call('podwire', ADD, { ...CONF, type: 5 })).json, { code: 7, msg: 'type is 5: expected the name of a plugin' })
  t.match((await call('podwire', ADD, '{"type":')).json, { code: 6 })
})
