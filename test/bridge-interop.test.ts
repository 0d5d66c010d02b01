// podwire's bridge and the reference's on one node, during a migration in either direction: the same answers to the same
// configurations, pods of both on one bridge, and either deletes what the other has wired.

import { call, ip, netns, sh, works } from './world.ts'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { execute, REFERENCE, referenceIsMissing, type Start } from './reference.ts'

type Side = (command: string, conf: object, start?: Start) => { status: number | null; stdout: string; json: any }
const reference: Side = (command, conf, start = {}) => execute(join(REFERENCE, 'bridge'), command, conf, { ...start, path: REFERENCE })
const podwire: Side = (command, conf, start = {}) => call('bridge', command, conf, start)
const isNew = referenceIsMissing ? false : /1\.1\.0/.test(spawnSync(join(REFERENCE, 'bridge'), ['--version'], { encoding: 'utf8' }).stderr)
const hasVlans = works('ip link add probe type bridge vlan_filtering 1 && ip link del probe')
const masquerades = works('iptables -t nat -N probe && iptables -t nat -X probe') // the reference, by that program
const skip = referenceIsMissing
const skipVlans = skip || (!hasVlans && 'this kernel has no VLANs on bridges: scripts/uml.sh has one') || (!isNew && 'this reference has no vlanTrunk')
t.comment(`the reference is of ${REFERENCE}, ${isNew ? '1.5 or newer' : 'older than 1.5: newer keys are not compared'}`)

const v4 = { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }]] }
const dual = { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]] }
const conf = (keys: object = {}) => ({ cniVersion: '1.0.0', name: 'podnet', type: 'bridge', ipam: v4, ...keys })
const other = { container: 'c2', netns: '/run/netns/other' }

/** As ADD left it, and then as if nothing had been. */
const clean = (...names: string[]) => sh(`ip link del cni0 2>/dev/null; nft flush ruleset; rm -rf /var/lib/cni; for name in ${names.join(' ')}; do ip netns del $name; done; echo 0 >/proc/sys/net/ipv4/ip_forward`)

/** A result without what each chooses itself; an MTU, which the reference does not tell; an empty dns, which the older does; keys in one order. */
function shape(result: any): unknown {
  const sorted = (value: any): any => (Array.isArray(value) ? value.map(sorted) : typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value).filter(([key, inner]) => key !== 'mtu' && !(key === 'dns' && Object.keys(inner as object).length === 0)).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, inner]) => [key, sorted(inner)])) : value)
  return sorted({ ...result, interfaces: result.interfaces.map((one: any) => ({ ...one, mac: /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(one.mac), name: one.name.replace(/^veth.*/, 'veth') })) })
}

const ROWS: [name: string, keys: object][] = [
  ['plain', {}],
  ['a gateway of IPAM, hairpin, a MAC address, dns', { isGateway: true, hairpinMode: true, args: { cni: { mac: '02:00:00:00:00:09' } }, dns: { nameservers: ['10.1.2.1'] }, ipam: { type: 'host-local', subnet: '10.1.2.0/24', gateway: '10.1.2.77' } }],
  ['default gateway, both families', { isDefaultGateway: true, ipam: dual }],
  ['a default route of IPAM, with a gateway', { isDefaultGateway: true, ipam: { ...v4, routes: [{ dst: '0.0.0.0/0', gw: '10.1.2.9' }] } }],
  ['routes of IPAM, masquerading, MTU', { isGateway: true, ipMasq: masquerades, mtu: 1400, ipam: { ...v4, routes: [{ dst: '0.0.0.0/0' }, { dst: '192.0.2.0/24', gw: '10.1.2.7' }] } }],
  ['no ipam', { ipam: undefined }],
  ['an empty ipam, promiscuous', { ipam: {}, mtu: 1400, promiscMode: true }],
  ['version 0.3.1', { isDefaultGateway: true, cniVersion: '0.3.1' }],
  ['version 0.2.0', { isDefaultGateway: true, cniVersion: '0.2.0' }],
  ...(isNew ? ([['isolated, version 1.1.0', { isDefaultGateway: true, portIsolation: true, cniVersion: '1.1.0' }], ['the interface down', { ipam: {}, disableContainerInterface: true }]] as [string, object][]) : []),
]

t.test('the same results', { skip }, async (t) => {
  for (const [name, keys] of ROWS) {
    const [theirs, ours] = [reference, podwire].map((side) => {
      netns('pod')
      const added = side('ADD', conf(keys))
      t.equal(added.status, 0, `${name}: ${added.stdout}`)
      const flags = ip('-n pod -br link show eth0').includes('UP')
      t.equal(side('DEL', conf(keys)).status, 0)
      clean('pod')
      return { up: flags, ...('interfaces' in added.json ? (shape(added.json) as object) : added.json) }
    })
    t.same(ours, theirs, name)
  }
})

