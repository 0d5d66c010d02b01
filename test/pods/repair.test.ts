// Whatever is done on a node to what a pod has there: `podwire check` says it, `podwire repair` makes it so again, and the kernel is
// then as it was. What the kernel has is asked of ip, tc, bridge and nft.
//
//   c1 (ptp, one entry with all)   c2 (bridge and a chain of plugins behind it)   c3 (ptp alone, IPv4)

import { ip, sh } from '../world.ts'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { check, repair } from '../../src/cli/pods.ts'
import { attach, detach, type List } from './library.ts'

const RATES = { ingressRate: 8_000_000, ingressBurst: 800_000, egressRate: 16_000_000, egressBurst: 1_600_000 }
const asked = (hostPort: number) => ({ portMappings: [{ hostPort, containerPort: 80, protocol: 'tcp' }], bandwidth: RATES })
const ipam = (...subnets: string[]) => ({ type: 'host-local', ranges: subnets.map((subnet) => [{ subnet }]), routes: subnets.map((subnet) => ({ dst: subnet.includes(':') ? '::/0' : '0.0.0.0/0' })) })

const WHOLE: List = { name: 'whole', plugins: [{ type: 'ptp', ipMasq: true, capabilities: { portMappings: true, bandwidth: true }, firewall: {}, ipam: ipam('10.1.1.0/24', 'fd00:1::/64') }] }
const CHAIN: List = {
  name: 'chain',
  plugins: [
    { type: 'bridge', bridge: 'cni0', isGateway: true, ipMasq: true, macspoofchk: true, ipam: ipam('10.1.2.0/24') },
    { type: 'portmap', capabilities: { portMappings: true } },
    { type: 'bandwidth', capabilities: { bandwidth: true } },
    { type: 'firewall' },
    { type: 'tuning', sysctl: { 'net.core.somaxconn': '500' }, mtu: 1400 },
    { type: 'sbr' },
  ],
}
const PLAIN: List = { name: 'plain', plugins: [{ type: 'ptp', ipam: ipam('10.1.3.0/24') }] }

const results = [attach(WHOLE, { container: 'c1', capabilityArgs: asked(8080) }), attach(CHAIN, { container: 'c2', capabilityArgs: asked(8081) }), attach(PLAIN, { container: 'c3' })]
const [one, two, three] = results.map(({ interfaces }) => interfaces.find(({ name, sandbox }: { name: string; sandbox?: string }) => !sandbox && name.startsWith('veth')).name) as [string, string, string]
const ifb = sh('ip -br link show type ifb').split('\n').map((line) => line.split(/[ @]/)[0])[0]!

// what is typed on the node | what `podwire check` has to say of it
const DAMAGES = `
nft delete table inet podwire                        | nft table inet podwire is missing
nft flush ruleset                                    | nft table bridge podwire is missing
nft flush chain inet podwire hostports               | nft chain inet podwire hostports
nft delete element inet podwire hostports_ip '{ tcp . 8080 }' | nft element tcp . 8080 in map inet podwire hostports_ip is missing
nft delete element inet podwire masquerade_ip '{ 10.1.2.2 }'  | nft element 10.1.2.2 in map inet podwire masquerade_ip is missing
nft delete element inet podwire firewall_ip '{ 10.1.1.2 }'    | nft element 10.1.1.2 in set inet podwire firewall_ip is missing
ip route del 10.1.3.2                                | route 10.1.3.2/32 dev ${three} scope host is missing
ip route replace 10.1.3.2 dev lo                     | route 10.1.3.2/32 dev ${three} scope host is missing
ip -6 route del fd00:1::2                            | route fd00:1::2/128 dev ${one} is missing
ip -6 route del local ::1 dev ${one} table local metric 1024 | route local ::1/128 dev ${one}
ip addr flush dev ${three}                           | address 10.1.3.1/32 is missing on ${three}
ip link set ${three} down                            | interface ${three} is down
ip link set ${one} address 02:00:00:00:00:01         | interface ${one} has MAC address 02:00:00:00:00:01
ip link set ${one} mtu 1300                          | interface ${one} has MTU 1300
ip link set ${one} alias mine                        | interface ${one} has alias "mine"
tc qdisc del dev ${one} root                         | interface ${one} has no qdisc tbf
tc qdisc replace dev ${one} root pfifo               | interface ${one} has qdisc pfifo, not tbf
tc qdisc change dev ${one} root handle 1: tbf rate 1mbit burst 10kb limit 10kb | qdisc tbf of ${one} has rate 1000000bit
tc qdisc del dev ${one} ingress                      | interface ${one} has no qdisc ingress
tc filter del dev ${one} parent ffff:                | interface ${one} has no filter
tc filter add dev ${one} parent ffff: protocol all prio 2 u32 match u32 0 0 flowid 1:1 | interface ${one} has a filter that does not redirect
ip link del ${ifb}                                   | interface ${ifb} is missing
ip link set ${two} nomaster                          | interface ${two} is not a port of bridge cni0
bridge link set dev ${two} hairpin off               | port ${two} of cni0 has hairpin off
ip link set cni0 down                                | interface cni0 is down
ip link del cni0                                     | bridge cni0 is missing
ip addr del 10.1.2.1/24 dev cni0                     | address 10.1.2.1/24 is missing on cni0
sysctl -qw net.ipv4.ip_forward=0                     | sysctl net/ipv4/ip_forward is 0, not 1
sysctl -qw net.ipv4.conf.${three}.forwarding=0       | sysctl net/ipv4/conf/${three}/forwarding is 0, not 1
sysctl -qw net.ipv6.conf.${one}.accept_ra=1          | sysctl net/ipv6/conf/${one}/accept_ra is 1, not 0
sysctl -qw net.ipv4.conf.${one}.route_localnet=0     | sysctl net/ipv4/conf/${one}/route_localnet is 0, not 1
rm /var/lib/cni/networks/whole/10.1.1.2              | 10.1.1.2 is not leased to container c1
rm -r /var/lib/cni/networks/plain                    | Failed to find address added by container c3
ip -n c3 route del default                           | route default via 10.1.3.1 dev eth0 is missing
ip -n c3 addr flush dev eth0                         | address 10.1.3.2/24 is missing on eth0
ip -n c3 link set eth0 down                          | interface eth0 is down
ip netns exec c2 sysctl -qw net.core.somaxconn=100   | sysctl net/core/somaxconn is 100, not 500
ip -n c2 rule del from 10.1.2.2 lookup 100           | rule from 10.1.2.2
ip link del ${three}                                 | interface ${three} is missing
ip link del ${one}                                   | interface ${one} is missing
ip link del ${two}                                   | interface ${two} is missing
`

