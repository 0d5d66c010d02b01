// Numbers that the kernel would refuse, or an underlay would not carry: said in one sentence before anything is touched.
//
//   a ── u0 ── bridge lan

import { call, ip } from '../world.ts'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { cli } from '../../src/cli/cli.ts'
import { Agent, inside, node, on, peers, podwireOn, segment, until } from './nodes.ts'

const [A, B] = [node('a', 1), node('b', 2)]
const only4 = (one: typeof A) => ({ ...one, podCIDRs: one.podCIDRs.slice(0, 1) })
const PLACES = '--state-dir /run/a/state --conf-dir /run/a/net.d --bin-dir /run/a/bin'

segment('a')
peers(A, B)
const untouched = on('a', 'ip -d addr; ip route; sysctl net.ipv4.ip_forward')

const LARGE = /mtu 9000 is more than the underlay u0 carries: expected at most 1450, as it has 1500 and VXLAN over IPv4 takes 50/
const REFUSED: [options: string, sentence: RegExp][] = [
  ['--mtu 9000', LARGE],
  ['--mtu 1451', /mtu 1451 is more than the underlay u0 carries: expected at most 1450/],
  ['--mtu 1431 --underlay 2001:db8::1', /mtu 1431 is more than the underlay u0 carries: expected at most 1430, as it has 1500 and VXLAN over IPv6 takes 70/],
  ['--mtu 1279', /mtu 1279 is too small: expected at least 1280, which IPv6 needs/],
  ['--mtu 67', /--mtu 67: expected a number from 68 to 65535/],
  ['--mtu 65536', /--mtu 65536: expected a number from 68 to 65535/],
  ['--port 65536', /--port 65536: expected a number from 1 to 65535/],
  ['--vni 16777216', /--vni 16777216: expected a number from 1 to 16777215/],
]

for (const [options, sentence] of REFUSED)
  t.test(`${options} is refused by the agent and by plan`, async (t) => {
    for (const line of [`agent --peers /run/peers.json --node a ${PLACES} ${options}`, `plan /run/peers.json --node a ${options}`]) {
      t.throws(() => podwireOn('a', line), { message: sentence }, line)
      t.equal(on('a', 'ip -d addr; ip route; sysctl net.ipv4.ip_forward'), untouched)
      t.notOk(existsSync('/run/a'))
    }
  })

t.test('of an underlay that is said the nodes need not be known', async (t) => {
  t.throws(() => podwireOn('a', `agent --kubeconfig /run/none --node a --underlay u0 ${PLACES} --mtu 9000`), { message: LARGE })
  t.notOk(existsSync('/run/a'))
})

t.test('plan on another machine does not know what the underlay carries, and warns', async (t) => {
  const { status, stdout, stderr } = cli(['plan', '/run/peers.json', '--node', 'b', '--mtu', '9000'])
  t.match([status, stdout], [0, 'mtu 9000'])
  t.match(stderr, /mtu 9000 is more than the underlay eth0 carries: expected at most 1450[^]* are an example/)
})

t.test('an entry vxlan with such an MTU is refused', async (t) => {
  const conf = { cniVersion: '1.1.0', name: 'podnet', type: 'vxlan', node: 'a', peers: [A, B], mtu: 9000, prevResult: { cniVersion: '1.1.0', ips: [] } }
  t.match(inside('a', () => call('vxlan', 'ADD', conf)).json, { code: 7, msg: LARGE })
  t.match(inside('a', () => call('vxlan', 'STATUS', conf)).json, { code: 50, msg: LARGE })
  t.equal(on('a', 'ip -d addr; ip route; sysctl net.ipv4.ip_forward'), untouched)
})

for (const [what, options, mtu, sentence] of [
  ['for the MTU that was asked for', '--mtu 1450', 1400, /^mtu 1450 is more than the underlay u0 carries: expected at most 1350/],
  ['for IPv6', '', 1300, /^an MTU of 1250 is left inside the overlay, and pods need 1280: the underlay u0 has 1300/],
] as const)
  t.test(`an underlay that becomes too small ${what} makes the node not ready, and that is said once`, async (t) => {
    const agent = await Agent.ready('a', options)
    t.teardown(() => agent.stop())
    const conflist = readFileSync('/run/a/net.d/10-podwire.conflist', 'utf8')
    const device = on('a', 'ip -d addr show podwire.1; ip neigh show dev podwire.1')
    on('a', `ip link set u0 mtu ${mtu}`)
    await until('it says so', () => sentence.test(agent.status().reason))
    await sleep(2_000)
    t.match(agent.status(), { ready: false, reason: sentence })
    t.match(agent.get('/readyz'), { status: 503, body: sentence })
    t.equal(agent.log.split('the overlay is not ready').length - 1, 1, agent.log)
    t.equal(on('a', 'ip -d addr show podwire.1; ip neigh show dev podwire.1'), device, 'what there is stays')
    t.equal(readFileSync('/run/a/net.d/10-podwire.conflist', 'utf8'), conflist)
    on('a', 'ip link set u0 mtu 1500')
    await until('it is ready again', () => agent.status().ready)
    await agent.settled()
  })

t.test('a VNI of eight digits, whose device has a name of 15 characters as the kernel allows', async (t) => {
  peers(only4(A), only4(B))
  rmSync('/run/a', { recursive: true })
  const agent = await Agent.ready('a', '--vni 16777215')
  t.match(on('a', 'ip -d link show podwire16777215'), 'vxlan id 16777215')
  await agent.settled()
  t.match(agent.podwireStatus().stdout, 'podwire16777215  vni 16777215')
  await agent.stop()
  const again = await Agent.ready('a', '--vni 16777215')
  t.equal(again.log.includes('repaired'), false, 'the next one finds it')
  await again.stop()
  podwireOn('a', `uninstall ${PLACES}`)
  t.notMatch(ip('-n a -br link'), 'podwire16777215')
})