t.test('the same configurations are refused, and nothing is left by ours', { skip }, async (t) => {
  netns('pod')
  const before = sh('ip -br link; ip -n pod -br link')
  for (const [keys, said] of [
    [{ vlan: 5000 }, /vlan is 5000/], [{ vlan: -1 }, /vlan is -1/], [{ hairpinMode: true, promiscMode: true }, /^cannot set hairpin mode and promiscuous mode at the same time/],
    [{ bridge: 'abcdefghijklmnopqrst' }, /bridge is "abcdefghijklmnopqrst"/], [{ runtimeConfig: { mac: 'xx' } }, /runtimeConfig.mac is "xx"/],
    [{ ipam: { type: 'none-such' } }, /none-such/],
    ...(isNew ? ([
      [{ ipMasq: true, ipMasqBackend: 'x' }, /ipMasqBackend is "x"/], [{ disableContainerInterface: true }, /^cannot use IPAM when disableContainerInterface is true/], [{ vlanTrunk: [{ id: 5000 }] }, /vlanTrunk\[0\]\.id is 5000/],
      [{ vlanTrunk: [{ id: 0 }] }, /vlanTrunk\[0\]\.id is 0/], [{ vlanTrunk: [{ minID: 20, maxID: 10 }] }, /from minID 20 to maxID 10/], [{ vlanTrunk: [{ minID: 10 }] }, /minID and no maxID/], [{ vlanTrunk: [{ maxID: 10 }] }, /maxID and no minID/],
    ] as [object, RegExp][]) : []),
  ] as [object, RegExp][]) {
    const ours = podwire('ADD', conf(keys))
    t.match(ours.json?.msg, said, JSON.stringify(keys))
    t.equal(sh('ip -br link; ip -n pod -br link; ls /var/lib/cni/networks/podnet 2>/dev/null | grep "^10" || true'), before)
    t.not(reference('ADD', conf(keys)).status, 0, `the reference too: ${JSON.stringify(keys)}`)
    sh('ip link del cni0 2>/dev/null; ip -n pod link del eth0 2>/dev/null; rm -rf /var/lib/cni; true')
  }
  clean('pod')
})

for (const [direction, before, after] of [['from the reference to podwire', reference, podwire], ['from podwire to the reference', podwire, reference]] as const)
  t.test(direction, { skip }, async (t) => {
    const keys = { isDefaultGateway: true, ipam: dual }
    for (const pod of ['pod', 'other']) netns(pod)
    const state = () => sh('ip -br link | grep -v "^\\(lo\\|cni0\\)" || true; ip -n pod -br link | grep -v ^lo || true; ip -n other -br link | grep -v ^lo || true; ls /var/lib/cni/networks/podnet 2>/dev/null | grep "^\\(10\\|fd\\)" || true')
    const first = before('ADD', conf(keys))
    const mac = sh("ip -j link show cni0 | jq -r '.[0].address'")
    const second = after('ADD', conf(keys), other)
    t.equal(second.status, 0, second.stdout)
    t.same([first, second].map(({ json }) => json.ips.map((one: any) => one.address)), [['10.1.2.2/24', 'fd00:1::2/64'], ['10.1.2.3/24', 'fd00:1::3/64']])
    t.same([first, second].map(({ json }) => json.interfaces[0].mac), [mac, mac], "the bridge's MAC address stays")
    for (const address of ['10.1.2.1', '10.1.2.3', 'fd00:1::1', 'fd00:1::3']) t.ok(works(`ip netns exec pod ping -c1 -w4 ${address}`), `the first pod reaches ${address}`) // when the reference's has waited
    for (const address of ['10.1.2.2', 'fd00:1::2']) t.ok(works(`ping -c1 -W30 ${address}`) && works(`ip netns exec other ping -c1 -W30 ${address}`), `node and second pod reach ${address}`)

    t.equal(after('DEL', { ...conf(keys), prevResult: first.json }).stdout, '')
    t.equal(before('DEL', { ...conf(keys), prevResult: second.json }, other).stdout, '')
    t.equal(state(), '', 'each deleted what the other had wired')
    clean('pod', 'other')
  })

