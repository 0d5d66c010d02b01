// tuning: as an entry of its own behind another plugin, and within ptp and bridge; with the reference's backups.
//
//     pod (netns)                this namespace
//     eth0 ──────── veth ──────── veth…

import { call, directory, ip, netns, sh, works, type Call } from './world.ts'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Pod } from '../src/chained.ts'
import { show } from '../src/show.ts'
import { Netns } from '../src/kernel/netns.ts'
import { hash, hostIfname } from '../src/names.ts'
import * as state from '../src/state.ts'
import { tuning, type TuningConf } from '../src/tuning/tuning.ts'
import { execute, REFERENCE, referenceIsMissing } from './reference.ts'

sh('mount -t tmpfs etc /etc') // that no list of the machine's says what is allowed

const ipam = { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]], routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] }
const wired = { cniVersion: '1.1.0', name: 'podnet', type: 'ptp', ipam }
const ALL = { sysctl: { 'net.core.somaxconn': '500', 'net/ipv4/conf/IFNAME/arp_filter': '1' }, mac: '02:00:00:00:00:aa', promisc: true, mtu: 1400, allmulti: true, txQLen: 77 }
const entry = (keys: object, prevResult?: object) => ({ cniVersion: '1.1.0', name: 'podnet', type: 'tuning', ...keys, ...(prevResult && { prevResult }) })
const BACKUP = '/run/cni/tuning/c1_eth0.json'
const veth = hostIfname({ network: 'podnet', containerID: 'c1', ifname: 'eth0' })

/** What can be tuned, as it is. */
const tuned = (dev = veth): string =>
  [ip(`-n pod -d link show eth0`), ip(`-d link show ${dev}`), sh('ip netns exec pod sysctl net.core.somaxconn net.ipv4.conf.eth0.arp_filter net.ipv4.ip_local_port_range net.ipv4.ip_local_reserved_ports')].join('\n')

/** A pod that ptp or bridge has wired, as long as something runs with the result. */
function withPod(run: (result: any) => void, conf: { type: string; [key: string]: unknown } = wired): void {
  netns('pod')
  const wire = (command: string) => {
    const { status, stdout, json } = call(conf.type, command, conf)
    if (status !== 0) throw new Error(stdout)
    return json
  }
  run(wire('ADD'))
  wire('DEL')
  sh('ip netns del pod; rm -rf /var/lib/cni; nft flush ruleset; ip link del cni0 2>/dev/null || true')
}

t.test('the plan, as an operator would type it', async (t) => {
  const pod: Pod = { attachment: { network: 'podnet', containerID: 'c1', ifname: 'eth0' }, ips: [{ address: '10.1.2.3/24' }], routes: [], host: 'veth0', bridge: undefined, mtu: 1500, mac: undefined }
  const plan = (keys: object, changes: Partial<Pod> = {}) => tuning.plan({ ...pod, ...changes }, entry(keys) as TuningConf).map((fact) => show(fact))
  t.same(plan(ALL), [
    'ip netns exec pod sysctl -qw net/core/somaxconn=500',
    'ip netns exec pod sysctl -qw net/ipv4/conf/eth0/arp_filter=1',
    'ip -n pod link set eth0 address 02:00:00:00:00:aa mtu 1400 promisc on allmulticast on txqueuelen 77',
    'ip link set veth0 mtu 1400',
  ])
  t.same(plan({ mtu: 1400 }, { host: undefined }), ['ip -n pod link set eth0 mtu 1400'], 'an interface that is no veth has one end')
  t.same(plan({ allmulti: false, txQLen: 0 }), ['ip -n pod link set eth0 allmulticast off txqueuelen 0'])
  t.same(plan({ promisc: false, mtu: 0, sysctl: {} }), [], 'what asks for nothing')
  t.same(plan({ sysctl: { 'net.ipv4.conf.eth0/100.forwarding': '1', 'net/ipv4/conf/eth0.100/rp_filter': '0', 'net.ipv4.ip_local_port_range': '1024 65000' } }), [
    'ip netns exec pod sysctl -qw net/ipv4/conf/eth0.100/forwarding=1',
    'ip netns exec pod sysctl -qw net/ipv4/conf/eth0.100/rp_filter=0',
    "ip netns exec pod sysctl -qw 'net/ipv4/ip_local_port_range=1024 65000'",
  ])
  t.same(plan({ sysctl: { 'net.ipv4.conf.IFNAME.rp_filter': '0' } }, { attachment: { ...pod.attachment, ifname: 'a.b$&' } }), ["ip netns exec pod sysctl -qw 'net/ipv4/conf/a.b$&/rp_filter=0'"])
})

