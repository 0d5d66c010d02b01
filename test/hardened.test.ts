// A node that somebody has hardened, or whose links are small: values of sysctls that are documented, each with a pod that is to be
// reached and to reach others.
//
//     pod 10.1.2.2  ── veth ── this namespace ── up0 192.0.2.1 ──── outside 192.0.2.9, its default route

import { call, ip, netns, podnet, sh, works } from './world.ts'
import t from 'tap'
import { Netns } from '../src/kernel/netns.ts'
import * as state from '../src/state.ts'
import { cli } from '../src/cli/cli.ts'
import { bridge } from '../src/bridge/bridge.ts'
import { ptp } from '../src/ptp/ptp.ts'
import { planOf } from '../src/wire.ts'
import type { Plan } from '../src/facts.ts'
import { wiring } from './wiring.ts'

netns('outside')
sh(`ip link add up0 type veth peer name o0 netns outside && sysctl -qw net.ipv6.conf.up0.accept_dad=0 && ip link set up0 up && ip addr add 192.0.2.1/24 dev up0 && ip addr add 2001:db8::1/64 dev up0 nodad
  ip -n outside link set lo up && ip netns exec outside sysctl -qw net.ipv6.conf.o0.accept_dad=0 && ip -n outside link set o0 up
  ip -n outside addr add 192.0.2.9/24 dev o0 && ip -n outside addr add 2001:db8::9/64 dev o0 nodad
  ip -n outside route add default via 192.0.2.1 && ip -n outside -6 route add default via 2001:db8::1
  ip route add default via 192.0.2.9 && ip -6 route add default via 2001:db8::9`)

const four = { ...podnet, ipMasq: false, ipam: { type: 'host-local', subnet: '10.1.2.0/24', routes: [{ dst: '0.0.0.0/0' }] } }
const both = { ...podnet, ipMasq: false }
const onBridge = (conf: typeof both | typeof four) => ({ ...conf, type: 'bridge', isDefaultGateway: true })
/** The first packet ever: nobody remembers who has which MAC address. */
const from = (pod: string, to: string): boolean => works(`ip neigh flush all; ip -6 neigh flush all; ip netns exec ${pod} ping -c1 -W2 ${to}`)
const get = (key: string): string => sh(`cat /proc/sys/${key}`)

/** Runs something with sysctls at other values, which are put back. */
function withSysctls(lines: string[], run: () => void): void {
  const before = lines.map((line) => `${line.split('=')[0]}=${get(line.split('=')[0]!)}`)
  const set = (all: string[]) => all.forEach((line) => sh(`sysctl -qw ${line}`))
  set(lines)
  try {
    run()
  } finally {
    set(before)
  }
}

/** A pod, its result, and afterwards nothing of it. */
function withPod<Conf extends { type: string }>(conf: Conf, run: (result: any, added: ReturnType<typeof call>) => void, prepare = 'true'): void {
  netns('pod')
  sh(prepare)
  try {
    const added = call(conf.type, 'ADD', conf)
    run(added.json, added)
  } finally {
    call(conf.type, 'DEL', conf)
    sh('ip netns del pod; ip link del cni0 2>/dev/null; nft flush ruleset; rm -r /var/lib/cni')
  }
}

t.test('below an MTU of 1280 an interface has no IPv6: IPv4 pods are wired, and an IPv6 address is refused', async (t) => {
  for (const conf of [{ ...four, mtu: 1230 }, { ...onBridge(four), mtu: 1000, bandwidth: {}, runtimeConfig: { bandwidth: { egressRate: 8_000_000, egressBurst: 800_000 } } }])
    withPod(conf, (result, added) => {
      t.same([added.status, added.stderr], [0, ''], `${conf.type}: ${added.stdout}`)
      t.equal(call(conf.type, 'CHECK', { ...conf, prevResult: result }).stdout, '', 'CHECK')
      t.ok(from('pod', '192.0.2.9') && from('outside', '10.1.2.2'), 'both ways')
      t.equal(call(conf.type, 'STATUS', conf).stdout, '', 'STATUS')
    })
  withPod({ ...both, mtu: 1230 }, (error) => t.match(error, { code: 7, msg: 'mtu is 1230: expected at least 1280, because the pod has an IPv6 address' }))
  sh('ip link set up0 mtu 1000')
  withPod(four, (result) => t.equal(result.interfaces[1].mtu, 1000, 'as small as the uplink'))
  // Its IPv6 begins anew, and would not be there for as long as duplicate address detection takes.
  withSysctls(['net/ipv6/conf/default/accept_dad=0'], () => sh('ip link set up0 mtu 1500'))
  sh('ip addr replace 2001:db8::1/64 dev up0 nodad && ip -6 route replace default via 2001:db8::9')
})

