// Every damage is found by CHECK, and what CHECK says, given to a shell as it is, repairs it. Each thing is said once, and nothing that
// follows from what is said.

import { call, full, ip, netns, podnet, sh, works } from './world.ts'
import { writeFileSync } from 'node:fs'
import t from 'tap'

sh('mount -t sysfs sysfs /sys') // that of this namespace

const bridged = { ...full(), type: 'bridge', isDefaultGateway: true }
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

/** Of a pod on a bridge with all that one entry can ask for. */
const OF_BRIDGES = `
ip link del $VETH
ip link del cni0
ip link set $VETH nomaster
ip -n pod link set eth0 address 02:00:00:00:00:01
nft delete table inet podwire
nft flush ruleset; ip link del cni0
ip link del $VETH; nft delete table inet podwire; sysctl -qw net.ipv4.ip_forward=0
`

/** What alone is said of a damage with many consequences. */
const SAID: Record<string, RegExp> = {
  'ip link del $VETH': /^interface veth\w+ is missing$/,
  'ip link del cni0': /^bridge cni0 is missing$/,
  'ip -n pod link set eth0 down': /^interface eth0 is down$/,
  'ip -n pod link set eth0 address 02:00:00:00:00:01': /^interface eth0 in the pod's namespace has MAC address 02:00:00:00:00:01, not \S+$/,
  'nft delete table inet podwire': /^nft table inet podwire is missing$/,
  'sysctl -qw net.ipv4.ip_forward=0': /^sysctl net\/ipv4\/ip_forward is 0, not 1$/,
}

const cases = [...DAMAGES.trim().split('\n').map((damage) => ({ conf: podnet, damage })), ...OF_BRIDGES.trim().split('\n').map((damage) => ({ conf: bridged, damage }))]

for (const { conf, damage } of cases)
  t.test(`${conf.type}: ${damage}`, async (t) => {
    netns('pod')
    const { json } = call(conf.type, 'ADD', conf)
    const check = () => call(conf.type, 'CHECK', { ...conf, prevResult: json })
    t.equal(check().status, 0, 'whole before')
    const veth = json.interfaces.find(({ name }: { name: string }) => name.startsWith('veth')).name
    sh(`VETH=${veth}; OUTSIDE=$(nft list table inet podwire | grep -o "outside_[0-9a-f]*" | head -1); ${damage}`)
    const { json: error } = check()
    t.match(error, { code: 102 })
    const sentences: string[] = error.msg.split('; ')
    t.same(sentences, [...new Set(sentences)], 'each sentence once')
    if (SAID[damage]) t.match(error.msg, SAID[damage])
    t.same(error.details.split('\n').filter((line: string) => line.startsWith('# ')), sentences.map((sentence) => `# ${sentence}`), 'and as a comment above what repairs it')
    writeFileSync('/run/repair', error.details)
    sh('sh -e /run/repair')
    const after = check()
    t.equal(after.status, 0, after.stdout)
    t.ok(works('ip netns exec pod ping -c1 -W30 10.1.2.1 && ping -c1 -W30 fd00:1::2'), 'and packets pass')
    call(conf.type, 'DEL', conf)
    ip('netns del pod')
    sh('nft flush ruleset; rm -rf /var/lib/cni; ! ip link del cni0 2>/dev/null || true')
  })

t.test('what others have written into a name is no line of the script', async (t) => {
  netns('pod')
  const { json } = call('ptp', 'ADD', podnet)
  sh(`ip link set ${json.interfaces[0].name} alias $'mine\\ntouch /run/typed'`)
  const { details } = call('ptp', 'CHECK', { ...podnet, prevResult: json, ipmask: true }).json
  t.match(details, /^# interface veth\w+ has alias "mine\\ntouch \/run\/typed"[^\n]*\nip link set veth\w+ alias podnet\/c1\/eth0\n# ipmask is not a key of podwire: did you mean ipMasq\?$/)
  writeFileSync('/run/repair', details)
  sh('sh -e /run/repair; ! test -e /run/typed')
  call('ptp', 'DEL', podnet)
  ip('netns del pod')
})