t.test("ours takes the reference's masquerading back; of ours the reference cannot know", { skip: skip || (!masquerades && 'iptables cannot masquerade on this kernel') }, async (t) => {
  const keys = conf({ isGateway: true, ipMasq: true })
  for (const pod of ['pod', 'other']) netns(pod)
  reference('ADD', keys)
  podwire('ADD', keys, other)
  t.equal(podwire('DEL', keys).stdout, '')
  t.notMatch(sh('iptables-save -t nat; nft list ruleset'), /CNI-[0-9a-f]{24}|net: podnet/, "none of the reference's rules")
  t.match(reference('DEL', keys, other).json?.msg ?? '', /^$|Chain 'CNI-[0-9a-f]{24}' does not exist/, 'with iptables it complains that its own are not there')
  t.equal(reference('DEL', keys, other).stdout, '', 'once')
  t.match(sh('nft list table inet podwire'), 'comment "podnet/c2/eth0"', 'our element')
  t.equal(podwire('GC', { ...keys, cniVersion: '1.1.0', 'cni.dev/valid-attachments': [] }).stdout, '')
  t.notMatch(sh('nft list table inet podwire'), 'comment', 'which GC finds')
  clean('pod', 'other')
})

t.test("the reference's bridge keeps its MAC address, its MTU and its gateway; ours serves the reference", { skip }, async (t) => {
  for (const pod of ['pod', 'other']) netns(pod)
  const [small, large] = [conf({ isGateway: true, mtu: 1400 }), conf({ isGateway: true, mtu: 1500 })]
  const theirs = reference('ADD', small).json
  const bridge = () => sh("ip -j addr show cni0 | jq -c '.[0] | [.address, .mtu, [.addr_info[] | select(.scope == \"global\") | .local]]'")
  const was = bridge()
  const ours = podwire('ADD', large, other)
  t.equal(ours.status, 0, ours.stdout)
  t.equal(bridge(), was, 'the port of 1400 bytes is there')
  t.equal(ours.json.interfaces[0].mac, theirs.interfaces[0].mac)
  t.ok(works('ip netns exec other ping -c1 -W30 -s 3000 10.1.2.1 && ping -c1 -W30 -s 3000 10.1.2.2'), 'in fragments')
  podwire('DEL', small)
  t.equal(reference('ADD', large).status, 0, 'and again')
  t.equal(podwire('CHECK', { ...large, prevResult: ours.json }, other).stdout, '')
  clean('pod', 'other')
})

t.test('the same VLANs', { skip: skipVlans }, async (t) => {
  const gated = { isDefaultGateway: true, ipam: v4 }
  for (const keys of [
    { vlan: 10 }, { vlan: 1 }, { vlan: 10, preserveDefaultVlan: true }, { vlan: 10, preserveDefaultVlan: false }, { vlanTrunk: [] }, { vlanTrunk: [{}] },
    { vlanTrunk: [{ id: 20 }, { minID: 30, maxID: 32, id: 40 }] }, { vlanTrunk: [{ id: 20 }], preserveDefaultVlan: true }, { vlanTrunk: [{ id: 1 }, { id: 5 }] }, { vlan: 10, vlanTrunk: [{ id: 20 }] },
    { vlan: 10, ...gated }, { vlan: 10, hairpinMode: true, portIsolation: true, ...gated }, { vlanTrunk: [{ id: 10 }], ...gated }, { vlan: 10, vlanTrunk: [{ id: 20 }], preserveDefaultVlan: true, ...gated },
  ]) {
    const [theirs, ours] = [reference, podwire].map((side) => {
      netns('pod')
      const added = side('ADD', conf({ ipam: {}, ...keys }))
      t.equal(added.status, 0, added.stdout)
      const port = added.json.interfaces[1].name
      const seen = { result: shape(added.json), port: sh(`bridge -c=never vlan show dev ${port}`).replace(port, '').replace(/\s+/g, ' '), reached: !('isDefaultGateway' in keys) || works('ip netns exec pod ping -c1 -W1 10.1.2.1') }
      t.equal(side('DEL', conf({ ipam: {}, ...keys })).status, 0)
      sh('ip link del cni0.10 2>/dev/null || true')
      clean('pod')
      return seen
    })
    t.same(ours, theirs, JSON.stringify(keys))
  }
})

t.test('one changes the VLANs of the other: gateways of both kinds serve both', { skip: skipVlans }, async (t) => {
  const keys = conf({ vlan: 10, isDefaultGateway: true })
  for (const [before, after] of [[reference, podwire], [podwire, reference]] as const) {
    for (const pod of ['pod', 'other']) netns(pod)
    t.equal(before('ADD', keys).status, 0)
    const second = after('ADD', keys, other)
    t.equal(second.status, 0, second.stdout)
    t.ok(works('for address in 10.1.2.1 10.1.2.3; do ip netns exec pod ping -c1 -W30 $address || exit; done; ip netns exec other ping -c1 -W30 10.1.2.1'))
    t.equal(after('DEL', keys).stdout + before('DEL', keys, other).stdout, '')
    sh('ip link del cni0.10')
    clean('pod', 'other')
  }
})
