// bridge with VLANs. What it asks the kernel for is told everywhere, by its lines and by its bytes; that it works, where the
// kernel has VLANs on bridges (module 8021q): scripts/uml.sh is one way to have such a kernel.
//
//     a, b, c (netns), VLAN 10, 10, 20       this namespace
//     eth0 10.1.10.2/24 ── veth ── VLAN 10 ──┐
//     eth0 10.1.10.3/24 ── veth ── VLAN 10 ──┼── cni0 ──┬── cni0.10 10.1.10.1/24
//     eth0 10.1.20.2/24 ── veth ── VLAN 20 ──┘          └── cni0.20 10.1.20.1/24

import { call, ip, netns, sh, works } from './world.ts'
import { Out } from '../src/kernel/attributes.ts'
import t from 'tap'
import { bridge, type BridgeConf } from '../src/bridge/bridge.ts'
import { cli } from '../src/cli/cli.ts'
import { show } from '../src/show.ts'
import { Netns } from '../src/kernel/netns.ts'
import type { Request } from '../src/kernel/netlink.ts'
import * as vlan from '../src/kernel/vlan.ts'
import { hostIfname } from '../src/names.ts'
import * as state from '../src/state.ts'
import type { Wiring } from '../src/wire.ts'
import { wiring } from './wiring.ts'

const hasVlans = works('ip link add probe type bridge vlan_filtering 1 && ip link del probe')
const without = hasVlans ? false : `this kernel (${sh('uname -r')}) has no VLANs on bridges: in its place by lines and bytes; scripts/uml.sh has one`
t.comment(hasVlans ? `for real: kernel ${sh('uname -r')} has VLANs on bridges` : String(without))

const pod: Wiring = { ...wiring('bridge'), routes: [] }
const of = (keys: Partial<BridgeConf>, changes: Partial<Wiring> = {}): Wiring => ({ ...pod, ...changes, conf: { ...pod.conf, ...keys } })
const host = hostIfname(pod.attachment)
/** The lines of a plan that it has for these keys only. */
const lines = (keys: Partial<BridgeConf>, others: Partial<BridgeConf> = {}): string[] => {
  const plan = (of_: Wiring) => bridge.plan(of_).flatMap((fact) => show(fact).split('\n'))
  const before = plan(of(others))
  return plan(of({ ...others, ...keys })).filter((line) => !before.includes(line)).map((line) => line.replace(host, 'PORT'))
}

t.test('lines: VLANs of the port', async (t) => {
  const filtering = 'ip link add cni0 mtu 1450 type bridge vlan_filtering 1'
  const none = 'bridge vlan del dev PORT vid 1-4094'
  const port = (...words: string[]) => words.map((each) => `bridge vlan add dev PORT vid ${each}`)
  t.same(lines({ vlan: 10 }), [filtering, none, ...port('10 pvid untagged')])
  t.same(lines({ vlan: 10, preserveDefaultVlan: true }), [filtering, ...port('10 pvid untagged')])
  t.same(lines({ vlanTrunk: [{ id: 20 }, { minID: 30, maxID: 32, id: 40 }, { minID: 50, maxID: 50 }] }), [filtering, none, ...port('20', '30-32', '40', '50', '1 pvid untagged')], 'frames without a tag are of VLAN 1')
  t.same(lines({ vlan: 10, vlanTrunk: [{ minID: 5, maxID: 15 }] }), [filtering, none, ...port('5-15', '10 pvid untagged')], "the pod's own last, so that it stays that")
  t.same(lines({ vlanTrunk: [] }), [filtering], 'as the reference: VLANs of others on this bridge, and the default for this port')
  t.same(lines({ vlan: 0, preserveDefaultVlan: true }), [])
})