t.test('who says which value: args, then runtimeConfig, then CNI_ARGS, then the keys', async (t) => {
  const pod: Pod = { attachment: { network: 'podnet', containerID: 'c1', ifname: 'eth0' }, ips: [], routes: [], host: undefined, bridge: undefined, mtu: 1500, mac: '02:00:00:00:00:03' }
  const mac = (keys: object, mac: string | undefined = pod.mac) => tuning.plan({ ...pod, mac }, entry(keys) as TuningConf).map((fact) => show(fact).replace('ip -n pod link set eth0 ', '')).join()
  const [args, runtimeConfig] = [{ cni: { mac: '02:00:00:00:00:01' } }, { mac: '02:00:00:00:00:02' }]
  t.equal(mac({ args, runtimeConfig, mac: '02:00:00:00:00:04' }), 'address 02:00:00:00:00:01')
  t.equal(mac({ runtimeConfig, mac: '02:00:00:00:00:04' }), 'address 02:00:00:00:00:02')
  t.equal(mac({ mac: '02:00:00:00:00:04' }), 'address 02:00:00:00:00:03')
  t.equal(tuning.plan({ ...pod, mac: undefined }, entry({ mac: '02-00-00-00-00-0A' }) as TuningConf).map((fact) => show(fact)).join(), 'ip -n pod link set eth0 address 02:00:00:00:00:0a')
  const rest = { args: { cni: { mtu: 1300, promisc: false, allmulti: false, txQLen: 1, sysctl: { 'net.a': '2', 'net.b': '3' } } }, mtu: 1400, promisc: true, allmulti: true, txQLen: 2, sysctl: { 'net.a': '1' } }
  t.same(tuning.plan({ ...pod, mac: undefined }, entry(rest) as TuningConf).map((fact) => show(fact)), ['ip netns exec pod sysctl -qw net/a=2', 'ip netns exec pod sysctl -qw net/b=3', 'ip -n pod link set eth0 mtu 1300 allmulticast off txqueuelen 1'])
})

t.test('the lines, typed in a shell, make what the plan makes', async (t) => {
  const made: string[] = []
  for (const how of ['act', 'type'])
    withPod((prevResult) => {
      const kernel = { host: new Netns(), pod: new Netns('/run/netns/pod') }
      const pod: Pod = { attachment: { network: 'podnet', containerID: 'c1', ifname: 'eth0' }, ips: prevResult.ips, routes: [], host: veth, bridge: undefined, mtu: 1500, mac: undefined }
      const plan = tuning.plan(pod, entry({ ...ALL, sysctl: { ...ALL.sysctl, 'net.ipv4.ip_local_port_range': '1024 65000', 'net.ipv4.ip_local_reserved_ports': '' } }) as TuningConf)
      if (how === 'act') state.add(kernel, plan, 'pod')
      else sh(plan.map((fact) => show(fact)).join(' && '))
      t.same(state.check(kernel, plan, 'pod'), [], 'CHECK agrees')
      made.push(tuned().replace(/\d+: /g, ''))
      kernel.host.close()
      kernel.pod.close()
    })
  t.equal(made[0], made[1])
})

