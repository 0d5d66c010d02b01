// Which addresses of a result are the pod's, and what plugins need of a pod beside them: what others say of interfaces may name
// none, and an interface in user space (vhost-user, DPDK) is in no namespace.

import { call, ip, netns, nft, sh } from './world.ts'
import t from 'tap'
import { addressesOf } from '../src/cni/result.ts'

const CNI = { cniVersion: '1.0.0', name: 'podnet' }
const POD = '/run/netns/pod'
const ports = { portMappings: [{ hostPort: 8080, containerPort: 80 }] }
const limits = { ingressRate: 8_000_000, ingressBurst: 800_000 }

netns('pod')

t.test('an address is the pod\'s unless its index names another interface', async (t) => {
  const node = { name: 'veth1', mac: '0a:58:0a:01:02:03' }
  const eth0 = { name: 'eth0', sandbox: POD }
  const address = '10.1.2.3/24'
  const own = (interfaces: object[], index?: number) => addressesOf({ interfaces: interfaces as never, ips: [{ address, ...(index !== undefined && { interface: index }) }] }, 'eth0').length === 1
  for (const index of [undefined, -1, 2, 7, 4294967295]) t.ok(own([node, eth0], index), `index ${index}`)
  t.ok(own([node, eth0], 1))
  t.ok(own([], 0), 'no interfaces at all')
  t.ok(own([{ name: 'eth0' }], 0), 'an interface of the name, of which no sandbox is told')
  t.notOk(own([node, eth0], 0), "the node's end")
  t.notOk(own([{ name: 'eth0' }, eth0], 0), "the node's interface of the same name")
  t.notOk(own([{ name: 'eth1', sandbox: POD }, eth0], 0), "the pod's other interface")
})

/** A pod as ptp wires it, and the result as another plugin would tell it. */
function withPod(tell: (result: any) => object, run: (prevResult: object) => void): void {
  const ptp = { ...CNI, type: 'ptp', ipam: { type: 'host-local', subnet: '10.1.2.0/24' } }
  const { json } = call('ptp', 'ADD', ptp)
  try {
    run(tell(json))
  } finally {
    call('ptp', 'DEL', ptp)
    sh('nft flush ruleset')
  }
}
const indexed = (interfaces: object[] | undefined, index: number) => (result: any) => ({ ...result, interfaces, ips: result.ips.map(({ address, gateway }: any) => ({ address, gateway, interface: index })) })

const eth0 = { name: 'eth0', sandbox: POD }
for (const [said, tell] of Object.entries({
  '-1': indexed([eth0], -1),
  'out of range': indexed([eth0], 5),
  'of no interfaces': indexed(undefined, 0),
  'of an interface without sandbox': indexed([{ name: 'eth0' }], 0),
})) {
  t.test(`an index ${said}: every plugin behind does its work`, async (t) => {
    withPod(tell, (prevResult) => {
      const made: [string, object, () => boolean][] = [
        ['portmap', { runtimeConfig: ports }, () => nft('list map inet podwire hostports_ip').includes('tcp . 8080')],
        ['firewall', {}, () => nft('list set inet podwire firewall_ip').includes('10.1.2.')],
        ['tuning', { sysctl: { 'net.core.somaxconn': '500' } }, () => sh('ip netns exec pod sysctl -n net.core.somaxconn') === '500'],
        ['bandwidth', limits, () => sh('tc qdisc').includes('tbf')],
        ['sbr', {}, () => ip('-n pod rule').includes('from 10.1.2.')],
      ]
      for (const [type, keys, works] of made) {
        const conf = { ...CNI, type, ...keys, prevResult }
        const { status, stdout, json } = call(type, 'ADD', conf)
        t.equal(status, 0, stdout)
        t.ok(works(), `${type} has done it`)
        t.equal(call(type, 'CHECK', { ...conf, prevResult: json }).stdout, '', `CHECK of ${type}`)
      }
      for (const [type, keys, works] of made.reverse()) {
        t.equal(call(type, 'DEL', { ...CNI, type, ...keys, prevResult }).stdout, '')
        if (!['tuning', 'bandwidth'].includes(type)) t.notOk(works(), `DEL of ${type}`) // of these it goes with the interface
      }
    })
  })
}

