// An ADD that fails leaves nothing, whatever it was that failed, and when that is mended the same ADD succeeds.

import { call, ip, netns, podnet, sh, state, works } from '../world.ts'
import { readdirSync } from 'node:fs'
import t from 'tap'
import { hostIfname } from '../../src/names.ts'

const conf = podnet
const host = hostIfname({ network: 'podnet', containerID: 'c1', ifname: 'eth0' })
const address = { args: 'IP=10.1.2.99' }
netns('pod')

/** Breaks something, sees ADD fail and leave nothing, mends it, sees ADD succeed and DEL leave nothing. */
function breaks(name: string, damage: string, repair: string, expected: object, request: object = conf): void {
  t.test(name, async (t) => {
    sh(damage)
    const before = state('pod')
    const failed = call('ptp', 'ADD', request, address)
    t.match(failed.json, expected, failed.stdout)
    t.equal(state('pod'), before, 'nothing is left')
    sh(repair)

    const added = call('ptp', 'ADD', conf, address)
    t.equal(added.status, 0, added.stdout)
    t.ok(works('ip netns exec pod ping -c1 -W30 10.1.2.1'), 'then it works')
    t.equal(call('ptp', 'DEL', conf).stdout, '')
    sh('nft delete table inet podwire')
    t.equal(leftovers(), '')
  })
}

/** Links, routes and leases that only an attachment makes. */
const leftovers = (): string => [sh('ip -br link show type veth'), sh('ip -n pod -br link show type veth'), ip('route'), sh(`nft list ruleset`), ...readdirSync('/var/lib/cni/networks/podnet').filter((file) => !/^lock$|^last_reserved/.test(file))].filter(Boolean).join('\n')

breaks('the name of the host end is taken', `ip link add ${host} type veth peer other`, `ip link del ${host}`, { code: 101, msg: `container c1 already has an interface eth0: its host end ${host} exists` })

breaks('the name of the pod end is taken', 'ip -n pod link add eth0 type veth peer other', 'ip -n pod link del eth0', { code: 101, msg: "interface eth0 already exists in the container's network namespace" })

breaks(
  'a table podwire of somebody else has a map of another kind',
  "nft add table inet podwire && nft add map inet podwire masquerade_ip '{ type ipv4_addr : ipv4_addr ; }'",
  'nft delete table inet podwire',
  { code: 100, msg: /^nft add (map|chain|rule|element) inet podwire .*masquerade_ip/, details: 'what had been done was taken back' },
)

breaks(
  '/proc/sys is read-only',
  'sysctl -qw net.ipv4.ip_forward=0 && mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys',
  'umount /proc/sys',
  { code: 100, msg: /^sysctl -qw net\/ipv4\/ip_forward=1: EROFS/ },
)

breaks(
  '/proc/sys is read-only, and only the veth needs it',
  'sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.default.forwarding=0 && mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys',
  'umount /proc/sys && sysctl -qw net.ipv4.conf.default.forwarding=1',
  { code: 100, msg: /^sysctl -qw net\/ipv4\/conf\/veth\w+\/forwarding=1: EROFS/, details: /^what had been done was taken back/ },
)

breaks(
  'the route to the pod is taken on the node',
  'ip link add way type veth peer yaw && ip link set way up && ip link set yaw up && ip route add 10.1.2.99 dev way scope host',
  'ip link del way',
  { code: 100, msg: /^10\.1\.2\.99 has a route already, to way \(ip route add 10\.1\.2\.99\/32 dev veth\w+ scope host: EEXIST.*\)$/ },
)

breaks('a next hop that is the pod itself', 'true', 'true', { code: 100, msg: /^ip -n pod route add 10\.9\.0\.0\/16 via 10\.1\.2\.99 .*invalid gateway/, details: 'what had been done was taken back' }, { ...conf, ipam: { ...conf.ipam, routes: [{ dst: '10.9.0.0/16', gw: '10.1.2.99' }] } })

breaks('an MTU that no veth can have', 'true', 'true', { code: 7, msg: /mtu/ }, { ...conf, mtu: 68 })