t.test('lines: the gateway of a VLAN is an interface of its own', async (t) => {
  t.same(lines({ vlan: 10 }, { isGateway: true }).slice(3), [
    'bridge vlan add dev cni0 vid 10 self',
    'ip link add link cni0 name cni0.10 type vlan id 10',
    'sysctl -qew net/ipv6/conf/cni0.10/accept_ra=0',
    'sysctl -qw net/ipv4/conf/cni0.10/forwarding=1',
    'sysctl -qew net/ipv4/conf/cni0.10/arp_announce=2',
    'ip link set cni0.10 up',
    'ip addr add 10.1.2.1/24 dev cni0.10',
  ])
  t.same(lines({ vlanTrunk: [{ id: 10 }] }, { isGateway: true }).filter((line) => line.includes('addr') || line.includes('cni0.')), [], 'of a trunk it is the bridge')
})

t.test('bytes: as iproute2 sends them', async (t) => {
  const sent: string[] = []
  const change = ({ type, header, attrs }: Request) => {
    const out = new Out()
    out.emit(header)
    attrs?.(out)
    sent.push(`${type} ${out.bytes.toString('hex')}`)
  }
  const recorder = { rt: { change, get: () => undefined }, indexes: new Map([['port', 7], ['cni0', 3]]) } as unknown as Netns
  const byte = (value: number) => value.toString(16).padStart(2, '0')
  const [ADD, DEL] = [19, 17] // RTM_SETLINK, RTM_DELLINK
  const ifinfomsg = (index: number) => `07000000${byte(index)}000000${'00'.repeat(8)}` // AF_BRIDGE
  const spec = (...parts: string[]) => {
    const inner = parts.join('')
    return `${byte(4 + inner.length / 2)}001a00${inner}` // IFLA_AF_SPEC
  }
  const info = (flags: string, vid: string) => `08000200${flags}00${vid}` // IFLA_BRIDGE_VLAN_INFO: struct bridge_vlan_info
  const [NONE, PVID_UNTAGGED, BEGIN, END] = ['00', '06', '08', '10']

  vlan.addMember(recorder, { fact: 'vlans', dev: 'port', only: true, vlans: [{ vid: 20 }, { vid: 30, end: 32 }, { vid: 10, native: true }] }, 'del\nadd')
  vlan.addMember(recorder, { fact: 'vlans', dev: 'cni0', self: true, vlans: [{ vid: 4094 }], keep: true }, 'add')
  t.same(sent, [
    `${DEL} ${ifinfomsg(7)}${spec(info(BEGIN, '0100'), info(END, 'fe0f'))}`,
    `${ADD} ${ifinfomsg(7)}${spec(info(NONE, '1400'), info(BEGIN, '1e00'), info(END, '2000'), info(PVID_UNTAGGED, '0a00'))}`,
    `${ADD} ${ifinfomsg(3)}${spec('0600000002000000', info(NONE, 'fe0f'))}`,
  ])
})

const conf = (vlan: number, more: object = {}) => ({
  cniVersion: '1.1.0', name: `net${vlan}`, type: 'bridge', vlan, isDefaultGateway: true,
  ipam: { type: 'host-local', ranges: [[{ subnet: `10.1.${vlan}.0/24` }], [{ subnet: `fd00:${vlan}::/64` }]] }, ...more,
})
const place = (name: string) => ({ container: name, netns: `/run/netns/${name}` })
const portOf = (name: string) => hostIfname({ network: '', containerID: name, ifname: 'eth0' })
const clean = (...names: string[]) => sh(`ip link del cni0; rm -rf /var/lib/cni; for name in ${names.join(' ')}; do ip netns del $name; done`)

t.test('a kernel without says so, before anything is left', { skip: hasVlans && 'this kernel has VLANs on bridges' }, async (t) => {
  netns('a')
  for (const keys of [{}, { vlan: 0, vlanTrunk: [{ id: 5 }] }]) {
    const { json } = call('bridge', 'ADD', conf(10, keys), place('a'))
    t.match(json, { code: 103, msg: 'ip link add cni0 mtu 1500 type bridge vlan_filtering 1: EOPNOTSUPP: this kernel has no VLANs on bridges (CONFIG_BRIDGE_VLAN_FILTERING, module 8021q)' })
  }
  ip('link add cni0 type bridge')
  t.match(call('bridge', 'ADD', conf(10), place('a')).json, { code: 103, msg: /ip link set cni0 type bridge vlan_filtering 1: EOPNOTSUPP/ })
  t.equal(sh('ip -br link show type veth; ip -n a -br link show type veth; ls /var/lib/cni/networks/net10 | grep "^10" || true'), '')
  clean('a')
})

