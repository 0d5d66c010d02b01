// host-local as a runtime calls it: results, what is on disk behind them, and who is told what when there is nothing to
// give. Leases against a model: a set of numbers for each range set.

import { call, directory, sh } from '../world.ts'
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync, readdirSync, utimesSync, writeFileSync } from 'node:fs'
import fc from 'fast-check'
import t from 'tap'
import type { CniError } from '../../src/cni/error.ts'
import { parseCidr, addressText } from '../../src/ip.ts'
import type { ConfWithIpam } from '../../src/ipam/conf.ts'
import { hostLocal } from '../../src/ipam/host-local.ts'

let count = 0
/** A configuration with a directory of its own. */
const network = (ipam: object = { subnet: '10.1.2.0/24' }, more: object = {}) => ({ cniVersion: '1.1.0', name: `net${++count}`, type: 'ptp', ipam: { type: 'host-local', ...ipam }, ...more })
type Network = ReturnType<typeof network>
const where = ({ name }: Network): string => `/var/lib/cni/networks/${name}`
const leases = (conf: Network): string[] => (existsSync(where(conf)) ? readdirSync(where(conf)).filter((name) => !/^last_reserved|^lock$|^\.podwire\./.test(name)).sort() : [])
const addresses = (answer: { json: any; stdout: string }): string => answer.json.ips?.map((ip: any) => ip.address).join(' ') ?? `${answer.json.code}: ${answer.json.msg}`

const add = (conf: object, container = 'c1', more: object = {}) => call('host-local', 'ADD', conf, { container, ...more })
const del = (conf: object, container = 'c1', more: object = {}) => call('host-local', 'DEL', conf, { container, ...more })
const last = (conf: Network, set = 0): string => readFileSync(`${where(conf)}/last_reserved_ip.${set}`, 'latin1')
/** A lease as the reference writes it, so many minutes ago. */
const foreign = (conf: Network, address: string, content: string, minutes = 0): void => {
  const path = `${directory(where(conf))}/${address}`
  writeFileSync(path, content)
  utimesSync(path, Date.now() / 1000 - minutes * 60, Date.now() / 1000 - minutes * 60)
}

