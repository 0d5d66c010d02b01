// macspoofchk: what a pod sends under a MAC address that is not its own arrives nowhere.
//
//     pod (netns)                       this namespace
//     eth0 10.1.2.2, fd00:1::2 ─ veth ──┐
//                                       ├── cni0 10.1.2.1, fd00:1::1
//     eth0 10.1.2.3, fd00:1::3 ─ veth ──┘
//     other (netns)

import { call, ip, netns, nft, sh, works } from './world.ts'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { bridge } from '../src/bridge/bridge.ts'

const conf = {
  cniVersion: '1.1.0',
  name: 'podnet',
  type: 'bridge',
  isDefaultGateway: true,
  macspoofchk: true,
  ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]] },
}
const other = { container: 'c2', netns: '/run/netns/other' }
const FALSE = '02:00:00:00:00:99'
const ADDRESSES = ['10.1.2.1', '10.1.2.3', 'fd00:1::1', 'fd00:1::3']
const reaches = (address: string, seconds = 1) => works(`ip netns exec pod ping -c1 -W${seconds} ${address}`)

/** Frames under the false address that came past prerouting: into the node, or on to other ports. */
nft(`-f - <<< 'table bridge seen {
  counter spoofed { }
  chain input { type filter hook input priority 0; ether saddr ${FALSE} counter name spoofed; }
  chain forward { type filter hook forward priority 0; ether saddr ${FALSE} counter name spoofed; }
}'`)
const spoofed = (): number => JSON.parse(nft('-j reset counter bridge seen spoofed')).nftables[1].counter.packets

const FLOOD = `
const [AF_PACKET, SOCK_RAW] = [17, 3] // man 7 packet
const { lib } = require('node:ffi').dlopen(null, {})
const socket = lib.getFunction('socket', { return: 'int32', arguments: ['int32', 'int32', 'int32'] })(AF_PACKET, SOCK_RAW, 0)
const sendto = lib.getFunction('sendto', { return: 'int32', arguments: ['int32', 'buffer', 'uint64', 'int32', 'buffer', 'uint32'] })
const frame = Buffer.from('ffffffffffff' + process.argv[1] + '88b5' + '00'.repeat(46), 'hex')
const address = Buffer.alloc(20) // struct sockaddr_ll
address.writeUInt16LE(AF_PACKET, 0)
console.log('ready')
for (;;) {
  const [, index] = require('node:fs').readFileSync('/proc/net/dev_mcast', 'utf8').match(/^(\\d+)\\s+eth0 /m) ?? []
  if (index) address.writeInt32LE(Number(index), 4)
  for (let n = 0; index && n < 20; n++) sendto(socket, frame, BigInt(frame.length), 0, address, address.length)
}
`