t.test('who is left with nothing to do says so', async (t) => {
  const node = indexed([{ name: 'veth1' }, eth0], 0)
  withPod(node, (prevResult) => {
    t.match(call('portmap', 'ADD', { ...CNI, type: 'portmap', runtimeConfig: ports, prevResult }).json, { code: 7, msg: 'host port 8080/tcp is not published: the pod has no address' })
    t.match(call('firewall', 'ADD', { ...CNI, type: 'firewall', prevResult }).json, { code: 7, msg: 'prevResult.ips has no address of eth0: firewall has nothing to let through' })
    t.match(call('sbr', 'ADD', { ...CNI, type: 'sbr', prevResult }).json, { code: 7, msg: /^No IP addresses supplied/ })
    t.equal(call('portmap', 'ADD', { ...CNI, type: 'portmap', prevResult }).status, 0, 'who is asked for nothing has done all of it')
    t.equal(call('bandwidth', 'ADD', { ...CNI, type: 'bandwidth', prevResult }).status, 0)
  })
  withPod((result) => result, (prevResult) => {
    const to = (...hostIPs: string[]) => ({ ...CNI, type: 'portmap', runtimeConfig: { portMappings: hostIPs.map((hostIP, i) => ({ hostPort: 8080 + i, containerPort: 80, hostIP })) }, prevResult })
    t.match(call('portmap', 'ADD', to('::', '::1')).json, { code: 7, msg: 'host port 8080/tcp on :: is not published: the pod has no IPv6 address; host port 8081/tcp on ::1 is not published: the pod has no IPv6 address' })
    const { status, stderr } = call('portmap', 'ADD', to('::', '0.0.0.0'))
    t.equal(status, 0, 'where one is published')
    t.match(stderr, 'host port 8080/tcp on :: is not published', 'the other is told of')
  })
})

t.test('an interface in user space: who needs only addresses works', async (t) => {
  const prevResult = { cniVersion: '1.0.0', interfaces: [{ name: 'net1', sandbox: POD, socketPath: '/run/vhost/net1.sock' }], ips: [{ address: '10.1.2.3/24', gateway: '10.1.2.1', interface: 0 }] }
  const net1 = { ifname: 'net1' }
  const works: [string, object][] = [
    ['tuning', { sysctl: { 'net.core.somaxconn': '400' } }],
    ['firewall', {}],
    ['portmap', { runtimeConfig: ports }],
    ['bandwidth', {}],
    ['sbr', { table: 5000 }],
  ]
  const before = sh('nft list tables; ip -n pod rule')
  for (const [type, keys] of works) {
    const conf = { ...CNI, type, ...keys, prevResult }
    const { stdout, status, json } = call(type, 'ADD', conf, net1)
    t.equal(status, 0, `${type}: ${stdout}`)
    t.equal(json.interfaces[0].socketPath, '/run/vhost/net1.sock')
    t.equal(call(type, 'CHECK', { ...conf, prevResult: json }, net1).stdout, '', `CHECK of ${type}`)
  }
  t.equal(sh('ip netns exec pod sysctl -n net.core.somaxconn'), '400')
  t.match(nft('list map inet podwire hostports_ip'), /tcp \. 8080\D.* : 10\.1\.2\.3 \. 80/)
  t.match(nft('list set inet podwire firewall_ip'), '10.1.2.3')
  t.match(ip('-n pod rule'), 'from 10.1.2.3 lookup 5000')
  for (const [type, keys] of works.toReversed()) t.equal(call(type, 'DEL', { ...CNI, type, ...keys, prevResult }, net1).stdout, '')
  t.notMatch(nft('list ruleset'), '10.1.2.3')
  sh('nft flush ruleset')
  t.equal(sh('nft list tables; ip -n pod rule'), before)
})

t.test('and who needs the interface says so', async (t) => {
  const prevResult = { cniVersion: '1.0.0', interfaces: [{ name: 'net1', sandbox: POD }], ips: [{ address: '10.1.2.3/24' }] }
  const refused: [string, object, object][] = [
    ['tuning', { mtu: 1400, promisc: true }, { code: 7, msg: "mtu, promisc cannot be set: the pod's network namespace has no interface net1" }],
    ['bandwidth', limits, { code: 7, msg: "bandwidth needs the node's end of a veth pair, and net1 of the pod is missing" }],
    ['firewall', { ingressPolicy: 'isolated' }, { code: 7, msg: /not on a bridge/ }],
    ['sbr', {}, { code: 100, msg: "the container's network namespace has no interface net1" }],
  ]
  for (const [type, keys, said] of refused) t.match(call(type, 'ADD', { ...CNI, type, ...keys, prevResult }, { ifname: 'net1' }).json, said, type)
})
