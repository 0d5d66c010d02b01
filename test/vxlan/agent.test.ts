// What an agent leaves for runtimes and people: conflist, GC, /healthz, /readyz, /metrics; how it finds its underlay, what it
// refuses.
//
//   a (agent) ── u0 ── bridge lan          its peers are in the file only

import { existsSync, mkdirSync, readFileSync, rmSync, watch, writeFileSync } from 'node:fs'
import { call, ip, sh } from '../world.ts'
import t from 'tap'
import { agent as command } from '../../src/cli/agent.ts'
import { reachable } from '../../src/vxlan/reachable.ts'
import { findUnderlay } from '../../src/vxlan/underlay.ts'
import { Agent, inside, node, on, peers, podwireOn, segment, until, wire } from './nodes.ts'

const [A, B] = [node('a', 1), node('b', 2)]
const LEASES = '/var/lib/cni/networks/podwire'
const CONFLIST = '/run/a/net.d/10-podwire.conflist'

segment('a')

t.test('an agent, from nothing to ready', async (t) => {
  // What a node has that was powered off: leases without interfaces. One of them may be an ADD that is under way.
  const conf = { cniVersion: '1.1.0', name: 'podwire', type: 'ptp', ipam: { type: 'host-local', ranges: [[{ subnet: '10.244.1.0/24' }]] } }
  const leased = Object.fromEntries(['dead', 'starting', 'alive'].map((name) => {
    ip(`netns add ${name}`)
    const { json } = inside('a', () => call('ptp', 'ADD', conf, { container: name, netns: `/run/netns/${name}` }))
    const address: string = json.ips[0].address.split('/')[0]
    if (name !== 'alive') ip(`netns del ${name} && ip -n a link del ${json.interfaces[0].name} 2>/dev/null || true`)
    if (name !== 'starting') sh(`touch -d "2 minutes ago" ${LEASES}/${address}`)
    return [name, `${LEASES}/${address}`]
  })) as Record<'dead' | 'starting' | 'alive', string>

  mkdirSync('/run/a/net.d', { recursive: true })
  mkdirSync('/run/a/bin', { recursive: true })
  const seen: string[] = []
  const watcher = watch('/run/a/net.d', (event, name) => seen.push(`${event} ${name}`))
  t.teardown(() => watcher.close())

  peers({ ...A, podCIDRs: [] }, B)
  const agent = new Agent('a', '--cluster-cidr 10.244.0.0/16,fd00:10:244::/48')
  await until('it says why it is not ready', () => agent.status().reason.includes('podCIDR') || agent.over)

  await t.test('not ready', async (t) => {
    t.match(agent.status().reason, 'node a has no podCIDR yet')
    t.match(agent.get('/readyz'), { status: 503, body: /no podCIDR yet/ })
    t.match(agent.get('/healthz'), { status: 200, body: 'ok' })
    t.match(agent.get('/nothing'), { status: 404 })
    t.notOk(existsSync(CONFLIST), 'no conflist, so no runtime starts a pod')
    t.equal(agent.metric('podwire_ready'), 0)
    const { status, stdout } = agent.podwireStatus()
    t.equal(status, 1)
    t.match(stdout, /overlay +not ready: node a has no podCIDR yet/)
  })

  for (const cidr of ['192.0.2.0/24', '0.0.0.0/0', '127.0.0.0/8', '10.244.1.0/31', '10.245.1.0/24'])
    await t.test(`not ready with a network of its own in which no pod can be, ${cidr}`, async (t) => {
      peers({ ...A, podCIDRs: [cidr] }, B)
      await until('it says why', () => agent.status().reason.includes(`its podCIDR ${cidr} `))
      t.match(agent.status(), { ready: false, reason: /^node a, which is this one, cannot be used as it is: its podCIDR \S+ (overlaps|is too small|is not inside)/ })
      t.notOk(existsSync(CONFLIST))
    })
  peers({ ...A, podCIDRs: [] }, B)
  await until('it says so', () => agent.status().reason.includes('no podCIDR yet'))

  await t.test('an old conflist does not wire pods while the overlay is not ready', async (t) => {
    writeFileSync(CONFLIST, JSON.stringify({ cniVersion: '1.0.0', name: 'podwire', plugins: [{ type: 'podwire', overlay: agent.stateDir, ipam: { type: 'host-local', ranges: [[{ subnet: '10.244.1.0/24' }]] } }] }))
    ip('netns add early')
    t.match(wire(agent, 'ADD', 'early').json, { code: 11, msg: /no podCIDR yet/ })
    t.match(wire(agent, 'STATUS', 'early').json, { code: 50 })
  })

  await t.test('ready', async (t) => {
    await until('the old one was heard of', () => seen.includes('change 10-podwire.conflist'))
    seen.length = 0
    peers(A, B)
    await agent.reads()
    t.match(agent.get('/readyz'), { status: 200, body: 'ok' })
    t.equal(wire(agent, 'STATUS', 'early').status, 0)
    await until('the conflist is there', () => seen.includes('rename 10-podwire.conflist'))
    const others = [...new Set(seen.map((event) => event.split(' ')[1]!))].filter((name) => name !== '10-podwire.conflist')
    t.notOk(others.some((name) => /\.(conf|conflist|json)$/.test(name)), `written under a name that no runtime reads (${others.join()})`)
    t.notOk(seen.includes('change 10-podwire.conflist'), 'never written in place')
    t.same(JSON.parse(readFileSync(CONFLIST, 'utf8')), {
      cniVersion: '1.0.0',
      cniVersions: ['0.4.0', '1.0.0', '1.1.0'],
      name: 'podwire',
      plugins: [{ type: 'podwire', capabilities: { portMappings: true, bandwidth: true }, mtu: 1450, overlay: agent.stateDir, ipam: { type: 'host-local', ranges: [[{ subnet: '10.244.1.0/24' }], [{ subnet: 'fd00:10:244:1::/64' }]], routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] } }],
    })
    t.equal(wire(agent, 'ADD', 'early').status, 0, 'and pods are wired')
  })

  await t.test('leases of pods that are provably dead are taken back', async (t) => {
    await until('the dead one is gone', () => !existsSync(leased.dead))
    t.ok(existsSync(leased.starting), 'one that is younger than a minute may be an ADD under way')
    t.ok(existsSync(leased.alive), 'and what lives, lives')
  })

  await t.test('metrics', async (t) => {
    const { body } = agent.get('/metrics')
    for (const line of ['podwire_ready 1', 'podwire_peers 1', 'podwire_peer_problems 0', 'podwire_watch_state{phase="watching"} 1', 'podwire_leases{state="used",network="10.244.1.0/24"} 3', 'podwire_leases{state="free",network="10.244.1.0/24"} 250'])
      t.ok(body.split('\n').includes(line), line)
    t.match(body, /podwire_reconcile_duration_seconds_count\{why="wanted"\} [1-9]/)
    t.equal(on('a', 'ss -Hltn | grep -c 9466'), '1')
    t.match(on('a', 'ss -Hltn'), '127.0.0.1:9466', 'for this host alone')
  })

  await t.test('a runtime passes host ports and bandwidth to it, and no other plugin is asked', async (t) => {
    const { plugins, ...list } = JSON.parse(readFileSync(CONFLIST, 'utf8'))
    t.equal(plugins.length, 1)
    ip('netns add ports')
    const published = { ...list, ...plugins[0], runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }], bandwidth: { ingressRate: 8_000_000, ingressBurst: 8_000_000 } } }
    const added = inside('a', () => call('podwire', 'ADD', published, { container: 'ports', netns: '/run/netns/ports' }))
    t.equal(added.status, 0, added.stdout)
    t.match(on('a', 'nft list map inet podwire hostports_ip'), 'tcp . 8080 comment "podwire/ports/eth0" : 10.244.1.')
    t.match(on('a', 'tc qdisc'), 'tbf')
    t.equal(inside('a', () => call('podwire', 'DEL', { ...list, ...plugins[0] }, { container: 'ports', netns: '' })).status, 0)
    t.notMatch(on('a', 'nft list table inet podwire'), 'podwire/ports')
    ip('netns del ports')
  })

  await t.test('an overlay that is broken is told to the runtime', async (t) => {
    agent.pause()
    on('a', 'ip link del podwire.1')
    t.match(wire(agent, 'STATUS', 'early').json, { code: 51, msg: /podwire\.1 is missing/ })
    agent.resume()
    await agent.settled()
    t.equal(wire(agent, 'STATUS', 'early').status, 0)
  })

  await t.test('an underlay that vanishes, and comes back', async (t) => {
    on('a', 'ip addr del 192.0.2.1/24 dev u0; ip -6 addr del 2001:db8::1/64 dev u0')
    await until('it says so', () => agent.status().reason !== '')
    t.match(agent.status(), { ready: false, reason: 'address 192.0.2.1, to which other nodes send, is on no interface: ip addr add 192.0.2.1/24 dev u0' })
    on('a', 'ip addr add 192.0.2.1/24 dev u0 && ip -6 addr add 2001:db8::1/64 dev u0 nodad; ip route replace default via 192.0.2.254')
    await until('at once', () => agent.status().reason === '' && agent.status().ready)
    await agent.settled()
  })
  await agent.stop()

  await t.test('a state directory that cannot be written to any more: said, and the overlay is kept', async (t) => {
    const kept = await Agent.ready('a')
    sh(`mount --bind ${kept.stateDir} ${kept.stateDir} && mount -o remount,bind,ro ${kept.stateDir}`)
    try {
      peers(A)
      await until('it says so', () => kept.log.includes('the state cannot be written') || kept.over)
      t.match(kept.log, /the state cannot be written.* into=\/run\/a\/state why=.*EROFS/)
      await until('and the node that left is gone', () => on('a', 'ip route show proto 119') === '')
    } finally {
      sh(`umount ${kept.stateDir}`)
      peers(A, B)
    }
    await until('it goes on', () => on('a', 'ip route show proto 119') !== '')
    await kept.stop()
  })

  await t.test('started before the node has its address, as while DHCP is busy', async (t) => {
    on('a', 'ip addr del 192.0.2.1/24 dev u0; ip -6 addr del 2001:db8::1/64 dev u0; ip -6 route del default')
    rmSync('/run/a/state', { recursive: true }) // as a reboot does
    const early = new Agent('a')
    await until('it says so', () => early.status().reason.includes('choose with underlay'))
    on('a', 'ip addr add 192.0.2.1/24 dev u0 && ip -6 addr add 2001:db8::1/64 dev u0 nodad; ip route replace default via 192.0.2.254; ip -6 route replace default via 2001:db8::fe')
    await until('at once', () => early.status().reason === '')
    t.equal(early.status().ready, true)
    await early.stop()
  })
})

