// bandwidth: what a pod's limits are in the kernel, behind any plugin that gives it a veth pair:
//
//     pod (netns)        this namespace
//     eth0 ──── veth ─── vethx: tbf, ingress ──► bwp…: tbf

import { call, ip, netns, sh } from './world.ts'
import t from 'tap'
import { bandwidth, remarks, type BandwidthConf } from '../src/bandwidth/bandwidth.ts'
import type { Pod } from '../src/chained.ts'
import type { Plan } from '../src/facts.ts'
import { show } from '../src/show.ts'
import { Netns } from '../src/kernel/netns.ts'
import * as state from '../src/state.ts'

const conf = { cniVersion: '1.1.0', name: 'podnet', type: 'bandwidth', ingressRate: 10_000_000, ingressBurst: 400_000, egressRate: 20_000_000, egressBurst: 320_000 } as const
const pod: Pod = { attachment: { network: 'podnet', containerID: 'c1', ifname: 'eth0' }, ips: [], routes: [], host: 'vethx', bridge: undefined, mtu: 1400 }
const IFB = 'bwpec43057c07aa'

const planOf = (changes: object = {}, of: Partial<Pod> = {}): Plan => bandwidth.plan({ ...pod, ...of }, { ...conf, ...changes } as BandwidthConf)
const lines = (plan: Plan): string => plan.map((fact) => show(fact)).join('\n')
const only = (changes: object): BandwidthConf => ({ cniVersion: '1.1.0', name: 'podnet', type: 'bandwidth', ...changes })
const tbf = (changes: object, of: Partial<Pod> = {}): string => lines(bandwidth.plan({ ...pod, ...of }, only(changes))).replace(/^.* tbf /gm, '')

t.test('a pod with limits both ways', async (t) => {
  t.equal(
    lines(planOf()),
    `tc qdisc add dev vethx root handle 1: tbf rate 10000000bit burst 50000 limit 81250
ip link add ${IFB} address ae:9f:ae:71:c9:a7 mtu 1400 txqueuelen 0 type ifb
ip link set ${IFB} alias podnet/c1/eth0
sysctl -qew net/ipv6/conf/${IFB}/disable_ipv6=1
ip link set ${IFB} up
tc qdisc add dev ${IFB} root handle 1: tbf rate 20000000bit burst 40000 limit 102500
tc qdisc add dev vethx ingress
tc filter add dev vethx parent ffff: protocol all prio 1 u32 match u32 0 0 flowid 1:1 action mirred egress redirect dev ${IFB}`,
  )
})

t.test('one way, or none', async (t) => {
  t.equal(tbf({ ingressRate: 8_000_000, ingressBurst: 800_000 }), 'rate 8000000bit burst 100000 limit 90536')
  t.equal(bandwidth.plan(pod, only({ egressRate: 8_000_000, egressBurst: 800_000 })).length, 6)
  t.same(bandwidth.plan(pod, only({})), [])
  t.same(bandwidth.plan(pod, only({ ingressRate: 0, ingressBurst: 0, egressRate: 0, egressBurst: 0 })), [], '0 is no limit')
})

t.test("a container's second interface has an ifb of its own", async (t) => {
  const names = ['eth0', 'net1'].map((ifname) => planOf({}, { attachment: { ...pod.attachment, ifname } }).find(({ fact }) => fact === 'ifb'))
  t.match(names, [{ name: IFB, mac: /^[0-9a-f][26ae](:[0-9a-f]{2}){5}$/ }, { name: /^bwp[0-9a-f]{12}$/, alias: 'podnet/c1/net1' }])
  t.not(show(names[0]!), show(names[1]!))
})

t.test('what the configuration says itself counts, and not the runtime', async (t) => {
  const runtimeConfig = { bandwidth: { ingressRate: 1_000_000, ingressBurst: 1_000_000 } }
  t.equal(tbf({ runtimeConfig }), 'rate 1000000bit burst 125000 limit 72606')
  t.equal(tbf({ runtimeConfig, ingressRate: 2_000_000, ingressBurst: 1_000_000 }), 'rate 2000000bit burst 125000 limit 72606')
  t.equal(tbf({ runtimeConfig, egressRate: 0 }), '')
})