t.test('a lease from each range set, with its gateway, routes and dns', async (t) => {
  writeFileSync('/run/resolv.conf', '# made by a test\nnameserver 10.0.0.10\nnameserver fd00::10 \ndomain example.org\nsearch a.example\nsearch b.example c.example\noptions ndots:5 edns0\noptions rotate\n;nameserver 192.0.2.1\nnameserver\n')
  const conf = network({ ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64', gateway: 'fd00:1::fe' }]], routes: [{ dst: '0.0.0.0/0', gw: null }, { dst: '::/0', gw: 'FD00:1::00FE', mtu: 1400, priority: 0, table: 0 }], resolvConf: '/run/resolv.conf' })
  t.same(add(conf).json, {
    cniVersion: '1.1.0',
    ips: [{ address: '10.1.2.2/24', gateway: '10.1.2.1' }, { address: 'fd00:1::1/64', gateway: 'fd00:1::fe' }],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0', gw: 'fd00:1::fe', mtu: 1400, table: 0 }],
    dns: { nameservers: ['10.0.0.10', 'fd00::10'], domain: 'example.org', search: ['b.example', 'c.example'], options: ['ndots:5', 'edns0', 'rotate'] },
  })
  t.same(leases(conf), ['10.1.2.2', 'fd00:1::1'])
  t.equal(readFileSync(`${where(conf)}/10.1.2.2`, 'latin1'), 'c1\r\neth0')
  t.same([last(conf, 0), last(conf, 1)], ['10.1.2.2', 'fd00:1::1'])
})

t.test('round robin goes on behind what is free again', async (t) => {
  const conf = network({ subnet: '10.1.2.0/29' })
  t.equal(addresses(add(conf, 'c1')), '10.1.2.2/29')
  t.equal(addresses(add(conf, 'c2')), '10.1.2.3/29')
  del(conf, 'c2')
  t.equal(addresses(add(conf, 'c3')), '10.1.2.4/29')
  for (const container of ['c4', 'c5']) add(conf, container)
  t.equal(addresses(add(conf, 'c6')), '10.1.2.3/29', 'around, without the one that is held')
  writeFileSync(`${where(conf)}/last_reserved_ip.0`, 'rubbish')
  del(conf, 'c1')
  t.equal(addresses(add(conf, 'c7')), '10.1.2.2/29', 'a last address that is none is no hint')
})

t.test('leases and releases against a model', async (t) => {
  const order = [[3, 4, 5, 6, 20, 21, 22], [1, 2, 3, 4, 5]] // the gateway of the first set is in its range
  const text = (set: number, number: number) => (set === 0 ? `10.1.2.${number}` : `fd00::${number}`)
  const ipam = { ranges: [[{ subnet: '10.1.2.0/24', rangeStart: '10.1.2.2', rangeEnd: '10.1.2.6', gateway: '10.1.2.2' }, { subnet: '10.1.2.0/24', rangeStart: '10.1.2.20', rangeEnd: '10.1.2.22' }], [{ subnet: 'fd00::/64', rangeEnd: 'fd00::5', gateway: 'fd00::ff' }]] }
  const step = fc.record({ container: fc.nat(7), action: fc.constantFrom('add', 'add', 'add', 'request', 'del', 'del'), number: fc.constantFrom(...order[0]!) })
  const property = fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
    const conf = network(ipam) as unknown as ConfWithIpam
    const held = [new Map<number, number>(), new Map<number, number>()]
    const cursor = [-1, -1]
    for (const { container, action, number } of steps) {
      const attachment = { network: conf.name, containerID: `c${container}`, ifname: 'eth0' }
      if (action === 'del') {
        hostLocal.del({ conf, attachment, args: {} })
        for (const set of held) for (const [address, holder] of set) if (holder === container) set.delete(address)
      } else {
        const wanted = action === 'request' ? number : undefined
        const expected = order.map((numbers, set) => (set === 0 && wanted !== undefined ? (held[set]!.has(wanted) ? -105 : wanted) : (turned(numbers, cursor[set]!).find((one) => !held[set]!.has(one)) ?? -50)))
        const outcome = [...held[0]!.values()].includes(container) ? -104 : expected.find((one) => one < 0)
        const got = leased(() => hostLocal.add({ conf, attachment, args: wanted === undefined ? {} : { ip: text(0, wanted) } }).ips.map(({ address }) => addressText(parseCidr(address)!)))
        assert.deepEqual(got, outcome ?? expected.map((one, set) => text(set, one)))
        if (outcome === undefined) for (const [set, one] of expected.entries()) held[set]!.set((cursor[set] = one), container)
      }
      assert.deepEqual(leases(conf as unknown as Network), held.flatMap((set, i) => [...set.keys()].map((one) => text(i, one))).sort())
    }
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 60 }))
})

const turned = (numbers: number[], behind: number): number[] => [...numbers.slice(numbers.indexOf(behind) + 1), ...numbers.slice(0, numbers.indexOf(behind) + 1)]

/** What was leased, or the error's code, negative. */
function leased(run: () => string[]): string[] | number {
  try {
    return run()
  } catch (error) {
    return -(error as CniError).code
  }
}

