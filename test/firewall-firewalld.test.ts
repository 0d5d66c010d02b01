// firewall where firewalld runs: a pod's addresses are sources of a zone of its, which it may forget.

import { call, netns, nft, sh } from './world.ts'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync } from 'node:fs'
import t from 'tap'
import { Bus } from '../src/kernel/dbus.ts'
import { socketsIn, systemBus } from '../src/kernel/dbus-address.ts'
import { lengthOf, decodeMessage, encodeCall, FIELD } from '../src/kernel/dbus-message.ts'
import { connectUnix } from '../src/kernel/libc.ts'
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
    t.match(check().json, { code: 102, msg: /^zone trusted of firewalld does not have the source 10\.1\.1\.2\/32; zone/, details: /\nfirewall-cmd --zone=trusted --change-source=10\.1\.1\.2\/32/ })
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

t.test('the addresses of a bus are read as D-Bus writes them', async (t) => {
  const sockets: Record<string, string[]> = {
    'unix:path=/run/a': ['/run/a'],
    'unix:abstract=/tmp/dbus-x,guid=0123': ['\0/tmp/dbus-x'],
    'tcp:host=localhost,port=1;unix:guid=1,path=/run/a%20b%2fc;;unix:abstract=%c3%a4': ['/run/a b/c', '\0\u00e4'],
    'unix:tmpdir=/tmp;unix:runtime=yes;nonsense;unix:;unix:path=;unix:path=/a%00b;unix:path=/a,abstract=b;launchd:env=X': [],
    [`unix:path=/${'x'.repeat(106)};unix:path=/${'x'.repeat(107)}`]: [`/${'x'.repeat(106)}`],
  }
  for (const [address, expected] of Object.entries(sockets)) t.same(socketsIn(address), expected, address)
  t.same(systemBus(''), ['/run/dbus/system_bus_socket'], 'one that is empty is none')
})

/** Runs something while the environment says where the bus is. */
async function at(address: string, run: () => Promise<void>): Promise<void> {
  process.env.DBUS_SYSTEM_BUS_ADDRESS = address
  try {
    await run()
  } finally {
    delete process.env.DBUS_SYSTEM_BUS_ADDRESS
  }
}

for (const [address, socket] of Object.entries({ 'unix:path=/run/else%77here': '/run/elsewhere', 'tcp:host=localhost;unix:path=/run/nobody;unix:abstract=podwire-test,guid=1': '@podwire-test' }))
  t.test(`DBUS_SYSTEM_BUS_ADDRESS=${address}`, async (t) =>
    at(address, async () => {
      const firewalld = await bus('running', socket)
      try {
        const conf = { ...ptp, firewall: {} }
        const { json } = call('ptp', 'ADD', conf)
        t.same(await firewalld.asked(), ['NameHasOwner', 'getSources trusted', ...changed(first!)])
        t.equal(call('ptp', 'CHECK', { ...conf, prevResult: json }).stdout, '')
        await firewalld.asked()
        call('ptp', 'DEL', conf)
        t.same((await firewalld.asked()).sort(), removed(first!).sort())
      } finally {
        await firewalld.stop()
      }
    }))

t.test('an address at which there is no bus: firewalld does not run', async (t) =>
  on('running', async (firewalld) => {
    for (const address of ['unix:path=/run/nobody', 'tcp:host=localhost']) {
      await at(address, async () => {
        t.equal(call('ptp', 'ADD', { ...ptp, firewall: {} }).status, 0, address)
        t.match(call('ptp', 'ADD', { ...ptp, firewall: { backend: 'firewalld' } }, other).json, { code: 100, msg: /firewalld does not run/ }, address)
        call('ptp', 'DEL', ptp)
      })
    }
    t.same(await firewalld.asked(), [], 'nobody else is asked')
  }))

t.test('who listens and does not answer, or does not even accept, is not waited for without end', async (t) => {
  const [full, silent] = ['/run/full', '/run/silent']
  const listening = `const net = require('node:net'); net.createServer(() => {}).listen('${silent}', () => net.createServer().listen({ path: '${full}', backlog: 1 }, () => { console.log('ready'); setTimeout(() => process.exit(), 60_000); const end = Date.now() + 60_000; if (process.argv[1] === 'full') while (Date.now() < end); }))`
  const listener = async (kind: string, run: () => void) => {
    const child = spawn(process.execPath, ['-e', listening, kind], { stdio: ['ignore', 'pipe', 'inherit'] })
    try {
      await once(child.stdout, 'data')
      run()
    } finally {
      child.kill('SIGKILL')
      await once(child, 'exit')
      sh(`rm -f ${full} ${silent}`)
    }
  }
  const limit = (run: () => unknown) => {
    const start = Date.now()
    t.throws(run, { code: 'org.freedesktop.DBus.Error.NoReply' })
    t.ok(Date.now() - start < 30_000)
  }
  await listener('silent', () => limit(() => new Bus([silent], 200)))
  await listener('full', () => {
    const fds = []
    try {
      for (let i = 0; i < 10; i++) fds.push(connectUnix(full, 100))
    } catch (error) {
      t.equal((error as { code: string }).code, 'EAGAIN', `after ${fds.length} nobody is let in`)
    }
    limit(() => new Bus([full], 200))
    fds.forEach((fd) => closeSync(fd))
  })
})
