// `podwire repair` while the runtime ends the pod: whichever comes first, nothing is left. With the executables that ship.

import { ip, sh } from '../world.ts'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { attach, fileOf, type List } from './library.ts'

const bin = resolve('dist/bin')
const ipam = { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }]] }
const capabilities = { portMappings: true, bandwidth: true }
const NET: List = { name: 'podnet', plugins: [{ type: 'ptp', ipMasq: true, capabilities, firewall: {}, ipam }] }
const capabilityArgs = {
  portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }],
  bandwidth: { egressRate: 16_000_000, egressBurst: 1_600_000 },
}

/** DEL as a runtime sends it, and the end of what its library keeps. */
function end(prevResult: object): void {
  const env = { CNI_COMMAND: 'DEL', CNI_CONTAINERID: 'c1', CNI_NETNS: '/run/netns/c1', CNI_IFNAME: 'eth0', CNI_PATH: bin }
  const conf = { ...NET.plugins[0], cniVersion: '1.1.0', name: 'podnet', runtimeConfig: capabilityArgs, prevResult }
  spawnSync(`${bin}/ptp`, { env, input: JSON.stringify(conf) })
  rmSync(fileOf(NET))
}

const LEFT = ['nft list ruleset | grep podnet/c1', 'ip -br link | grep -E "veth|bwp"', 'ls /var/lib/cni/networks/podnet | grep 10.1']
/** A DEL that takes longer, milliseconds, may end after the repair has looked. */
const SLOW = 900

const left = (): string => sh(LEFT.map((list) => `${list} || true`).join('; '))

for (const milliseconds of [0, 20, 30, 40, 50, 60, 70, 80, 100, 130])
  t.test(`DEL ${milliseconds} ms after the repair began`, async (t) => {
    const result = attach(NET, { capabilityArgs })
    sh('nft delete table inet podwire')
    const repair = spawn(`${bin}/podwire`, ['repair'], { stdio: 'ignore' })
    await sleep(milliseconds)
    const start = performance.now()
    end(result)
    const took = performance.now() - start
    if (repair.exitCode === null) await once(repair, 'exit')
    if (took < SLOW) t.equal(left(), '')
    else t.comment(`on this machine a DEL takes ${Math.round(took)} ms: what it leaves is for GC`)
    sh('nft delete table inet podwire; rm -rf /var/lib/cni/networks/podnet 2>/dev/null || true')
    ip('netns del c1')
  })

t.test('an agent and an operator who repair the same at once are no failure of either', async (t) => {
  attach(NET, { capabilityArgs })
  sh('nft delete table inet podwire; ip route flush proto boot scope host')
  const repairs = Array.from({ length: 4 }, () => spawn(`${bin}/podwire`, ['repair'], { stdio: 'ignore' }))
  t.same(await Promise.all(repairs.map(async (one) => (await once(one, 'exit'))[0])), [0, 0, 0, 0])
  t.equal(spawnSync(`${bin}/podwire`, ['check']).status, 0)
})
