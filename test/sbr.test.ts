// sbr: a pod with interfaces in two networks answers by the one that was asked, by packets.
//
//     far ── u0 (node) ── cni0 ── eth0 (pod)       eth0: 10.1.0.0/24, fd00:1::/64, where the default route leads
//                      └─ cni1 ── eth1 (pod)       eth1: 10.2.0.0/24, fd00:2::/64
//
// The node drops what comes from where it would not send the answer to (RFC 3704), as routers between networks do.

import { call, ip, netns, sh, works } from './world.ts'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Pod } from '../src/chained.ts'
import type { Route } from '../src/facts.ts'
import { show } from '../src/show.ts'
import { Netns } from '../src/kernel/netns.ts'
import { tryLock } from '../src/kernel/libc.ts'
import * as state from '../src/state.ts'
import { cli } from '../src/cli/cli.ts'
import { look } from '../src/sbr/plugin.ts'
import { plan, type SbrConf, type There } from '../src/sbr/sbr.ts'
import { execute, launch, REFERENCE, referenceIsMissing } from './reference.ts'

const network = (n: number, type = 'bridge', routes: object[] = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }]) => ({ cniVersion: '1.1.0', name: `net${n}`, type, bridge: `cni${n - 1}`, isGateway: true, ipam: { type: 'host-local', ranges: [[{ subnet: `10.${n}.0.0/24` }], [{ subnet: `fd00:${n}::/64` }]], routes } })
const [eth0, eth1] = [{ ifname: 'eth0' }, { ifname: 'eth1' }]
const sbr = (keys: object, prevResult?: object) => ({ cniVersion: '1.1.0', name: 'net2', type: 'sbr', ...keys, ...(prevResult && { prevResult }) })

/** Rules and routes of the pod. */
const routing = (): string => ['ip -n pod rule', 'ip -n pod -6 rule', 'ip -n pod route show table all', 'ip -n pod -6 route show table all'].map((line) => sh(line)).join('\n').split('\n').filter((line) => !/table local/.test(line)).map((line) => line.replace(/ +$/, '')).join('\n')
const succeed = ({ status, stdout, json }: { status: number | null; stdout: string; json: any }) => {
  if (status !== 0) throw new Error(stdout)
  return json
}

/** A pod in both networks, as long as something runs with the second one's result. */
function withPod(run: (result: any) => void, type = 'bridge', routes?: object[]): void {
  netns('pod')
  ip('-n pod link set lo up')
  succeed(call('bridge', 'ADD', network(1), eth0))
  run(succeed(call(type, 'ADD', network(2, type, routes), eth1)))
  succeed(call(type, 'DEL', network(2, type), eth1))
  succeed(call('bridge', 'DEL', network(1), eth0))
  sh('ip netns del pod; rm -rf /var/lib/cni; for link in cni0 cni1; do ip link del $link 2>/dev/null || true; done')
}

const pod = (changes: Partial<Pod> = {}): Pod => ({ attachment: { network: 'net2', containerID: 'c1', ifname: 'eth1' }, ips: [{ address: '10.2.0.2/24', gateway: '10.2.0.1' }], routes: [], host: 'veth1', bridge: undefined, mtu: 1500, mac: undefined, ...changes })
const route = (dst: string, more: Partial<Route> = {}): Route => ({ fact: 'route', in: 'pod', dev: 'eth1', dst, ...more })
const there = (routes: Route[], rules: There['rules'] = [], tables: number[] = [254, 255]): There => ({ rules, routes, tables: new Set(tables) })
const lines = (of: Pod, conf: object, is: There) => plan(of, sbr(conf) as unknown as SbrConf, is).map((fact) => show(fact))

const CONNECTED = route('10.2.0.0/24', { src: '10.2.0.2', proto: 2 })
const DEFAULT = route('0.0.0.0/0', { via: '10.2.0.1' })