t.test('an entry of its own: ADD, CHECK, damage, repair, DEL', async (t) => {
  withPod((prevResult) => {
    const before = tuned()
    const conf = entry(ALL, prevResult)
    const added = call('tuning', 'ADD', conf)
    t.equal(added.status, 0, added.stdout)
    const [host, pod] = added.json.interfaces
    t.match([host, pod], [{ name: veth, mtu: 1400, mac: prevResult.interfaces[0].mac }, { name: 'eth0', mtu: 1400, mac: '02:00:00:00:00:aa', sandbox: '/run/netns/pod' }])
    t.same({ ...added.json, interfaces: [] }, { ...prevResult, interfaces: [] }, 'all else is passed on')
    t.match(ip('-n pod -d link show eth0'), /ALLMULTI,PROMISC.* mtu 1400 .*qlen 77\n.*02:00:00:00:00:aa/)
    t.match(ip(`link show ${veth}`), ' mtu 1400 ')
    t.equal(sh('ip netns exec pod sysctl -n net.core.somaxconn net.ipv4.conf.eth0.arp_filter'), '500\n1')
    t.ok(works('ping -c1 -W30 -M do -s 1372 10.1.2.2'), 'a packet of 1400 bytes goes through')
    t.notOk(works('ping -c1 -W1 -M do -s 1373 10.1.2.2'), 'a larger one does not')

    const check = () => call('tuning', 'CHECK', { ...conf, prevResult: added.json })
    t.equal(check().stdout, '')
    t.equal(call('ptp', 'CHECK', { ...wired, prevResult: added.json }).stdout, '', 'and ptp agrees')
    const damages: [string, RegExp][] = [
      ['ip -n pod link set eth0 mtu 1500', /interface eth0 has MTU 1500, not 1400/],
      [`ip link set ${veth} mtu 1500`, /interface veth\w+ has MTU 1500, not 1400/],
      ['ip -n pod link set eth0 address 02:00:00:00:00:bb', /interface eth0 has MAC address 02:00:00:00:00:bb, not 02:00:00:00:00:aa/],
      ['ip -n pod link set eth0 promisc off', /interface eth0 has promisc off, not on/],
      ['ip -n pod link set eth0 allmulticast off', /interface eth0 has allmulticast off, not on/],
      ['ip -n pod link set eth0 txqueuelen 78', /interface eth0 has txqueuelen 78, not 77/],
      ['ip netns exec pod sysctl -qw net.core.somaxconn=501', /sysctl net\/core\/somaxconn is 501, not 500/],
      ['ip netns exec pod sysctl -qw net.ipv4.conf.eth0.arp_filter=0', /sysctl net\/ipv4\/conf\/eth0\/arp_filter is 0, not 1/],
    ]
    for (const [damage, said] of damages) {
      sh(damage)
      const found = check().json
      t.match(found, { code: 102, msg: said }, damage)
      sh(found.details)
      t.equal(check().stdout, '', `${damage}, repaired`)
    }

    t.equal(call('tuning', 'DEL', entry(ALL)).stdout, '', 'without prevResult')
    t.equal(tuned().replace(/(somaxconn|arp_filter) = .*/g, ''), before.replace(/(somaxconn|arp_filter) = .*/g, ''), 'the interface is as it was')
    t.same(readdirSync('/run/cni/tuning'), [])
    t.equal(call('tuning', 'DEL', entry(ALL)).stdout, '', 'and again')
  })
})

