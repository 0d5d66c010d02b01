// Host ports, by packets: from outside, from the node itself by each of its addresses, 127.0.0.1 and ::1 among them, from the pod
// itself and from its neighbours; within ptp and bridge, and as an entry of its own behind them.
//
//   far ── u0 (node) ── pod, other           far: 192.0.2.2, 2001:db8::2
//                       10.1.2.0/24, fd00:1:2::/64

import { call, netns, nft, sh } from './world.ts'
import t from 'tap'
import { ask, server, silent } from './traffic.ts'

const ipam = { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1:2::/64' }]], routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] }
const ptp = { cniVersion: '1.1.0', name: 'podnet', type: 'ptp', ipMasq: true, ipam }
const bridge = { ...ptp, type: 'bridge', isDefaultGateway: true }
const portMappings = [
  { hostPort: 8080, containerPort: 80, protocol: 'tcp' },
  { hostPort: 8053, containerPort: 53, protocol: 'udp' },
]
const ports = (...list: object[]) => ({ runtimeConfig: { portMappings: list.length > 0 ? list : portMappings } })
const other = { container: 'c2', netns: '/run/netns/other' }

netns('far')
netns('pod')
netns('other')
sh(`ip link add u0 type veth peer name eth0 netns far && ip link set u0 addrgenmode none up && ip addr add 192.0.2.1/24 dev u0 && ip addr add 192.0.2.11/24 dev u0 && ip addr add 2001:db8::1/64 dev u0 nodad
ip -n far link set lo up && ip -n far link set eth0 up && ip -n far addr add 192.0.2.2/24 dev eth0 && ip -n far addr add 2001:db8::2/64 dev eth0 nodad
ip -n far route add default via 192.0.2.1 && ip -n far -6 route add default via 2001:db8::1
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
for ns in pod other; do ip -n $ns link set lo up; done`)
const servers = [await server('pod', 'pod', 80, 53), await server('other', 'other', 80, 53), await server('far', 'far', 8080)]
t.teardown(() => servers.forEach((one) => one.kill()))

/** ADD of a plugin alone, or of it and portmap behind it; the last result. */
function add(conf: typeof ptp, chained: boolean, published: object, who = {}) {
  const first = call(conf.type, 'ADD', chained ? conf : { ...conf, ...published }, who)
  if (!chained || first.status !== 0) return first
  return call('portmap', 'ADD', { ...conf, type: 'portmap', ...published, prevResult: first.json }, who)
}

function del(conf: typeof ptp, chained: boolean, more = {}, who = {}): void {
  if (chained) t.equal(call('portmap', 'DEL', { cniVersion: '1.1.0', name: 'podnet', type: 'portmap', ...more }, who).stdout, '')
  t.equal(call(conf.type, 'DEL', { ...conf, ...more }, who).stdout, '')
}

/** Links, addresses, routes and rules, but for what pods share: the table of nf_tables, and what a bridge has for good. */
const shape = (): string =>
  sh(`ip -br link; ip -br addr; ip route show table all; ip -6 route show table all; ip -n pod -br addr; nft list tables`)
    .split('\n').filter((line) => !/inet podwire|cni0|dev.* fe80|fe80.* dev|ff00::/.test(line)).map((line) => line.replace(/@\S+|fe80\S+| (?:UP|DOWN|UNKNOWN|LOWERLAYERDOWN)\b|<.*>/g, '').trimEnd()).sort().join('\n')

const SAW: [from: string | undefined, to: string, whom: RegExp][] = [
  ['far', '192.0.2.1', /^pod sees 192\.0\.2\.2$/],
  ['far', '2001:db8::1', /^pod sees 2001:db8::2$/],
  [undefined, '192.0.2.1', /^pod sees (192\.0\.2\.1|10\.1\.2\.1)$/],
  [undefined, '2001:db8::1', /^pod sees (2001:db8::1|fd00:1:2::1)$/],
  [undefined, '127.0.0.1', /^pod sees (192\.0\.2\.1|10\.1\.2\.1)$/],
  [undefined, '127.5.6.7', /^pod sees (192\.0\.2\.1|10\.1\.2\.1)$/],
  [undefined, '::1', /^pod sees (2001:db8::1|fd00:1:2::1)$/],
  [undefined, '10.1.2.1', /^pod sees 10\.1\.2\.1$/],
  ['pod', '192.0.2.1', /^pod sees (192\.0\.2\.1|10\.1\.2\.1)$/],
  ['pod', '10.1.2.1', /^pod sees 10\.1\.2\.1$/],
  ['pod', '2001:db8::1', /^pod sees (2001:db8::1|fd00:1:2::1)$/],
  ['other', '192.0.2.1', /^pod sees/],
  ['other', '2001:db8::1', /^pod sees/],
]

for (const conf of [ptp, bridge])
  for (const chained of [false, true])
    t.test(`${conf.type}${chained ? ' and portmap behind it' : ''}: reached by everybody, and gone with DEL`, async (t) => {
      sh(`for key in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do echo ${chained ? 0 : 1} >$key; done`) // br_netfilter, where there is one
      t.equal(call(conf.type, 'ADD', conf, other).status, 0)
      const before = shape()
      const added = add(conf, chained, ports())
      t.equal(added.status, 0, added.stdout)
      for (const [from, to, whom] of SAW) {
        // br_netfilter takes the translation back before IPv6 sees the packet, which lets nothing for ::1 in from outside.
        if (to === '::1' && conf === bridge && !chained) continue
        t.match(ask(from, to, 8080), whom, `${from ?? 'the node'} to ${to}, TCP`)
        t.match(ask(from, to, 8053, 'udp'), whom, `${from ?? 'the node'} to ${to}, UDP`)
      }
      t.equal(ask('pod', '192.0.2.2', 8080), 'far sees 192.0.2.1', 'what is only forwarded through the node is left alone')
      t.ok(silent('far', '192.0.2.1', 8053), 'a port of UDP is none of TCP')
      const check = { ...conf, ...ports(), prevResult: added.json }
      t.equal(call(conf.type, 'CHECK', chained ? { ...conf, prevResult: added.json } : check).stdout, '')
      if (chained) t.equal(call('portmap', 'CHECK', { ...check, type: 'portmap' }).stdout, '')

      del(conf, chained)
      for (const to of ['192.0.2.1', '127.0.0.1', '::1']) t.ok(silent(undefined, to, 8080), `${to} after DEL`)
      for (const map of ['hostports_ip', 'hostports_ip6', 'hairpin_ip', 'hairpin_ip6', 'hostports_dev']) t.notMatch(nft(`list ${map.endsWith('dev') ? 'set' : 'map'} inet podwire ${map}`), 'elements')
      t.equal(shape(), before, 'and nothing else stays')
      t.equal(call(conf.type, 'DEL', conf, other).status, 0)
      sh('ip link del cni0 2>/dev/null; nft delete table inet podwire; rm -rf /var/lib/cni')
    })