t.test('the plan, as an operator would type it', async (t) => {
  t.same(lines(pod(), {}, there([CONNECTED, DEFAULT])), [
    'ip -n pod route add 10.2.0.0/24 dev eth1 table 100 src 10.2.0.2 proto 2',
    'ip -n pod route add default via 10.2.0.1 dev eth1 table 100',
    'ip -n pod rule add from 10.2.0.2 table 100',
    'ip -n pod route del default via 10.2.0.1 dev eth1',
    'ip -n pod route del 10.2.0.0/24 dev eth1 src 10.2.0.2 proto 2',
  ])
  t.same(lines(pod(), { table: 5000 }, there([CONNECTED, DEFAULT])), ['ip -n pod rule add from 10.2.0.2 table 5000'], 'a table that another plugin fills')
  t.same(lines(pod(), { addSourceHints: true }, there([CONNECTED, DEFAULT])).slice(3), ['ip -n pod route del default via 10.2.0.1 dev eth1'], 'main keeps the way to its own network')
  t.match(lines(pod(), { gateways: ['10.2.0.9', 'fd00:2::9'] }, there([CONNECTED, DEFAULT]))[1], 'default via 10.2.0.9 dev eth1 table 100')
})

t.test('a default route by the gateway, also if none is in main', async (t) => {
  t.match(lines(pod(), {}, there([CONNECTED])), [/10\.2\.0\.0\/24/, 'ip -n pod route add default via 10.2.0.1 dev eth1 table 100', /rule add/, /route del/])
  t.notMatch(lines(pod({ ips: [{ address: '10.2.0.2/24' }] }), {}, there([CONNECTED])).join('\n'), 'default', 'no gateway, no default route')
  t.match(lines(pod({ ips: [{ address: '10.2.0.2/24' }] }), { gateways: ['10.2.0.9'] }, there([CONNECTED])).join('\n'), 'add default via 10.2.0.9 dev eth1 table 100')
  const metric = route('0.0.0.0/0', { via: '10.2.0.1', metric: 50, mtu: 1300 })
  t.match(lines(pod(), {}, there([CONNECTED, metric])).slice(1, 3), ['ip -n pod route add default via 10.2.0.1 dev eth1 table 100 metric 50 mtu 1300', 'ip -n pod route add default via 10.2.0.1 dev eth1 table 100'])
})

t.test('each address has a table, and in it what belongs to it', async (t) => {
  const ips = [{ address: '10.2.0.2/24', gateway: '10.2.0.1' }, { address: '10.3.0.2/24', gateway: '10.3.0.1' }, { address: 'fd00:2::2/64', gateway: 'fd00:2::1' }]
  const routes = [CONNECTED, DEFAULT, route('10.3.0.0/24', { src: '10.3.0.2' }), route('10.7.0.0/16', { via: '10.3.0.1' }), route('10.8.0.0/16', { via: '192.0.2.1', onlink: true }), route('10.9.0.0/16'), route('fd00:2::/64', { metric: 256, proto: 2 }), route('fe80::/64', { metric: 256, proto: 2 })]
  const made = lines(pod({ ips }), {}, there(routes))
  const table = (n: number) => made.filter((line) => line.includes(` table ${n}`)).map((line) => /(?:add|append) (\S+ \S+)/.exec(line)![1])
  t.same(table(100), ['10.2.0.0/24 dev', '10.9.0.0/16 dev', '10.8.0.0/16 via', 'default via', 'from 10.2.0.2'])
  t.same(table(101), ['10.3.0.0/24 dev', '10.9.0.0/16 dev', '10.7.0.0/16 via', '10.8.0.0/16 via', 'default via', 'from 10.3.0.2'])
  t.same(table(102), ['fd00:2::/64 dev', 'default via', 'from fd00:2::2'])
  t.notMatch(made.join('\n'), 'fe80', 'link-local addresses stay where they are')
  t.equal(made.filter((line) => line.includes(' del ')).length, routes.length - 1)
})

t.test('the first tables that nobody uses', async (t) => {
  const rule = (table: number) => ({ family: 4, table, from: undefined }) as const
  const tables = (is: There, ips = pod().ips) => lines(pod({ ips }), {}, is).flatMap((line) => /rule add .* table (\d+)/.exec(line)?.[1] ?? [])
  t.same(tables(there([CONNECTED], [rule(100), rule(102)], [254, 101])), ['103'], 'neither by rules nor for routes')
  t.same(tables(there([CONNECTED], [rule(101)]), [{ address: '10.2.0.2/24' }, { address: '10.2.0.3/24' }]), ['100', '102'])
  const used = Array.from({ length: 153 }, (_, i) => rule(100 + i))
  t.same(tables(there([CONNECTED], used)), ['256'], 'default, main and local are none of them')
})

t.test('several ways to one place stay several', async (t) => {
  const made = lines(pod(), {}, there([CONNECTED, DEFAULT, route('0.0.0.0/0', { via: '10.2.0.7' })]))
  t.match(made.slice(1, 3), ['ip -n pod route add default via 10.2.0.1 dev eth1 table 100', 'ip -n pod route append default via 10.2.0.7 dev eth1 table 100'])
})

