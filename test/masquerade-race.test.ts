// Pods that send from one and the same port to one server in the same instant: each has a source port of its own behind the
// masquerade, or the packet of one of them is dropped where the second connection is to be tracked (conntrack -S, insert_failed).
//
//   pod1 10.1.2.2, fd00:1::2 ─┐
//   pod2 10.1.2.3, fd00:1::3 ─┼─ this namespace (the node) ── 192.0.2.1, 2001:db8::1 ── server 192.0.2.9, 2001:db8::9
//   served 10.1.2.4 …         ─┘  port 7001 leads to it

import { call, netns, nft, podnet, sh } from './world.ts'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { Netns } from '../src/kernel/netns.ts'
import { clusterMasquerade } from '../src/nat.ts'
import { add } from '../src/state.ts'

const PAIRS = 200
const APART = 300 // µs between pairs
const BY_CHANCE = 3 // pairs may draw one and the same port, as one in 64 000 does
const PODS = ['pod1', 'pod2']

for (const name of ['server', 'served', ...PODS]) netns(name)
sh(`sysctl -qw net.ipv6.conf.all.forwarding=1
ip link add up0 type veth peer name eth0 netns server && ip link set up0 addrgenmode none up
ip addr add 192.0.2.1/24 dev up0 && ip addr add 2001:db8::1/64 dev up0 nodad
ip -n server link set eth0 up && ip -n server addr add 192.0.2.9/24 dev eth0 && ip -n server addr add 2001:db8::9/64 dev eth0 nodad`)
t.afterEach(() => {
  for (const name of [...PODS, 'served']) call('ptp', 'DEL', podnet, of(name))
  sh('nft delete table inet podwire; conntrack -F 2>/dev/null')
})

const of = (name: string) => ({ container: name, netns: `/run/netns/${name}` })

function wire(conf: object, ...names: string[]): void {
  for (const name of names) {
    const { status, stdout } = call('ptp', 'ADD', conf, of(name))
    if (status !== 0) throw new Error(stdout)
  }
}

/** Each sends its half of all pairs, when it is time for each by the clock that all have. */
const SENDER = `
import { connect, pin, send } from '${new URL('../bench/overlay/socket.ts', import.meta.url)}'
const [cpu, address, begin] = process.argv.slice(1)
const sockets = Array.from({ length: ${PAIRS} }, (_, i) => connect('udp', address, 7001, 20_000 + i))
pin(Number(cpu))
sockets.forEach((fd, i) => {
  const at = BigInt(begin) + BigInt(i * ${APART * 1000})
  while (process.hrtime.bigint() < at);
  send(fd, Buffer.alloc(8))
})`

/** How many of both pods' datagrams to an address arrive in a namespace. */
async function arrived(where: string, address: string): Promise<number> {
  const prefix = `ip netns exec ${where} nft`
  sh(`${prefix} -f - <<< 'table inet seen { chain input { type filter hook input priority 0; udp dport 7001 counter drop; }; }'`)
  for (const name of PODS) sh(`ip netns exec ${name} ping -c1 -W2 ${address}`) // neighbours are known
  const begin = process.hrtime.bigint() + 500_000_000n
  const children = PODS.map((name, cpu) => spawn('nsenter', [`--net=/run/netns/${name}`, 'timeout', '30', process.execPath, ...process.execArgv, '--input-type=module', '-e', SENDER, '--', String(cpu), address, String(begin)], { stdio: 'inherit' }))
  const ended = await Promise.all(children.map(async (child) => (await once(child, 'exit'))[0]))
  if (ended.some((status) => status !== 0)) throw new Error(`a sender ended with ${ended}`)
  return Number(/packets (\d+)/.exec(sh(`${prefix} list chain inet seen input; ${prefix} delete table inet seen`))![1])
}

const all = (count: number) => count <= 2 * PAIRS && count >= 2 * PAIRS - BY_CHANCE

for (const address of ['192.0.2.9', '2001:db8::9'])
  t.test(`ipMasq loses none on the way to ${address}`, async (t) => {
    wire(podnet, ...PODS)
    t.match(nft('list table inet podwire'), /\tmasquerade fully-random\n/)
    const count = await arrived('server', address)
    t.ok(all(count), `${count} of ${2 * PAIRS}`)
  })

t.test('nor does the masquerade of the overlay', async (t) => {
  const host = new Netns()
  t.teardown(() => host.close())
  wire({ ...podnet, ipMasq: false }, ...PODS)
  add({ host }, clusterMasquerade(['10.1.2.0/24', 'fd00:1::/64'], [], []), 'pod')
  const count = await arrived('server', '192.0.2.9')
  t.ok(all(count), `${count} of ${2 * PAIRS}`)
})

t.test('nor the way through a port of the node to a neighbour', async (t) => {
  wire({ ...podnet, ipMasq: false, runtimeConfig: { portMappings: [{ hostPort: 7001, containerPort: 7001, protocol: 'udp' }] } }, 'served')
  wire({ ...podnet, ipMasq: false }, ...PODS)
  const count = await arrived('served', '192.0.2.1')
  t.ok(all(count), `${count} of ${2 * PAIRS}`)
})

t.test('chains of an older version, which kept the port, become those of this one under the pods that they have', async (t) => {
  const conf = { ...podnet, runtimeConfig: { portMappings: [{ hostPort: 7001, containerPort: 7001, protocol: 'udp' }] } }
  wire(conf, 'served')
  const ours = nft('list table inet podwire')
  nft(`-f - <<'EOF'\nflush ruleset\n${ours.replaceAll(' fully-random', '')}\nEOF`)
  t.notMatch(nft('list table inet podwire'), 'fully-random')
  wire({ ...podnet, runtimeConfig: { portMappings: [{ hostPort: 7002, containerPort: 7001, protocol: 'udp' }] } }, 'pod1')
  t.equal(nft('list table inet podwire').match(/masquerade fully-random/g)?.length, ours.match(/masquerade/g)!.length - (ours.match(/masquerade_ip/g)?.length ?? 0))
  t.notMatch(nft('list table inet podwire'), /masquerade\n/)
})