/** The node and its pods as iproute2, tc, bridge and nft tell it, without what is another each time that it is made. */
function kernel(): string {
  const inside = ['c1', 'c2', 'c3'].flatMap((pod) => [`ip -n ${pod} -br addr`, `ip -n ${pod} route show table all`, `ip -n ${pod} -6 route show table all`, `ip -n ${pod} rule`, `ip -n ${pod} neigh show nud permanent`])
  const asks = ['ip -br addr', 'ip route show table all', 'ip -6 route show table all', 'tc qdisc show', `tc filter show dev ${one} parent ffff:`, 'bridge -d link', 'nft -s list ruleset', 'find /var/lib/cni/networks -name "*[.:]*" ! -name "last_reserved*"', ...inside]
  const timeless = (line: string) => line.replace(/ fe80:\S+|@\w+|^\d+: | proto kernel\b| (linkdown|tentative|fast_leave|expires \S+)\b|0x[0-9a-f]+/g, '').replace(/\s(pref|index|ref|bind) \S+/g, '').replace(/ +/g, ' ').trim()
  const links = /^(\S+ )*(fe80|ff00|ff02)\S*( \S+)* dev |^local fe80/ // they come by themselves
  return sh(asks.join('; echo; ')).split('\n').filter((line) => !links.test(line)).map(timeless).sort().join('\n')
}

t.test('damage is said and repaired', async (t) => {
  t.equal(check([]).status, 0, check([]).stdout)
  await sleep(1200) // until IPv6 is settled
  const whole = kernel()
  for (const row of DAMAGES.trim().split('\n')) {
    const [line, sentence] = row.split(/ +\| /) as [string, string]
    await t.test(line, async (t) => {
      sh(line)
      const said = check([])
      t.match(said, { status: 1 })
      t.ok(said.stdout.includes(sentence), said.stdout)
      const { status, stdout } = repair([])
      t.equal(status, 0, stdout)
      t.ok(stdout.includes(`repaired  `) , stdout)
      t.match(check([]), { status: 0 })
      await sleep(/link|addr|flush/.test(line) ? 50 : 0)
      t.equal(kernel(), whole)
    })
  }
})

t.test('nothing is left after their DEL', async (t) => {
  detach(WHOLE, { container: 'c1', capabilityArgs: asked(8080) }, results[0])
  detach(CHAIN, { container: 'c2', capabilityArgs: asked(8081) }, results[1])
  detach(PLAIN, { container: 'c3' }, results[2])
  t.match(check([]), { status: 0, stdout: 'no pods\n' })
  t.equal(ip('-br link show type veth'), '')
  t.equal(ip('-br link show type ifb'), '')
  t.notMatch(sh('nft list ruleset'), 'elements')
})