t.test('keys that cannot be', async (t) => {
  withPod((prevResult) => {
    const before = routing()
    const refused: [object, RegExp][] = [
      [{ table: 'x' }, /^table is "x": expected the number of a routing table/],
      [{ table: 0 }, /^table is 0: expected the number/],
      [{ table: 4294967296 }, /^table is 4294967296: expected the number/],
      [{ gateways: '10.2.0.1' }, /^gateways is "10\.2\.0\.1": expected a list/],
      [{ gateways: ['10.2.0'] }, /^gateways\[0\] is "10\.2\.0": expected an IP address/],
      [{ gateways: ['10.2.0.1', '10.2.0.2'] }, /^gateways is \["10\.2\.0\.1","10\.2\.0\.2"\]: expected at most one IPv4 address/],
      [{ gateways: ['fd00::1', '10.2.0.2', 'fd00::2'] }, /^gateways is \["fd00::1","fd00::2"\]: expected at most one IPv6 address/],
      [{ addSourceHints: 'yes' }, /^addSourceHints is "yes": expected true or false/],
    ]
    for (const [keys, said] of refused) t.match(call('sbr', 'ADD', sbr(keys, prevResult), eth1).json, { code: 7, msg: said }, JSON.stringify(keys))
    t.match(call('sbr', 'ADD', sbr({}), eth1).json, { code: 7, msg: 'Required prevResult missing' })
    t.match(call('sbr', 'ADD', sbr({}, { ...prevResult, ips: [] }), eth1).json, { code: 7, msg: 'No IP addresses supplied on interface: eth1 has none in prevResult' })
    t.match(call('sbr', 'ADD', sbr({}, prevResult), { ifname: 'eth9' }).json, { code: 100, msg: /has no interface eth9/ })
    t.match(call('sbr', 'ADD', sbr({ gateways: ['192.0.2.1'] }, prevResult), eth1).json, { code: 100, msg: 'ip -n pod route add default via 192.0.2.1 dev eth1 table 100: ENETUNREACH: Nexthop has invalid gateway', details: 'what had been done was taken back' })
    t.equal(routing(), before, 'all is as it was')
    t.match(call('sbr', 'ADD', sbr({ table: 5000, addSourceHints: true }, prevResult), eth1), { status: 0, stderr: 'podwire: addSourceHints means nothing together with table: routes are left as they are\n' })
    t.equal(call('sbr', 'DEL', sbr({ table: 5000 }), eth1).stdout, '')
    t.equal(routing(), before)
  })
})

t.test('what has been moved is moved back when something fails', async (t) => {
  for (const keys of [{}, { addSourceHints: true }])
    withPod((prevResult) => {
      const before = routing()
      const kernel = { host: new Netns(), pod: new Netns('/run/netns/pod') }
      const facts = plan(pod({ ips: prevResult.ips }), sbr(keys) as unknown as SbrConf, look(kernel.pod, 'eth1'))
      t.throws(() => state.add(kernel, [...facts, { fact: 'link set', dev: 'nobody', up: true }], 'pod'), { message: /nobody/, left: [] })
      t.equal(routing(), before)
      for (const each of Object.values(kernel)) each.close()
    }, 'bridge', [])
})

/** The lines of a plan for the pod as it is. */
function typed(result: any, keys: object): string[] {
  const inside = new Netns('/run/netns/pod')
  try {
    return lines(pod({ ips: result.ips, routes: result.routes }), keys, look(inside, 'eth1'))
  } finally {
    inside.close()
  }
}

