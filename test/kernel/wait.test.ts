// Waiting for the kernel, in two namespaces at once.

import { ip, netns, sh } from '../world.ts'
import { readdirSync } from 'node:fs'
import t from 'tap'
import { Netns } from '../../src/kernel/netns.ts'
import { waiting } from '../../src/kernel/wait.ts'

const LONG = 60_000 // ms: who is not woken takes longer than this test may
const both = [new Netns(), new Netns(netns('pod'))]
const open = () => readdirSync('/proc/self/fd').length

t.test('a change in either namespace wakes, also one that came between the look and the wait', async (t) => {
  const before = open()
  waiting(both, LONG, (changed) => {
    for (const line of ['ip link set lo down', 'ip -n pod link set lo up', 'ip -n pod addr add fd00::1/64 dev lo nodad', 'ip -n pod -6 route add fd01::/64 dev lo']) {
      sh(line)
      t.equal(changed(), true, line)
    }
  })
  t.throws(() => waiting(both, LONG, () => sh('false')))
  t.equal(open(), before, 'nothing stays open')
})

t.test('a change that comes later wakes, and is waited for', async (t) => {
  sh('(sleep 0.2; ip -n pod link set lo down) >/dev/null 2>&1 &')
  waiting(both, LONG, (changed) => {
    ip('link set lo mtu 1400')
    let looks = 0
    for (; !ip('-n pod link show lo').includes('state DOWN'); looks++) t.equal(changed(), true)
    t.ok(looks >= 1 && looks <= 5, `it looked ${looks} times, not all the time`)
  })
})

t.test('the time is up when nothing changes; a flood of changes is one', async (t) => {
  waiting(both, 50, (changed) => t.equal(changed(), false))
  waiting(both, LONG, (changed) => {
    sh('for i in $(seq 2000); do echo "link set lo mtu $((1500 + i))"; done | ip -batch -') // more than the socket can hold
    t.equal(changed(), true)
  })
  waiting(both, 0, (changed) => t.equal(changed(), false, 'and an old one is none'))
  for (const each of both) each.close()
  ip('netns del pod')
})
