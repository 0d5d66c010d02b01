// An ADD of tuning, as an entry of its own, that is killed at any moment: DEL puts back what the interface had, and GC alone
// leaves no file. The interface is another plugin's, so what it had is known only by what was written down before.

import { call, ip, netns, sh } from '../world.ts'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { BUILT, builtIsMissing, execute } from '../reference.ts'
import { moments } from './samples.ts'

const MOMENTS = moments(10)
const FILES = '/run/cni/tuning'
const conf = {
  cniVersion: '1.1.0',
  name: 'podnet',
  type: 'tuning',
  ...{ mac: '02:00:00:00:00:aa', mtu: 1400, promisc: true, txQLen: 77, sysctl: { 'net.core.somaxconn': '500' } },
  prevResult: { cniVersion: '1.1.0', interfaces: [{ name: 'eth0', sandbox: '/run/netns/pod' }], ips: [] },
}

t.test(`ADD killed at ${MOMENTS} moments`, { skip: builtIsMissing }, async (t) => {
  netns('pod')
  ip('link add veth0 up type veth peer name eth0 netns pod')
  ip('-n pod link set eth0 address 02:00:00:00:00:01 up')
  const look = () => sh('ip -n pod -d link show eth0; ip link show veth0').replace(/ state \S+|,LOWER_UP|NO-CARRIER,/g, '')
  const before = look()
  const add = (...by: string[]) => execute(join(BUILT, 'tuning'), 'ADD', conf, { by })
  const start = performance.now()
  t.equal(add().status, 0)
  const whole = performance.now() - start
  t.equal(call('tuning', 'DEL', conf).stdout, '')
  t.equal(look(), before)

  const problems: string[] = []
  const seen = { nothing: 0, file: 0, changed: 0 }
  for (let [killed, tries] = [0, 0]; killed < MOMENTS && tries < 20 * MOMENTS; tries++) {
    const { status, signal } = add('timeout', '--signal=KILL', ((whole * (0.3 + 0.8 * ((tries * 0.618034) % 1))) / 1000).toFixed(4))
    if (status === 137 || signal === 'SIGKILL') killed++
    seen[look() !== before ? 'changed' : existsSync(FILES) && readdirSync(FILES).length > 0 ? 'file' : 'nothing']++
    if (killed % 4 === 3) {
      call('tuning', 'GC', { ...conf, 'cni.dev/valid-attachments': [] })
      ip('-n pod link set eth0 address 02:00:00:00:00:01 mtu 1500 promisc off txqueuelen 1000')
      ip('link set veth0 mtu 1500')
    } else if (call('tuning', 'DEL', conf).stdout !== '') problems.push(`moment ${tries}: DEL failed`)
    if (look() !== before) problems.push(`moment ${tries}: ${look()}`)
    if (existsSync(FILES) && readdirSync(FILES).length > 0) problems.push(`moment ${tries}: ${readdirSync(FILES)}`)
  }
  t.same(problems, [])
  t.comment(`afterwards there was: ${JSON.stringify(seen)}`)
  t.ok(seen.nothing > 0 && seen.changed > 0, 'it was killed before and after its work')
  sh('ip link del veth0; ip netns del pod')
})