for (const type of ['bridge', 'ptp'])
  for (const keys of [{}, { addSourceHints: true }])
    t.test(`behind ${type}, ${JSON.stringify(keys)}: typed in a shell, the lines make what ADD makes; DEL leaves nothing of it in any table`, async (t) => {
      const made: string[] = []
      withPod((prevResult) => {
        const before = routing().split('\n')
        t.same(call('sbr', 'ADD', sbr(keys, prevResult), eth1).json, prevResult, 'the result is passed on')
        made.push(routing())
        t.equal(call('sbr', 'CHECK', sbr(keys, prevResult), eth1).stdout, '')
        t.equal(call(type, 'CHECK', { ...network(2, type), prevResult }, eth1).stdout, '', 'the plugin before finds its routes')
        t.equal(call('sbr', 'DEL', sbr(keys), eth1).stdout, '')
        t.notMatch(routing(), /table 1\d\d|lookup 1\d\d/)
        t.same(routing().split('\n').filter((line) => line.includes('eth1') && !before.includes(line) && !line.includes(' src fd00:2::2')), [], 'and makes nothing new')
      }, type)
      withPod((prevResult) => {
        writeFileSync('/run/list', JSON.stringify({ cniVersion: '1.1.0', name: 'net2', plugins: [{ ...network(2, type), ipam: { ...network(2, type).ipam, dataDir: '/run/empty' } }, sbr(keys)] }))
        t.same(cli(['plan', '/run/list', '--ifname', 'eth1']).stdout.split('# sbr\n')[1]!.trim().split('\n'), typed(prevResult, keys), 'podwire plan says it beforehand')
        sh(typed(prevResult, keys).join(' && '))
        made.push(routing())
        t.equal(call('sbr', 'CHECK', sbr(keys, prevResult), eth1).stdout, '', 'CHECK agrees')
      }, type)
      t.equal(made[0], made[1])
      t.match(made[0], /from 10\.2\.0\.2 lookup 100/)
    })

t.test('packets: the answer leaves by the interface that was asked, and without sbr it does not', async (t) => {
  netns('far')
  sh(`ip link add u0 up type veth peer name eth0 netns far && ip addr add 192.0.2.1/24 dev u0 && ip addr add 2001:db8::1/64 dev u0 nodad
ip -n far link set eth0 up && ip -n far addr add 192.0.2.2/24 dev eth0 && ip -n far addr add 2001:db8::2/64 dev eth0 nodad
ip -n far route add default via 192.0.2.1 && ip -n far -6 route add default via 2001:db8::1
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1`)
  const reached = (wait: number, ...addresses: string[]) => addresses.filter((address) => works(`ip netns exec far ping -c1 -W${wait} ${address}`))
  withPod((prevResult) => {
    sh("nft 'add table inet reverse; add chain inet reverse path { type filter hook prerouting priority raw; }; add rule inet reverse path ip6 saddr fe80::/10 return; add rule inet reverse path fib saddr . iif oif missing drop'")
    const [first, second] = [['10.1.0.2', 'fd00:1::2'], ['10.2.0.2', 'fd00:2::2']]
    t.same([reached(1, ...first), reached(0.2, ...second)], [first, []], 'without sbr')
    t.equal(call('sbr', 'ADD', sbr({}, prevResult), eth1).status, 0)
    t.same(reached(1, ...first, ...second), [...first, ...second], 'with it')
    t.ok(works('ip netns exec pod ping -c1 -W30 -I 10.2.0.2 192.0.2.2 && ip netns exec pod ping -c1 -W30 -I fd00:2::2 2001:db8::2'), 'the pod reaches others from either address')
    t.ok(works('ip netns exec pod ping -c1 -W30 192.0.2.2 && ip netns exec pod ping -c1 -W30 2001:db8::2'), 'and by the first interface if it names none')
    t.ok(works('ip netns exec pod ping -c1 -W30 "$(ip -6 addr show dev cni1 scope link | grep -o "fe80[^/]*")%eth1"'), 'link-local addresses, too')
    t.equal(call('sbr', 'DEL', sbr({}), eth1).stdout, '')
    t.same(reached(0.2, ...second), [], 'and without it again')
    sh('nft delete table inet reverse')
  }, 'bridge', [])
  sh('ip netns del far')
})

