// What the kernel refuses is not tried again at once, whatever is heard meanwhile: also where trying makes news of its own.
//
//   u0 ── far          in this world's own namespace, with a keeper that is told the plan at each change of the underlay, as an agent is

import { ip, sh } from '../world.ts'
import { spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Plan, Vxlan } from '../../src/facts.ts'
import { Netns } from '../../src/kernel/netns.ts'
import { Keeper } from '../../src/vxlan/keeper.ts'
import { overlay, realmOf } from '../../src/vxlan/overlay.ts'
import type { Outcome } from '../../src/reconcile.ts'
import { node, until } from './nodes.ts'

ip('link add u0 type veth peer name far && ip link set u0 up && ip link set far up && ip addr add 192.0.2.1/24 dev u0')

const A = node('a', 1)
const underlay = { local: '192.0.2.1', dev: 'u0', mtu: 1500, onLink: [] }
const options = { vni: 1, port: 8472, directRouting: false, masquerade: true, nonMasqueradeCIDRs: [], checksumOffload: undefined, uplinks: [], advertised: [] }
const peers = [{ node: node('b', 2), address: '192.0.2.2', podCIDRs: ['10.244.2.0/24'], onLink: {} }]
const planOf = (mtu?: number): Plan => overlay(A, ['10.244.1.0/24'], underlay, peers, { ...options, mtu })

interface Try {
  /** Milliseconds. */
  at: number
  sentence: string
}

/** A keeper and what it has tried in vain. */
function kept(t: Test): { want(plan: Plan): void; tries: Try[] } {
  const host = new Netns()
  const tries: Try[] = []
  let plan: Plan = []
  const done = ({ failed }: Outcome) => tries.push(...failed.map(({ sentence }) => ({ at: Math.round(performance.now()), sentence })))
  const again = () => plan.length > 0 && setImmediate(() => keeper.want(plan, 'u0'))
  const keeper = new Keeper(host, realmOf('podwire.1'), { done, heard() {}, underlay: again, look() {}, deaf() {} })
  t.teardown(() => {
    keeper.close()
    host.close()
    sh('ip link del podwire.1 2>/dev/null; ip link del x 2>/dev/null; nft delete table inet podwire 2>/dev/null; ip link set u0 mtu 1500; true')
  })
  return { want: (wanted) => keeper.want((plan = wanted), 'u0'), tries }
}

const device = (plan: Plan, more: Partial<Vxlan>): Plan => plan.map((fact) => (fact.fact === 'vxlan' ? { ...fact, ...more } : fact))

const REFUSED: [what: string, before: string, plan: Plan, sentence: RegExp][] = [
  ['an MTU that the underlay does not carry', 'true', planOf(9000), /mtu 9000 .*: EINVAL/],
  ['an MTU that no device may have', 'true', planOf(40), /mtu 40 .*: (EINVAL|ERANGE)/],
  ['a VNI that somebody else has', 'ip link add x type vxlan id 1 local 192.0.2.1 dstport 8472', planOf(), /interface x has VNI 1/],
  ['a port that somebody else has', 'ip link add x up type vxlan external dstport 8472', planOf(), /podwire\.1 up: EADDRINUSE/],
  ['a name that is too long for the kernel', 'true', device(planOf(), { name: 'podwire.10000000' }), /: E[A-Z]+/],
  ['an interface below that is not there', 'true', device(planOf(), { dev: 'nothere' }), /nothere/],
]

for (const [what, before, plan, sentence] of REFUSED)
  t.test(`${what} is tried a few times in two seconds`, async (t) => {
    sh(before)
    const { want, tries } = kept(t)
    want(plan)
    await until('it is refused', () => tries.length > 0)
    const [{ at: first }] = tries as [Try]
    await sleep(2_000)
    t.match(tries[0]!.sentence, sentence)
    const times = tries.filter(({ at }) => at < first + 2_000)
    t.ok(times.length >= 2 && times.length <= 5, `${times.length} times: ${times.map(({ at }) => at - first).join(', ')}`)
  })

t.test('nor by others\' news', async (t) => {
  const { want, tries } = kept(t)
  want(planOf(9000))
  await until('it is refused', () => tries.length > 0)
  const [{ at: first }] = tries as [Try]
  while (performance.now() < first + 2_000) {
    sh('ip link add y up type veth peer name z && ip addr add 198.51.100.1/24 dev u0 && ip link del y && ip addr del 198.51.100.1/24 dev u0')
    sh('nft add table inet podwire && ip link set u0 alias "$RANDOM"')
    await sleep(10)
  }
  t.ok(tries.filter(({ at }) => at < first + 2_000).length <= 5, `${tries.length} times`)
})

t.test('what is refused takes nothing of what there is along: neighbours stay', async (t) => {
  const { want, tries } = kept(t)
  want(planOf())
  await until('the neighbour', () => ip('neigh show dev podwire.1').includes('10.244.2.0'))
  const monitor = spawn('ip', ['monitor', 'neigh', 'dev', 'podwire.1'], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => monitor.kill())
  let heard = ''
  monitor.stdout.on('data', (data) => (heard += data))
  await sleep(200)
  want(planOf(9000))
  await until('it has been refused twice', () => tries.length > 1)
  t.match(ip('neigh show dev podwire.1'), '10.244.2.0')
  t.notMatch(heard, 'Deleted')
})

t.test('when the underlay carries it, it is granted at once', async (t) => {
  const { want, tries } = kept(t)
  want(planOf(1600))
  await until('it is refused', () => tries.length >= 3)
  ip('link set u0 mtu 1700')
  t.ok((await until('it is granted', () => ip('link show podwire.1').includes('mtu 1600'))) < 900)
})