t.test('a burst that no packet fits into, or that is over before a timer can be right, is raised, and that is said', async (t) => {
  t.equal(tbf({ ingressRate: 1_000_000, ingressBurst: 8000 }), 'rate 1000000bit burst 1414 limit 8484')
  t.equal(tbf({ ingressRate: 1_000_000, ingressBurst: 8000 }, { mtu: 9000 }), 'rate 1000000bit burst 9014 limit 54084')
  t.equal(tbf({ ingressRate: 1_000_000_000, ingressBurst: 8000 }), 'rate 1000000000bit burst 250000 limit 3190536')
  t.same(remarks(pod, only({ ingressRate: 1_000_000, ingressBurst: 8000 })), ['ingressBurst is 8000: raised to 11312, with less ingressRate 1000000 would not be reached'])
  t.same(remarks(pod, conf), [])
})

t.test('the burst that runtimes pass where an annotation of Kubernetes has none is not taken for one (kubernetes#90838)', async (t) => {
  for (const burst of [2 ** 31 - 1, 2 ** 32 - 1, 2 ** 35 - 9]) {
    const passed = only({ runtimeConfig: { bandwidth: { ingressRate: 1_000_000, ingressBurst: burst, egressRate: 1_000_000_000, egressBurst: burst } } })
    t.match(lines(bandwidth.plan(pod, passed)), /vethx .* rate 1000000bit burst 3125 limit 10195\n[^]* rate 1000000000bit burst 3125000 limit 3190536\n/, `${burst}`)
    t.same(bandwidth.problems!(pod, passed), [])
    t.same(remarks(pod, passed), [])
  }
  t.match(tbf({ ingressRate: 1_000_000, ingressBurst: 2 ** 32 - 1 }), 'burst 536870911 ', 'who writes it into a configuration gets it')
})

t.test('sentences about what does not fit', async (t) => {
  const problems = (changes: object, of: Partial<Pod> = {}) => bandwidth.problems!({ ...pod, ...of }, only(changes))
  t.same(problems({ ingressRate: 100 }), ['ingressRate is 100 and ingressBurst is 0: if rate is set, burst must also be set'])
  t.same(problems({ runtimeConfig: { bandwidth: { egressBurst: 100 } } }), ['runtimeConfig.bandwidth.egressBurst is 100 and runtimeConfig.bandwidth.egressRate is 0: if burst is set, rate must also be set'])
  t.same(problems({ egressRate: 100, egressBurst: 8 * (2 ** 32 - 1) }), ['egressBurst is 34359738360: burst cannot be more than 4GB'])
  t.same(problems({ egressRate: 100, egressBurst: 8 * (2 ** 32 - 1) - 1 }), [])
  t.same(problems({ egressRate: 7, egressBurst: 100 }), ['egressRate is 7: expected at least 8, a byte per second'])
  t.same(problems(conf, { host: undefined }), ["bandwidth needs the node's end of a veth pair, and eth0 of the pod is none"])
  t.same(problems({}, { host: undefined }), [], 'without limits any interface will do')
})

/** Runs something with a new pod, whose interface is there, and a kernel that has not looked yet. */
function withPod<T>(run: (kernel: state.Kernel) => T): T {
  netns('pod')
  ip('link add vethx up mtu 1400 type veth peer name eth0 mtu 1400 netns pod')
  const kernel = { host: new Netns() }
  try {
    return run(kernel)
  } finally {
    kernel.host.close()
    ip('netns del pod')
    sh(`ip link del vethx; ip link del ${IFB}; true`)
  }
}

const fresh = <T>(run: (kernel: state.Kernel) => T): T => {
  const kernel = { host: new Netns() }
  try {
    return run(kernel)
  } finally {
    kernel.host.close()
  }
}
const check = (plan: Plan) => fresh((kernel) => state.check(kernel, plan, 'pod'))
const dump = (): string => sh(`tc -d qdisc show dev vethx; tc -d qdisc show dev ${IFB}; tc -d filter show dev vethx parent ffff:; ip -d link show type ifb | sed 's/^[0-9]*: //'`)