t.test('nothing to give: code 50, the sentence that users search for, and the figures', async (t) => {
  const conf = network({ ranges: [[{ subnet: '10.1.2.0/30' }, { subnet: '10.1.3.0/30' }], [{ subnet: 'fd00::/64' }]] })
  t.equal(call('host-local', 'STATUS', conf).stdout, '', 'STATUS: there is')
  add(conf, 'c1')
  add(conf, 'c2')
  const refused = add(conf, 'c3')
  t.equal(refused.json.code, 50)
  t.equal(refused.json.msg, 'failed to allocate for range 0: no IP addresses available in range set: 10.1.2.1-10.1.2.2,10.1.3.1-10.1.3.2')
  t.equal(refused.json.details, '2 of 2 addresses are held; podwire gc frees those of dead pods')
  t.same(leases(conf), ['10.1.2.2', '10.1.3.2', 'fd00::2', 'fd00::3'], 'nothing of the other set was kept')
  const status = call('host-local', 'STATUS', conf)
  t.match(status.json, { code: 50, msg: 'failed to allocate for range 0: no IP addresses available in range set: 10.1.2.1-10.1.2.2,10.1.3.1-10.1.3.2', details: '2 of 2 addresses are held' })
  del(conf, 'c1')
  t.equal(call('host-local', 'STATUS', conf).status, 0)
  t.equal(addresses(add(conf, 'c3')), '10.1.2.2/30 fd00::4/64')
})

t.test('a lease held outside the ranges, or of a gateway, is not counted', async (t) => {
  const conf = network({ subnet: '10.1.2.0/30' })
  for (const address of ['10.1.2.1', '192.0.2.1', 'fd00::1']) foreign(conf, address, 'x\r\neth0')
  t.equal(call('host-local', 'STATUS', conf).status, 0)
  t.equal(addresses(add(conf)), '10.1.2.2/30')
  t.match(call('host-local', 'STATUS', conf).json.details, '1 of 1 addresses are held')
})