t.test('the underlay', async (t) => {
  ip('-n a link add u1 up mtu 1400 type veth peer name far && ip -n a link set far up && ip -n a addr add 198.51.100.1/24 dev u1 && ip -n a addr add 203.0.113.1/32 dev lo && ip -n a addr add 198.51.100.7/24 dev u1')
  const find = (choice?: string, addresses = A.addresses) => inside('a', (netns) => findUnderlay(netns, { ...A, addresses }, choice))
  const u0 = { local: '192.0.2.1', dev: 'u0', mtu: 1500, onLink: ['192.0.2.0/24', '2001:db8::/64'] }
  const u1 = { local: '198.51.100.1', dev: 'u1', mtu: 1400, onLink: ['198.51.100.0/24', '198.51.100.0/24'] }
  t.same(find(), u0, "the node's address")
  t.same(find(undefined, A.addresses.toReversed()), { ...u0, local: '2001:db8::1' }, 'the first of them')
  t.match(find(undefined, ['198.51.100.7']), { local: '198.51.100.7', dev: 'u1' })
  t.match(find(undefined, ['10.99.0.1']), { local: '192.0.2.1', dev: 'u0' }, 'none of them is here (NAT): the default route')
  t.match(find('u1'), { local: u1.local, dev: 'u1', mtu: 1400 }, 'an interface')
  t.match(find('198.51.100.0/24'), { local: u1.local, dev: 'u1' }, 'a network')
  t.match(find('198.51.100.7'), { local: '198.51.100.7', dev: 'u1' }, 'an address')
  t.match(find('u0', ['2001:db8::1']), { local: '2001:db8::1', dev: 'u0' }, 'of an interface with both families the one that the node says')
  t.same(find('203.0.113.1'), { local: '203.0.113.1', dev: undefined, mtu: 1500, onLink: [] }, 'an address on lo leaves by the default route')
  for (const choice of ['u9', '10.9.0.0/16', '10.9.0.1', 'lo0']) t.throws(() => find(choice), { message: new RegExp(`underlay ${choice}: no interface has that .*this node has .*192\\.0\\.2\\.1/24`) })
  ip('-n a route del default && ip -n a -6 route del default')
  t.throws(() => find(undefined, ['10.99.0.1']), { message: /none of this node's addresses \(10\.99\.0\.1\) is on an interface here, and there is no default route: choose with underlay/ })
})

t.test('what the underlay has to reach: this node\'s addresses, and its routers, but not what pods have', async (t) => {
  on('a', `ip link add cni0 type bridge; ip addr add 10.244.1.1/24 dev cni0; ip link set cni0 up; ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0
    ip route replace default via 192.0.2.254; ip route add 203.0.113.0/25 via 192.0.2.253; ip route add 10.99.0.0/16 via 192.0.2.3 proto 119; ip route add 203.0.113.128/25 nexthop via 192.0.2.251 nexthop via 192.0.2.252`)
  const { own, nextHops } = inside('a', (netns) => reachable(netns, findUnderlay(netns, A, undefined), ['10.244.1.0/24', 'fd00:10:244:1::/64']))
  t.ok(['192.0.2.1', '2001:db8::1', '172.17.0.1'].every((address) => own.includes(address)), own.join())
  t.notOk(own.includes('10.244.1.1'), "the pods' gateway")
  t.same(nextHops.filter((address) => address.startsWith('192')).sort(), ['192.0.2.251', '192.0.2.252', '192.0.2.253', '192.0.2.254'], 'without those of podwire\'s own routes')
  t.same(inside('a', (netns) => reachable(netns, { local: '192.0.2.77', dev: 'eth0', mtu: 1500, onLink: [] }, [])), { own: [], nextHops: [] }, 'of an underlay that is not here')
  on('a', 'ip link del cni0; ip link del docker0; ip route del 203.0.113.0/25; ip route del 203.0.113.128/25; ip route flush proto 119')
})

const REFUSED: [string, RegExp][] = [
  ['--vni 0', /--vni 0: expected a number from 1 to 16777215/],
  ['--vni 16777216', /--vni/],
  ['--vni 1x', /--vni 1x/],
  ['--port 0', /--port 0: expected a number from 1 to 65535/],
  ['--port 65536', /--port/],
  ['--mtu 67', /--mtu 67/],
  ['--mtu -1', /--mtu/],
  ['--non-masquerade-cidrs 10.0.0.0/8,nonsense', /--non-masquerade-cidrs: nonsense is no network/],
  ['--cluster-cidr 10.244.0.0/16,nonsense', /--cluster-cidr: nonsense is no network/],
  ['--checksum-offload maybe', /--checksum-offload maybe: expected on or off/],
  ['--nodes a', /--nodes/],
  ['extra', /extra/],
]

for (const [options, sentence] of REFUSED)
  t.test(`refused: podwire agent ${options}`, async (t) => {
    await t.rejects(command(['--peers', '/run/peers.json', '--node', 'a', ...options.split(' ')]), { message: sentence })
  })

t.test('refused: an agent that does not know which node it is on', async (t) => {
  const before = process.env.NODE_NAME
  delete process.env.NODE_NAME
  await t.rejects(command(['--peers', '/run/peers.json']), { message: /which node is this\? Say it with --node NAME, or in NODE_NAME/ })
  if (before !== undefined) process.env.NODE_NAME = before
})

t.test('refused: a place to listen at that is none', async (t) => {
  t.throws(() => podwireOn('a', 'agent --peers /run/peers.json --node a --state-dir /run/other --listen here'), { message: /--listen here: expected ADDRESS:PORT/ })
})
