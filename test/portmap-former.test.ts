// A node that changes over: a port that a pod of the reference's portmap has is refused, and that pod named, wherever the reference has
// left it. What a dead one had is taken back.

import { call, ip, netns, sh, works } from './world.ts'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { execute, REFERENCE, referenceIsMissing } from './reference.ts'

const ranges = [[{ subnet: '10.7.0.0/24' }], [{ subnet: 'fd00:7::/64' }]]
const theirs = (type: string) => ({ cniVersion: '1.0.0', name: 'refnet', type, bridge: 'ref0', isGateway: true, ipam: { type: 'host-local', dataDir: '/run/ref', ranges: type === 'ptp' ? ranges.slice(0, 1) : ranges } })
const old = { container: 'old', netns: '/run/netns/old' }
const conf = { cniVersion: '1.1.0', name: 'podnet', type: 'ptp', ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1:2::/64' }]] } }
const pod = { container: 'new', netns: '/run/netns/new' }
const port = (hostPort: number, more: object = {}) => ({ hostPort, containerPort: 80, protocol: 'tcp', ...more })
const add = (...portMappings: object[]) => call('ptp', 'ADD', { ...conf, runtimeConfig: { portMappings } }, pod)
const rules = () => sh('{ iptables-save; ip6tables-save; nft list table ip cni_hostport; } 2>/dev/null | grep -E "8080|DN-" || true')
const masquerades = works('iptables -t nat -N probe && iptables -t nat -X probe') // the reference, by that program
const BATCH = 100 // pods; what a socket's buffer takes at once
const skip = referenceIsMissing || (!masquerades && 'iptables cannot masquerade on this kernel')

t.afterEach(() => {
  call('ptp', 'DEL', conf, pod)
  sh('for name in old new; do ip netns del $name 2>/dev/null; done; ip link del ref0 2>/dev/null; nft flush ruleset; rm -rf /run/ref /var/lib/cni')
})

/** A pod of the reference's, with ports. */
function wired(type: string, ...portMappings: object[]): void {
  netns('old')
  netns('new')
  const { json } = execute(join(REFERENCE, type), 'ADD', theirs(type), { ...old, path: REFERENCE })
  const chained = execute(join(REFERENCE, 'portmap'), 'ADD', { ...theirs(type), type: 'portmap', runtimeConfig: { portMappings }, prevResult: json }, old)
  t.equal(chained.status, 0, chained.stdout)
}

t.test('who is in whose way', { skip }, async (t) => {
  const many = Array.from({ length: 20 }, (_, i) => port(9000 + i))
  wired('bridge', port(8080), port(8081, { hostIP: '192.0.2.9' }), port(53, { protocol: 'udp' }), ...many)
  const links = () => sh('ip -br link; ip -n new -br link')
  const before = [rules(), links()]
  const asked: [object, string | undefined][] = [
    [port(8080), 'host port 8080/tcp is held by container old of network refnet'],
    [port(8080, { hostIP: '192.0.2.1' }), 'host port 8080/tcp is held by container old of network refnet'],
    [port(8080, { hostIP: '2001:db8::1' }), 'host port 8080/tcp is held by container old of network refnet'],
    [port(8081), 'host port 8081/tcp on 192.0.2.9 is held by container old of network refnet'],
    [port(8081, { hostIP: '192.0.2.9' }), 'host port 8081/tcp on 192.0.2.9 is held by container old of network refnet'],
    [port(53, { protocol: 'udp' }), 'host port 53/udp is held by container old of network refnet'],
    [port(9019), 'host port 9019/tcp is held by container old of network refnet'],
    [port(8081, { hostIP: '192.0.2.1' }), undefined],
    [port(8081, { hostIP: '2001:db8::1' }), undefined],
    [port(8080, { protocol: 'udp' }), undefined],
    [port(53), undefined],
    [port(80), undefined],
    [port(0x901f), undefined], // 8080 in the other byte order
  ]
  for (const [mapping, said] of asked) {
    const { status, json } = add(port(1234), mapping)
    const what = JSON.stringify(mapping)
    if (said !== undefined) {
      t.match(json, { code: 109, msg: `${said}, by another program's portmap`, details: /^delete that container, or choose another port; if it is gone, this takes its ports back:\necho / }, what)
      t.equal(links(), before[1], 'before anything was touched')
    } else t.equal(status, 0, `${what}: ${JSON.stringify(json)}`)
    call('ptp', 'DEL', conf, pod)
  }
  t.equal(rules(), before[0], 'what the other has is as it was')
})

t.test('what the details say takes the ports back', { skip }, async (t) => {
  wired('bridge', port(8080))
  const { details } = add(port(8080)).json
  const [, conf, container] = /^echo '(.*)' \| CNI_COMMAND=DEL CNI_CONTAINERID=(\S+) CNI_IFNAME=eth0 CNI_PATH=\S+ podwire$/m.exec(details)!
  t.equal(call('portmap', 'DEL', conf!, { container: container!, netns: '' }).status, 0)
  t.equal(sh('iptables-save; ip6tables-save').includes('8080'), false)
  t.equal(add(port(8080)).status, 0)
})

for (const type of ['ptp', 'bridge'])
  t.test(`a pod of ${type} that is dead does not block, and loses what it had`, { skip }, async (t) => {
    wired(type, port(8080), port(8080, { protocol: 'udp' }))
    t.equal(add(port(8080)).json.code, 109)
    ip('netns del old')
    for (let tries = 0; works('ip -br link show type veth | grep -q .') && tries < 1000; tries++) sh('sleep 0.01')
    const { status, stdout } = add(port(8080))
    t.equal(status, 0, stdout)
    t.notMatch(sh('iptables-save; ip6tables-save'), /CNI-DN-|8080/)
  })

t.test('its own container has its port already', { skip }, async (t) => {
  netns('new')
  const { json } = call('ptp', 'ADD', conf, pod)
  t.equal(execute(join(REFERENCE, 'portmap'), 'ADD', { ...conf, cniVersion: '1.0.0', type: 'portmap', runtimeConfig: { portMappings: [port(8080)] }, prevResult: { ...json, cniVersion: '1.0.0' } }, pod).status, 0)
  t.equal(call('portmap', 'ADD', { ...conf, type: 'portmap', runtimeConfig: { portMappings: [port(8080)] }, prevResult: json }, pod).status, 0)
})

t.test('what the reference makes with nft, since 1.6', async (t) => {
  netns('new')
  netns('old')
  sh('ip link add ref0 up type veth peer name ref1 netns old; ip route add 10.7.0.2 dev ref0')
  sh(`nft -f - <<'N'
    add table ip cni_hostport
    add chain ip cni_hostport hostports
    add chain ip cni_hostport hostip_hostports
    add rule ip cni_hostport hostports tcp dport 8080 dnat to 10.7.0.2:80 comment "old"
    add rule ip cni_hostport hostports udp dport 53 dnat to 10.7.0.2:53 comment "old"
    add rule ip cni_hostport hostip_hostports ip daddr 192.0.2.9 tcp dport 8081 dnat to 10.7.0.2:80 comment "old"
    add rule ip cni_hostport hostip_hostports ip saddr 192.0.2.9 tcp dport 8082 dnat to 10.7.0.2:80 comment "old"
N`)
  t.match(add(port(8080)).json, { code: 109, msg: "host port 8080/tcp is held by container old, by another program's portmap" })
  t.match(add(port(53, { protocol: 'udp' })).json, { code: 109, msg: 'host port 53/udp is held by container old' })
  t.match(add(port(8081)).json, { code: 109, msg: 'host port 8081/tcp on 192.0.2.9 is held by container old' })
  for (const mapping of [port(8081, { hostIP: '192.0.2.1' }), port(53), port(8082), port(8080, { hostIP: '::' })]) {
    t.equal(add(mapping).status, 0, JSON.stringify(mapping))
    call('ptp', 'DEL', conf, pod)
  }
  ip('link del ref0')
  t.equal(add(port(8080)).status, 0, 'dead')
  t.equal(sh('nft list table ip cni_hostport | grep -c dnat || true'), '0', 'and what it had is gone')
})

t.test('among thousands the one is found', { skip }, async (t) => {
  netns('old')
  netns('new')
  const chain = (i: number) => `CNI-DN-${String(i).padStart(21, '0')}`
  const jump = (i: number) => `-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"refnet\\" id: \\"c${i}\\"" -m multiport --dports ${20000 + i} -j ${chain(i)}`
  const lead = (i: number) => `-A ${chain(i)} -p tcp -m tcp --dport ${20000 + i} -j DNAT --to-destination 10.7.0.2:80`
  sh('ip link add ref0 up type bridge; ip addr add 10.7.0.1/16 dev ref0; ip link add refv type veth peer name eth0 netns old; ip link set refv master ref0')
  sh('iptables -t nat -N CNI-HOSTPORT-DNAT')
  for (let first = 0; first < 2000; first += BATCH) {
    const ids = Array.from({ length: BATCH }, (_, i) => first + i)
    writeFileSync('/run/rules', ['*nat', ...ids.map((i) => `:${chain(i)} - [0:0]`), ...ids.flatMap((i) => [jump(i), lead(i)]), 'COMMIT\n'].join('\n'))
    sh('iptables-restore --noflush /run/rules')
  }
  t.match(add(port(21999)).json, { code: 109, msg: 'host port 21999/tcp is held by container c1999 of network refnet' })
  const took = () => {
    const start = performance.now()
    t.equal(add(port(8080)).status, 0)
    const end = performance.now()
    call('ptp', 'DEL', conf, pod)
    return end - start
  }
  const among = Math.min(took(), took(), took())
  sh('nft flush ruleset')
  const alone = Math.min(took(), took(), took())
  t.comment(`an ADD takes ${among.toFixed(1)} ms among 2000 rules, ${alone.toFixed(1)} without`)
  t.ok(among < alone + 200)
})