t.test('a second ADD for a container and interface', async (t) => {
  const conf = network({ ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00::/64' }]] })
  add(conf)
  t.match(add(conf).json, { code: 104, msg: '10.1.2.2, fd00::2 has been allocated to c1, duplicate allocation is not allowed' })
  t.equal(addresses(add(conf, 'c1', { ifname: 'eth1' })), '10.1.2.3/24 fd00::3/64', 'another interface is another attachment')
  del(conf, 'c1', { ifname: 'eth1' })
  t.same(leases(conf), ['10.1.2.2', 'fd00::2'])
})

t.test('requested addresses', async (t) => {
  const ranges = { ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00::/64' }]] }
  const conf = network(ranges)
  const runtime = { runtimeConfig: { ips: ['10.1.2.20'] } }
  const args = { args: { cni: { ips: ['10.1.2.30/24'] } } }

  await t.test("the runtime's come before the configuration's, these before those of CNI_ARGS", async (t) => {
    t.equal(addresses(add({ ...conf, ...runtime, ...args }, 'c1', { args: 'IP=10.1.2.40' })), '10.1.2.20/24 fd00::2/64')
    t.equal(addresses(add({ ...conf, ...args }, 'c2', { args: 'IP=10.1.2.40' })), '10.1.2.30/24 fd00::3/64', 'with a prefix length that does not matter')
    t.equal(addresses(add(conf, 'c3', { args: 'IP=10.1.2.40' })), '10.1.2.40/24 fd00::4/64')
    t.equal(addresses(add({ ...conf, runtimeConfig: { ips: [] }, args: { cni: { ips: [] } } }, 'c4', { args: 'IP=10.1.2.50,FD00:0::50' })), '10.1.2.50/24 fd00::50/64', 'empty lists request nothing')
  })

  await t.test('and the next one follows them', async (t) => {
    t.equal(addresses(add(conf, 'c5')), '10.1.2.51/24 fd00::51/64')
  })

  await t.test('one that is requested twice, as by podman network reload, is one', async (t) => {
    t.equal(addresses(add({ ...conf, runtimeConfig: { ips: ['10.1.2.66', 'fd00::66', '10.1.2.66', 'fd00::66'] } }, 'c6')), '10.1.2.66/24 fd00::66/64')
    del(conf, 'c6')
  })

  await t.test('what cannot be had is said, and nothing is kept', async (t) => {
    const before = leases(conf)
    const refused = (ip: string) => add(conf, 'c9', { args: `IP=${ip}` }).json
    t.match(refused('10.1.2.1'), { code: 105, msg: "requested ip 10.1.2.1 is subnet's gateway" })
    t.match(refused('10.1.2.20'), { code: 105, msg: 'requested IP address 10.1.2.20 is not available in range set 10.1.2.1-10.1.2.254', details: 'it is held by container c1 (eth0)' })
    t.match(refused('10.1.9.9'), { code: 105, msg: 'failed to allocate all requested IPs: 10.1.9.9', details: 'they are outside 10.1.2.1-10.1.2.254; fd00::1-fd00::ffff:ffff:ffff:ffff' })
    t.match(refused('10.1.2.60,10.1.2.61'), { code: 105, msg: 'failed to allocate all requested IPs: 10.1.2.61' })
    t.match(refused('10.1.2'), { code: 4, msg: 'CNI_ARGS: IP=10.1.2: expected an IP address' })
    t.match(add({ ...conf, runtimeConfig: { ips: ['x'] } }).json, { code: 7, msg: 'runtimeConfig.ips[0] is "x": expected an IP address, with or without prefix length' })
    t.same(leases(conf), before)
  })
})

t.test('DEL', async (t) => {
  const conf = network()
  t.equal(del(conf).status, 0, 'where nothing ever was')
  t.notOk(existsSync(where(conf)), 'and it makes nothing')
  add(conf, 'c1')
  add(conf, 'c2')
  t.equal(del(conf, 'c3').status, 0, 'of an unknown container')
  t.same(leases(conf), ['10.1.2.2', '10.1.2.3'])
  t.equal(del({ ...conf, ipam: { ...conf.ipam, subnet: '192.0.2.1/24' } }, 'c1').status, 0, 'with a range that has become wrong')
  t.same(leases(conf), ['10.1.2.3'])
  t.equal(del({ ...conf, ipam: { type: 'host-local', ranges: 'none' } }, 'c2').status, 0, 'with a configuration that has become wrong')
  t.same(leases(conf), [])
  t.equal(del(conf, 'c2').stdout, '', 'again')
})

t.test('DEL and CHECK of a lease that the reference made', async (t) => {
  const conf = network()
  foreign(conf, '10.1.2.9', 'c1\r\neth0')
  foreign(conf, '10.1.2.10', 'c1')
  foreign(conf, '10.1.2.11', 'c1\r\neth1')
  const prevResult = { cniVersion: '1.1.0', ips: [{ address: '10.1.2.9/24' }] }
  t.equal(call('host-local', 'CHECK', { ...conf, prevResult }).stdout, '')
  t.equal(addresses(add(conf, 'c2', { args: 'IP=10.1.2.9' })), '105: requested IP address 10.1.2.9 is not available in range set 10.1.2.1-10.1.2.254')
  del(conf)
  t.same(leases(conf), ['10.1.2.11'], 'those of its first days, without an interface, too')
})

t.test('DEL finds the lease that prevResult names behind an index entry of somebody else', async (t) => {
  const conf = network()
  add(conf, 'c1')
  sh(`rm ${where(conf)}/10.1.2.2`)
  foreign(conf, '10.1.2.2', 'c2\r\neth0')
  del({ ...conf, prevResult: { cniVersion: '1.1.0', ips: [{ address: '10.1.2.2/24' }] } }, 'c2')
  t.same(readdirSync(where(conf)).sort(), ['last_reserved_ip.0', 'lock'])
})

t.test('CHECK', async (t) => {
  const conf = network({ ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00::/64' }]] })
  const prevResult = add(conf).json
  const check = (more: object = {}) => call('host-local', 'CHECK', { ...conf, prevResult, ...more })
  t.equal(check().stdout, '')
  t.equal(check({ prevResult: { ...prevResult, ips: [...prevResult.ips, { address: '192.0.2.9/24' }] } }).stdout, '', 'an address of another plugin is not ours to judge')
  t.match(check({ prevResult: undefined }).json, { code: 7, msg: 'Required prevResult missing' })
  sh(`rm ${where(conf)}/10.1.2.2`)
  t.match(check().json, { code: 102, msg: `host-local: 10.1.2.2 is not leased to container c1 (eth0) in ${where(conf)}` })
  del(conf)
  t.match(check().json, { code: 102, msg: 'host-local: Failed to find address added by container c1' })
})

t.test('GC', async (t) => {
  const gc = (conf: Network, more: object) => call('host-local', 'GC', { ...conf, ...more }).status
  const filled = () => {
    const conf = network()
    for (const container of ['c1', 'c2', 'c3']) add(conf, container)
    foreign(conf, '10.1.2.20', 'c4\r\neth0')
    foreign(conf, '10.1.2.21', 'c5')
    return conf
  }
  const c = (containerID: string, ifname = 'eth0') => ({ containerID, ifname })

  await t.test('keeps those that live', async (t) => {
    const conf = filled()
    gc(conf, { 'cni.dev/valid-attachments': [c('c1'), c('c2', 'eth1'), c('c4'), c('c5', 'net7')] })
    t.same(leases(conf), ['10.1.2.2', '10.1.2.20', '10.1.2.21'], 'by container and interface; one without an interface by container')
  })
  await t.test('by the union of both names of the key', async (t) => {
    const conf = filled()
    gc(conf, { 'cni.dev/valid-attachments': [c('c1')], 'cni.dev/attachments': [c('c2')] })
    t.same(leases(conf), ['10.1.2.2', '10.1.2.3'])
    gc(conf, { 'cni.dev/attachments': [c('c2')] })
    t.same(leases(conf), ['10.1.2.3'], 'the old name alone')
  })
  await t.test('an empty list: nothing lives', async (t) => {
    const conf = filled()
    gc(conf, { 'cni.dev/valid-attachments': [] })
    t.same(readdirSync(where(conf)).sort(), ['last_reserved_ip.0', 'lock'])
  })
  await t.test('no list: only what is provably dead', async (t) => {
    for (const absent of [{}, { 'cni.dev/valid-attachments': null }]) {
      const conf = filled()
      sh(`touch -d '2 minutes ago' ${where(conf)}/*`)
      gc(conf, absent)
      t.equal(leases(conf).length, 5, 'host-local alone cannot prove it')
    }
    const conf = filled()
    sh(`touch -d '2 minutes ago' ${where(conf)}/10.1.2.{2,3,20,21}`)
    const asked: string[] = []
    hostLocal.gc({ conf: conf as unknown as ConfWithIpam, dead: ({ network, containerID, ifname }) => asked.push(`${network} ${containerID} ${ifname}`) > 0 && containerID !== 'c2' })
    t.same(leases(conf), ['10.1.2.20', '10.1.2.21', '10.1.2.3', '10.1.2.4'], "not what lives, what is young, or what the reference's plugins wired")
    t.same(asked.sort(), [`${conf.name} c1 eth0`, `${conf.name} c2 eth0`])
  })
  await t.test('and what crashes left', async (t) => {
    const conf = filled()
    foreign(conf, '10.1.2.30', '', 2)
    foreign(conf, '10.1.2.31', '')
    sh(`rm ${where(conf)}/10.1.2.2`)
    gc(conf, {})
    t.same(leases(conf), ['10.1.2.20', '10.1.2.21', '10.1.2.3', '10.1.2.31', '10.1.2.4'])
    t.equal(readdirSync(where(conf)).filter((name) => name.startsWith('.podwire.')).length, 4)
  })
  await t.test('where nothing is, it makes nothing', async (t) => {
    const conf = network()
    t.equal(gc(conf, { 'cni.dev/valid-attachments': [] }), 0)
    t.notOk(existsSync(where(conf)))
  })
})

t.test('a torn lease', async (t) => {
  const conf = network({ subnet: '10.1.2.0/29' })
  foreign(conf, '10.1.2.2', '', 2)
  t.equal(addresses(add(conf, 'c1')), '10.1.2.3/29', 'is not handed out while there are others')
  t.equal(addresses(add(conf, 'c2', { args: 'IP=10.1.2.2' })), '10.1.2.2/29', 'unless somebody asks for it')
  for (const container of ['c3', 'c4']) add(conf, container)
  foreign(conf, '10.1.2.6', '\0\0\0\0', 2)
  t.equal(call('host-local', 'STATUS', conf).status, 0)
  t.equal(addresses(add(conf, 'c5')), '10.1.2.6/29', 'or it is the last')
  del(conf, 'c5')
  foreign(conf, '10.1.2.6', '')
  t.equal(add(conf, 'c5').json.code, 50, 'a young one may be in the making')
})

t.test('a lease whose file has lost its second line, or all, is still known by its other names', async (t) => {
  const copied = (conf: Network) => sh(`cd ${where(conf)}; for file in 10.1.2.2 .podwire.*; do cp $file copy; mv copy $file; done`)
  for (const text of ['c1', 'c1\n', 'c1\r\n', '', '\0\0\0\0', 'for the printer, do not touch'])
    for (const how of ['names of one file', 'copies of it'].slice(0, text.startsWith('c1') ? 2 : 1)) {
      const lost = () => {
        const conf = network()
        const { json } = add(conf, 'c1')
        add(conf, 'c1', { ifname: 'eth1' })
        writeFileSync(`${where(conf)}/10.1.2.2`, text) // and so it says under each of its names
        if (how === 'copies of it') copied(conf)
        return { conf, prevResult: json }
      }
      const about = `${JSON.stringify(text)}, ${how}`
      for (const more of [{}, { prevResult: lost().prevResult }]) {
        const { conf } = lost()
        t.equal(add(conf, 'c1').json.code, 104, about)
        t.equal(del({ ...conf, ...more }, 'c1', { ifname: 'eth2' }).stdout, '')
        t.same(leases(conf), ['10.1.2.2', '10.1.2.3'], `${about}: DEL of another interface`)
        t.equal(del({ ...conf, ...more }, 'c1').stdout, '')
        t.same(leases(conf), ['10.1.2.3'], `${about}: DEL`)
        del(conf, 'c1', { ifname: 'eth1' })
        t.same(readdirSync(where(conf)).sort(), ['last_reserved_ip.0', 'lock'])
      }
      const { conf } = lost()
      sh(`touch -d '2 minutes ago' ${where(conf)}/10.1.2.2`)
      hostLocal.gc({ conf: conf as unknown as ConfWithIpam, dead: ({ ifname }) => ifname !== 'eth1' })
      t.same(leases(conf), ['10.1.2.2', '10.1.2.3'], `${about}: GC without a list cannot prove it`)
      const gc = (...ifnames: string[]) => call('host-local', 'GC', { ...conf, 'cni.dev/valid-attachments': ifnames.map((ifname) => ({ containerID: 'c1', ifname })) })
      gc('eth0', 'eth1')
      t.same(leases(conf), ['10.1.2.2', '10.1.2.3'], `${about}: GC, both live`)
      gc('eth1')
      t.same(leases(conf), ['10.1.2.3'], `${about}: GC, the other lives`)
    }
})

t.test('an ADD behind one that was killed', async (t) => {
  const conf = network()
  add(conf)
  sh(`rm ${where(conf)}/10.1.2.2`)
  t.equal(addresses(add(conf)), '10.1.2.3/24')
  t.same(leases(conf), ['10.1.2.3'])
  del(conf)
  t.same(readdirSync(where(conf)).sort(), ['last_reserved_ip.0', 'lock'])
})

t.test('an ADD that fails keeps nothing', async (t) => {
  await t.test('a resolv.conf that cannot be read', async (t) => {
    const conf = network({ subnet: '10.1.2.0/24', resolvConf: '/run/none' })
    t.match(add(conf).json, { code: 7, msg: 'ipam.resolvConf is "/run/none": there is no such file' })
    t.notOk(existsSync(where(conf)))
  })
  await t.test('a result that its version cannot say', async (t) => {
    const conf = { ...network(), cniVersion: '0.2.0' }
    t.equal(add(conf).json.ip4.ip, '10.1.2.2/24')
    t.match(add({ ...conf, ipam: { ...conf.ipam, ranges: [[{ subnet: '10.2.0.0/24' }]] } }, 'c2').json, { code: 7, msg: 'CNI version 0.2.0 does not support more than 1 address per family' })
    t.same(leases(conf), ['10.1.2.2'])
  })
  await t.test('a disk without room', async (t) => {
    const conf = network()
    mkdirSync(where(conf), { recursive: true })
    sh(`mount -t tmpfs -o nr_inodes=4 full ${where(conf)}`)
    t.match(add(conf).json, { code: 5, msg: `state directory ${where(conf)}: ENOSPC` })
    t.same(leases(conf), [])
    t.same(readdirSync(where(conf)).filter((name) => name.startsWith('.podwire.')), [])
    sh(`mount -o remount,nr_inodes=10 full ${where(conf)}`)
    t.equal(add(conf).status, 0, 'with room it works')
  })
  await t.test('a disk that became full: DEL and GC make room, and the directory is as good as new', async (t) => {
    const conf = network()
    mkdirSync(where(conf), { recursive: true })
    sh(`mount -t tmpfs -o size=40k full ${where(conf)}`)
    for (const container of ['c1', 'c2', 'c3']) t.equal(add(conf, container).status, 0)
    sh(`head -c 1M /dev/zero > ${where(conf)}/fill || true`)
    t.match(add(conf, 'c4').json, { code: 5, msg: /ENOSPC/ })
    t.same(leases(conf), ['10.1.2.2', '10.1.2.3', '10.1.2.4', 'fill'])
    t.equal(del(conf, 'c1').stdout, '')
    t.equal(call('host-local', 'GC', { ...conf, 'cni.dev/valid-attachments': [{ containerID: 'c3', ifname: 'eth0' }] }).stdout, '')
    t.same(leases(conf), ['10.1.2.4', 'fill'])
    t.equal(add(conf, 'c4').status, 0)
    t.equal(readdirSync(where(conf)).filter((name) => name.startsWith('.podwire.')).length, 4, 'of what failed nothing stayed')
  })
})

t.test('where leases are kept', async (t) => {
  const conf = network({ subnet: '10.1.2.0/24', dataDir: '/run/leases' })
  add(conf)
  t.equal(readFileSync(`/run/leases/${conf.name}/10.1.2.2`, 'latin1'), 'c1\r\neth0')
  const empty = network({ subnet: '10.1.2.0/24', dataDir: '', resolvConf: '' })
  add(empty)
  t.same(leases(empty), ['10.1.2.2'], 'empty is absent')
  writeFileSync('/run/file', '')
  const below = network({ subnet: '10.1.2.0/24', dataDir: '/run/file/leases' })
  t.match(add(below).json, { code: 5, msg: /ENOTDIR/ })
  t.same([del(below).stdout, call('host-local', 'GC', { ...below, 'cni.dev/valid-attachments': [] }).stdout], ['', ''], 'what ADD could not make DEL and GC do not miss')
  t.match(add(network({ subnet: '10.1.2.0/24', dataDir: 'leases' })).json, { code: 7, msg: 'ipam.dataDir is "leases": expected an absolute path' })
  t.match(add({ ...conf, name: '../escape' }).json, { code: 7 })
  t.notOk(existsSync('/run/escape'))
})
