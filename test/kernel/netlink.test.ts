// The netlink socket against the kernel: errors in its words, lists that change while they are read.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readlinkSync } from 'node:fs'
import { ip, netns, sh } from '../world.ts'
import t from 'tap'
import { KernelError } from '../../src/kernel/errno.ts'
import * as addr from '../../src/kernel/addr.ts'
import * as link from '../../src/kernel/link.ts'
import { Netns } from '../../src/kernel/netns.ts'
import * as route from '../../src/kernel/route.ts'

const host = new Netns()
t.teardown(() => host.close())

t.test("a refusal is what was to be done and then the kernel's own words", async (t) => {
  sh('ip link add v0 type veth peer name v1 && ip link set v0 up')
  const fact = { fact: 'route', dev: 'v0', dst: '192.0.2.0/24', via: '10.9.9.9' } as const
  t.throws(() => route.add(host, fact, 'ip route add 192.0.2.0/24 via 10.9.9.9 dev v0'), { code: 'ENETUNREACH', message: 'ip route add 192.0.2.0/24 via 10.9.9.9 dev v0: ENETUNREACH: Nexthop has invalid gateway' })
  t.throws(() => addr.add(host, { fact: 'addr', dev: 'gone', address: '10.0.0.1/24' }, 'ip addr add'), { code: 'ENODEV', message: /gone/ })
  ip('link del v0')
})

t.test('a list that changes while it is read is read again', async (t) => {
  for (let i = 0; i < 20; i++) sh(`ip link add a${i} type veth peer name b${i}`)
  const churn = spawn('bash', ['-c', 'for i in $(seq 150); do printf "link add c type veth peer name d\\nlink del c\\n"; done | ip -batch -'], { stdio: 'ignore' })
  const ended = once(churn, 'exit')
  let lists = 0
  while (churn.exitCode === null) {
    let names: Set<string>
    try {
      names = new Set(link.list(host, 'veth').map(({ name }) => name))
    } catch (error) {
      t.ok(error instanceof KernelError && error.code === 'EINTR', 'or it is said that it kept changing')
      break
    }
    for (let i = 0; i < 20; i++) if (!names.has(`a${i}`) || !names.has(`b${i}`)) t.fail(`a${i} is missing from a list`)
    lists++
    await new Promise(setImmediate)
  }
  churn.kill()
  await ended
  t.ok(lists > 0, `${lists} lists were whole`)
  sh('for i in $(seq 0 19); do ip link del a$i; done; ip link del c 2>/dev/null; true')
})

/** How many sockets and namespaces this process has open. */
const sockets = (): number => readdirSync('/proc/self/fd').filter((fd) => /^(socket|net):/.test(linkOf(fd))).length

/** What a descriptor is; '' of the one that was open only for the list of all. */
function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    return ''
  }
}

t.test('a socket opened inside a namespace answers for it from home, and nothing stays open', async (t) => {
  const path = netns('pod')
  t.notSame(link.list(host).map(({ name }) => name), [])
  const before = sockets()
  const pod = new Netns(path)
  t.same(link.list(pod).map(({ name }) => name), ['lo'])
  t.equal(pod.inside(() => sh('ip -br link | wc -l')), '1')
  pod.close()
  t.equal(sockets(), before)
  ip('netns del pod')
})
