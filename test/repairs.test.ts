// Every damage is found by CHECK, and what CHECK says, typed in a shell, repairs it.

import { call, ip, netns, podnet, sh, works } from './world.ts'
import t from 'tap'

const conf = podnet
const map = 'inet podwire masquerade_ip'
const DAMAGES = `
ip -n pod -6 addr del fd00:1::2/64 dev eth0
ip -n pod -4 addr del 10.1.2.2/24 dev eth0
ip -n pod link set eth0 mtu 1400
ip -n pod link set eth0 down
ip -n pod link set eth0 address 02:00:00:00:00:01
ip -n pod route del 10.1.2.0/24
ip -n pod route replace default dev eth0
ip -n pod -6 route del default
ip link set $VETH mtu 1400
ip link set $VETH down
ip link set $VETH address 02:00:00:00:00:01
ip link set $VETH alias other
ip link del $VETH
ip addr flush dev $VETH
ip route del 10.1.2.2
ip -6 route del fd00:1::2
sysctl -qw net.ipv4.ip_forward=0
sysctl -qw net.ipv6.conf.all.forwarding=0
sysctl -qw net.ipv6.conf.$VETH.accept_ra=1
ip netns exec pod sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1
nft delete table inet podwire
nft flush chain inet podwire postrouting
nft insert rule inet podwire $OUTSIDE return
nft add rule inet podwire $OUTSIDE return
nft delete element ${map} { 10.1.2.2 }
nft delete element ${map} { 10.1.2.2 } && nft add element ${map} '{ 10.1.2.2 comment "x/y/z" : goto '$OUTSIDE' }'
nft delete element ${map} { 10.1.2.2 } && nft add element ${map} '{ 10.1.2.2 : accept }'
`

for (const damage of DAMAGES.trim().split('\n'))
  t.test(damage, async (t) => {
    netns('pod')
    const { json } = call('ptp', 'ADD', conf)
    const check = () => call('ptp', 'CHECK', { ...conf, prevResult: json })
    t.equal(check().status, 0, 'whole before')
    sh(`VETH=${json.interfaces[0].name}; OUTSIDE=$(nft list table inet podwire | grep -o "outside_[0-9a-f]*" | head -1); ${damage}`)
    const { json: error } = check()
    t.match(error, { code: 102 })
    sh(String(error.details).replaceAll(/^.*to repair it: /gm, ''))
    const after = check()
    t.equal(after.status, 0, after.stdout)
    t.ok(works('ip netns exec pod ping -c1 -W30 10.1.2.1 && ping -c1 -W30 fd00:1::2'), 'and packets pass')
    call('ptp', 'DEL', conf)
    ip('netns del pod')
    sh('nft flush ruleset; rm -rf /var/lib/cni')
  })
