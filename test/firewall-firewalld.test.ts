// firewall where firewalld runs: a pod's addresses are sources of a zone of its, which it may forget.

import { call, netns, nft, sh } from './world.ts'
import t from 'tap'
import { lengthOf, decodeMessage, encodeCall, FIELD } from '../src/kernel/dbus-message.ts'
import { bus, RECORDED, type FakeBus } from './firewalld.ts'

const ptp = { cniVersion: '1.1.0', name: 'podnet', type: 'ptp', ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.1.0/24' }], [{ subnet: 'fd00:1::/64' }]] } }
const firewall = (prevResult?: object, keys = {}) => ({ cniVersion: '1.1.0', name: 'podnet', type: 'firewall', ...keys, ...(prevResult && { prevResult }) })
const other = { container: 'c2', netns: '/run/netns/other' }
const [first, second] = [['10.1.1.2/32', 'fd00:1::2/128'], ['10.1.1.3/32', 'fd00:1::3/128']]
const changed = (list: string[]) => list.map((address) => `changeZoneOfSource trusted ${address}`)
const removed = (list: string[]) => list.flatMap((address) => [`getZoneOfSource ${address}`, `removeSource trusted ${address}`])

netns('pod')
netns('other')
t.afterEach(() => sh('nft flush ruleset; rm -rf /var/lib/cni'))

async function on(firewalld: 'running' | 'absent', run: (firewalld: FakeBus) => Promise<void>): Promise<void> {
  const own = await bus(firewalld)
  try {
    await run(own)
  } finally {
    await own.stop()
  }
}

t.test('messages are those that the real ones understand, and send', async (t) => {
  const zone = { destination: 'org.fedoraproject.FirewallD1', path: '/org/fedoraproject/FirewallD1', interface: 'org.fedoraproject.FirewallD1.zone' }
  const daemon = { destination: 'org.freedesktop.DBus', path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus' }
  t.ok(Object.keys(RECORDED).length > 10)
  for (const [asked, { request }] of Object.entries(RECORDED)) {
    if (asked === 'AUTH') continue
    const [member = '', ...args] = asked.split(' ')
    const method = { ...(member === 'Hello' || member === 'NameHasOwner' ? daemon : zone), member }
    t.equal(encodeCall(method, member === 'Hello' ? 1 : 2, member === 'NameHasOwner' ? [zone.destination] : args).toString('hex'), request, asked)
  }
  const answer = (asked: string, state = 'done') => {
    let bytes = Buffer.from(RECORDED[asked]!.answers[state]!, 'hex')
    const messages = []
    for (let length = lengthOf(bytes); length !== undefined; length = lengthOf(bytes)) {
      t.equal(lengthOf(bytes.subarray(0, 15)), undefined, 'too little to tell')
      messages.push(decodeMessage(bytes.subarray(0, length)))
      bytes = bytes.subarray(length)
    }
    t.equal(bytes.length, 0)
    return messages.find(({ fields }) => fields.has(FIELD.REPLY_SERIAL))!
  }
  t.same(answer('getSources trusted', 'two').body, [first])
  t.same(answer('getSources trusted', 'none').body, [[]])
  t.same([answer('NameHasOwner', 'yes').body, answer('NameHasOwner', 'no').body], [[true], [false]])
  t.match(answer('getSources nozone'), { type: 3, body: ['INVALID_ZONE: nozone'] })
  t.equal(answer('getSources nozone').fields.get(FIELD.ERROR_NAME), 'org.fedoraproject.FirewallD1.Exception')
})

t.test('addresses come and go with the pod, with its namespace or without', async (t) =>
  on('running', async (firewalld) => {
    const pod = call('ptp', 'ADD', ptp).json
    t.same(await firewalld.asked(), [], 'who does not ask for firewall asks nobody')
    const added = call('firewall', 'ADD', firewall(pod))
    t.same(added.json, pod, added.stdout)
    t.equal(added.stderr, '')
    t.same(await firewalld.asked(), ['NameHasOwner', 'getSources trusted', ...changed(first!)])
    t.equal(call('firewall', 'CHECK', firewall(pod)).stdout, '')
    await firewalld.asked()
    t.equal(call('firewall', 'DEL', firewall()).stdout, '')
    t.same((await firewalld.asked()).sort(), removed(first!).sort())
    t.equal(call('firewall', 'DEL', firewall(pod), { netns: '' }).stdout, '', 'again')
    t.same((await firewalld.asked()).sort(), first!.map((address) => `getZoneOfSource ${address}`), 'as for a pod of the reference: nothing is there')

    t.equal(call('firewall', 'ADD', firewall(pod)).status, 0)
    await firewalld.asked()
    t.equal(call('firewall', 'GC', { ...firewall(), 'cni.dev/valid-attachments': [] }).stdout, '')
    t.same((await firewalld.asked()).sort(), removed(first!).sort(), 'GC')
    call('ptp', 'DEL', ptp)
  }))

t.test('within ptp it is the same', async (t) =>
  on('running', async (firewalld) => {
    const conf = { ...ptp, firewall: {} }
    const added = call('ptp', 'ADD', conf)
    t.equal(added.status, 0, added.stdout)
    t.same(await firewalld.asked(), ['NameHasOwner', 'getSources trusted', ...changed(first!)])
    t.equal(call('ptp', 'CHECK', { ...conf, prevResult: added.json }).stdout, '')
    await firewalld.asked()
    t.equal(call('ptp', 'DEL', ptp, { netns: '' }).stdout, '', 'even if the configuration has lost it')
    t.same((await firewalld.asked()).sort(), removed(first!).sort())
  }))

t.test('a reload of firewalld: CHECK says what is lost, the next ADD repairs it for all', async (t) =>
  on('running', async (firewalld) => {
    const conf = { ...ptp, firewall: {} }
    const { json } = call('ptp', 'ADD', conf)
    const check = () => call('ptp', 'CHECK', { ...conf, prevResult: json })
    t.equal(check().stdout, '')
    firewalld.reload()
    await firewalld.asked()
    t.match(check().json, { code: 102, msg: /^zone trusted of firewalld does not have the source 10\.1\.1\.2\/32; zone/, details: /to repair it: firewall-cmd --zone=trusted --change-source=10\.1\.1\.2\/32/ })
    await firewalld.asked()
    const next = call('ptp', 'ADD', conf, other)
    t.match(next.stderr, 'podwire: firewalld had forgotten addresses of pods, as it does when it is reloaded: 2 are in zone trusted again')
    t.same(await firewalld.asked(), ['NameHasOwner', 'getSources trusted', ...changed([...first!, ...second!])])
    t.equal(check().stdout, '')
    for (const who of [{}, other]) call('ptp', 'DEL', conf, who)
  }))

t.test('a zone that firewalld does not have is an error, and nothing stays', async (t) =>
  on('running', async () => {
    const added = call('ptp', 'ADD', { ...ptp, firewall: { firewalldZone: 'nozone' } })
    t.match(added.json, { code: 100, msg: 'firewall-cmd --zone=nozone --change-source=10.1.1.2/32: INVALID_ZONE: nozone' })
    t.notMatch(nft('list ruleset'), 'comment')
    t.equal(sh('ip -br link show type veth'), '')
    t.same(sh('ls /var/lib/cni/networks/podnet | grep -c "^10\\|^fd" || true'), '0')
  }))

for (const backend of ['iptables', 'nftables'])
  t.test(`backend ${backend}: firewalld is left alone`, async (t) =>
    on('running', async (firewalld) => {
      const conf = { ...ptp, firewall: { backend } }
      t.equal(call('ptp', 'ADD', conf).status, 0)
      t.same(await firewalld.asked(), [])
      call('ptp', 'DEL', conf)
    }))

t.test('a bus without firewalld, and no bus at all', async (t) => {
  const conf = { ...ptp, firewall: {} }
  const pods = async () => {
    const added = call('ptp', 'ADD', conf)
    t.equal(added.status, 0, added.stdout)
    t.equal(call('ptp', 'CHECK', { ...conf, prevResult: added.json }).stdout, '')
    t.equal(call('ptp', 'DEL', conf).status, 0)
    sh('rm -rf /var/lib/cni')
    t.match(call('ptp', 'ADD', { ...ptp, firewall: { backend: 'firewalld' } }).json, { code: 100, msg: /^firewall-cmd --zone=trusted --change-source=10\.1\.1\.2\/32: firewalld does not run/ })
    sh('rm -rf /var/lib/cni')
  }
  await on('absent', pods)
  await pods()
  sh('mkdir -p /run/dbus && touch /run/dbus/system_bus_socket')
  await pods()
  sh('rm /run/dbus/system_bus_socket')
})