t.test('tuning may make the MTU as small, behind ptp', async (t) => {
  withPod(four, (result) => {
    const entry = { cniVersion: '1.1.0', name: 'podnet', type: 'tuning', mtu: 1200, prevResult: result }
    const tuned = call('tuning', 'ADD', entry)
    t.equal(tuned.status, 0, tuned.stdout)
    for (const [type, conf] of [['ptp', four], ['tuning', entry]] as const) t.equal(call(type, 'CHECK', { ...conf, prevResult: tuned.json }).stdout, '', type)
    call('tuning', 'DEL', entry)
  })
})

t.test('/proc/sys is read-only: what is right is left alone, what only protects is a note, what is needed is an error', async (t) => {
  const readonly = (run: () => void) => {
    sh('mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys')
    try {
      run()
    } finally {
      sh('umount /proc/sys')
    }
  }
  withSysctls(['net/ipv4/ip_forward=1', 'net/ipv6/conf/all/forwarding=1', 'net/ipv6/conf/default/disable_ipv6=0'], () => {
    readonly(() =>
      withPod(both, (result, { status, stdout, stderr }) => {
        t.equal(status, 0, stdout)
        t.match(stderr, /^podwire: sysctl net\/ipv6\/conf\/veth\w+\/accept_ra stays 1, because it cannot be written here: EROFS; better is 0$/m)
        t.equal(call('ptp', 'CHECK', { ...both, prevResult: result }).stdout, '', 'CHECK')
        t.ok(from('pod', '192.0.2.9'))
      }),
    )
    withSysctls(['net/ipv6/conf/default/accept_ra=0', 'net/ipv4/conf/default/arp_announce=1'], () => readonly(() => withPod(four, (_, { stderr }) => t.equal(stderr, '', 'all is as it should be'))))
  })
  withSysctls(['net/ipv4/ip_forward=0'], () => readonly(() => withPod(four, (error) => t.match(error, { code: 100, msg: /^sysctl -qw net\/ipv4\/ip_forward=1: EROFS/ }))))
})

const SILENCERS: string[][] = [
  ['net/ipv4/conf/default/forwarding=0'],
  ['net/ipv4/conf/all/arp_ignore=1', 'net/ipv4/conf/default/arp_ignore=1'],
  ['net/ipv4/conf/all/arp_ignore=2', 'net/ipv4/conf/default/arp_ignore=2'],
  ['net/ipv4/conf/all/arp_announce=2'],
  ['net/ipv4/conf/all/arp_filter=1', 'net/ipv4/conf/default/arp_filter=1'],
  ['net/ipv4/conf/all/rp_filter=1', 'net/ipv4/conf/default/rp_filter=1'],
  ['net/ipv4/conf/all/drop_gratuitous_arp=1', 'net/ipv4/conf/all/accept_redirects=0', 'net/ipv4/conf/all/send_redirects=0', 'net/ipv4/conf/all/log_martians=1', 'net/ipv4/conf/all/accept_source_route=0'],
  ['net/ipv6/conf/default/disable_ipv6=1'],
  ['net/ipv6/conf/default/addr_gen_mode=1'],
  ['net/ipv6/conf/all/accept_ra=0', 'net/ipv6/conf/default/accept_ra=0', 'net/ipv6/conf/default/autoconf=0', 'net/ipv6/conf/default/max_addresses=1', 'net/ipv6/conf/default/router_solicitations=0', 'net/ipv6/conf/default/dad_transmits=0'],
  ['net/ipv6/conf/default/accept_dad=2', 'net/ipv6/conf/all/drop_unsolicited_na=1'],
]

for (const lines of SILENCERS)
  t.test(`${lines.join(' ')}: pods are not silent`, async (t) => {
    withSysctls(lines, () => {
      for (const conf of [both, onBridge(both)])
        withPod(
          conf,
          (result, { status, stdout, stderr }) => {
            t.same([status, stderr], [0, ''], `${conf.type}: ${stdout}`)
            for (const [pod, to] of [['pod', '10.1.2.1'], ['pod', '192.0.2.9'], ['outside', '10.1.2.2'], ['pod', 'fd00:1::1'], ['pod', '2001:db8::9'], ['outside', 'fd00:1::2']] as const) t.ok(from(pod, to), `${conf.type}: ${pod} to ${to}`)
            t.ok(works('ip neigh flush all; ping -c1 -W2 -I 192.0.2.1 10.1.2.2'), 'the node by another address of its own')
            t.equal(call(conf.type, 'CHECK', { ...conf, prevResult: result }).stdout, '', 'CHECK')
            t.equal(call(conf.type, 'STATUS', conf).stdout, '', 'STATUS')
          },
          // A namespace gets these of the first one, where they are set for the whole machine.
          lines.filter((line) => line.startsWith('net/ipv4/conf/')).map((line) => `ip netns exec pod sysctl -qw ${line}`).join('; ') || 'true',
        )
    })
  })

