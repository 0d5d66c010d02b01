// Whatever is done to a node's overlay by hand or by other programs is repaired within a second, and counted with what it
// was. What the kernel has before and after is asked of ip, bridge and nft.
//
//   a (agent) ── u0 ── bridge lan ── outside          peers b and c are in the file only: nobody asks them anything
//   d (agent --direct-routing) ── u0 ┘

import { ip } from '../world.ts'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { vtepMac } from '../../src/names.ts'
import { Agent, kernel, node, on, peers, segment, until } from './nodes.ts'

const B = vtepMac('b', 1)
const OTHER = '02:00:00:00:00:99'

// kind that is counted | what is typed on the node
const DAMAGES = `
route   | ip route del 10.244.3.0/24
route   | ip -6 route del fd00:10:244:3::/64
route   | ip route replace 10.244.3.0/24 via 192.0.2.254 dev u0
route   | ip route replace 10.244.3.0/24 via 192.0.2.254 dev u0 proto 119
route   | ip -6 route replace fd00:10:244:3::/64 via 2001:db8::fe dev u0 proto 119
route   | ip route replace blackhole 10.244.3.0/24
route   | ip route add 198.51.100.0/24 via 192.0.2.254 dev u0 proto 119
route   | ip route add 198.51.100.0/24 dev lo proto 119
route   | ip route add 10.244.3.0/24 via 192.0.2.254 dev u0 metric 5 proto 119
route   | ip route append 10.244.3.0/24 via 192.0.2.254 dev u0 proto 119
route   | ip route prepend 10.244.3.0/24 via 192.0.2.254 dev u0 proto 119
route   | ip -6 route append fd00:10:244:3::/64 via 2001:db8::fe dev u0 proto 119
route   | ip route flush proto 119
route   | ip -6 route flush proto 119
neigh   | ip neigh del 10.244.3.0 dev podwire.1
neigh   | ip neigh replace 10.244.3.0 lladdr ${OTHER} dev podwire.1 nud permanent
neigh   | ip neigh replace 10.244.3.0 lladdr ${OTHER} dev podwire.1 nud noarp
neigh   | ip neigh change 10.244.3.0 lladdr ${OTHER} dev podwire.1 nud reachable
neigh   | ip neigh replace fd00:10:244:3:: lladdr ${OTHER} dev podwire.1 nud permanent
neigh   | ip neigh add 10.244.9.0 lladdr ${OTHER} dev podwire.1 nud permanent
neigh   | ip neigh flush dev podwire.1 nud permanent; ip -6 neigh flush dev podwire.1 nud permanent
fdb     | bridge fdb del ${B} dev podwire.1 dst 192.0.2.3 self
fdb     | bridge fdb replace ${B} dev podwire.1 dst 192.0.2.99 self permanent
fdb     | bridge fdb append ${OTHER} dev podwire.1 dst 192.0.2.3 self
fdb     | bridge fdb append 00:00:00:00:00:00 dev podwire.1 dst 192.0.2.99 self permanent
addr    | ip addr del 10.244.1.0/32 dev podwire.1
addr    | ip addr flush dev podwire.1
addr    | ip addr add 10.244.1.9/24 dev podwire.1
addr    | ip -6 addr add fd00:10:244:1::9/64 dev podwire.1
addr    | ip addr del 10.244.1.0/32 dev podwire.1 && ip addr add 10.244.1.0/24 dev podwire.1
link set | ip link set podwire.1 down
link set | ip link set podwire.1 down && ip link set podwire.1 up && ip link set podwire.1 down
vxlan   | ip link del podwire.1
vxlan   | ip link set podwire.1 mtu 1300
vxlan   | ip link set podwire.1 address ${OTHER}
vxlan   | ip link set podwire.1 type vxlan learning
vxlan   | ip link set podwire.1 type vxlan local 192.0.2.254
vxlan   | kill -STOP $AGENT; ip link del podwire.1 && ip link add podwire.1 type vxlan id 7 dstport 8472 dev u0 && ip link set podwire.1 up; kill -CONT $AGENT
vxlan   | kill -STOP $AGENT; ip link del podwire.1 && ip link add podwire.1 up type bridge; kill -CONT $AGENT
vxlan   | ip link set podwire.1 down name other0
vxlan   | ip link set podwire.1 master br0
vxlan   | ip netns add thief && ip link set podwire.1 netns thief && ip netns del thief
sysctl  | sysctl -qw net.ipv4.ip_forward=0
sysctl  | sysctl -qw net.ipv6.conf.all.forwarding=0
sysctl  | sysctl -qw net.ipv6.conf.podwire/1.disable_ipv6=1
table   | nft flush ruleset
table   | nft delete table inet podwire
chain   | nft flush chain inet podwire overlay
chain   | nft delete chain inet podwire overlay
chain   | nft add rule inet podwire overlay counter accept
chain   | nft insert rule inet podwire overlay masquerade
chain   | nft delete rule inet podwire overlay handle $(nft -a list chain inet podwire overlay | sed -n 's/.*saddr.*handle //p' | head -1)
chain   | nft 'delete chain inet podwire overlay; add chain inet podwire overlay; add rule inet podwire overlay ip daddr @cluster_ip return; add rule inet podwire overlay ip6 daddr @cluster_ip6 return; add rule inet podwire overlay ip saddr 10.244.1.0/24 masquerade fully-random; add rule inet podwire overlay ip6 saddr fd00:10:244:1::/64 masquerade fully-random'
chain   | nft 'flush chain inet podwire overlay; add rule inet podwire overlay ip daddr @cluster_ip return; add rule inet podwire overlay ip6 daddr @cluster_ip6 return; add rule inet podwire overlay ip saddr 10.244.1.0/24 masquerade; add rule inet podwire overlay ip6 saddr fd00:10:244:1::/64 masquerade'
set     | nft flush set inet podwire cluster_ip
set     | nft delete element inet podwire cluster_ip '{ 224.0.0.0/4 }'
set     | nft add element inet podwire cluster_ip6 '{ fd00:99::/64 }'
table   | nft add table inet podwire '{ flags dormant; }'
`

