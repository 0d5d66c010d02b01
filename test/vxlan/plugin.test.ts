// The overlay by an entry in the list of plugins, without agent and cluster: ADD makes it true.
//
//     this namespace, node a                          node b is not there, only its entry
//     u0 192.0.2.1/24, podwire.1 ══════════════════►  192.0.2.2

import { call, ip, netns, sh, state } from '../world.ts'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import t from 'tap'
import { vtepMac } from '../../src/names.ts'

const peers = [
  { name: 'a', addresses: ['192.0.2.1'], podCIDRs: ['10.244.1.0/24'] },
  { name: 'b', addresses: ['192.0.2.2'], podCIDRs: ['10.244.2.0/24'] },
]
const entry = { cniVersion: '1.1.0', name: 'podnet', type: 'vxlan', node: 'a', peers }
const prevResult = { cniVersion: '1.1.0', interfaces: [{ name: 'eth0', sandbox: '/run/netns/pod' }], ips: [{ address: '10.244.1.2/24', interface: 0 }] }
const add = (conf: object = entry, container = 'c1') => call('vxlan', 'ADD', { ...conf, prevResult }, { container })

netns('pod')
ip('link add u0 type veth peer name far && ip link set u0 addrgenmode none && ip link set far addrgenmode none && ip link set u0 up && ip link set far up && ip addr add 192.0.2.1/24 dev u0')
const untouched = state()

t.test('ADD makes the overlay and passes the result on; again, it changes nothing', async (t) => {
  const added = add()
  t.equal(added.status, 0, added.stdout)
  t.match(added.json, prevResult)
  t.match(ip('-d link show podwire.1'), /vxlan id 1 local 192\.0\.2\.1 dev u0 .*dstport 8472 nolearning/)
  t.match(ip('route show 10.244.2.0/24'), 'via 10.244.2.0 dev podwire.1 proto 119 onlink')
  const made = state()
  t.equal(add(entry, 'c2').status, 0)
  t.equal(state(), made)
  t.equal(call('vxlan', 'CHECK', { ...entry, prevResult }).status, 0)
  t.equal(call('vxlan', 'STATUS', entry).status, 0)
})

t.test('what the kernel refuses of one peer is a note: pods and other peers go on', async (t) => {
  ip('link del podwire.1')
  ip(`link add podwire.1 address ${vtepMac('a', 1)} mtu 1450 type vxlan id 1 dstport 8472 local 192.0.2.1 dev u0 nolearning df inherit maxaddress 1`)
  const third = { name: 'c', addresses: ['192.0.2.3'], podCIDRs: ['10.244.3.0/24'] }
  const added = add({ ...entry, peers: [...peers, third] })
  t.equal(added.status, 0, added.stdout)
  t.match(added.stderr, /the kernel refuses bridge fdb add .* dst 192\.0\.2\.3 .*: ENOSPC/)
  t.match(sh('bridge fdb show dev podwire.1'), '192.0.2.2')
  t.match(call('vxlan', 'CHECK', { ...entry, peers: [...peers, third], prevResult }).json, { code: 102, msg: /dst 192\.0\.2\.3 is missing/ })
  ip('link del podwire.1')
  t.equal(add().status, 0)
})

t.test('damage is found by CHECK and STATUS, and repaired by the next ADD', async (t) => {
  for (const damage of ['ip route del 10.244.2.0/24', 'ip neigh del 10.244.2.0 dev podwire.1', 'ip link set podwire.1 mtu 1300', 'ip link del podwire.1', 'nft flush ruleset']) {
    const made = ip('-d addr show podwire.1').replace(/^\d+: /gm, '')
    sh(damage)
    const checked = call('vxlan', 'CHECK', { ...entry, prevResult })
    t.match(checked.json, { code: 102, details: /^(ip|bridge|nft) /m }, damage)
    t.match(call('vxlan', 'STATUS', entry).json, { code: 51 }, damage)
    t.equal(add().status, 0, damage)
    t.equal(call('vxlan', 'CHECK', { ...entry, prevResult }).status, 0, damage)
    t.equal(ip('-d addr show podwire.1').replace(/^\d+: /gm, ''), made, damage)
  }
})

t.test('DEL of one pod and GC leave it to the others', async (t) => {
  const made = state()
  for (const command of ['DEL', 'DEL', 'GC']) t.equal(call('vxlan', command, entry).status, 0, command)
  t.equal(state(), made)
})

t.test('a node that goes from the file goes from the kernel with the next ADD; one that cannot be used hurts only itself', async (t) => {
  const { peers: _, ...rest } = entry
  const file = '/run/peers.json'
  const read = { ...rest, peersFile: file }
  writeFileSync(file, JSON.stringify({ nodes: [peers[0], { name: 'c', addresses: ['192.0.2.3'], podCIDRs: ['10.244.3.0/24'] }, { name: 'd', addresses: ['192.0.2.4'], podCIDRs: ['10.244.1.0/24'] }] }))
  const added = add(read)
  t.equal(added.status, 0, added.stdout)
  t.match(added.stderr, 'node d cannot be used as it is: its podCIDR 10.244.1.0/24 overlaps this node')
  t.equal(ip('route show 10.244.2.0/24'), '')
  t.match(ip('route show 10.244.3.0/24'), 'podwire.1')
})

