// A node changes over with pods on it that the reference's plugins wired: DEL takes back what those had made for a pod in tables
// of theirs, and leaves what they had made for others.

import { call, ip, netns, sh, works } from './world.ts'
import { join } from 'node:path'
import t from 'tap'
import { execute, REFERENCE, referenceIsMissing } from './reference.ts'

const ipam = { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]], routes: [{ dst: '0.0.0.0/0' }] }
const ID = 'a1'.repeat(32)
const [pod, other] = [{ container: ID, netns: '/run/netns/pod' }, { container: `${ID}b`, netns: '/run/netns/other' }]
const ports = (hostPort: number) => ({ portMappings: [{ hostPort, containerPort: 80, protocol: 'tcp' }, { hostPort, containerPort: 53, protocol: 'udp' }] })
const masquerades = works('iptables -t nat -N probe && iptables -t nat -X probe') // the reference, by that program
const skip = referenceIsMissing || (!masquerades && 'iptables cannot masquerade on this kernel')

for (const type of ['ptp', 'bridge'])
  for (const how of ['a list of plugins', 'one entry'])
    t.test(`${type} and portmap of the reference, deleted by ${how}`, { skip }, async (t) => {
      const conf = { cniVersion: '1.0.0', name: 'podnet', type, ipMasq: true, isGateway: true, ipam: { ...ipam, ranges: ipam.ranges.slice(0, type === 'ptp' ? 1 : 2) } } // the reference's ptp waits for IPv6
      const add = (who: typeof pod, hostPort: number) => {
        const { json } = execute(join(REFERENCE, type), 'ADD', conf, { ...who, path: REFERENCE })
        const chained = execute(join(REFERENCE, 'portmap'), 'ADD', { ...conf, type: 'portmap', runtimeConfig: ports(hostPort), prevResult: json }, who)
        t.equal(chained.status, 0, chained.stdout)
      }
      const del = (who: typeof pod) => {
        if (how !== 'one entry') t.equal(call('portmap', 'DEL', { ...conf, type: 'portmap' }, who).stdout, '')
        t.equal(call(type, 'DEL', conf, who).stdout, '')
      }
      const about = (port: number, address: string) => sh(`{ iptables-save; ip6tables-save; nft list ruleset; } 2>/dev/null | grep -E "${port}|${address}|${address.replace('10.1.2.', 'fd00:1::')}" || true`)
      netns('pod')
      netns('other')
      add(pod, 8080)
      add(other, 9090)
      t.match(about(8080, '10.1.2.2'), 'CNI-DN-')
      const others = about(9090, '10.1.2.3')

      del(pod)
      t.equal(about(8080, '10.1.2.2'), '', 'nothing is left of it')
      t.equal(sh('iptables-save | grep -c ^:CNI-DN; iptables-save | grep -c "^:CNI-[0-9a-f]"'), '1\n1', 'nor an empty chain')
      t.equal(about(9090, '10.1.2.3'), others, 'and what the other has is as it was')
      del(pod)
      del(other)
      t.notMatch(sh('iptables-save; ip6tables-save'), /CNI-DN-|CNI-[0-9a-f]{24}/)
      sh('ip link del cni0 2>/dev/null; nft flush ruleset; rm -rf /var/lib/cni; ip netns del pod; ip netns del other')
    })

t.test('what the reference makes with nft, since 1.6', async (t) => {
  // As 1.9.1 leaves it: a hash of network and one of interface and container before the words, which may be cut off.
  const hash = (text: string) => sh(`printf %s '${text}' | sha512sum | cut -c1-16`)
  const masquerade = (id: string) => `${hash('podnet')}-${hash(`eth0:${id}`)}, net: podnet, if: eth0, id: ${id}`.slice(0, 124)
  const of = ({ container: id }: typeof pod, address: string, port: number) => `
    add rule inet cni_plugins_masquerade masq_checks ip saddr ${address} ip daddr != 10.1.2.0/24 masquerade comment "${masquerade(id)}"
    add rule ip cni_hostport hostports tcp dport ${port} dnat to ${address}:80 comment "${id}"
    add rule ip cni_hostport masquerading ip saddr 127.0.0.1 ip daddr ${address} masquerade comment "${id}"
    add chain bridge nat cni-br-iface-${id}-eth0-mac
    add rule bridge nat cni-br-iface-${id}-eth0-mac ether saddr 02:00:00:00:00:01 return comment "macspoofchk-${id}-eth0"
    add chain bridge nat cni-br-iface-${id}-eth0
    add rule bridge nat cni-br-iface-${id}-eth0 jump cni-br-iface-${id}-eth0-mac comment "macspoofchk-${id}-eth0"
    add rule bridge nat PREROUTING iifname veth${port} jump cni-br-iface-${id}-eth0 comment "macspoofchk-${id}-eth0"`
  const shared = `
    add table inet cni_plugins_masquerade
    add chain inet cni_plugins_masquerade masq_checks
    add chain inet cni_plugins_masquerade postrouting { type nat hook postrouting priority srcnat; }
    add rule inet cni_plugins_masquerade postrouting goto masq_checks
    add table ip cni_hostport
    add chain ip cni_hostport hostports
    add chain ip cni_hostport masquerading { type nat hook postrouting priority srcnat; }
    add table bridge nat
    add chain bridge nat PREROUTING { type filter hook prerouting priority dstnat; }`
  const ruleset = () => sh('nft list ruleset')
  const before = (sh(`nft -f - <<'N'\n${shared}${of(other, '10.1.2.3', 9090)}\nN`), ruleset())
  sh(`nft -f - <<'N'\n${of(pod, '10.1.2.2', 8080)}\nN`)
  t.match(ruleset(), '8080')
  netns('pod')
  t.equal(call('bridge', 'DEL', { cniVersion: '1.0.0', name: 'podnet', type: 'bridge', ipam }, pod).stdout, '')
  t.equal(ruleset(), before)
  t.equal(call('portmap', 'DEL', { cniVersion: '1.0.0', name: 'podnet', type: 'portmap' }, { ...other, netns: '' }).stdout, '')
  t.notMatch(ruleset(), '9090 ')
  ip('netns del pod')
})
