// Values that the kernel tells otherwise than they are written: CHECK knows them again. Each was found by any.test.ts, or by users.

import { call, ip, netns, sh, works } from './world.ts'
import t, { type Test } from 'tap'

const CNI = { cniVersion: '1.0.0', name: 'podnet' }
const bridge = (routes: object[], keys = {}) => ({ ...CNI, type: 'bridge', isGateway: true, ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]], routes }, ...keys })
const ptp = (routes: object[], keys = {}) => ({ ...bridge(routes), type: 'ptp', ...keys })

netns('pod')

/** Runs something while a pod is there; its CHECK is silent, and DEL leaves nothing of it. */
function withPod(t: Test, list: ({ type: string } & Record<string, unknown>)[], run: () => void = () => {}): void {
  let prevResult: any
  const send = (entry: { type: string }, command: string) => call(entry.type, command, { ...entry, ...(prevResult && { prevResult }) })
  for (const entry of list) {
    const { status, stdout, json } = send(entry, 'ADD')
    t.equal(status, 0, stdout)
    prevResult = json
  }
  run()
  for (const entry of list) t.equal(send(entry, 'CHECK').stdout, '', `CHECK of ${entry.type}`)
  for (const entry of list.toReversed()) t.equal(send(entry, 'DEL').stdout, '', `DEL of ${entry.type}`)
  t.equal(sh('ip -br link show type veth; ip -n pod -br link | grep -v ^lo || true'), '')
}

for (const make of [ptp, bridge]) {
  const { type } = make([])
  t.test(`${type}: a route in table 0 or 254 is in main`, async (t) =>
    withPod(t, [make([{ dst: '192.0.2.0/24', table: 0 }, { dst: '198.51.100.0/24', table: 254 }, { dst: '2001:db8::/64', table: 0 }])], () => {
      t.match(ip('-n pod route show table main'), /192\.0\.2\.0\/24 via[^]*198\.51\.100\.0\/24 via/)
    }))

  t.test(`${type}: an MTU and an MSS that the kernel makes smaller`, async (t) =>
    withPod(t, [make([{ dst: '192.0.2.0/24', mtu: 65535, advmss: 65535 }, { dst: '2001:db8::/64', mtu: 65535, advmss: 65535 }])]))

  t.test(`${type}: an MTU of the interface that takes those of its IPv6 routes along`, async (t) => {
    withPod(t, [make([{ dst: '2001:db8::/64', mtu: 9000 }], { mtu: 9000, tuning: { mtu: 1400 } })])
    withPod(t, [make([], { mtu: 1500, tuning: { mtu: 65535 } })])
    withPod(t, [make([{ dst: '2001:db8::/64', mtu: 9000 }], { mtu: 9000 }), { ...CNI, type: 'tuning', mtu: 65535 }])
  })

  t.test(`${type}: a destination with host bits, in capitals, or mapped`, async (t) =>
    withPod(t, [make([{ dst: '192.0.2.9/24' }, { dst: '2001:DB8:0::9/64' }, { dst: '::ffff:198.51.100.9/120' }])]))

  t.test(`${type}: a gateway of the other family is refused, not cut to four bytes`, async (t) => {
    t.match(call(type, 'ADD', make([{ dst: '192.0.2.0/24', gw: 'fd00:1::7' }])).json, { code: 7, msg: 'the route to 192.0.2.0/24 has gw fd00:1::7: expected an IPv4 address' })
    const ipam = { type: 'static', addresses: [{ address: '10.1.2.3/24', gateway: 'fd00:1::1' }] }
    t.match(call(type, 'ADD', { ...make([]), ipam }).json, { code: 7, msg: /10\.1\.2\.3\/24 has gateway fd00:1::1: expected an IPv4 address/ })
    t.equal(sh('ip -br link show type veth'), '')
  })

  t.test(`${type}: sysctls in hexadecimal, octal, with blanks, in milliseconds`, async (t) =>
    withPod(t, [make([], { tuning: { sysctl: { 'net.core.somaxconn': ' 0x1f4', 'net.ipv4.ip_default_ttl': '0100', 'net.ipv4.ip_local_port_range': ' 1024   65000', 'net.ipv4.neigh.IFNAME.retrans_time_ms': '1001' } } })], () => {
      t.equal(sh('ip netns exec pod sysctl -n net.core.somaxconn net.ipv4.ip_default_ttl'), '500\n64')
    }))

  t.test(`${type}: what tuning behind it changes of the pod`, async (t) =>
    withPod(t, [make([]), { ...CNI, type: 'tuning', sysctl: { 'net.ipv6.conf.IFNAME.accept_ra': '2', 'net.ipv4.conf.IFNAME.arp_notify': '0' }, mac: '0A-58-0a-01-02-03' }]))

  t.test(`${type}: a default route that sbr leads elsewhere`, async (t) =>
    withPod(t, [make([{ dst: '0.0.0.0/0', advmss: 1000 }]), { ...CNI, type: 'sbr', gateways: ['10.1.2.1'] }]))

  t.test(`${type}: a slow pod whose MTU tuning changes`, async (t) => {
    const slow = { ingressRate: 1_000_000, ingressBurst: 8000, egressRate: 64_000, egressBurst: 8000 }
    withPod(t, [make([], { mtu: 1450, bandwidth: slow, tuning: { mtu: 1300 } })])
    withPod(t, [make([], { mtu: 1500 }), { ...CNI, type: 'bandwidth', ...slow }, { ...CNI, type: 'tuning', mtu: 1300 }])
  })
}

