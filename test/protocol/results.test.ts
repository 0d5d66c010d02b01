// cni-rules 1.12 to 1.14: what ADD prints in each version, what it reads as prevResult, and the codes of errors.

import { call, CONF, each, inside, request } from '../binary.ts'
import { directory, ip, netns } from '../world.ts'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { CODES } from '../../src/cni/error.ts'
import { VERSIONS } from '../../src/cni/version.ts'

netns('pod')

const routes = [{ dst: '0.0.0.0/0' }, { dst: 'FD00:9::/32', gw: 'fd00::0:1', mtu: 1300, priority: 0, table: 100 }]
/** Pod n of a network, with addresses of both families. */
const pod = (n: number) => ({ ...CONF, dns: { search: ['a.b'] }, ipam: { type: 'static', addresses: [{ address: `10.1.2.${n}/24`, gateway: '10.1.2.1' }, { address: `FD00:0:0::${n}/64`, gateway: 'fd00::1' }], routes } })

t.test('R52 R93 to R102 the result in each version', async (t) => {
  const results = await each(VERSIONS, async (cniVersion) => {
    const conf = { ...pod(3 + VERSIONS.indexOf(cniVersion)), cniVersion, mtu: 1400 }
    const env = request('ADD', { CNI_CONTAINERID: `v${cniVersion}`, CNI_NETNS: netns(`v${cniVersion}`) })
    const { json } = await call('ptp', env, conf)
    t.equal(inside('ptp', { ...env, CNI_COMMAND: 'DEL' }, { ...conf, ...(cniVersion >= '0.4.0' && { prevResult: json }) }).status, 0)
    return json
  })
  const whole = [{ dst: '0.0.0.0/0' }, { dst: 'fd00:9::/32', gw: 'fd00::1', mtu: 1300, table: 100 }]
  for (const [i, cniVersion] of VERSIONS.entries()) {
    const { interfaces, ...rest } = results[i]
    const [address4, address6, dns] = [`10.1.2.${3 + i}/24`, `fd00::${3 + i}/64`, { search: ['a.b'] }]
    t.equal(rest.cniVersion, cniVersion, 'R52')
    if (cniVersion < '0.3.0') {
      t.same(rest, { cniVersion, ip4: { ip: address4, gateway: '10.1.2.1', routes: [{ dst: '0.0.0.0/0' }] }, ip6: { ip: address6, gateway: 'fd00::1', routes: [{ dst: 'fd00:9::/32', gw: 'fd00::1' }] }, dns }, `R102 ${cniVersion}`)
      continue
    }
    const version = (text: string) => cniVersion < '1.0.0' && { version: text }
    t.same(rest, { cniVersion, ips: [{ ...version('4'), address: address4, gateway: '10.1.2.1', interface: 1 }, { ...version('6'), address: address6, gateway: 'fd00::1', interface: 1 }], routes: whole, dns }, `R95 R96 R99 R101 ${cniVersion}`)
    t.same(interfaces.map(({ name, mac, ...more }: { name: string; mac: string }) => ({ ...more, name: name.slice(0, 4), mac: mac.length })), [{ name: 'veth', mac: 17, ...(cniVersion >= '1.0.0' && { mtu: 1400 }) }, { name: 'eth0', mac: 17, ...(cniVersion >= '1.0.0' && { mtu: 1400 }), sandbox: `/run/netns/v${cniVersion}` }], `R94 R100 R101 interfaces in ${cniVersion}`)
  }
  t.same((await call('static', request('ADD'), { ...pod(3), cniVersion: '0.4.0', ipam: { ...pod(3).ipam, routes: [] } })).json, { cniVersion: '0.4.0', ips: [{ version: '4', address: '10.1.2.3/24', gateway: '10.1.2.1' }, { version: '6', address: 'fd00::3/64', gateway: 'fd00::1' }], dns: {} }, 'R97 R101 dns is there though empty')
})

