// The keeper, told another plan at the very moment at which somebody else changes the kernel: it hears of both afterwards, at once.

import { ip, sh } from '../world.ts'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { Netns } from '../../src/kernel/netns.ts'
import { Keeper } from '../../src/vxlan/keeper.ts'
import { overlay, realmOf } from '../../src/vxlan/overlay.ts'
import type { Peer } from '../../src/vxlan/peers.ts'
import { node, until } from './nodes.ts'

sh('ip link add u0 type bridge && sysctl -qw net.ipv6.conf.u0.disable_ipv6=1 && ip link set u0 up && ip addr add 192.0.2.1/24 dev u0')

const [A, B] = [node('a', 1), node('b', 2)]
const peer: Peer = { node: B, address: '192.0.2.2', podCIDRs: ['10.244.2.0/24'], onLink: {} }
const options = { vni: 1, port: 8472, mtu: undefined, directRouting: false, masquerade: false, nonMasqueradeCIDRs: [], checksumOffload: undefined, uplinks: [], advertised: [] }
const planOf = (peers: Peer[]) => overlay(A, ['10.244.1.0/24'], { local: '192.0.2.1', dev: 'u0', mtu: 1500, onLink: [] }, peers, options)
const routes = () => ip('route show proto 119')

const host = new Netns()
const repaired: string[] = []
let looked = 0
const keeper = new Keeper(host, realmOf('podwire.1'), { done: (outcome, why) => why === 'repair' && repaired.push(...outcome.repaired.map(({ sentence }) => sentence)), heard() {}, underlay() {}, look: () => (looked = performance.now()), deaf() {} })
t.teardown(() => (keeper.close(), host.close()))

/** Makes a plan true, and waits until the kernel has told all about it: nothing makes the keeper look any more. */
async function quiet(peers: Peer[]): Promise<void> {
  keeper.want(planOf(peers), 'u0')
  looked = performance.now()
  await until('nothing is heard', () => performance.now() - looked > 200)
  repaired.length = 0
}

for (const foreign of ['10.244.2.0/24 via 192.0.2.254 dev u0 proto 119', '10.244.2.0/24 via 192.0.2.254 dev u0 metric 5 proto 119'])
  t.test(`a peer leaves, and somebody has put ${foreign} beside its route`, async (t) => {
    await quiet([peer])
    ip(`route append ${foreign}`)
    keeper.want(planOf([]), 'u0')
    await until('no route is left', () => routes() === '', 5000)
    t.same(repaired, [`route ${foreign} should not be there`])
  })

t.test('two routes to one network that nobody wants', async (t) => {
  await quiet([])
  ip('route add 10.244.3.0/24 via 192.0.2.254 dev u0 proto 119 && ip route append 10.244.3.0/24 via 192.0.2.253 dev u0 proto 119')
  await until('no route is left', () => routes() === '', 5000)
  t.equal(repaired.length, 2)
})

t.test('an entry goes, and before that is repaired nobody wants it any more', async (t) => {
  await quiet([peer])
  ip('route del 10.244.2.0/24')
  await setImmediate() // by then it has been heard
  await setImmediate()
  keeper.want(planOf([]), 'u0')
  await until('nothing is heard', () => performance.now() - looked > 200)
  t.same(repaired, [])
  t.equal(routes(), '')
})

t.test('an entry comes that nobody wants, and before it goes somebody does', async (t) => {
  await quiet([])
  ip('route add 10.244.2.0/24 via 10.244.2.0 dev podwire.1 onlink proto 119')
  await setImmediate()
  await setImmediate()
  keeper.want(planOf([peer]), 'u0')
  await until('nothing is heard', () => performance.now() - looked > 200)
  t.same(repaired, [])
  t.equal(routes(), '10.244.2.0/24 via 10.244.2.0 dev podwire.1 onlink')
})