t.test('what cannot be is said, and nothing is left', async (t) => {
  netns('a')
  const said = (keys: object) => call('bridge', 'ADD', conf(10, keys), place('a')).json
  t.match(said({ vlan: 5000 }), { code: 7, msg: 'vlan is 5000: expected a VLAN ID from 0 to 4094' })
  t.match(said({ vlanTrunk: [{ id: 0 }, { minID: 9, maxID: 4095 }] }), { code: 7, msg: 'vlanTrunk[0].id is 0: expected a VLAN ID from 1 to 4094; vlanTrunk[1].maxID is 4095: expected a VLAN ID from 1 to 4094' })
  t.match(said({ vlanTrunk: [{ minID: 20, maxID: 10 }, { minID: 5 }, { maxID: 6 }] }), {
    code: 7, msg: 'vlanTrunk[0] goes from minID 20 to maxID 10: the first is the smaller; vlanTrunk[1] has minID and no maxID: a range needs both; vlanTrunk[2] has maxID and no minID: a range needs both',
  })
  t.match(said({ bridge: 'abcdefghijklmn' }), { code: 7, msg: 'the gateway of VLAN 10 would be the interface abcdefghijklmn.10: a name has at most 15 characters, choose a shorter one for the bridge' })
  t.equal(sh('ip -br link show type bridge; ls /var/lib/cni/networks/net10 | grep "^10" || true'), '')
  sh('ip netns del a')
})

t.test('pods of one VLAN reach each other and their gateway, and nobody of another', { skip: without }, async (t) => {
  for (const name of ['a', 'b', 'c']) netns(name)
  const [a, b, c] = ([['a', 10], ['b', 10], ['c', 20]] as const).map(([name, id]) => {
    const added = call('bridge', 'ADD', conf(id), place(name))
    t.equal(added.status, 0, added.stdout)
    return added.json
  })
  const [v4, v6] = [0, 1].map((i) => (json: any) => json.ips[i].address.replace(/\/.*/, ''))
  t.match(a.interfaces, [{ name: 'cni0' }, { name: portOf('a') }, { name: 'eth0', sandbox: '/run/netns/a' }, { name: 'cni0.10', mac: a.interfaces[0].mac }])
  t.same(a.ips.map((one: any) => one.interface), [2, 2])
  for (const address of ['10.1.10.1', v4!(b), 'fd00:10::1', v6!(b)]) t.ok(works(`ip netns exec a ping -c1 -W30 ${address}`), `a reaches ${address}`)
  sh('ip -n a addr add 10.99.0.1/24 dev eth0; ip -n b addr add 10.99.0.2/24 dev eth0; ip -n c addr add 10.99.0.3/24 dev eth0')
  t.ok(works('ip netns exec a ping -c1 -W30 10.99.0.2'), 'on the link, too')
  t.notOk(works('ip netns exec a ping -c1 -W1 10.99.0.3'), 'but not on that of c')
  t.ok(works(`ip netns exec a ping -c1 -W30 ${v4!(c)}`), 'which it reaches by way of the node alone')
  t.equal(sh('ip -br addr show cni0 scope global'), '', 'the bridge itself has no address')
  t.equal(sh('bridge -c=never vlan show dev cni0 | tail -n +2').replace(/\s+/g, ' '), 'cni0 1 PVID Egress Untagged 10 20')
  for (const [name, id] of [['a', 10], ['c', 20]] as const) t.equal(sh(`bridge -c=never vlan show dev ${portOf(name)} | tail -n +2`).replace(/\s+/g, ' '), `${portOf(name)} ${id} PVID Egress Untagged`)

  const check = () => call('bridge', 'CHECK', { ...conf(10), prevResult: a }, place('a'))
  t.equal(check().status, 0, check().stdout)
  for (const [damage, sentence] of [
    [`bridge vlan del dev ${portOf('a')} vid 10`, `${portOf('a')} is not in VLAN 10`],
    [`bridge vlan add dev ${portOf('a')} vid 10`, `${portOf('a')} is in VLAN 10, but not for frames without a tag`],
    [`bridge vlan add dev ${portOf('a')} vid 20-21`, `${portOf('a')} is in VLAN 20, too`],
    ['bridge vlan del dev cni0 vid 10 self', 'cni0 is not in VLAN 10'],
    ['ip link set cni0 type bridge vlan_filtering 0', 'bridge cni0 has no VLAN filtering'],
    ['ip link set cni0.10 down', 'interface cni0.10 is down'],
    ['ip link del cni0.10', 'interface cni0.10 is missing'],
  ] as const) {
    sh(damage)
    const { json } = check()
    t.match(json, { code: 102, msg: sentence }, damage)
    sh(json.details)
    t.equal(check().status, 0, `repaired: ${check().stdout}`)
  }
  t.ok(works('ip netns exec a ping -c1 -W30 10.1.10.1'))
  for (const name of ['a', 'b', 'c']) t.equal(call('bridge', 'DEL', conf(name === 'c' ? 20 : 10), place(name)).status, 0)
  t.equal(sh('ip -br link | cut -d" " -f1 | sort'), 'cni0\ncni0.10@cni0\ncni0.20@cni0\nlo', 'what is shared stays')
  t.equal(cli(['uninstall', '--bridge', 'cni0']).status, 0)
  t.equal(sh('ip -br link | cut -d" " -f1'), 'lo', 'and goes when it is asked for')
  sh('rm -rf /var/lib/cni; for name in a b c; do ip netns del $name; done')
})