const cases: [string, Plan][] = [
  ['both ways', planOf()],
  ['the least and the most', planOf({ ingressRate: 8, ingressBurst: 8, egressRate: 2 ** 53 - 1, egressBurst: 2 ** 35 - 9 })],
  ['a burst of an hour', planOf({ ingressRate: 999_983, ingressBurst: 2 ** 35 - 9, egressRate: 40_000_000_000, egressBurst: 12_345_678 })],
]
for (const [name, plan] of cases)
  t.test(`typed in a shell it is the same: ${name}`, async (t) => {
    const made = withPod((kernel) => (state.add(kernel, plan, 'pod'), t.same(check(plan), []), dump()))
    const typed = withPod(() => (sh(lines(plan).replaceAll('\n', ' &&\n')), t.same(check(plan), [], 'CHECK agrees'), dump()))
    t.equal(made, typed)
    t.match(made, /qdisc tbf 1: root [^]*qdisc ingress ffff: [^]*qdisc tbf 1: root [^]*Redirect to device bwp[^]* stolen[^]* ifb /)
  })

t.test('tc shows what was asked for', async (t) => {
  withPod((kernel) => {
    state.add(kernel, planOf(), 'pod')
    t.match(sh('tc qdisc show dev vethx'), 'rate 10Mbit burst 50000b lat 25ms')
    t.match(sh(`tc qdisc show dev ${IFB}`), 'rate 20Mbit burst 40000b lat 25ms')
    t.match(ip(`link show ${IFB}`), /UP.*mtu 1400.*\n.*ae:9f:ae:71:c9:a7.*\n +alias podnet\/c1\/eth0/)
  })
})

t.test('CHECK sees each thing broken, and its line repairs it', async (t) => {
  const plan = planOf()
  const broken: [string, RegExp][] = [
    ['tc qdisc del dev vethx root', /^interface vethx has no qdisc tbf$/],
    ['tc qdisc change dev vethx root handle 1: tbf rate 10000008bit burst 50000 limit 81250', /^qdisc tbf of vethx has rate 10000008bit, not 10000000bit$/],
    ['tc qdisc change dev vethx root handle 1: tbf rate 10mbit burst 50002 limit 81250', /^qdisc tbf of vethx has burst 50002b, not 50000b$/],
    ['tc qdisc change dev vethx root handle 1: tbf rate 10mbit burst 50000 limit 81251', /^qdisc tbf of vethx has limit 81251b, not 81250b$/],
    ['tc qdisc del dev vethx root && tc qdisc add dev vethx root handle 7: htb', /^interface vethx has qdisc htb, not tbf$/],
    [`tc qdisc del dev ${IFB} root`, new RegExp(`^interface ${IFB} has no qdisc tbf$`)],
    ['tc qdisc del dev vethx ingress', /^interface vethx has no qdisc ingress; interface vethx has no filter/],
    ['tc filter del dev vethx parent ffff:', new RegExp(`^interface vethx has no filter that redirects to ${IFB}$`)],
    [`tc filter del dev vethx parent ffff: && tc filter add dev vethx parent ffff: protocol ip prio 1 u32 match u32 0 0 flowid 1:1 action mirred egress redirect dev ${IFB}`, /^interface vethx has a filter that does not redirect everything/],
    [`tc filter del dev vethx parent ffff: && tc filter add dev vethx parent ffff: protocol all prio 1 u32 match ip dst 10.0.0.0/8 flowid 1:1 action mirred egress redirect dev ${IFB}`, /^interface vethx has a filter that does not redirect everything/],
    [`tc filter del dev vethx parent ffff: && tc filter add dev vethx parent ffff: protocol all prio 1 u32 match u32 0 0 flowid 1:1 action mirred egress mirror dev ${IFB}`, /^interface vethx has a filter that does not redirect everything/],
    ['tc filter del dev vethx parent ffff: && tc filter add dev vethx parent ffff: protocol all prio 1 u32 match u32 0 0 flowid 1:1 action mirred egress redirect dev lo', /^interface vethx has a filter that does not redirect everything/],
    [`tc filter add dev vethx parent ffff: protocol ip prio 2 u32 match u32 0 0 flowid 1:1 action mirred egress redirect dev lo`, /^interface vethx has a filter that does not redirect everything/],
    [`ip link set ${IFB} down`, new RegExp(`^interface ${IFB} is down$`)],
    [`ip link set ${IFB} alias other`, new RegExp(`^interface ${IFB} has alias "other", not "podnet/c1/eth0"$`)],
    [`ip link del ${IFB} && ip link add ${IFB} up mtu 1400 type ifb`, new RegExp(`^interface ${IFB} has MAC address .*, not ae:9f:ae:71:c9:a7`)],
    [`ip link del ${IFB}`, new RegExp(`^interface ${IFB} is missing$`)],
    [`ip link del ${IFB} && ip link add ${IFB} up type veth peer name other`, new RegExp(`^interface ${IFB} is of type veth, not ifb`)],
  ]
  withPod((kernel) => {
    state.add(kernel, plan, 'pod')
    for (const [line, said] of broken) {
      sh(line)
      const findings = check(plan)
      t.match(findings.map(({ sentence }) => sentence).join('; '), said, line)
      for (const { repair } of findings) sh(repair)
      t.same(check(plan), [], 'repaired')
    }
  })
})

