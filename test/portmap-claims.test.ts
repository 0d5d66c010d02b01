// Who may have a port: conflicts name the holder before anything is touched, the dead lose theirs, a later DEL takes nothing of
// somebody else's; and what is refused for its keys.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { call, ip, netns, nft, sh, state } from './world.ts'
import t from 'tap'
import type { Pod } from '../src/chained.ts'
import { Netns } from '../src/kernel/netns.ts'
import { guardPorts } from '../src/portmap/guard.ts'
import { portmap, type PortmapConf } from '../src/portmap/portmap.ts'
import { add as kernelAdd } from '../src/state.ts'

const conf = { cniVersion: '1.1.0', name: 'podnet', type: 'ptp', ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1:2::/64' }]] } }
const port = (hostPort: number, more: object = {}) => ({ hostPort, containerPort: 80, protocol: 'tcp', ...more })
const published = (...portMappings: object[]) => ({ ...conf, runtimeConfig: { portMappings } })
const who = (name: string) => ({ container: name, netns: `/run/netns/${name}` })
const elements = (map: string): string[] => (JSON.parse(nft(`-j list map inet podwire ${map}`)).nftables.find((one: any) => one.map).map.elem ?? []).map(([key, value]: any) => `${key.elem.val.concat.join(' ')} to ${value.concat.join(' ')}, ${key.elem.comment}`)

sh('sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1')
for (const name of ['a', 'b', 'c']) netns(name)
t.afterEach(() => {
  for (const name of ['a', 'b', 'c']) call('ptp', 'DEL', conf, who(name))
  sh('nft delete table inet podwire 2>/dev/null; rm -rf /var/lib/cni')
})

t.test('an element for each port and family', async (t) => {
  const added = call('ptp', 'ADD', published(port(8080), port(53, { protocol: 'UDP', containerPort: 5353 }), port(8443, { hostIP: '192.0.2.1' }), port(8444, { hostIP: '2001:db8::1' }), port(8445, { hostIP: '0.0.0.0' }), port(8446, { hostIP: '::' }), port(9, { protocol: 'sctp' }), port(8080)), who('a'))
  t.equal(added.status, 0, added.stdout)
  t.same(elements('hostports_ip').sort(), ['sctp 9 to 10.1.2.2 80', 'tcp 8080 to 10.1.2.2 80', 'tcp 8445 to 10.1.2.2 80', 'udp 53 to 10.1.2.2 5353'].map((one) => `${one}, podnet/a/eth0`))
  t.same(elements('hostports_ip6').sort(), ['sctp 9 to fd00:1:2::2 80', 'tcp 8080 to fd00:1:2::2 80', 'tcp 8446 to fd00:1:2::2 80', 'udp 53 to fd00:1:2::2 5353'].map((one) => `${one}, podnet/a/eth0`))
  t.same(elements('hostips_ip'), ['tcp 8443 192.0.2.1 to 10.1.2.2 80, podnet/a/eth0'])
  t.same(elements('hostips_ip6'), ['tcp 8444 2001:db8::1 to fd00:1:2::2 80, podnet/a/eth0'])
})

t.test('as runtimes write them: capitalised keys (containerd), a hundred ports (podman)', async (t) => {
  const list = Array.from({ length: 100 }, (_, i) => ({ HostPort: 9000 + i, ContainerPort: 9000 + i, Protocol: 'tcp', HostIP: '' }))
  t.equal(call('ptp', 'ADD', published(...list), who('a')).stderr, '')
  t.equal(elements('hostports_ip').length, 100)
  t.equal(call('ptp', 'DEL', conf, who('a')).status, 0)
  t.equal(elements('hostports_ip').length, 0, 'DEL without portMappings')
})

const CONFLICTS: [held: object, asked: object, where: string | undefined][] = [
  [port(8080), port(8080), ''],
  [port(8080), port(8080, { protocol: 'udp' }), undefined],
  [port(8080), port(8081), undefined],
  [port(8080), port(8080, { hostIP: '192.0.2.1' }), ' on all addresses'],
  [port(8080, { hostIP: '192.0.2.1' }), port(8080), ' on 192.0.2.1'],
  [port(8080, { hostIP: '192.0.2.1' }), port(8080, { hostIP: '192.0.2.1' }), ' on 192.0.2.1'],
  [port(8080, { hostIP: '192.0.2.1' }), port(8080, { hostIP: '192.0.2.2' }), undefined],
  [port(8080, { hostIP: '0.0.0.0' }), port(8080, { hostIP: '::' }), undefined],
  [port(8080, { hostIP: '127.0.0.1' }), port(8080, { hostIP: '2001:db8::1' }), undefined],
  [port(8080, { hostIP: '::' }), port(8080), ''],
  [port(80), port(8080), undefined],
  [port(8080), port(80), undefined],
]

t.test('who is in whose way', async (t) => {
  const kernel = { host: new Netns() }
  t.teardown(() => kernel.host.close())
  const pod = (name: string, last: number): Pod => ({ attachment: { network: 'podnet', containerID: name, ifname: 'eth0' }, ips: [{ address: `10.1.2.${last}/24` }, { address: `fd00:1:2::${last}/64` }], routes: [], host: 'lo', bridge: undefined, mtu: 1500 })
  const asking = (mapping: object) => ({ cniVersion: '1.1.0', name: 'podnet', type: 'portmap', runtimeConfig: { portMappings: [mapping] } }) as unknown as PortmapConf
  for (const [held, asked, where] of CONFLICTS) {
    const what = `${JSON.stringify(held)} then ${JSON.stringify(asked)}`
    kernelAdd(kernel, portmap.plan(pod('a', 2), { ...asking(held), snat: false }), 'pod')
    const second = () => guardPorts(kernel, pod('b', 3), asking(asked), [])
    const looked = () => kernelAdd(kernel, portmap.plan(pod('b', 3), { ...asking(asked), snat: false }), 'pod') // before the first had it
    if (where === undefined) t.doesNotThrow(second, what)
    else t.throws(second, { code: 109, message: `host port 8080/tcp${where} is held by container a (eth0) of network podnet` }, what)
    if (where === undefined) t.doesNotThrow(looked, what)
    else t.throws(looked, /held by podnet\/a\/eth0/, `${what}, at once`)
    sh('nft delete table inet podwire')
  }
})

t.test('a conflict is told before anything was touched', async (t) => {
  t.equal(call('ptp', 'ADD', published(port(8080)), who('a')).status, 0)
  const before = state('b')
  t.match(call('ptp', 'ADD', published(port(8080)), who('b')).json, { code: 109, msg: 'host port 8080/tcp is held by container a (eth0) of network podnet', details: /delete that container, or choose another port/ })
  t.equal(state('b'), before)
})

t.test('an ADD that is repeated, and one after its own DEL was lost', async (t) => {
  t.equal(call('ptp', 'ADD', published(port(8080)), who('a')).status, 0)
  t.match(call('ptp', 'ADD', published(port(8080)), who('a')).json, { code: 101 })
  t.equal(call('ptp', 'DEL', conf, who('a')).status, 0)
  t.equal(call('ptp', 'ADD', published(port(8080)), who('a')).status, 0)
})

t.test('a holder that is provably dead does not block', async (t) => {
  const { json } = call('ptp', 'ADD', published(port(8080)), who('a'))
  ip(`link del ${json.interfaces[0].name}`)
  const second = call('ptp', 'ADD', published(port(8080)), who('b'))
  t.equal(second.status, 0, second.stdout)
  t.same(elements('hostports_ip'), ['tcp 8080 to 10.1.2.3 80, podnet/b/eth0'])
  t.equal(call('ptp', 'DEL', conf, who('a')).status, 0)
  t.same(elements('hostports_ip'), ['tcp 8080 to 10.1.2.3 80, podnet/b/eth0'], 'and its late DEL takes nothing')
})

t.test('GC by owner: what lives keeps its ports; also as a plugin of the chain', async (t) => {
  for (const [name, number] of [['a', 8080], ['b', 8081]] as const) t.equal(call('ptp', 'ADD', published(port(number)), who(name)).status, 0)
  const valid = { 'cni.dev/valid-attachments': [{ containerID: 'b', ifname: 'eth0' }] }
  t.equal(call('portmap', 'GC', { cniVersion: '1.1.0', name: 'another', type: 'portmap', 'cni.dev/valid-attachments': [] }).status, 0)
  t.equal(call('portmap', 'GC', { cniVersion: '1.1.0', name: 'podnet', type: 'portmap' }).status, 0)
  t.equal(elements('hostports_ip').length, 2, 'not of another network, and without a list nothing is known')
  t.equal(call('portmap', 'GC', { cniVersion: '1.1.0', name: 'podnet', type: 'portmap', ...valid }).status, 0)
  t.same(elements('hostports_ip'), ['tcp 8081 to 10.1.2.3 80, podnet/b/eth0'])
  t.equal(call('ptp', 'GC', { ...conf, ...valid }).status, 0)
  t.same(elements('hostports_ip'), ['tcp 8081 to 10.1.2.3 80, podnet/b/eth0'])
  t.notMatch(nft('list set inet podwire hostports_dev'), 'podnet/a/', 'and nothing else of it')
})

t.test('a process that listens there is told of, not refused', async (t) => {
  const child = spawn(process.execPath, ['-e', "const server = require('net').createServer().listen(8090, '127.0.0.1', () => console.log('ready'))"], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout!, 'data')
  const added = call('ptp', 'ADD', published(port(8090), port(8091)), who('a'))
  t.equal(added.status, 0)
  t.equal(added.stderr, `podwire: process ${child.pid} (${readFileSync(`/proc/${child.pid}/comm`, 'utf8').trim()}) listens on 127.0.0.1, port 8090/tcp: while the pod has that port, nobody reaches the process there\n`)
  child.kill()
})

t.test('an address of a family that the pod has not is told of', async (t) => {
  const added = call('ptp', 'ADD', { ...published(port(8080, { hostIP: '::1' })), ipam: { type: 'host-local', subnet: '10.1.2.0/24' } }, who('a'))
  t.equal(added.status, 0, added.stdout)
  t.match(added.stderr, 'host port 8080/tcp on ::1 is not published: the pod has no IPv6 address')
})

const REFUSED: [string, object, number, RegExp][] = [
  ['a port that is none', { runtimeConfig: { portMappings: [port(70000)] } }, 7, /runtimeConfig\.portMappings\[0\]\.hostPort is 70000: expected a port from 1 to 65535/],
  ['no container port', { runtimeConfig: { portMappings: [{ hostPort: 1 }] } }, 7, /containerPort is missing/],
  ['a protocol that is none', { runtimeConfig: { portMappings: [port(1, { protocol: 'icmp' })] } }, 7, /protocol is "icmp": expected tcp, udp or sctp/],
  ['an address that is none', { runtimeConfig: { portMappings: [port(1, { hostIP: 'localhost' })] } }, 7, /hostIP is "localhost": expected an IP address/],
  ['one port, two places', { runtimeConfig: { portMappings: [port(8080), port(8080, { containerPort: 81 })] } }, 7, /host port 8080\/tcp twice, to ports 80 and 81/],
  ['a mark bit', { portmap: { markMasqBit: 32 } }, 7, /portmap\.markMasqBit is 32: expected a bit from 0 to 31/],
  ['two ways to mark', { portmap: { markMasqBit: 3, externalSetMarkChain: 'KUBE-MARK-MASQ' }, runtimeConfig: { portMappings: [port(1)] } }, 7, /externalSetMarkChain and markMasqBit/],
  ['a chain of iptables', { portmap: { externalSetMarkChain: 'MY-MARK' } }, 2, /externalSetMarkChain is "MY-MARK"/],
  ['a condition that is not understood', { portmap: { conditionsV4: ['-m', 'recent', '--name', 'x'] }, runtimeConfig: { portMappings: [port(1)] } }, 7, /conditionsV4 is \["-m","recent","--name","x"\]: "-m" is not understood: expected one of ip saddr/],
  ['a condition with an address that is none', { portmap: { conditionsV4: ['ip', 'saddr', '300.1.1.1'] }, runtimeConfig: { portMappings: [port(1)] } }, 7, /"300\.1\.1\.1" is no IPv4 address/],
]

t.test('refused before anything was touched', async (t) => {
  const before = state('a')
  for (const [name, keys, code, msg] of REFUSED) t.match(call('ptp', 'ADD', { ...conf, ...keys }, who('a')).json, { code, msg }, name)
  t.equal(state('a'), before)
})

t.test('portmap without prevResult', async (t) => {
  t.match(call('portmap', 'ADD', { cniVersion: '1.1.0', name: 'podnet', type: 'portmap' }, who('a')).json, { code: 7, msg: 'Required prevResult missing', details: /must be called as chained plugin/ })
})