t.test('CHECK sees each rule and route; what it says repairs it', async (t) => {
  for (const keys of [{}, { addSourceHints: true }])
    withPod((prevResult) => {
      const conf = sbr(keys, prevResult)
      t.equal(call('sbr', 'ADD', conf, eth1).status, 0)
      const whole = routing()
      const damages = [
        'ip -n pod rule del from 10.2.0.2',
        'ip -n pod -6 rule del from fd00:2::2',
        'ip -n pod route del default table 100',
        'ip -n pod -6 route del default table 101',
        'ip -n pod route flush table 100',
        'ip -n pod rule del from 10.2.0.2; ip -n pod -6 route flush table 101',
        'ip -n pod route replace default via 10.2.0.9 dev eth1 table 100 onlink',
        'ip -n pod route append default via 10.2.0.1 dev eth1 onlink',
        'ip -n pod -6 route add default via fd00:2::1 dev eth1 metric 2048 onlink',
        'ip -n pod route del default table 100; ip -n pod route add default via 10.2.0.1 dev eth1 table 99 onlink',
        ...(keys.addSourceHints ? ['ip -n pod route del 10.2.0.0/24 table main', 'ip -n pod -6 route del fd00:2::/64 table main'] : ['ip -n pod route add 10.2.0.0/24 dev eth1']),
      ]
      for (const damage of damages) {
        sh(damage)
        const { json } = call('sbr', 'CHECK', conf, eth1)
        t.match(json, { code: 102, msg: /^(rule|route) / }, damage)
        sh(json.details)
        t.equal(call('sbr', 'CHECK', conf, eth1).stdout, '', `${damage}, repaired`)
        sh('ip -n pod route flush table 99 2>/dev/null || true')
      }
      const words = (text: string) => text.split('\n').map((line) => line.replace(/ proto \w+/, '').replace(/^\d+:/, '')).sort()
      // Where the route to the interface's own network was lost, it names the source now.
      const named = (line: string) => line.replace(/^(fd00:2::\/64 .* table 101) metric 256/, '$1 src fd00:2::2 metric 1024')
      t.same(words(routing()).map(named), words(whole).map(named), 'and all is as ADD had made it')
      t.equal(call('sbr', 'DEL', sbr(keys), eth1).stdout, '')
    })
})

t.test('DEL: by what the kernel has, and also when something of it is gone', async (t) => {
  withPod((prevResult) => {
    const rules = () => sh('ip -n pod rule; ip -n pod -6 rule').split('\n').filter((line) => line.includes('lookup 1'))
    sh('ip -n pod rule add from 10.2.0.2 to 192.0.2.0/24 table 100; ip -n pod rule add from 10.1.0.2 table 100')
    t.equal(call('sbr', 'ADD', sbr({}, prevResult), eth1).status, 0)
    t.equal(rules().length, 4)
    t.equal(call('sbr', 'DEL', sbr({}), eth1).stdout, '', 'without prevResult')
    t.match(rules().sort(), [/from 10\.1\.0\.2 lookup 100/, /from 10\.2\.0\.2 to 192\.0\.2\.0\/24 lookup 100/], "others' rules stay")
    t.equal(call('sbr', 'DEL', sbr({}), eth1).stdout, '', 'and again')
    sh('ip -n pod rule flush table 100; ip -n pod addr flush dev eth1; ip -n pod addr add 10.2.0.2/24 dev eth1; ip -n pod addr add fd00:2::2/64 dev eth1 nodad')

    t.equal(call('sbr', 'ADD', sbr({}, prevResult), eth1).status, 0)
    ip('-n pod link del eth1')
    t.equal(rules().length, 2, 'rules do not go with the interface')
    t.equal(call('sbr', 'DEL', sbr({}, prevResult), eth1).stdout, '')
    t.same(rules(), [], 'but by prevResult')
    for (const gone of ['', '/run/netns/none', '/etc']) t.equal(call('sbr', 'DEL', sbr({}, prevResult), { ...eth1, netns: gone }).stdout, '', `CNI_NETNS=${gone}`)
    for (const command of ['GC', 'STATUS']) t.equal(call('sbr', command, sbr({ 'cni.dev/valid-attachments': [] })).stdout, '')
  })
})

t.test('who comes second waits, and sees the tables that the first has taken', async (t) => {
  withPod((prevResult) => {
    sh("flock /run/netns/pod -c 'touch /run/locked; sleep 0.2; ip -n pod rule add from 192.0.2.9 table 100' >&- 2>&- & while ! [ -e /run/locked ]; do :; done")
    t.equal(call('sbr', 'ADD', sbr({}, prevResult), eth1).status, 0)
    t.match(routing(), /from 10\.2\.0\.2 lookup 101\n/)
  })
})

const reference = (command: string, conf: object) => execute(join(REFERENCE, 'sbr'), command, conf, eth1)
const isNew = () => reference('VERSION', { cniVersion: '0.4.0' }).json.supportedVersions.includes('1.1.0')

