// The VNI or the UDP port of the overlay is somebody else's: who, and what is typed to have it back.

import { call, ip, netns, sh } from '../world.ts'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { Netns } from '../../src/kernel/netns.ts'
import { compare } from '../../src/reconcile.ts'
import { deviceName, realmOf } from '../../src/vxlan/overlay.ts'
import { planOf } from '../../src/vxlan/plugin.ts'

const node = (name: string, n: number) => ({ name, addresses: [`192.0.2.${n}`, `2001:db8::${n}`], podCIDRs: [`10.244.${n}.0/24`] })
const entry = { cniVersion: '1.1.0', name: 'podnet', type: 'vxlan', node: 'a', peers: [node('a', 1), node('b', 2)] }
const entry6 = { ...entry, underlay: '2001:db8::1' }
const prevResult = { cniVersion: '1.1.0', interfaces: [{ name: 'eth0', sandbox: '/run/netns/pod' }], ips: [{ address: '10.244.1.2/24', interface: 0 }] }
const add = (conf: object) => call('vxlan', 'ADD', { ...conf, prevResult })

netns('pod')
ip('link add u0 type veth peer name far && ip link set u0 up && ip link set far up && ip addr add 192.0.2.1/24 dev u0 && ip addr add 2001:db8::1/64 dev u0 nodad')

/** What `podwire status` would say of the device. */
function said(conf: typeof entry): { sentence: string; repair: string } {
  const host = new Netns()
  try {
    return compare(host, planOf(host, conf as never).plan, realmOf(deviceName(1))).find(({ fact }) => fact.fact === 'vxlan' || fact.fact === 'link set')!
  } finally {
    host.close()
  }
}

const vxlan = (name: string, words: string) => `ip link add ${name} type vxlan ${words} dstport 8472 && ip link set ${name} up`
const DEVICES: [what: string, conf: typeof entry, line: string, sentence: RegExp][] = [
  ['a device for all VNIs has the port', entry, vxlan('x', 'external'), /ip link set podwire\.1 up: EADDRINUSE.*: interface x \(vxlan\) has UDP port 8472$/],
  ['the same, over IPv6', entry6, vxlan('x', 'external'), /EADDRINUSE.*: interface x \(vxlan\) has UDP port 8472$/],
  ['a device that receives otherwise has the port', entry, vxlan('x', 'id 7 local 192.0.2.1 gbp'), /EADDRINUSE.*: interface x \(vxlan\) has UDP port 8472$/],
  ['its name is for a shell', entry, vxlan("'x;id'", 'external'), /interface x;id \(vxlan\) has UDP port 8472$/],
  ['a device has the VNI', entry, vxlan('flannel.1', 'id 1 local 192.0.2.1'), /ip link add podwire\.1 .*: interface flannel\.1 has VNI 1 on port 8472 already: choose another VNI, or remove it$/],
  ['the same, over IPv6', entry6, vxlan('flannel.1', 'id 1 local 2001:db8::1'), /interface flannel\.1 has VNI 1 on port 8472 already/],
]

for (const [what, conf, line, sentence] of DEVICES)
  t.test(what, async (t) => {
    sh(line)
    const { json } = add(conf)
    t.match(json, { code: 100, msg: sentence, details: /^ip link del /m })
    const { sentence: status, repair } = said(conf)
    t.match(status, /: interface \S+ .*has (UDP port 8472|VNI 1 on port 8472 already)$/)
    t.match(repair, /^ip link del /)
    sh(repair)
    t.equal(add(conf).status, 0, 'what was typed is enough')
    ip('link del podwire.1')
  })

const BOUND: [what: string, conf: typeof entry, socket: string][] = [
  ['a process has the port', entry, "createSocket('udp4').bind(8472, ready)"],
  ['on one address', entry, "createSocket('udp4').bind(8472, '127.0.0.1', ready)"],
  ['for both families', entry, "createSocket('udp6').bind(8472, ready)"],
  ['with a peer', entry, "const s = createSocket('udp4'); s.bind(8472, '192.0.2.1', () => s.connect(9, '192.0.2.1', ready))"],
  ['over IPv6', entry6, "createSocket({ type: 'udp6', ipv6Only: true }).bind(8472, ready)"],
]

for (const [what, conf, socket] of BOUND)
  t.test(what, async (t) => {
    const { NODE_OPTIONS: _, ...env } = process.env
    const holder = spawn(process.execPath, ['-e', `const { createSocket } = require('node:dgram'); const ready = () => console.log('bound'); ${socket}`], { stdio: ['ignore', 'pipe', 'inherit'], env })
    t.teardown(() => holder.kill('SIGKILL'))
    await once(holder.stdout, 'data')
    t.match(add(conf).json, { code: 100, msg: new RegExp(`EADDRINUSE.*: process ${holder.pid} \\(\\S+\\) has UDP port 8472$`), details: new RegExp(`^# .*\nkill ${holder.pid}$`) })
    const { sentence, repair } = said(conf)
    t.match(sentence, `interface podwire.1 is down: process ${holder.pid} `)
    t.equal(repair, `kill ${holder.pid}\nip link set podwire.1 up`)
    holder.kill('SIGKILL')
    await once(holder, 'exit')
    t.equal(add(conf).status, 0)
    ip('link del podwire.1')
  })

t.test('a device that is only down is not blamed on others that share its port, or have another family', async (t) => {
  t.equal(add(entry).status, 0)
  sh(vxlan('podwire.2', 'id 2 local 192.0.2.1 nolearning'))
  sh(vxlan('six', 'id 1 local 2001:db8::1'))
  ip('link set podwire.1 down')
  t.match(said(entry), { sentence: /^interface podwire\.1 is down$/, repair: /^ip link set podwire\.1 up$/ })
  t.equal(add(entry).status, 0)
})
