// The test that keeps plans honest: make a plan true, dump the kernel; in a second world type the shown sentences in a
// shell, dump again; the two must be equal.

import { ip, netns, nft, sh } from './world.ts'
import t from 'tap'
import { bridge } from '../src/bridge/bridge.ts'
import type { Plan } from '../src/facts.ts'
import { show } from '../src/show.ts'
import { Netns } from '../src/kernel/netns.ts'
import { ptp } from '../src/ptp/ptp.ts'
import * as state from '../src/state.ts'
import { planOf, type Wirer, type Wiring } from '../src/wire.ts'
import { wiring } from './wiring.ts'

sh('mount -t sysfs sysfs /sys') // that of this namespace

const plain = wiring('ptp')
const pod: Wiring = {
  ...plain,
  conf: { ...plain.conf, ipMasq: true, nonMasqueradeCIDRs: ['10.0.0.0/13', 'fd00::/63'] },
  ips: [...plain.ips, { address: 'fd00:1::3/64', gateway: 'fd00:1::1' }],
  routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0', mtu: 1300 }, { dst: '192.0.2.0/24', gw: '10.1.2.9', mtu: 1400, advmss: 1300, priority: 50, table: 100 }, { dst: '0.0.0.0/0', gw: '10.1.2.7' }, { dst: '198.51.100.0/24', scope: 253 }],
  mac: '02:11:22:33:44:55',
}

const published = { runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }, { hostPort: 53, containerPort: 5353, protocol: 'udp', hostIP: '2001:db8::1' }, { hostPort: 53, containerPort: 5353, protocol: 'udp', hostIP: '127.0.0.1' }] } }
const bridged = (keys: object): Wiring => ({ ...pod, mac: undefined, conf: { ...pod.conf, type: 'bridge', ...keys } as Wiring['conf'] })

const cases: [string, Wirer, Wiring][] = [
  ['dual-stack, masqueraded, routes with every attribute', ptp, pod],
  ['IPv4 with a whole-length prefix', ptp, { ...pod, mac: undefined, conf: { ...pod.conf, ipMasq: false }, ips: [{ address: '10.9.9.9/32', gateway: '169.254.1.1' }], routes: [{ dst: '0.0.0.0/0' }] }],
  ['bridge: gateway, hairpin, dual-stack, masqueraded', bridge, bridged({ isGateway: true, hairpinMode: true, forceAddress: true })],
  ['bridge: isolated, promiscuous, only IPv4, not masqueraded', bridge, { ...bridged({ isDefaultGateway: true, portIsolation: true, promiscMode: true, ipMasq: false }), ips: pod.ips.slice(0, 1), routes: [], mac: '02:11:22:33:44:55' }],
  ['host ports', ptp, { ...pod, conf: { ...pod.conf, ...published } as Wiring['conf'] }],
  ['bridge: host ports under conditions, masqueraded for all', bridge, bridged({ ...published, portmap: { masqAll: true, conditionsV4: ['!', '-s', '192.0.2.0/24'], conditionsV6: ['iifname', '"eth0"'] } })],
  ['bridge: held to its MAC address, and isolated by the firewall', bridge, bridged({ macspoofchk: true, firewall: { ingressPolicy: 'isolated', iptablesAdminChainName: 'MINE' } })],
  ['bridge: not forwarded to other bridges', bridge, bridged({ firewall: { ingressPolicy: 'same-bridge' } })],
  ['bridge: no addresses', bridge, { ...bridged({ ipMasq: false }), ips: [], routes: [] }],
]

for (const [name, wirer, of] of cases)
  t.test(name, async (t) => {
    const plan = planOf(wirer, of)
    const made = inFreshPod((kernel) => state.add(kernel, plan, 'pod'), plan)
    const typed = inFreshPod(() => sh(plan.map((fact) => show(fact, 'pod')).filter(Boolean).join(' &&\n')), plan)
    t.same(made, typed)
    t.match(made, { pod: [{ ifname: 'lo' }, { ifname: 'eth0' }] }, 'and there is something to compare')
  })

/** Runs something with a new pod, and returns the kernel's state after it, then takes the plan back. */
function inFreshPod(run: (kernel: state.Kernel) => void, plan: Plan) {
  const kernel = { host: new Netns(), pod: new Netns(netns('pod')) }
  try {
    run(kernel)
    t.same(state.check(kernel, plan, 'pod'), [], 'CHECK agrees')
    const dump = {
      host: links(ip('-j -d addr')),
      pod: links(ip('-n pod -j -d addr')),
      routes: [...routesOf(ip('-j route show table all')), ...routesOf(ip('-j -6 route show table all'))],
      podRoutes: [...routesOf(ip('-n pod -j route show table all')), ...routesOf(ip('-n pod -j -6 route show table all'))],
      sysctls: sh('cd /proc/sys/net; grep . ipv4/ip_forward ipv4/conf/{veth*,cni*}/route_localnet ipv6/conf/{veth*,cni*,all}/{accept_ra,disable_ipv6,forwarding} || true'),
      podSysctls: sh('ip netns exec pod bash -c "cd /proc/sys/net; grep . ipv4/conf/eth0/arp_notify ipv6/conf/eth0/{accept_ra,disable_ipv6,keep_addr_on_down,ndisc_notify}"'),
      kept: sh('grep . /sys/class/net/cni*/addr_assign_type || true'), // 3: a MAC address that was set
      nft: JSON.parse(nft('-j list ruleset'), (key, value) => (key === 'handle' ? undefined : value)),
    }
    return dump
  } finally {
    t.same(state.del(kernel, plan), [])
    kernel.host.close()
    kernel.pod.close()
    sh('ip netns del pod; nft flush ruleset; ip -br link show type bridge | while read name _; do ip link del $name; done; echo 0 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv6/conf/all/forwarding')
  }
}

interface LinkDump {
  ifname: string
  address: string
  mtu: number
  ifalias?: string
  flags: string[]
  promiscuity: number
  master?: string
  linkinfo?: { info_kind: string; info_slave_data?: Record<string, unknown> }
  addr_info: { local: string; prefixlen: number; scope: string; nodad?: boolean; noprefixroute?: boolean; tentative?: boolean }[]
}

/** What of a link's dump does not depend on when it was made; link-local addresses settle by themselves. */
function links(json: string) {
  return (JSON.parse(json) as LinkDump[]).map(({ ifname, address, mtu, ifalias, flags, promiscuity, master, linkinfo, addr_info }) => ({
    ifname, mtu, ifalias, up: flags.includes('UP'), promiscuity, master, kind: linkinfo?.info_kind,
    address: linkinfo?.info_kind === 'bridge' ? undefined : address, // which is random
    port: ['hairpin', 'isolated'].map((name) => linkinfo?.info_slave_data?.[name]),
    addrs: addr_info.filter(({ scope }) => scope !== 'link').map(({ local, prefixlen, scope, nodad, noprefixroute }) => ({ local, prefixlen, scope, nodad, noprefixroute })),
  }))
}

/** A route but for its flags (linkdown comes and goes), and none of link-local addresses. */
function routesOf(json: string): string[] {
  return (JSON.parse(json) as Record<string, unknown>[]).filter(({ dst }) => !/^(fe80|ff00)/.test(String(dst))).map(({ flags: _, ...route }) => JSON.stringify(route)).sort()
}