t.test('results of every version', async (t) => {
  withPod(() => {
    for (const cniVersion of ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0']) {
      const old = cniVersion < '1'
      const prevResult = { cniVersion, interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:01', sandbox: '/run/netns/pod' }, { name: 'eth0', mac: '02:00:00:00:00:02' }], ips: [{ ...(old && { version: '4' }), address: '10.1.2.2/24', interface: 0 }], ...(old && { dns: {} }) }
      const { json } = call('tuning', 'ADD', { ...entry({ mac: '02:00:00:00:00:AA', mtu: 1400 }, prevResult), cniVersion })
      t.same(json.interfaces, [{ name: 'eth0', mac: '02:00:00:00:00:aa', sandbox: '/run/netns/pod', ...(!old && { mtu: 1400 }) }, { name: 'eth0', mac: '02:00:00:00:00:02' }], `${cniVersion}: the pod's, not the node's of that name`)
      t.equal(call('tuning', 'DEL', { ...entry({}), cniVersion }).stdout, '')
    }
  })
})

for (const type of ['ptp', 'bridge'])
  t.test(`within ${type}, without another process: the same as behind it`, async (t) => {
    const conf = { ...wired, type, isDefaultGateway: true }
    const states: string[] = []
    const results: unknown[] = []
    for (const within of [true, false]) {
      const own = { ...conf, ...(within && { tuning: ALL }) }
      withPod((result) => {
        const added = within ? result : call('tuning', 'ADD', entry(ALL, result)).json
        results.push({ ...added, interfaces: added.interfaces.slice(-2) }) // a bridge's MAC address is random
        states.push(tuned().replaceAll(/\d+: |@if\d+|_timer +[\d.]+|designated_\w+ \S+/g, ''))
        const check = () => call(type, 'CHECK', { ...own, prevResult: added })
        t.equal(check().stdout, '')
        t.equal(existsSync(BACKUP), !within, within ? 'nothing is written down, because the link goes with the pod' : 'what is replaced is written down')
        sh('ip netns exec pod sysctl -qw net.core.somaxconn=501; ip -n pod link set eth0 promisc off')
        if (within) {
          t.match(check().json, { code: 102, msg: 'sysctl net/core/somaxconn is 501, not 500; interface eth0 has promisc off, not on' })
          sh(check().json.details)
          t.equal(check().stdout, '')
        } else t.equal(call('tuning', 'DEL', entry(ALL)).stdout, '')
        t.ok(works('ping -c1 -W30 10.1.2.2 && ping -c1 -W30 fd00:1::2'))
      }, own)
    }
    t.equal(states[0], states[1])
    t.same(results[0], results[1])
  })

t.test('within ptp a key in any case, and a wrong one, are read as in an entry of its own', async (t) => {
  withPod(() => t.match(ip('-n pod link show eth0'), ' mtu 1400 '), { ...wired, Tuning: { MTU: 1400 } })
  netns('pod')
  t.match(call('ptp', 'ADD', { ...wired, tuning: { mtu: 'big' } }).json, { code: 7, msg: /^tuning\.mtu is "big": expected an MTU/ })
  t.match(call('ptp', 'ADD', { ...wired, tuning: { sysctl: { 'kernel.hostname': 'x' } } }).json, { code: 7, msg: /^sysctl "kernel\.hostname" is none of the network's/ })
  t.equal(ip('-n pod -br link show type veth'), '')
  sh('ip netns del pod; rm -rf /var/lib/cni')
})

t.test('what cannot be is refused before anything is touched', async (t) => {
  withPod((prevResult) => {
    const before = tuned()
    const refused: [object, RegExp][] = [
      [{ sysctl: { 'kernel.hostname': 'x' } }, /^sysctl "kernel\.hostname" is none of the network's: expected a key below net/],
      [{ sysctl: { 'net/../kernel/hostname': 'x' } }, /^sysctl "net\/\.\.\/kernel\/hostname" is none/],
      [{ sysctl: { '/net/core/somaxconn': '1' } }, /^sysctl "\/net\/core\/somaxconn" is none/],
      [{ sysctl: { net: '1' } }, /^sysctl "net" is none/],
      [{ sysctl: { 'net.ipv4/../../../kernel.hostname': 'x' } }, /is none of the network's/],
      [{ sysctl: { 'net//core': 'x' } }, /is none of the network's/],
      [{ sysctl: { 'net.core.somaxconn': 5 } }, /^sysctl\.net\.core\.somaxconn is 5: expected a string/],
      [{ sysctl: ['net.core.somaxconn'] }, /^sysctl is \["net\.core\.somaxconn"\]: expected an object/],
      [{ sysctl: { 'net.core.somaxconn': '5\n6' } }, /^sysctl "net\.core\.somaxconn" is "5\\n6": expected one line/],
      [{ sysctl: { 'net.core.somaxconn': '500', 'net/core/somaxconn': '501' } }, /^sysctl has "net\.core\.somaxconn" and "net\/core\/somaxconn", which are the same: duplicated sysctl keys are not allowed/],
      [{ sysctl: { 'net.ipv4.conf.eth0.arp_filter': '1', 'net.ipv4.conf.IFNAME.arp_filter': '0' } }, /which are the same/],
      [{ mac: '02:00:00:00:00' }, /^mac is "02:00:00:00:00": expected a MAC address/],
      [{ mac: '01:00:5e:00:00:01' }, /^mac is "01:00:5e:00:00:01": expected the address of one interface/],
      [{ mac: '00:00:00:00:00:00' }, /^mac is "00:00:00:00:00:00": expected an address/],
      [{ promisc: 'yes' }, /^promisc is "yes": expected true or false/],
      [{ allmulti: 1 }, /^allmulti is 1: expected true or false/],
      [{ mtu: 70000 }, /^mtu is 70000: expected an MTU/],
      [{ mtu: -1 }, /^mtu is -1: expected an MTU/],
      [{ mtu: 1279 }, /^mtu is 1279: expected at least 1280, because the pod has an IPv6 address/],
      [{ txQLen: -1 }, /^txQLen is -1: expected a number of packets/],
      [{ txQLen: 4294967296 }, /^txQLen is 4294967296: expected a number of packets/],
      [{ dataDir: 'tuning' }, /^dataDir is "tuning": expected an absolute path/],
      [{ args: { cni: { mtu: '1400' } } }, /^args\.cni\.mtu is "1400": expected an MTU/],
      [{ args: { cni: { promisc: 1 } } }, /^args\.cni\.promisc is 1: expected true or false/],
      [{ args: { cni: { sysctl: { a: 1 } } } }, /^args\.cni\.sysctl is \{"a":1\}: expected an object/],
      [{ args: { cni: { mac: 'x' } } }, /^args\.cni\.mac is "x": expected a MAC address/],
    ]
    for (const [keys, said] of refused) t.match(call('tuning', 'ADD', entry({ ...ALL, ...keys }, prevResult)).json, { code: 7, msg: said }, JSON.stringify(keys))
    t.match(call('tuning', 'ADD', entry(ALL)).json, { code: 7, msg: 'Required prevResult missing' })
    t.equal(tuned(), before)
    t.notOk(existsSync(BACKUP))
  })
})

t.test('what the kernel refuses is taken back', async (t) => {
  withPod((prevResult) => {
    const before = tuned()
    const last = (key: string, value = '1') => call('tuning', 'ADD', entry({ ...ALL, sysctl: { ...ALL.sysctl, 'net.ipv4.ip_local_port_range': '1024 65000', [key]: value } }, prevResult)).json
    t.match(last('net.core.nope'), { code: 103, msg: 'ip netns exec pod sysctl -qw net/core/nope=1: there is no sysctl net/core/nope in this network namespace', details: 'what had been done was taken back' })
    t.match(last('net.core.rmem_max.x'), { code: 103, msg: /^ip netns exec pod sysctl -qw net\/core\/rmem_max\/x=1: there is no sysctl/ })
    t.match(last('net.ipv4.tcp_rmem', 'many'), { code: 100, msg: /^ip netns exec pod sysctl -qw net\/ipv4\/tcp_rmem=many: EINVAL/ })
    t.equal(tuned(), before)
    t.notOk(existsSync(BACKUP), 'and nothing is written down any more')

    // All of it has been made when something fails that comes behind.
    const kernel = { host: new Netns(), pod: new Netns('/run/netns/pod') }
    const pod: Pod = { attachment: { network: 'podnet', containerID: 'c1', ifname: 'eth0' }, ips: [], routes: [], host: veth, bridge: undefined, mtu: 1500, mac: undefined }
    const plan = tuning.plan(pod, entry(ALL) as TuningConf)
    t.throws(() => state.add(kernel, [...plan, { fact: 'link set', dev: 'nobody', mtu: 1400 }], 'pod'), { message: 'ip link set nobody mtu 1400: there is no interface nobody', left: [] })
    t.equal(tuned(), before, 'the MTU of the node\'s end, too')
    kernel.host.close()
    kernel.pod.close()
  })
})

t.test('sysctls that are only written, that are lists, that are emptied', async (t) => {
  withPod((prevResult) => {
    const conf = entry({ sysctl: { 'net.ipv4.route.flush': '1', 'net.ipv4.ip_local_port_range': '1024  65000', 'net.ipv4.ip_local_reserved_ports': '' } }, prevResult)
    sh('ip netns exec pod sysctl -qw net.ipv4.ip_local_reserved_ports=8080')
    t.equal(call('tuning', 'ADD', conf).status, 0)
    t.equal(sh('ip netns exec pod sysctl -n net.ipv4.ip_local_port_range net.ipv4.ip_local_reserved_ports'), '1024\t65000')
    t.equal(call('tuning', 'CHECK', conf).stdout, '')
    t.notOk(existsSync(BACKUP), 'sysctls are not written down')
  })
})

t.test('the list of what is allowed', async (t) => {
  withPod((prevResult) => {
    const list = join(directory('/etc/cni/tuning'), 'allowlist.conf')
    const add = (sysctl: object) => call('tuning', 'ADD', entry({ sysctl }, prevResult)).json
    writeFileSync(list, '^net\\.core\\.\n\n  ^net.ipv4.conf.IFNAME.[a-z_]*$  \n')
    t.match(add(ALL.sysctl), { interfaces: [{}, {}] }, 'keys are compared as they are written')
    t.match(add({ ...ALL.sysctl, 'net.ipv4.tcp_syncookies': '1' }), { code: 7, msg: 'Sysctl net.ipv4.tcp_syncookies is not allowed: no line of /etc/cni/tuning/allowlist.conf matches it', details: 'allowed are: ^net\\.core\\. ^net.ipv4.conf.IFNAME.[a-z_]*$' })
    t.match(add({ 'net.ipv4.conf.eth0.arp_filter': '1' }), { code: 7, msg: /is not allowed/ })
    t.match(call('tuning', 'ADD', entry({ args: { cni: { sysctl: { 'net.ipv4.tcp_syncookies': '1' } } } }, prevResult)).json, { code: 7, msg: /is not allowed/ }, "a runtime's, too")
    t.match(call('tuning', 'ADD', entry({ mtu: 1400 }, prevResult)).json, { interfaces: [{}, {}] }, 'it says nothing of what is no sysctl')
    writeFileSync(list, '')
    t.match(add(ALL.sysctl), { code: 7, msg: /is not allowed/ }, 'an empty list allows nothing')
    writeFileSync(list, '(net\n')
    t.match(add(ALL.sysctl), { code: 7, msg: '/etc/cni/tuning/allowlist.conf has the line "(net": expected a regular expression' })
    sh(`rm ${list}; mkdir ${list}`)
    t.match(add(ALL.sysctl), { code: 5, msg: /allowlist\.conf|EISDIR/ })
    sh('rm -r /etc/cni')
    t.equal(call('tuning', 'DEL', entry({ mtu: 1400 })).stdout, '')
  })
  withPod(() => {}, { ...wired, tuning: { sysctl: ALL.sysctl } })
  writeFileSync(join(directory('/etc/cni/tuning'), 'allowlist.conf'), 'net.none')
  netns('pod')
  t.match(call('ptp', 'ADD', { ...wired, tuning: { sysctl: ALL.sysctl } }).json, { code: 7, msg: /is not allowed/ }, 'within ptp, too')
  t.equal(ip('-n pod -br link show type veth'), '', 'before anything is made')
  t.equal(sh('ls /var/lib/cni/networks/podnet | grep -c "^10\\|^fd" || true'), '0', 'and nothing stays leased')
  sh('rm -r /etc/cni /var/lib/cni; ip netns del pod')
})

t.test('backups: one that is torn, wrong, or cannot be written', async (t) => {
  withPod((prevResult) => {
    const conf = entry({ mtu: 1400, mac: ALL.mac }, prevResult)
    for (const text of ['', '{"mtu": 15', '[]', 'null', '{"mtu": "1500"}', '{"mac": "x"}', '{"mtu": -1, "promisc": 3}', '{"podwire": {"hostMtu": "1500"}}']) {
      call('tuning', 'ADD', conf)
      writeFileSync(BACKUP, text)
      const deleted = call('tuning', 'DEL', entry({}))
      t.same([deleted.stdout, readdirSync('/run/cni/tuning')], ['', []], `${JSON.stringify(text)}: nothing is put back, and it goes`)
      t.match(ip('-n pod link show eth0'), ' mtu 1400 ')
      ip('-n pod link set eth0 mtu 1500')
      ip(`link set ${veth} mtu 1500`)
    }
    t.equal(call('tuning', 'DEL', entry({ dataDir: '/run/none' })).stdout, '', 'a directory that is not there')
    writeFileSync('/run/file', '')
    const before = tuned()
    t.match(call('tuning', 'ADD', { ...conf, dataDir: '/run/file' }).json, { code: 5, msg: /^dataDir \/run\/file: EEXIST|ENOTDIR/ })
    t.equal(tuned(), before, 'nothing is changed that could not be put back')
  })
})

t.test('DEL without the namespace, and when what was to be put back is refused', async (t) => {
  withPod((prevResult) => {
    const conf = entry({ mtu: 1400, mac: ALL.mac }, prevResult)
    for (const gone of [{ netns: '' }, { netns: '/run/netns/none' }, { netns: '/etc' }, { ifname: 'eth0', netns: '/run/none' }] as Call[]) {
      call('tuning', 'ADD', conf)
      t.equal(call('tuning', 'DEL', entry({}), gone).stdout, '', JSON.stringify(gone))
      t.same(readdirSync('/run/cni/tuning'), [])
    }
    call('tuning', 'ADD', conf)
    writeFileSync(BACKUP, '{"mac": "01:00:5e:00:00:01", "podwire": {"network": "podnet"}}')
    const deleted = call('tuning', 'DEL', entry({}))
    t.same([deleted.stdout, deleted.stderr, readdirSync('/run/cni/tuning')], ['', 'podwire: not put back: ip -n pod link set eth0 address 01:00:5e:00:00:01: EADDRNOTAVAIL\n', []])
    call('tuning', 'ADD', conf)
    ip(`link del ${veth}`)
    t.same([call('tuning', 'DEL', entry({})).stdout, readdirSync('/run/cni/tuning')], ['', []], 'the interface is gone')
  })
})

t.test('GC forgets what is of the network and not alive, and nothing else', async (t) => {
  withPod((prevResult) => {
    const dir = '/run/cni/tuning'
    call('tuning', 'ADD', entry({ mtu: 1400 }, prevResult))
    call('tuning', 'ADD', { ...entry({ mtu: 1400 }, prevResult), name: 'other' }, { container: 'c2' })
    for (const container of ['c3', 'c4']) call('tuning', 'ADD', entry({ mtu: 1400 }, prevResult), { container })
    writeFileSync(`${dir}/c5_eth0.json`, '{\n "mtu": 1500\n}')
    writeFileSync(`${dir}/.c6_eth0.json.${hash(8, 'podnet')}`, '{') // of an ADD that was killed
    const other = `.c7_eth0.json.${hash(8, 'other')}`
    writeFileSync(join(dir, other), '{')
    const gc = (living: string[] | undefined) => call('tuning', 'GC', { ...entry({}), ...(living && { 'cni.dev/valid-attachments': living.map((containerID) => ({ containerID, ifname: 'eth0' })) }) })
    t.equal(gc(undefined).stdout, '')
    t.equal(readdirSync(dir).length, 7, 'without a list nothing is known to be dead')
    t.equal(gc(['c1', 'c4']).stdout, '')
    t.same(readdirSync(dir).sort(), [other, 'c1_eth0.json', 'c2_eth0.json', 'c4_eth0.json', 'c5_eth0.json'])
    t.equal(gc([]).stdout, '')
    t.same(readdirSync(dir).sort(), [other, 'c2_eth0.json', 'c5_eth0.json'], "another network's, and the reference's, of which nobody knows")
    sh(`rm -r ${dir}`)
    t.equal(gc([]).stdout, '')
    t.equal(call('tuning', 'STATUS', entry({})).stdout, '')
  })
})

t.test('a veth whose other end is in a third namespace: no interface of the node is touched', async (t) => {
  netns('pod')
  netns('third')
  ip('-n pod link add eth0 up type veth peer name far index 777 netns third')
  ip('link add node0 index 777 type veth peer name node1')
  const { status, stdout } = call('tuning', 'ADD', entry({ mtu: 1400 }, { cniVersion: '1.1.0', interfaces: [{ name: 'eth0', sandbox: '/run/netns/pod' }], ips: [] }))
  t.equal(status, 0, stdout)
  t.match(ip('-n pod link show eth0'), ' mtu 1400 ')
  t.notMatch(ip('link show'), ' mtu 1400 ')
  t.equal(call('tuning', 'DEL', entry({})).stdout, '')
  sh('ip netns del pod; ip netns del third; ip link del node0')
})

const reference = (command: string, conf: object, start: Call = {}) => execute(join(REFERENCE, 'tuning'), command, conf, { netns: '/run/netns/pod', ...start })
const knows = (version: string): boolean => execute(join(REFERENCE, 'tuning'), 'VERSION', { cniVersion: '0.4.0' }).json?.supportedVersions.includes(version)

t.test('the reference and podwire put back what the other replaced', { skip: referenceIsMissing }, async (t) => {
  type Side = (command: string, conf: object) => { status: number | null; stdout: string }
  const podwire: Side = (command, conf) => call('tuning', command, conf)
  const sides: [string, Side, Side][] = [['the reference, then podwire', reference, podwire], ['podwire, then the reference', podwire, reference]]
  for (const [name, adds, deletes] of sides)
    withPod((prevResult) => {
      const before = ip('-n pod -d link show eth0')
      const { sysctl: _, ...link } = ALL
      const conf = { ...entry(knows('1.1.0') ? link : { ...link, txQLen: undefined }, { ...prevResult, cniVersion: '1.0.0' }), cniVersion: '1.0.0' }
      t.equal(adds('ADD', conf).status, 0, name)
      t.match(ip('-n pod -d link show eth0'), /ALLMULTI,PROMISC.* mtu 1400 /)
      t.match(deletes('CHECK', conf).stdout, adds === podwire ? /^$/ : /interface veth\w+ has MTU 1500, not 1400/, 'its CHECK agrees, but for the other end, of which the reference does not think')
      t.equal(deletes('DEL', conf).status, 0)
      t.equal(ip('-n pod -d link show eth0'), before)
      t.same(readdirSync('/run/cni/tuning'), [])
    })
})

t.test("the reference's result, but for the MTU that it does not tell", { skip: referenceIsMissing }, async (t) => {
  const matrix = [{}, ALL, { mac: ALL.mac }, { mtu: 1400 }, { promisc: true }, { allmulti: false }, { sysctl: ALL.sysctl }, { mac: ALL.mac, runtimeConfig: { mac: '02:00:00:00:00:bb' } }, { mac: ALL.mac, args: { cni: { mac: '02:00:00:00:00:cc' } } }]
  const untold = (result: any) => ({ ...result, interfaces: result.interfaces?.map(({ mtu: _, ...one }: any) => one) })
  withPod((made) => {
    for (const cniVersion of ['0.3.1', '0.4.0', '1.0.0', '1.1.0'].filter(knows))
      for (const [i, keys] of matrix.entries())
        for (const args of i === 0 ? ['', 'IgnoreUnknown=1;MAC=02:00:00:00:00:dd'] : ['']) {
          const prevResult = { ...made, cniVersion, dns: { nameservers: ['10.1.2.1'] }, interfaces: made.interfaces.map(({ mtu: _, ...one }: any) => one), ips: made.ips.map((one: any) => (cniVersion < '1' ? { version: one.address.includes(':') ? '6' : '4', ...one } : one)) }
          const conf = { ...entry(keys, prevResult), cniVersion }
          const [theirs, ours] = [reference('ADD', conf, { args }), call('tuning', 'ADD', conf, { args })]
          t.same(untold(ours.json), untold(theirs.json), `${cniVersion} ${JSON.stringify(keys)} ${args}`)
          call('tuning', 'DEL', conf)
        }
  })
})