t.test('a qdisc of somebody else is in the way: what was done is taken back, and theirs stays', async (t) => {
  withPod((kernel) => {
    sh('tc qdisc add dev vethx clsact')
    const before = sh('tc qdisc show; ip -o link | cut -d: -f2')
    t.throws(() => state.add(kernel, planOf(), 'pod'), { code: 'EEXIST', message: /^tc qdisc add dev vethx ingress: EEXIST/, left: [] })
    t.equal(sh('tc qdisc show; ip -o link | cut -d: -f2'), before)
    sh('tc qdisc del dev vethx clsact')
    state.add(kernel, planOf(), 'pod')
    t.doesNotThrow(() => state.add(kernel, planOf(), 'pod'), 'ours are there: an entry before in the list has made them')
    t.same(check(planOf()), [])
  })
})

t.test('taken back, nothing stays; and what is gone already, or is another by now, is no problem', async (t) => {
  withPod((kernel) => {
    const before = sh('tc qdisc show; ip -o link | cut -d: -f2')
    state.add(kernel, planOf(), 'pod')
    t.same(state.del(kernel, planOf()), [])
    t.equal(sh('tc qdisc show; ip -o link | cut -d: -f2'), before)
    t.same(fresh((again) => state.del(again, planOf())), [], 'repeated')
    sh('tc qdisc add dev vethx root handle 7: htb')
    t.same(fresh((again) => state.del(again, planOf())), [])
    t.match(sh('tc qdisc show dev vethx'), 'htb 7:', "another's qdisc stays")
    state.add(kernel, planOf({ ingressRate: 0, ingressBurst: 0 }), 'pod')
    ip('netns del pod')
    t.same(fresh((again) => state.del(again, planOf())), [], 'the veth is gone')
    t.equal(ip('-br link show type ifb'), '')
    netns('pod')
  })
})

const ptp = { cniVersion: '1.1.0', name: 'podnet', type: 'ptp', mtu: 1400, ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]] } }
const all = (): string => sh('tc qdisc show; ip -o link | cut -d: -f2; find /var/lib -name "10.*" -o -name "fd*"')

