// What a runtime seldom does, and is allowed to: chains, two interfaces, files that are no network namespace.

import { writeFileSync } from 'node:fs'
import { CONF, inside, POD, request, shell } from '../binary.ts'
import { netns, sh, works } from '../world.ts'
import t from 'tap'

netns('pod')

t.test('R50 one container has two interfaces in one network', async (t) => {
  const two = ['eth0', 'eth1'].map((ifname) => inside('ptp', request('ADD', { CNI_IFNAME: ifname })))
  t.same(two.map(({ status }) => status), [0, 0], two[1]!.stdout)
  for (const [i, { json }] of two.entries()) t.ok(works(`ip netns exec pod ping -I eth${i} -c1 -W30 ${json.ips[0].gateway}`), `eth${i} reaches the node`)
  for (const ifname of ['eth0', 'eth1']) t.equal(inside('ptp', request('DEL', { CNI_IFNAME: ifname })).status, 0)
})

t.test('R58 a file that is a namespace, but not of a network', async (t) => {
  t.match(inside('ptp', request('ADD', { CNI_NETNS: '/proc/self/ns/mnt' })).json, { code: 4, msg: 'CNI_NETNS="/proc/self/ns/mnt" is not a network namespace' })
  t.equal(inside('ptp', request('DEL', { CNI_NETNS: '/proc/self/ns/mnt' })).status, 0)
})

t.test('R58 a FIFO in the place of the namespace keeps nobody waiting', async (t) => {
  sh('mkfifo /run/fifo')
  t.match(inside('ptp', request('ADD', { CNI_NETNS: '/run/fifo' })).json, { code: 4 })
  t.equal(inside('ptp', request('DEL', { CNI_NETNS: '/run/fifo' })).status, 0)
})

t.test('a result that could not be written is a failure', async (t) => {
  writeFileSync('/run/conf', JSON.stringify(CONF))
  const { status } = await shell('CNI_COMMAND=ADD "$BIN/ptp" </run/conf >/dev/full', request('ADD'))
  t.equal(status, 1)
  inside('ptp', request('DEL'))
})

t.test('R45 a result before ptp in the chain is part of its own', async (t) => {
  const prevResult = { cniVersion: '1.1.0', interfaces: [{ name: 'lo', sandbox: POD }], ips: [{ address: '127.0.0.1/8', interface: 0 }], routes: [{ dst: '192.0.2.0/24' }] }
  const { json } = inside('ptp', request('ADD'), { ...CONF, prevResult })
  t.match(json, { interfaces: [{ name: 'lo' }, { name: /^veth/ }, { name: 'eth0' }], ips: [{ interface: 0 }, { interface: 2 }], routes: [{ dst: '192.0.2.0/24' }] })
  t.equal(inside('ptp', request('CHECK'), { ...CONF, prevResult: json }).stdout, '')
  inside('ptp', request('DEL'))
})