t.test('R103 R104 R108 prevResult of every version, whatever that of the configuration', async (t) => {
  const versions = ['0.4.0', '1.0.0', '1.1.0']
  const added = Object.fromEntries(versions.map((cniVersion, i) => {
    const env = request('ADD', { CNI_CONTAINERID: `p${cniVersion}`, CNI_NETNS: netns(`p${cniVersion}`) })
    return [cniVersion, { ...inside('ptp', env, { ...pod(21 + i), cniVersion }).json }]
  }))
  for (const [i, [of, prevResult]] of Object.entries(added).entries())
    for (const cniVersion of versions) {
      const env = request('CHECK', { CNI_CONTAINERID: `p${of}`, CNI_NETNS: `/run/netns/p${of}` })
      t.equal(inside('ptp', env, { ...pod(21 + i), cniVersion, prevResult }).stdout, '', `R104 CHECK in ${cniVersion} with a result of ${of}`)
      const { cniVersion: _, ...unversioned } = prevResult
      if (of === cniVersion) t.equal(inside('ptp', env, { ...pod(21 + i), cniVersion, prevResult: unversioned }).stdout, '', "R104 without a version it is the configuration's")
    }
  const env = request('CHECK', { CNI_CONTAINERID: 'p0.4.0', CNI_NETNS: '/run/netns/p0.4.0' })
  t.equal((await call('ptp', env, { ...pod(21), prevResult: added['0.4.0'] })).status, 0)
  const old = { cniVersion: '0.2.0', ip4: { ip: '10.7.0.2/24', routes: [{ dst: '10.0.0.0/8' }] } }
  t.same((await call('loopback', request('ADD'), { cniVersion: '1.0.0', name: 'lo', type: 'loopback', prevResult: old })).json, { cniVersion: '1.0.0', ips: [{ address: '10.7.0.2/24' }], routes: [{ dst: '10.0.0.0/8' }] }, 'R45 R103 up')
  t.same(inside('loopback', request('ADD'), { cniVersion: '0.2.0', name: 'lo', type: 'loopback', prevResult: { cniVersion: '1.1.0', ips: [{ address: 'fd00::1/64' }], routes: [{ dst: '10.0.0.0/8' }] } }).json, { cniVersion: '0.2.0', ip6: { ip: 'fd00::1/64' }, dns: {} }, 'R45 R102 and down')
  t.match(inside('loopback', request('ADD'), { cniVersion: '0.2.0', name: 'lo', type: 'loopback', prevResult: { cniVersion: '1.1.0' } }).json, { cniVersion: '0.2.0', code: 7, msg: 'cannot convert: no valid IP addresses' }, 'R102')
  t.match((await call('ptp', request('CHECK'), { ...pod(21), prevResult: { ips: [{ address: '10.1.2.3' }] } })).json, { code: 7, msg: 'prevResult.ips[0].address is "10.1.2.3": expected' })
})

t.test('R105 the answer of an IPAM executable, in its own version or without one', async (t) => {
  directory('/run/bin')
  const answers = [{ cniVersion: '0.2.0', ip4: { ip: '10.9.0.2/24', gateway: '10.9.0.1' } }, { ips: [{ version: '4', address: '10.9.0.2/24', gateway: '10.9.0.1', interface: null }], dns: {}, routes: null }, { cniVersion: '1.0.0', ips: [{ address: '10.9.0.2/24', gateway: '10.9.0.1' }] }]
  for (const [i, answer] of answers.entries()) {
    writeFileSync('/run/bin/other', `#!/bin/sh\ncat >/dev/null\necho '${JSON.stringify(answer)}'\n`, { mode: 0o755 })
    const env = request('ADD', { CNI_PATH: '/run/bin', PATH: process.env.PATH })
    const { json } = i === 0 ? await call('ptp', env, { ...CONF, ipam: { type: 'other' } }) : inside('ptp', env, { ...CONF, ipam: { type: 'other' } })
    t.same(json.ips, [{ address: '10.9.0.2/24', gateway: '10.9.0.1', interface: 1 }])
    t.equal(inside('ptp', { ...env, CNI_COMMAND: 'DEL' }, { ...CONF, ipam: { type: 'other' } }).status, 0)
  }
})

t.test('1.14 R106 the codes, each with cniVersion, code, msg, details', async (t) => {
  const add = request('ADD')
  directory('/run/real/podnet')
  mkdirSync('/run/planted')
  symlinkSync('/run/real/podnet', '/run/planted/podnet')
  const cases: [number, ReturnType<typeof inside>, string][] = [
    [1, inside('ptp', add, { ...CONF, cniVersion: '0.9.0' }), 'version'],
    [3, inside('ptp', request('CHECK', { CNI_NETNS: '/run/netns/none' }), { ...CONF, prevResult: {} }), 'CHECK of what is not there'],
    [4, inside('ptp', request('ADD', { CNI_NETNS: '/run/netns/none' })), 'environment'],
    [5, inside('ptp', add, { ...CONF, ipam: { ...CONF.ipam, dataDir: '/run/planted' } }), 'state directory'],
    [6, inside('ptp', add, 'x'), 'JSON'],
    [7, inside('ptp', add, { ...CONF, ipam: {} }), 'configuration'],
    [7, inside('ptp', add, { ...CONF, ipam: { type: 'static', addresses: [{ address: '10.1.2.3/24' }] } }), 'no gateway'],
    [8, inside('ptp', request('ADD', { CNI_NETNS: '/proc/self/ns/net' })), 'own namespace'],
    [50, inside('ptp', add, { ...CONF, ipam: { ...CONF.ipam, rangeStart: '10.1.2.1', rangeEnd: '10.1.2.1' } }), 'exhausted'],
    [105, inside('ptp', add, { ...CONF, runtimeConfig: { ips: ['10.1.2.1'] } }), 'requested address'],
    [106, inside('ptp', add, { ...CONF, ipam: { type: 'dhcp' } }), 'IPAM executable'],
  ]
  for (const [code, { json }, what] of cases) t.equal(json.code, code, `${what}: ${json.msg}`)
  t.notOk(Object.keys(CODES).some((code) => Number(code) >= 999 || (Number(code) > 11 && Number(code) < 50) || (Number(code) > 51 && Number(code) < 100)), "podwire's own codes begin at 100")
  const { json } = await call('ptp', request('ADD', { CNI_NETNS: '/run/netns/none' }))
  t.same(Object.keys(json), ['cniVersion', 'code', 'msg', 'details'])
  t.equal(ip('-n pod -br link show type veth'), '')
})