t.test('behind ptp: the result gains the ifb, CHECK sees what is broken, DEL needs no namespace', async (t) => {
  netns('pod')
  const before = all()
  const prevResult = call('ptp', 'ADD', ptp).json
  const wired = all()
  const added = call('bandwidth', 'ADD', { ...conf, prevResult })
  t.same(added.json, { ...prevResult, interfaces: [...prevResult.interfaces, { name: IFB, mac: 'ae:9f:ae:71:c9:a7' }] })
  t.match(sh(`tc qdisc show dev ${prevResult.interfaces[0].name}`), 'rate 10Mbit burst 50000b lat 25ms')
  const passed = { ...conf, prevResult: added.json }
  t.equal(call('bandwidth', 'CHECK', passed).stdout, '')
  t.equal(call('ptp', 'CHECK', { ...ptp, prevResult: added.json }).stdout, '')
  sh(`tc qdisc del dev ${IFB} root`)
  t.match(call('bandwidth', 'CHECK', passed).json, { code: 102, msg: `interface ${IFB} has no qdisc tbf`, details: /\ntc qdisc add dev bwp/ })
  t.equal(call('bandwidth', 'DEL', passed, { netns: '' }).stdout, '')
  t.notMatch(all(), IFB)
  t.equal(call('bandwidth', 'DEL', conf, { netns: '/run/netns/gone' }).stdout, '', 'again, and without prevResult')
  t.equal(call('ptp', 'DEL', { ...ptp, prevResult }).stdout, '')
  t.equal(all(), before)
  t.not(wired, before)
  ip('netns del pod')
})

t.test('within ptp: as the runtime passes it, in its spelling', async (t) => {
  netns('pod')
  const before = all()
  const single = { ...ptp, runtimeConfig: { bandwidth: { IngressRate: 8_000_000, IngressBurst: 2 ** 32 - 1, EgressRate: 16_000_000, EgressBurst: 8000 } } }
  const added = call('ptp', 'ADD', single)
  t.match(added.json.interfaces, [{ name: /^veth/ }, { name: 'eth0' }, { name: IFB, mac: 'ae:9f:ae:71:c9:a7' }])
  t.match(added.stderr, 'runtimeConfig.bandwidth.egressBurst is 8000: raised to 32000')
  t.match(sh(`tc qdisc show dev ${added.json.interfaces[0].name}`), 'rate 8Mbit burst 25000b lat 25ms')
  t.match(sh(`tc qdisc show dev ${IFB}`), 'rate 16Mbit burst 4000b lat 25ms')
  t.equal(call('ptp', 'CHECK', { ...single, prevResult: added.json }).stdout, '')
  ip(`link del ${IFB}`)
  t.match(call('ptp', 'CHECK', { ...single, prevResult: added.json }).json, { code: 102, msg: new RegExp(`^interface ${IFB} is missing`) })
  ip('netns del pod')
  t.equal(call('ptp', 'DEL', single).stdout, '')
  t.equal(all(), before)

  netns('pod')
  const own = call('ptp', 'ADD', { ...ptp, bandwidth: { egressRate: 16_000_000, egressBurst: 800_000 } })
  t.match(sh(`tc qdisc show dev ${IFB}`), 'rate 16Mbit burst 100000b', 'or as the configuration says')
  t.equal(call('ptp', 'DEL', ptp).stdout, '', 'DEL need not know of it')
  t.equal(own.status, 0)
  t.equal(all(), before)
  ip('netns del pod')
})