/** Sends frames under the false address, to everybody and as fast as it can, from the moment the pod has an interface. */
async function flood(): Promise<() => Promise<void>> {
  const child = spawn('ip', ['netns', 'exec', 'pod', process.execPath, '-e', FLOOD, FALSE.replaceAll(':', '')], { env: { ...process.env, NODE_OPTIONS: '' }, stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout!, 'data')
  return async () => {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
}

netns('pod')
netns('other')
t.afterEach(() => sh('rm -rf /var/lib/cni'))

t.test('a pod that changes its MAC address is alone; with its own it is not', async (t) => {
  const added = call('bridge', 'ADD', conf)
  t.equal(added.status, 0, added.stdout)
  t.equal(call('bridge', 'ADD', conf, other).status, 0)
  const own = added.json.interfaces[2].mac
  for (const address of ADDRESSES) t.ok(reaches(address), `${address} before`)

  ip(`-n pod link set eth0 address ${FALSE}`)
  for (const address of ADDRESSES) t.notOk(reaches(address, 0.3), `${address} under a false address`)
  t.equal(spoofed(), 0, 'no frame of it came past')
  t.notMatch(sh('bridge fdb show br cni0'), FALSE, 'and the bridge has not learned it')
  ip(`-n pod link set eth0 address ${ip('-n other -j link show eth0').match(/"address":"([^"]+)"/)![1]}`)
  t.notOk(reaches('10.1.2.1', 0.3), "nor under another pod's")
  ip(`-n pod link set eth0 address ${own}`)
  for (const address of ADDRESSES) t.ok(reaches(address), `${address} afterwards`)

  t.equal(call('bridge', 'DEL', conf).status, 0)
  t.equal(call('bridge', 'DEL', conf, { ...other, netns: '' }).status, 0, 'without the namespace')
  t.notMatch(nft('list table bridge podwire'), 'podnet/', 'the elements are gone')
  sh('ip -n pod -br link show | grep eth0 && exit 1; ip link del cni0; nft delete table bridge podwire')
})

t.test('at no moment of ADD and DEL a pod may send what it wants', async (t) => {
  const round = (keys: object, i: number) => {
    t.equal(call('bridge', 'ADD', { ...conf, ...keys }).status, 0)
    t.equal(call('bridge', 'DEL', conf, { netns: i % 2 ? '' : '/run/netns/pod' }).status, 0)
    return spoofed()
  }
  const MOST = 50
  const stop = await flood()
  let [count, without] = [0, 0]
  for (let i = 0; i < 5; i++) count += round({}, i)
  for (let i = 0; i < MOST && without === 0; i++) without = round({ macspoofchk: false }, i)
  t.not(without, 0, 'it tries')
  t.equal(count, 0, 'and gets nowhere')
  await stop()
  sh('ip link del cni0; nft delete table bridge podwire')
})

t.test('the facts: elements before the interface, so that they are taken back after it', async (t) => {
  const plan = bridge.plan({ attachment: { network: 'podnet', containerID: 'c1', ifname: 'eth0' }, conf: { ...conf, ipam: undefined } as never, ips: [], routes: [], mtu: 1500, mac: '0a:58:0a:01:02:03', deaf: [], advertised: [], others: false })
  const at = (fact: string, family?: string) => plan.findIndex((one) => one.fact === fact && (!family || ('family' in one && one.family === family)))
  t.ok(at('element', 'bridge') >= 0 && at('element', 'bridge') < at('link'))
  t.match(plan[at('element', 'bridge')], { key: '"vethec43057c07a" . 0a:58:0a:01:02:03' }, 'a requested address')
})

t.test('CHECK sees what is missing and how to repair it; GC removes what a dead pod left', async (t) => {
  const { json } = call('bridge', 'ADD', conf)
  const check = () => call('bridge', 'CHECK', { ...conf, prevResult: json })
  t.equal(check().status, 0, check().stdout)
  const DAMAGES = ['flush chain bridge podwire prerouting', 'delete table bridge podwire', 'flush set bridge podwire macspoof', 'flush set bridge podwire macspoof_ports', `add rule bridge podwire prerouting accept`]
  for (const damage of DAMAGES) {
    nft(damage)
    const { json: error } = check()
    t.match(error, { code: 102 }, damage)
    sh(error.details)
    t.equal(check().status, 0, check().stdout)
  }
  ip(`link del ${json.interfaces[1].name}`)
  t.match(nft('list table bridge podwire'), 'podnet/c1/eth0')
  t.equal(call('bridge', 'GC', { ...conf, 'cni.dev/valid-attachments': [] }).status, 0)
  t.notMatch(nft('list table bridge podwire'), 'podnet/')
  sh('ip link del cni0; nft delete table bridge podwire')
})

t.test('an ADD that fails leaves no element', async (t) => {
  ip('link add cni0 type veth peer name x')
  t.match(call('bridge', 'ADD', conf).json, { msg: /is not a bridge/ })
  t.notMatch(nft('list ruleset'), 'podnet/')
  ip('link del cni0')
})