t.test('a trunk: tagged frames to pods of those VLANs, others to VLAN 1', { skip: without }, async (t) => {
  for (const name of ['a', 'b', 'c', 'd']) netns(name)
  const plain = { isDefaultGateway: false, ipam: {} }
  t.equal(call('bridge', 'ADD', conf(0, { ...plain, vlanTrunk: [{ id: 20 }, { minID: 30, maxID: 39 }] }), place('a')).status, 0)
  t.equal(call('bridge', 'ADD', conf(20, plain), place('b')).status, 0)
  t.equal(call('bridge', 'ADD', conf(35, plain), place('c')).status, 0)
  t.equal(call('bridge', 'ADD', conf(0, plain), place('d')).status, 0)
  sh(`for id in 20 35 40; do ip -n a link add link eth0 name eth0.$id up type vlan id $id; ip -n a addr add 10.0.$id.1/24 dev eth0.$id; done
    ip -n a addr add 10.0.1.1/24 dev eth0; ip -n b addr add 10.0.20.2/24 dev eth0; ip -n c addr add 10.0.35.2/24 dev eth0; ip -n d addr add 10.0.1.2/24 dev eth0; ip -n d addr add 10.0.40.2/24 dev eth0`)
  for (const address of ['10.0.20.2', '10.0.35.2', '10.0.1.2']) t.ok(works(`ip netns exec a ping -c1 -W30 ${address}`), address)
  t.notOk(works('ip netns exec a ping -c1 -W1 10.0.40.2'), 'a VLAN that is not of the trunk')
  clean('a', 'b', 'c', 'd')
})

