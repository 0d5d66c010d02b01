// podwire and the reference's host-local on one directory of leases: during a migration, in both directions, both leave
// and find each other's work.

import { call, sh } from './world.ts'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { locked } from '../src/ipam/store.ts'
import { BUILT, builtIsMissing, execute, launch, REFERENCE, referenceIsMissing, type Start } from './reference.ts'

type Answer = { json: any; stdout: string }
type Side = (command: string, conf: object, start?: Start) => Answer

const reference: Side = (command, conf, start = {}) => execute(join(REFERENCE, 'host-local'), command, conf, start)
const podwire: Side = (command, conf, start = {}) => call('host-local', command, conf, start)
const directions: [string, Side, Side][] = [['from the reference to podwire', reference, podwire], ['from podwire to the reference', podwire, reference]]

let count = 0
const network = (ipam: object = { ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00::/64' }]] }) => ({ cniVersion: '1.0.0', name: `net${++count}`, type: 'ptp', ipam: { type: 'host-local', ...ipam } })
const files = ({ name }: { name: string }): string[] => (existsSync(`/var/lib/cni/networks/${name}`) ? readdirSync(`/var/lib/cni/networks/${name}`) : [])
const leases = (conf: { name: string }): string[] => files(conf).filter((name) => !/^last_reserved|^lock$|^\.podwire\./.test(name)).sort()
const addresses = ({ json }: Answer): string => json.ips?.map((one: any) => one.address).join(' ') ?? json.msg

for (const [direction, before, after] of directions)
  t.test(direction, { skip: referenceIsMissing }, async (t) => {
    await t.test('a lease of one is released by the other', async (t) => {
      const conf = network()
      before('ADD', conf, { container: 'c1' })
      before('ADD', conf, { container: 'c2' })
      before('ADD', conf, { container: 'c1', ifname: 'eth1' })
      t.equal(after('DEL', conf, { container: 'c1' }).stdout, '')
      t.same(leases(conf), ['10.1.2.3', '10.1.2.4', 'fd00::3', 'fd00::4'], 'and no other')
      after('DEL', conf, { container: 'c1', ifname: 'eth1' })
      after('DEL', conf, { container: 'c2' })
      t.same(files(conf).sort(), ['last_reserved_ip.0', 'last_reserved_ip.1', 'lock'])
    })

    await t.test('a lease of one is known to the other', async (t) => {
      const conf = network()
      const prevResult = before('ADD', conf).json
      t.equal(after('CHECK', { ...conf, prevResult }).stdout, '')
      t.match(addresses(after('ADD', conf, { container: 'c2', args: 'IP=10.1.2.2' })), 'requested IP address 10.1.2.2 is not available in range set 10.1.2.1-10.1.2.254')
      before('DEL', conf)
      t.match(after('CHECK', { ...conf, prevResult }).json.msg, 'Failed to find address added by container c1')
    })

    await t.test('the other goes on where one stopped', async (t) => {
      const conf = network({ ranges: [[{ subnet: '10.1.2.0/24', rangeStart: '10.1.2.10', rangeEnd: '10.1.2.12' }, { subnet: '10.1.3.0/24', rangeEnd: '10.1.3.3' }]] })
      const turns = [before, after, before, before, after].map((side, i) => addresses(side('ADD', conf, { container: `c${i}` })))
      t.same(turns, ['10.1.2.10/24', '10.1.2.11/24', '10.1.2.12/24', '10.1.3.2/24', '10.1.3.3/24'])
      t.match(addresses(before('ADD', conf, { container: 'c9' })), 'no IP addresses available in range set: 10.1.2.10-10.1.2.12,10.1.3.1-10.1.3.3')
      t.match(addresses(after('ADD', conf, { container: 'c9' })), 'no IP addresses available in range set: 10.1.2.10-10.1.2.12,10.1.3.1-10.1.3.3')
      for (const i of [1, 3]) after('DEL', conf, { container: `c${i}` })
      t.equal(addresses(before('ADD', conf, { container: 'c10', args: 'IP=10.1.3.2' })), '10.1.3.2/24')
      t.equal(addresses(after('ADD', conf, { container: 'c11' })), '10.1.2.11/24', 'behind a requested one too')
    })
  })

t.test('the same container and interface twice', { skip: referenceIsMissing }, async (t) => {
  const ours = network()
  podwire('ADD', ours)
  t.equal(addresses(reference('ADD', ours)), 'failed to allocate for range 0: 10.1.2.2 has been allocated to c1, duplicate allocation is not allowed')
  t.same(leases(ours), ['10.1.2.2', 'fd00::2'])

  // podwire does not read every file for that: who wires pods sees the interface that is there.
  const theirs = network()
  reference('ADD', theirs)
  t.equal(addresses(podwire('ADD', theirs)), '10.1.2.3/24 fd00::3/64')
  podwire('DEL', theirs)
  t.same(leases(theirs), [], 'one DEL releases both')
})

t.test('one waits while the other has the lock', { skip: referenceIsMissing }, async (t) => {
  const conf = network()
  reference('ADD', conf)
  const waiting = locked(`/var/lib/cni/networks/${conf.name}`, () => {
    const started = launch(join(REFERENCE, 'host-local'), 'ADD', conf, { container: 'c2' })
    sh('sleep 0.3')
    t.same(leases(conf), ['10.1.2.2', 'fd00::2'], 'nothing is leased behind our back')
    return started
  })
  t.equal(addresses(await waiting.ended), '10.1.2.3/24 fd00::3/64')
})

t.test('fifty ADDs at once, half of them of each, then fifty DELs', { skip: referenceIsMissing || builtIsMissing }, async (t) => {
  const conf = network()
  const executables = [join(BUILT, 'host-local'), join(REFERENCE, 'host-local')]
  const all = (command: string, which: (i: number) => number) =>
    Promise.all(Array.from({ length: 50 }, (_, i) => launch(executables[which(i) % 2]!, command, conf, { container: `c${i}` }).ended))

  const added = await all('ADD', (i) => i)
  t.same(added.filter(({ status }) => status !== 0).map(({ stdout, stderr }) => stdout + stderr), [])
  for (const family of [0, 1]) t.equal(new Set(added.map(({ json }) => json.ips[family].address)).size, 50, 'no address twice')
  const given = added.flatMap(({ json }, i) => json.ips.map((one: any) => `${one.address.split('/')[0]} c${i}`)).sort()
  t.same(leases(conf).map((address) => `${address} ${readFileSync(`/var/lib/cni/networks/${conf.name}/${address}`, 'utf8').split('\r\n')[0]}`).sort(), given, 'none is lost')

  const released = await all('DEL', (i) => i + 1)
  t.same(released.filter(({ status, stdout }) => status !== 0 || stdout !== ''), [])
  t.same(files(conf).sort(), ['last_reserved_ip.0', 'last_reserved_ip.1', 'lock'], 'each released what the other had leased')
})