t.test('the reference waits for the same lock', { skip: referenceIsMissing }, async (t) => {
  let ended: Promise<{ status: number | null }> | undefined
  const conf = (prevResult: object) => ({ ...sbr({}, { ...prevResult, cniVersion: '1.0.0' }), cniVersion: '1.0.0' })
  netns('pod')
  succeed(call('bridge', 'ADD', network(2), eth1))
  const prevResult = succeed(call('bridge', 'ADD', network(1), eth0))
  const inside = new Netns('/run/netns/pod')
  t.ok(tryLock(inside.fd))
  ended = launch(join(REFERENCE, 'sbr'), 'ADD', conf(prevResult), eth0).ended
  sh('sleep 0.2; ip -n pod rule add from 192.0.2.9 table 100')
  t.notMatch(sh('ip -n pod rule'), '10.1.0.2')
  inside.close()
  t.equal((await ended).status, 0)
  t.match(routing(), /from 10\.1\.0\.2 lookup 101\n/)
  succeed(call('bridge', 'DEL', network(1), eth0))
  succeed(call('bridge', 'DEL', network(2), eth1))
  sh('ip netns del pod; ip link del cni0; ip link del cni1; rm -rf /var/lib/cni')
})

t.test("the reference's results and routing, and each takes back what the other has made", { skip: referenceIsMissing }, async (t) => {
  for (const type of ['bridge', 'ptp']) {
    const made: string[] = []
    // But for what the reference puts into tables of the other family, and link-local addresses, which it takes out of main.
    const comparable = () => routing().split('\n').filter((line) => !/fe80|fd00.* table 100/.test(line)).map((line) => line.replace(/ pref medium/, '')).join('\n')
    for (const [adds, deletes] of [['reference', 'podwire'], ['podwire', 'reference']] as const)
      withPod((result) => {
        const send = (who: string, command: string, conf: object) => (who === 'reference' ? reference(command, conf) : call('sbr', command, conf, eth1))
        const conf = { ...sbr({}, { ...result, cniVersion: '1.0.0' }), cniVersion: '1.0.0' }
        const added = send(adds, 'ADD', conf)
        t.same(added.json.ips, result.ips, `${adds}: the result`)
        made.push(comparable())
        if (adds === 'reference') t.equal(send('podwire', 'CHECK', conf).stdout, '', "podwire's CHECK agrees")
        t.equal(send(deletes, 'DEL', conf).status, 0, `${deletes} takes it back`)
        t.notMatch(routing(), 'lookup 1')
        if (deletes === 'podwire') t.notMatch(routing(), / table 1\d\d/, 'routes of the other family in its tables, too')
      }, type, [])
    t.equal(made[0], made[1], type)
  }
})

t.test("a table of somebody's, with both", { skip: referenceIsMissing || (isNew() ? false : 'this version of the reference has no table') }, async (t) => {
  withPod((prevResult) => {
    const before = routing()
    const made = [reference, (command: string, conf: object) => call('sbr', command, conf, eth1)].map((side) => {
      const { json } = side('ADD', sbr({ table: 5000 }, prevResult))
      const after = routing()
      t.equal(call('sbr', 'CHECK', sbr({ table: 5000 }, prevResult), eth1).stdout, '')
      t.equal(side('DEL', sbr({ table: 5000 })).status, 0)
      t.equal(routing(), before)
      return [json, after]
    })
    t.same(made[0], made[1])
    t.match(made[0]![1], /from 10\.2\.0\.2 lookup 5000\n/)
  })
})

t.test('results of every version', { skip: referenceIsMissing }, async (t) => {
  withPod((result) => {
    for (const cniVersion of ['0.3.1', '0.4.0', '1.0.0', ...(isNew() ? ['1.1.0'] : [])]) {
      const prevResult = { ...result, cniVersion, dns: { nameservers: ['10.2.0.1'] }, interfaces: result.interfaces.map(({ mtu: _, ...one }: any) => one), ips: result.ips.map((one: any) => (cniVersion < '1' ? { version: one.address.includes(':') ? '6' : '4', ...one } : one)) }
      const conf = { ...sbr({}, prevResult), cniVersion }
      const [theirs, ours] = [() => reference('ADD', conf), () => call('sbr', 'ADD', conf, eth1)].map((add) => {
        const { json } = add()
        sh('ip -n pod rule flush; ip -n pod rule add from all table main prio 32766; ip -n pod -6 rule flush; ip -n pod -6 rule add from all table main prio 32766; ip -n pod route flush table 100; ip -n pod -6 route flush table 100; ip -n pod -6 route flush table 101; ip -n pod addr flush dev eth1; ip -n pod addr add 10.2.0.2/24 dev eth1; ip -n pod addr add fd00:2::2/64 dev eth1 nodad')
        return json
      })
      t.same(ours, theirs, cniVersion)
      t.same(ours.ips, prevResult.ips)
    }
  })
})
