// What ADD takes, CHECK, DEL and GC take, however long it is; and what ADD refuses has left nothing that DEL would have to find.

import { call, directory, ip, netns, sh } from '../world.ts'
import { existsSync, readdirSync } from 'node:fs'
import t from 'tap'

const LENGTHS = [1, 64, 128, 199, 200, 201, 227, 240, 250, 255, 256, 300, 4096]
const id = (length: number): string => 'c'.repeat(length)
const tuning = { mtu: 1400 }
const wired = (name: string, more: object = {}) => ({ cniVersion: '1.1.0', name, type: 'ptp', ipMasq: true, ipam: { type: 'host-local', subnet: '10.1.2.0/24', ...more } })
const left = (path: string): string => (existsSync(path) ? sh(`find ${path} -type f ! -name lock ! -name 'last_reserved*'`) : '')

/** ADD, CHECK, DEL and GC of a pod by ptp, and behind it by tuning; what any of them said. */
function round(container: string, ifname: string, name = 'podnet', more: object = {}): string[] {
  const [conf, behind] = [wired(name, more), { cniVersion: '1.1.0', name, type: 'tuning', ...tuning }]
  const start = { container, ifname }
  const added = call('ptp', 'ADD', conf, start)
  const prevResult = added.status === 0 ? added.json : undefined
  const wrong = [
    added,
    ...(prevResult ? [call('tuning', 'ADD', { ...behind, prevResult }, start), call('tuning', 'CHECK', { ...behind, prevResult }, start)] : []),
    call('tuning', 'DEL', behind, start),
    ...(prevResult ? [call('ptp', 'CHECK', { ...conf, prevResult }, start)] : []),
    call('ptp', 'DEL', conf, start),
    call('ptp', 'DEL', { ...conf, ...(prevResult && { prevResult }) }, start),
    call('ptp', 'GC', { ...conf, 'cni.dev/valid-attachments': [{ containerID: container, ifname }] }),
    call('ptp', 'GC', { ...conf, 'cni.dev/valid-attachments': [] }),
    call('tuning', 'GC', { ...behind, 'cni.dev/valid-attachments': [] }),
  ]
  return wrong.flatMap(({ status, json }) => (status === 0 ? [] : [`${json.code}: ${json.msg}`]))
}

t.before(() => {
  netns('pod')
  sh('nft add table bridge nat; nft add table ip nat; nft add table ip cni_hostport; nft add table inet cni_plugins_masquerade') // of the reference
})

t.test('a container ID of any length', async (t) => {
  for (const length of LENGTHS)
    for (const ifname of ['e', 'eth0.1234567890']) {
      t.same(round(id(length), ifname), [], `${length} characters, ${ifname}`)
      t.equal(left('/var/lib/cni') + left('/run/cni'), '', 'nothing is left')
      t.equal(ip('-br link show type veth'), '')
    }
})

t.test('GC of containers with IDs of any length', async (t) => {
  const conf = wired('podnet')
  for (const length of LENGTHS) {
    for (const [i, ifname] of ['a', 'b'].entries()) t.equal(call('host-local', 'ADD', conf, { container: id(length), ifname }).status, 0, `${length}, ${i}`)
    t.equal(call('host-local', 'GC', { ...conf, 'cni.dev/valid-attachments': [{ containerID: id(length), ifname: 'a' }] }).stdout, '')
    t.equal(sh('ls /var/lib/cni/networks/podnet | grep -c "^10"'), '1', 'the one that is dead is gone')
    t.equal(call('host-local', 'DEL', conf, { container: id(length), ifname: 'a' }).stdout, '')
  }
  t.same(readdirSync('/var/lib/cni/networks/podnet').sort(), ['last_reserved_ip.0', 'lock'])
})

t.test('a network name that a directory can have, and none that it cannot', async (t) => {
  for (const length of LENGTHS) {
    const said = round('c1', 'eth0', id(length))
    if (length <= 255) t.same(said, [], `${length} characters`)
    else for (const one of said) t.match(one, /^7: name is .*expected at most 255 characters/, `${length} characters are refused alike by all`)
    t.equal(left('/var/lib/cni') + left('/run/cni'), '')
  }
})

t.test('a data directory as deep as a path can be, and deeper', async (t) => {
  for (const length of [100, 3000, 4000, 4020, 4024, 4025, 4026, 4030, 4080, 4090, 4095, 4096, 5000]) {
    const dataDir = `/run/${'d'.repeat(99)}`.padEnd(length - '/podnet'.length, `/${'d'.repeat(99)}`).replace(/\/$/, 'd')
    const said = round('c1', 'eth0', 'podnet', { dataDir })
    if (length + '/.podwire.0123456789abcdef.'.length + 39 < 4096) t.same(said, [], `${length} bytes`)
    else t.match(said, [/^5: state directory .* is too long/], `${length} bytes are too many for ADD, and there is nothing for DEL`)
    const status = call('ptp', 'STATUS', wired('podnet', { dataDir })).json
    t.equal(status?.code, said.length === 0 ? undefined : 50, 'STATUS knows')
  }
  sh('rm -rf /run/d*')
})

t.test('a container ID of 250 characters where the reference had a chain for it by bridge', async (t) => {
  const conf = { ...wired('podnet'), type: 'bridge', macspoofchk: true, isGateway: true }
  const start = { container: id(250) }
  t.equal(call('bridge', 'ADD', conf, start).status, 0)
  t.equal(call('bridge', 'DEL', conf, start).stdout, '')
  directory('/run/x')
  t.equal(left('/var/lib/cni'), '')
})