t.test("bridge: a route to the pod's own network is the one that the kernel makes", async (t) => {
  // As flannel writes it where the cluster's network is the node's.
  withPod(t, [bridge([{ dst: '10.1.2.0/24' }, { dst: '10.1.2.9/24' }, { dst: 'fd00:1::/64' }, { dst: '0.0.0.0/0' }])], () => {
    t.match(ip('-n pod route'), /^10\.1\.2\.0\/24 dev eth0 proto kernel/m)
    t.match(ip('-n pod route'), /^default via 10\.1\.2\.1/m)
    t.ok(works('ip netns exec pod ping -c1 -W5 10.1.2.1'), 'the pod reaches its gateway')
  })
  withPod(t, [bridge([{ dst: '10.1.2.0/24' }, { dst: '0.0.0.0/0' }]), { ...CNI, type: 'sbr' }])
  withPod(t, [ptp([{ dst: '10.1.2.0/24' }, { dst: 'fd00:1::/64' }, { dst: '0.0.0.0/0' }])])
})

t.test('bridge: two addresses of one gateway', async (t) => {
  const ipam = { type: 'static', addresses: [{ address: 'fd00:1::b/128', gateway: 'fd00:1::1' }, { address: 'FD00:1::A/64', gateway: 'FD00:1::0001' }, { address: '10.1.2.3/32', gateway: '10.1.2.1' }, { address: '::ffff:10.1.2.4/120', gateway: '::ffff:10.1.2.1' }] }
  sh('ip link del cni0')
  withPod(t, [{ ...bridge([]), ipam }], () => t.match(ip('-br addr show cni0'), /10\.1\.2\.1\/24 .*fd00:1::1\/64/))
})

t.test('bridge: a MAC address of tuning is the one that macspoofchk lets through', async (t) =>
  withPod(t, [bridge([], { macspoofchk: true, tuning: { mac: '0A:58:0a:01:02:03' } })], () => {
    t.match(ip('-n pod link show eth0'), '0a:58:0a:01:02:03')
    t.ok(works('ip netns exec pod ping -c1 -W5 10.1.2.1'))
  }))

t.test('an MTU that gives interfaces IPv6 anew: they do not listen to routers', async (t) => {
  const ipam = { type: 'host-local', subnet: '10.1.2.0/24' }
  const ears = () => sh('cat /proc/sys/net/ipv6/conf/{veth*,cni0}/accept_ra 2>/dev/null || true')
  for (const type of ['ptp', 'bridge']) {
    for (const list of [[{ ...CNI, type, ipam, mtu: 1000, tuning: { mtu: 1500 } }], [{ ...CNI, type, ipam, mtu: 1000 }, { ...CNI, type: 'tuning', mtu: 1500 }]]) {
      sh('ip link del cni0 2>/dev/null || true')
      withPod(t, list, () => t.match(ears(), /^0(\n0)?$/))
    }
  }
})

t.test('an interface below 1280 has no sysctls of IPv6', async (t) => {
  const conf = { ...CNI, type: 'ptp', ipam: { type: 'host-local', subnet: '10.1.2.0/24' }, tuning: { mtu: 1000, sysctl: { 'net.ipv6.conf.IFNAME.accept_ra': '0' } } }
  t.match(call('ptp', 'ADD', conf).json, { code: 7, msg: 'mtu is 1000 and sysctl has "net.ipv6.conf.IFNAME.accept_ra": an interface below 1280 has no IPv6' })
})