t.test('of the entry\'s own list, too: what is wrong with one node hurts that one', async (t) => {
  const wrong = [5, null, {}, { name: 'c', addresses: 'x', podCIDRs: ['10.244.3.0/24'] }, { name: 'd', addresses: ['127.0.0.1'], podCIDRs: ['10.244.4.0/24'] }, { name: 'e', addresses: ['192.0.2.5'], podCIDRs: ['169.254.0.0/16'] }, peers[1]]
  const added = add({ ...entry, peers: [...peers, ...wrong] })
  t.equal(added.status, 0, added.stdout)
  for (const sentence of ['nodes[2] is 5: expected an object', 'nodes[4].name is missing', 'nodes[5].addresses is "x": expected a list', '127.0.0.1 is in 127.0.0.0/8 (loopback', 'overlaps 169.254.0.0/16 (link-local', 'nodes[8].name is "b": another node has that name']) t.match(added.stderr, sentence)
  t.match(ip('route show 10.244.2.0/24'), 'podwire.1')
  t.equal(ip('route show proto 119').trim().split('\n').length, 1, 'and nobody else is a peer')
})

t.test('what is wrong is said before anything is touched', async (t) => {
  const made = state()
  const wrong: [object, number, RegExp][] = [
    [{ ...entry, node: 'z' }, 7, /node z is not among the nodes \(a, b\)/],
    [{ ...entry, peers: undefined }, 7, /peers is missing: expected peers or peersFile/],
    [{ ...entry, peersFile: '/run/peers.json' }, 7, /peers and peersFile are both given/],
    [{ ...entry, peers: undefined, peersFile: '/run/nowhere.json' }, 5, /^\/run\/nowhere\.json: there is no such file$/],
    [{ ...entry, peers: undefined, peersFile: '/run/no/where.json' }, 5, /^\/run\/no\/where\.json: there is no such directory$/],
    [{ ...entry, vni: 0 }, 7, /vni is 0: expected a VXLAN network identifier/],
    [{ ...entry, underlay: '198.51.100.1' }, 7, /198\.51\.100\.1: no interface has that address/],
    [{ ...entry, peers: [peers[0], peers[0]] }, 7, /nodes\[1\]\.name is "a": another node has that name/],
    [{ ...entry, peers: [{ ...peers[0], addresses: [] }] }, 7, /node a has no address yet/],
    [{ ...entry, peers: [{ ...peers[0], addresses: 5 }] }, 7, /node a, which is this one, cannot be used as it is: nodes\[0\]\.addresses is 5: expected a list/],
    ...['192.0.2.0/24', '192.0.2.0/28', '0.0.0.0/0', '127.0.0.0/8', '169.254.0.0/16', '10.244.1.0/31', '10.244.1.0/32', '::/0', 'fe80::/64'].map((cidr): [object, number, RegExp] => [{ ...entry, peers: [{ ...peers[0], podCIDRs: [cidr] }, peers[1]] }, 7, /node a, which is this one, cannot be used as it is: its podCIDR .* (overlaps|is too small)/]),
    [{ ...entry, clusterCIDRs: ['10.245.0.0/16'] }, 7, /its podCIDR 10\.244\.1\.0\/24 is not inside the cluster's networks 10\.245\.0\.0\/16/],
    [{ ...entry, clusterCIDRs: ['nonsense'] }, 7, /clusterCIDRs\[0\] is "nonsense": expected a network/],
  ]
  for (const [conf, code, msg] of wrong) t.match(add(conf).json, { code, msg }, String(msg))
  t.match(call('vxlan', 'ADD', entry).json, { code: 7, msg: 'Required prevResult missing' }, 'not behind another plugin')
  t.equal(state(), made)
})

t.test('four at once from nothing come to one overlay', async (t) => {
  ip('link del podwire.1')
  writeFileSync('/run/add.json', JSON.stringify({ ...entry, prevResult }))
  const env = { ...process.env, CNI_COMMAND: 'ADD', CNI_NETNS: '/run/netns/pod', CNI_IFNAME: 'eth0', CNI_PATH: '/nowhere', NODE_COMPILE_CACHE: '/run/compiled' }
  const ends = Array.from({ length: 4 }, (_, i) => once(spawn('bash', ['-c', `exec -a vxlan ${process.execPath} --disable-warning=ExperimentalWarning src/main.ts </run/add.json >/run/out.${i}`], { env: { ...env, CNI_CONTAINERID: `c${i}` } }), 'exit'))
  t.same((await Promise.all(ends)).map(([code]) => code), Array.from({ length: 4 }, () => 0), sh('cat /run/out.*'))
  t.equal(call('vxlan', 'CHECK', { ...entry, prevResult }).status, 0)
})

for (const [what, line, sentence] of [
  ['nothing', 'true', /^\/run\/odd\.json: there is no such file$/],
  ['a FIFO', 'mkfifo /run/odd.json', /is a FIFO, not a file/],
  ['a directory', 'mkdir /run/odd.json', /is a directory: name a file in it/],
  ['a file of gigabytes', 'truncate -s 3G /run/odd.json', /has more than \d+ bytes/],
] as const)
  t.test(`in the place of the file of peers is ${what}`, async (t) => {
    sh(`rm -rf /run/odd.json; ${line}`)
    const { peers: _, ...rest } = entry
    t.match(add({ ...rest, peersFile: '/run/odd.json' }).json, { code: 5, msg: sentence })
  })

t.test('podwire uninstall takes it away', async (t) => {
  t.match(sh(`env -u NODE_OPTIONS ${process.execPath} --disable-warning=ExperimentalWarning src/main.ts uninstall --bin-dir /run/bin --conf-dir /run/net.d 2>&1 || true`), /^removed: interface podwire\.1 with its routes/)
  t.equal(state(), untouched)
})