t.test('GC: the ifb of a pod that is not among the living goes, others stay', async (t) => {
  for (const name of ['pod', 'other']) netns(name)
  const single = { ...ptp, bandwidth: { egressRate: 16_000_000, egressBurst: 800_000 } }
  const other = { container: 'c2', netns: '/run/netns/other' }
  const [, kept] = [call('ptp', 'ADD', single), call('ptp', 'ADD', single, other)]
  const living = kept.json.interfaces.at(-1).name
  for (const type of ['bandwidth', 'ptp']) t.equal(call(type, 'GC', { ...single, type, 'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: 'eth0' }, { containerID: 'c2', ifname: 'eth0' }] }).stdout, '')
  t.match(all(), new RegExp(`${IFB}[^]*${living}`))
  t.equal(call('bandwidth', 'GC', { ...single, type: 'bandwidth', 'cni.dev/valid-attachments': [{ containerID: 'c2', ifname: 'eth0' }] }).stdout, '')
  t.notMatch(all(), IFB)
  t.match(all(), living)
  call('ptp', 'DEL', single)
  call('ptp', 'DEL', single, other)
  for (const name of ['pod', 'other']) ip(`netns del ${name}`)
})

t.test('what cannot be is refused before anything is touched', async (t) => {
  netns('pod')
  const before = all()
  for (const [keys, said] of [
    [{ ingressRate: -1, ingressBurst: 1 }, 'ingressRate is -1: expected a whole number of bits, 0 for no limit'],
    [{ ingressRate: 1.5, ingressBurst: 1 }, 'ingressRate is 1.5: expected a whole number'],
    [{ ingressRate: '1M', ingressBurst: 1 }, 'ingressRate is "1M": expected a whole number'],
    [{ egressRate: 1000 }, 'egressRate is 1000 and egressBurst is 0: if rate is set, burst must also be set'],
  ] as const) {
    t.match(call('ptp', 'ADD', { ...ptp, bandwidth: keys }).json, { code: 7, msg: `bandwidth.${said}`.replace('bandwidth.egress', 'egress') })
    const wired = call('ptp', 'ADD', ptp).json
    t.match(call('bandwidth', 'ADD', { cniVersion: '1.1.0', name: 'podnet', type: 'bandwidth', ...keys, prevResult: wired }).json, { code: 7, msg: said })
    call('ptp', 'DEL', ptp)
    t.equal(all(), before)
  }
  t.match(call('bandwidth', 'ADD', conf).json, { code: 7, msg: 'Required prevResult missing', details: /must be called as chained plugin/ })
  ip('netns del pod')
})

t.test('CHECK agrees with ADD where the result tells no MTU, which older versions do not', async (t) => {
  netns('pod')
  for (const cniVersion of ['0.3.1', '0.4.0', '1.0.0']) {
    const single = { ...ptp, cniVersion, bandwidth: { egressRate: 1_000_000, egressBurst: 8000 } }
    const prevResult = call('ptp', 'ADD', single).json
    if (cniVersion !== '0.3.1') t.equal(call('ptp', 'CHECK', { ...single, prevResult }).stdout, '')
    t.equal(call('bandwidth', 'CHECK', { ...conf, ...single.bandwidth, cniVersion: '1.0.0', ingressRate: 0, ingressBurst: 0, prevResult }).stdout, '')
    call('ptp', 'DEL', { ...single, prevResult })
  }
  ip('netns del pod')
})

t.test('GC without a list: the ifb of a pod whose veth is gone is dead', async (t) => {
  for (const name of ['pod', 'other']) netns(name)
  const single = { ...ptp, bandwidth: { egressRate: 16_000_000, egressBurst: 800_000 } }
  const other = { container: 'c2', netns: '/run/netns/other' }
  const [added, kept] = [call('ptp', 'ADD', single), call('ptp', 'ADD', single, other)]
  ip(`link del ${added.json.interfaces[0].name}`)
  t.equal(call('ptp', 'GC', single).stdout, '')
  t.notMatch(all(), IFB)
  t.match(all(), kept.json.interfaces.at(-1).name)
  call('ptp', 'DEL', single)
  call('ptp', 'DEL', single, other)
  for (const name of ['pod', 'other']) ip(`netns del ${name}`)
})

t.test("the reference's ifb, which its result names, goes with DEL", async (t) => {
  withPod(() => {
    sh('ip link add bwp9b00b9b7c279 up type ifb && ip link add bwp000000000001 up type ifb && ip link set bwp000000000001 alias podnet/c2/eth0')
    const prevResult = { cniVersion: '1.0.0', interfaces: [{ name: 'vethx' }, { name: 'eth0', sandbox: '/run/netns/pod' }, { name: 'bwp9b00b9b7c279' }, { name: 'bwp000000000001' }, { name: 'lo' }], ips: [{ address: '10.1.2.3/24', interface: 1 }] }
    t.equal(call('bandwidth', 'DEL', { ...conf, prevResult }).stdout, '')
    t.match(ip('-o link').replace(/@\S+/g, '').match(/^\d+: \w+/gm)!.map((line) => line.replace(/.* /, '')), ['lo', 'vethx', 'bwp000000000001'])
    ip('link del bwp000000000001')
  })
})