// What the programs that manage a host's network do to interfaces and routes that they do not know.
const MANAGERS = `
systemd-networkd restarts with ManageForeignRoutes=yes | ip route flush proto 119; ip -6 route flush proto 119
systemd-networkd takes the device for its own | ip addr flush dev podwire.1; ip route flush dev podwire.1; ip link set podwire.1 down; ip link set podwire.1 up
systemd-networkd reconfigures the underlay | ip route flush dev u0; ip link set u0 down; ip link set u0 up; ip -4 route add default via 192.0.2.254 dev u0; ip -6 route replace 2001:db8::/64 dev u0 proto kernel metric 256; ip -6 route replace default via 2001:db8::fe dev u0
NetworkManager takes the device down and deletes it | ip link set podwire.1 down; ip addr flush dev podwire.1; ip link del podwire.1
udev sets a MAC address by MACAddressPolicy=persistent | ip link set podwire.1 address ${OTHER}
firewalld reloads | nft flush ruleset
a switch port flaps | ip link set u0 down; ip link set u0 up; ip -4 route replace default via 192.0.2.254 dev u0; ip -6 route replace default via 2001:db8::fe dev u0
`

const table = (text: string) => text.trim().split('\n').map((row) => row.split(/ *\| (.*)/) as [string, string])

t.test('damage is repaired', async (t) => {
  segment('a', 'd')
  ip('-n a link add br0 type bridge')
  peers(node('a', 1), node('d', 2), node('b', 3), node('c', 4))
  const [a, d] = await Promise.all([Agent.ready('a'), Agent.ready('d', '--direct-routing')])
  const [one, direct] = [a, d].map((agent) => ({ agent, whole: kernel(agent.node) })) as [{ agent: Agent; whole: string }, { agent: Agent; whole: string }]

  for (const [kind, line] of table(DAMAGES)) await t.test(line, (t) => damaged(t, one, line, kind))
  for (const [who, line] of table(MANAGERS)) await t.test(`${who}: ${line}`, (t) => damaged(t, one, line))
  for (const [who, line] of table(MANAGERS)) await t.test(`direct routes, ${who}`, (t) => damaged(t, direct, line))

  await t.test('what the kernel grants at the second attempt is counted, too', async () => {
    const refused = () => a.status().reason.includes('x has VNI 1')
    on('a', `kill -STOP ${a.pid}; ip link del podwire.1 && ip link add x type vxlan id 1 local 192.0.2.1 dstport 8472; kill -CONT ${a.pid}`)
    await until('it is refused', refused)
    const [before, logged] = [a.metric('podwire_repairs_total{kind="vxlan"}'), a.log.length]
    on('a', 'ip link del x')
    await until('it is counted', () => a.metric('podwire_repairs_total{kind="vxlan"}') > before)
    await until('it is told', () => a.log.slice(logged).includes('msg="the overlay is ready"'))
    await a.settled()
  })

  await t.test('nothing is repaired that is not broken', async (t) => {
    const before = a.log
    on('a', 'ip link add other0 type veth && ip link set other0 up && ip addr add 10.99.0.1/24 dev other0 && ip route add 198.51.100.0/24 dev other0; nft add table ip other; ip link del other0; nft delete table ip other')
    await a.settled()
    await sleep(100)
    t.equal(a.log, before)
  })
  await Promise.all([a.stop(), d.stop()])
  ip('netns del a')
  ip('netns del d')
})

/** How often what was repaired before. */
let counted = new Map<string, number>()

/** Types a line on a node; what was before is there again within a second. */
async function damaged(t: Test, { agent, whole }: { agent: Agent; whole: string }, line: string, kind?: string): Promise<void> {
  const logged = agent.log.length
  on(agent.node, `AGENT=${agent.pid}; ${line}`)
  await agent.settled()
  await until('the kernel is as before', () => kernel(agent.node) === whole).catch(() => t.equal(kernel(agent.node), whole))
  if (kind === undefined) return // it may not have hurt the overlay
  const count = () => new Map([...agent.get('/metrics').body.matchAll(/^podwire_repairs_total\{kind="(.*)"\} (\d+)$/gm)].map(([, name, value]) => [name!, Number(value)]))
  await until('it is counted', () => (count().get(kind) ?? 0) > (counted.get(kind) ?? 0))
  counted = count()
  await until('it is told', () => agent.log.slice(logged).includes('level=warn msg=repaired what='))
}
