// Agents ask each other over the overlay: who answers, how fast, and whether a packet as large as a pod's passes. And whether the
// underlay can carry anything at all.
//
//   a, b (agents) ── u0 ── bridge lan ── outside          c is in the file only

import { ip } from '../world.ts'
import { readFileSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { Agent, node, on, peers, podwireOn, segment, until } from './nodes.ts'

const OPTIONS = '--probe-interval 1'

const page = (agent: Agent): string => agent.podwireStatus().stdout
const peerLine = (agent: Agent, name: string): string => page(agent).split('\n').find((line) => line.startsWith(`${name} `)) ?? ''
const says = (agent: Agent, name: string, words: RegExp) =>
  until(`${agent.node} says of ${name}: ${words}`, () => words.test(peerLine(agent, name)))
const well = async (...pairs: [Agent, string][]) => {
  for (const [agent, name] of pairs) await says(agent, name, /  ok [\d.]+ ms$/)
}

segment('a', 'b')
on('a', 'sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.u0.rp_filter=0')
peers(node('a', 1), node('b', 2), node('c', 3))
const a = await Agent.ready('a', OPTIONS)
t.match(peerLine(a, 'b'), /  configured$/, 'nothing has been heard of it')
const b = await Agent.ready('b', OPTIONS)
t.teardown(() => [a, b].forEach((agent) => void agent.stop('SIGKILL')))

t.test('agents that answer each other', async (t) => {
  await well([a, 'b'], [b, 'a'])
  t.match(peerLine(a, 'c'), /  configured$/, 'one that was never heard is no error')
  t.equal(a.podwireStatus().status, 0)
  const { peers: [known, unknown] } = JSON.parse(a.podwireStatus('--json').stdout)
  t.match(known, { name: 'b', state: 'ok', heard: [{ address: '10.244.2.0', state: 'ok' }, { address: 'fd00:10:244:2::', state: 'ok' }] })
  t.ok(known.heard.every(({ ago, roundTrip }: { ago: number; roundTrip: number }) => ago <= 5 && roundTrip > 0))
  t.match(unknown, { name: 'c', state: 'configured', heard: [{ state: 'configured' }, { state: 'configured' }] })

  const details = /^\[\+\]overlay ok\n\[\+\]peer b ok [\d.]+ ms\n\[\+\]peer c configured\nreadyz check passed$/
  t.match(a.get('/readyz?verbose'), { status: 200, body: details })
  t.equal(a.get('/readyz').body, 'ok')
  t.equal(a.metric('podwire_peer_state{state="ok"}'), 1)
  t.equal(a.metric('podwire_peer_state{state="configured"}'), 1)
  const figures = [a.metric('podwire_peer_answered_seconds{node="b"}'), a.metric('podwire_peer_round_trip_seconds{node="b"}')]
  t.ok(figures.every((figure) => figure > 0 && figure < 10), figures.join())
  t.notMatch(a.get('/metrics').body, 'podwire_peer_answered_seconds{node="c"}')
})

t.test('a firewall on the underlay', async (t) => {
  on('b', `nft add table inet wall; nft add chain inet wall input '{ type filter hook input priority 0; }'
    nft add rule inet wall input udp dport 8472 drop`)
  await says(a, 'b', /  silent for \d+ s$/)
  const sentence = 'no answer from 10.244.2.0, fd00:10:244:2::: the node, its agent, or the way to 192.0.2.2 by UDP port 8472 is down'
  t.match(a.podwireStatus(), { status: 1, stdout: `\n  wrong   ${sentence}\n` })
  t.match(a.get('/readyz?verbose'), { status: 200, body: /^\[-\]peer b silent for \d+ s$/m })
  t.equal(a.metric('podwire_peer_state{state="silent"}'), 1)
  await until('it is logged', () => a.log.includes('msg="peers do not answer over the overlay" peers="b (for'))
  on('b', 'nft delete table inet wall')
  await well([a, 'b'], [b, 'a'])
  t.equal(a.podwireStatus().status, 0)
  await until('that, too', () => a.log.includes('msg="peers answer again" peers=b'))
})

t.test('a link on the way that carries less than it should', async (t) => {
  ip('link set to-b mtu 1400')
  await says(a, 'b', /  large packets do not pass$/)
  t.match(page(a), /^ {2}wrong +packets of 1450 bytes do not pass to .*: a link on the way to 192\.0\.2\.2 carries less than 1500 /m)
  t.equal(a.metric('podwire_peer_state{state="narrow"}'), 1)
  ip('link set to-b mtu 1500')
  await well([a, 'b'], [b, 'a'])
})

/** While the underlay is as `damage` leaves it a is not ready, and says why; what `repair` does ends it. */
async function cut(t: Test, state: string, damage: () => void, sentence: string, repair: () => void): Promise<void> {
  const conflist = readFileSync(`${a.confDir}/10-podwire.conflist`, 'utf8')
  damage()
  await until('a is not ready', () => !a.status().ready)
  t.match(a.status().reason, sentence)
  t.match(a.get('/readyz'), { status: 503, body: sentence })
  t.match(a.get('/readyz?verbose'), { status: 503, body: `[-]overlay failed: ${sentence}` })
  const { status, stdout } = a.podwireStatus()
  t.match([status, stdout], [1, `overlay   not ready: ${sentence}`])
  t.match(stdout, `\nwrong     ${sentence}`)
  t.match(stdout, new RegExp(`^underlay  u0  192\\.0\\.2\\.1  mtu 1500  ${state}$`, 'm'))
  t.match(stdout, /^b .* unreachable$/m)
  t.equal(readFileSync(`${a.confDir}/10-podwire.conflist`, 'utf8'), conflist, 'the conflist stays')
  repair()
  await until('a is ready', () => a.status().ready)
  on('a', 'ip route replace default via 192.0.2.254; ip -6 route replace default via 2001:db8::fe')
  await well([a, 'b'], [b, 'a'])
}

const repaired = () => podwireOn('a', `status --state-dir ${a.stateDir} --repair | sh -e`)

const BELOW = 'interface u0, which carries the overlay,'
const GONE = 'address 192.0.2.1, to which other nodes send, is on no interface'
const CUTS: [what: string, state: string, damage: () => void, sentence: string, repair: () => void][] = [
  ['the link of the underlay is down', 'down', () => on('a', 'ip link set u0 down'), `${BELOW} is down`, repaired],
  ['it has no carrier', 'no carrier', () => ip('link set to-a down'), `${BELOW} has no carrier`, () => ip('link set to-a up')],
  ['its address was removed', 'no address', () => on('a', 'ip addr del 192.0.2.1/24 dev u0'), GONE, repaired],
]

for (const [what, state, damage, sentence, repair] of CUTS) t.test(what, (t) => cut(t, state, damage, sentence, repair))

t.test('who is no peer, or only says so', async (t) => {
  on('outside', 'ip addr add 10.244.3.0/32 dev lo; ip route add 10.244.1.0/32 via 192.0.2.1 src 10.244.3.0')
  const dropped = () => ['stranger', 'malformed', 'unasked', 'rate'].map((why) => a.metric(`podwire_probes_dropped_total{why="${why}"}`))
  const before = dropped()
  writeFileSync('/run/forge.mjs', `
import { createSocket } from 'node:dgram'
import { setTimeout as sleep } from 'node:timers/promises'
const [from, port, hex, times] = process.argv.slice(2)
const socket = createSocket('udp4').bind(Number(port), from, async () => {
  for (let i = 0; i < times; i++) {
    await new Promise((sent) => socket.send(Buffer.from(hex, 'hex'), 9467, '10.244.1.0', sent))
    if (i % 20 === 19) await sleep(2) // so that the kernel does not drop them
  }
  socket.close()
})`)
  const forge = (from: string, port: number, hex: string, times = 1) =>
    on('outside', `env -u NODE_OPTIONS ${process.execPath} /run/forge.mjs ${from} ${port} "${hex}" ${times}`)
  const [question, answer] = ['706f647701010010', '706f647701020010'].map((head) => `${head}0123456789abcdef`)
  forge('192.0.2.254', 9467, question!)
  forge('10.244.3.0', 9999, question!)
  forge('10.244.3.0', 9467, 'ff')
  forge('10.244.3.0', 9467, answer!)
  await until('all are counted', () => dropped().every((count, i) => i === 3 || count > before[i]!))
  t.same(dropped().map((count, i) => count - before[i]!), [2, 1, 1, 0])
  t.match(peerLine(a, 'c'), /  configured$/, 'nothing is believed of it')
  forge('10.244.3.0', 9467, question!, 2000)
  await until('there is an end to answers', () => dropped()[3]! > 100)
  await well([a, 'b'])
})

t.test('without an agent, and with the next', async (t) => {
  await b.stop()
  t.match(peerLine(b, 'a'), /  answered \d+ s ago$/)
  t.match(b.said().heard?.[0], { node: 'a', address: '10.244.1.0' })
  on('b', 'ip link del podwire.1')
  const { status, stdout } = b.podwireStatus()
  t.equal(status, 1)
  t.match(stdout, /^overlay +not ready: interface podwire\.1 is missing$/m, 'and it does not say ready because it was')
  t.match(stdout, /^a .* unreachable$/m)
  podwireOn('b', `status --state-dir ${b.stateDir} --repair | sh -e`)
  t.match(page(b), /^overlay +ready$/m)
  const next = await Agent.ready('b', OPTIONS)
  await well([next, 'a'], [a, 'b'])
  await next.stop()
})

t.test('a port that somebody else has is said once, and the overlay is ready all the same', async (t) => {
  const holder = `${process.execPath} -e "require('dgram').createSocket('udp4').bind(9467, '0.0.0.0')"`
  on('b', `env -u NODE_OPTIONS ${holder} >/dev/null 2>&1 & echo $! >/run/holder; until ss -Hlun | grep -q :9467; do sleep 0.05; done`)
  const agent = await Agent.ready('b', OPTIONS)
  await until('it is said', () => agent.log.includes('peers cannot be asked'))
  t.match(agent.log, /msg="peers cannot be asked whether they answer" why="10\.244\.2\.0 port 9467: bind\(UDP\): EADDRINUSE"/)
  await until('the other family is asked', () => agent.metric('podwire_peer_state{state="configured"}') === 2)
  on('b', 'kill $(</run/holder)')
  await until('it is over', () => agent.log.includes('peers can be asked again'))
  await well([agent, 'a'])
  t.equal(agent.log.split('peers cannot be asked').length, 2, 'once')
  await agent.stop()
})

t.test('agents that are not to ask', async (t) => {
  const agent = await Agent.ready('b', '--probe-port 0')
  t.equal(on('b', 'ss -Hlun'), on('b', 'ss -Hlun sport = :8472'), 'no port but the one of VXLAN')
  await says(agent, 'a', /  configured$/)
  t.equal(agent.podwireStatus().status, 0)
  await agent.stop()
  t.throws(() => podwireOn('b', 'agent --peers /run/peers.json --node b --probe-port 8472'), /--probe-port 8472 is --port/)
})