t.test('the lines, typed, make what ADD makes', { skip: without }, async (t) => {
  for (const of_ of [of({ vlan: 10, isGateway: true, vlanTrunk: [{ minID: 5, maxID: 15 }] }), of({ vlan: 10, preserveDefaultVlan: true }), of({ vlanTrunk: [{ id: 20 }] })]) {
    const plan = bridge.plan(of_)
    const dump = (run: (kernel: state.Kernel) => void) => {
      const kernel = { host: new Netns(), pod: new Netns(netns('pod')) }
      run(kernel)
      t.same(state.check(kernel, plan, 'pod'), [], 'CHECK agrees')
      const seen = sh("bridge -j vlan; ip -j -d link | jq -c '.[] | select(.master == \"cni0\" or (.ifname | startswith(\"cni0\"))) | [.ifname, .link, .mtu, (.flags | index(\"UP\") != null), .linkinfo.info_kind, .linkinfo.info_data.vlan_filtering, .linkinfo.info_data.id]'; ip -j addr | jq -c '.[].addr_info[] | select(.scope == \"global\") | [.label, .local]'")
      for (const each of Object.values(kernel)) each.close()
      clean('pod')
      return seen
    }
    const made = dump((kernel) => state.add(kernel, plan, 'pod'))
    t.equal(dump(() => sh(`mount -t sysfs sysfs /sys; ${plan.map((fact) => show(fact)).filter(Boolean).join(' &&\n')}`)), made)
  }
})

t.test('a bridge that is there: its filtering is turned on if nobody is on it; else that is said', { skip: without }, async (t) => {
  for (const name of ['a', 'b']) netns(name)
  const plain = { isDefaultGateway: false, ipam: {} }
  ip('link add cni0 type bridge')
  t.equal(call('bridge', 'ADD', conf(10, plain), place('a')).status, 0)
  t.match(ip('-d link show cni0'), 'vlan_filtering 1')
  ip('link set cni0 type bridge vlan_filtering 0')
  t.match(call('bridge', 'ADD', conf(10, plain), place('b')).json, { code: 100, msg: `bridge cni0 has no VLAN filtering, and port ${portOf('a')}, whose tagged frames would be dropped with it: if there are none, type ip link set cni0 type bridge vlan_filtering 1` })
  t.equal(call('bridge', 'ADD', conf(0, plain), place('b')).status, 0, 'who wants no VLANs is not asked')
  clean('a', 'b')
})

t.test("the reference's gateway of a VLAN, one end of a veth pair, is as good; anything else of that name is not", { skip: without }, async (t) => {
  netns('a')
  sh('ip link add cni0 up type bridge vlan_filtering 1; ip link add cni0.10 up type veth peer name port10; ip link set port10 up master cni0; bridge vlan del dev port10 vid 1; bridge vlan add dev port10 vid 10 pvid untagged')
  const added = call('bridge', 'ADD', conf(10), place('a'))
  t.equal(added.status, 0, added.stdout)
  t.ok(works('ip netns exec a ping -c1 -W30 10.1.10.1'))
  t.equal(call('bridge', 'CHECK', { ...conf(10), prevResult: added.json }, place('a')).status, 0)
  call('bridge', 'DEL', conf(10), place('a'))
  sh('bridge vlan add dev port10 vid 11 pvid untagged')
  t.match(call('bridge', 'ADD', conf(10), place('a')).json, { code: 100, msg: /interface cni0\.10 is of type veth, and not VLAN 10 of cni0$/ })
  sh('ip link del cni0.10; ip link add link cni0 name cni0.10 type vlan id 11')
  t.match(call('bridge', 'ADD', conf(10), place('a')).json, { code: 100, msg: /interface cni0\.10 is of type vlan, and not VLAN 10 of cni0$/ })
  t.equal(sh(`ip -br link show ${portOf('a')} 2>/dev/null; ls /var/lib/cni/networks/net10 | grep "^10" || true`), '', 'nothing is left')
  sh('ip link del cni0.10; ip link add cni0.10 type veth peer name port10; ip link set port10 master cni0')
  t.equal(cli(['uninstall', '--bridge', 'cni0']).status, 0)
  t.equal(sh('ip -br link | cut -d" " -f1'), 'lo', "removed with the bridge, be it the reference's")
  sh('rm -rf /var/lib/cni; ip netns del a')
})