t.test('an uplink that does not forward is for its owner to change: noted, and said by CHECK and STATUS', async (t) => {
  withSysctls(['net/ipv4/ip_forward=1'], () => {
    withSysctls(['net/ipv4/conf/up0/forwarding=0'], () => {
      for (const conf of [four, onBridge(four)])
        withPod(conf, (result, { status, stderr }) => {
          const sentence = 'interface up0 does not forward (net.ipv4.conf.up0.forwarding is 0): what comes in there for pods is dropped'
          t.same([status, stderr], [0, `podwire: ${sentence}\n`])
          t.match(call(conf.type, 'CHECK', { ...conf, prevResult: result }).json, { code: 102, msg: sentence, details: /^sysctl -qw net\/ipv4\/conf\/up0\/forwarding=1$/m })
          t.match(call(conf.type, 'STATUS', conf).json, { code: 51, msg: sentence })
          const { status: code, stdout } = cli(['status', '--state-dir', '/run/none'])
          t.equal(code, 1)
          t.match(stdout, `wrong     ${sentence}\nrepair    sysctl -qw net/ipv4/conf/up0/forwarding=1\n`)
          t.notOk(from('outside', '10.1.2.2'))
        })
    })
    withPod(four, (_, { stderr }) => t.same([stderr, cli(['status', '--state-dir', '/run/none']).status], ['', 0]))
  })
})

t.test("a pod's end that does not forward any more is said by CHECK and STATUS", async (t) => {
  withPod(both, (result) => {
    const end = result.interfaces[0].name
    sh(`sysctl -qw net/ipv4/conf/${end}/forwarding=0`)
    t.match(call('ptp', 'CHECK', { ...both, prevResult: result }).json, { code: 102, msg: `sysctl net/ipv4/conf/${end}/forwarding is 0, not 1` })
    t.match(cli(['status', '--state-dir', '/run/none']).stdout, `wrong     sysctl net/ipv4/conf/${end}/forwarding is 0, not 1`)
    t.match(call('ptp', 'STATUS', both).json, { code: 51, msg: `sysctl net/ipv4/conf/${end}/forwarding is 0, not 1`, details: `sysctl -qw net/ipv4/conf/${end}/forwarding=1` })
    sh('sysctl -qw net/ipv6/conf/all/forwarding=0')
    t.match(call('ptp', 'STATUS', both).json, { code: 51, msg: 'sysctl net/ipv6/conf/all/forwarding is 0, not 1' })
  })
})

t.test('who answers nobody by ARP at all is said', async (t) => {
  withPod(
    four,
    (result, { status, stderr }) => {
      t.same([status, stderr], [0, "podwire: interface eth0 in the pod's namespace does not answer who asks for its address (arp_ignore is 8): it is not found by ARP\n"])
      t.match(call('ptp', 'CHECK', { ...four, prevResult: result }).json, { code: 102, details: 'ip netns exec pod sysctl -qw net/ipv4/conf/all/arp_ignore=1' })
    },
    'ip netns exec pod sysctl -qw net/ipv4/conf/all/arp_ignore=8',
  )
  withSysctls(['net/ipv4/conf/all/arp_ignore=8'], () => {
    const conf = onBridge(four)
    withPod(conf, (_, { stderr }) => {
      t.match(stderr, 'interface cni0 does not answer who asks for its address (arp_ignore is 8)')
      t.match(call('bridge', 'STATUS', conf).json, { code: 51, msg: 'interface cni0 does not answer' })
    })
  })
})

t.test('no link is up while it would listen to routers: at no step of a plan', async (t) => {
  netns('pod')
  const kernel = { host: new Netns(), pod: new Netns('/run/netns/pod') }
  const limits = { runtimeConfig: { bandwidth: { ingressRate: 8_000_000, ingressBurst: 800_000, egressRate: 8_000_000, egressBurst: 800_000 } } }
  const pod = { ...wiring('ptp'), ips: [{ address: '10.1.2.3/24', gateway: '10.1.2.1' }, { address: 'fd00:1::3/64', gateway: 'fd00:1::1' }], routes: [] }
  const plans: Record<string, Plan> = {
    'ptp with bandwidth': planOf(ptp, { ...pod, conf: { ...pod.conf, ...limits } as never }),
    'bridge with bandwidth': planOf(bridge, { ...pod, conf: { ...pod.conf, type: 'bridge', isGateway: true, ...limits } as never }),
  }
  for (const [name, plan] of Object.entries(plans)) {
    const listening = new Set<string>()
    for (const fact of plan) {
      state.add(kernel, [fact], 'pod')
      for (const { ifname, flags } of JSON.parse(ip('-j link')) as { ifname: string; flags: string[] }[])
        if (!['lo', 'up0'].includes(ifname) && flags.includes('UP') && get(`net/ipv6/conf/${ifname}/accept_ra`) === '1' && get(`net/ipv6/conf/${ifname}/disable_ipv6`) === '0') listening.add(`${ifname} after ${JSON.stringify(fact)}`)
    }
    t.same([...listening], [], name)
    state.del(kernel, plan)
    sh('ip link del cni0 2>/dev/null; nft flush ruleset')
  }
  kernel.host.close()
  kernel.pod.close()
  ip('netns del pod')
})
