// The executables that an agent has installed, taken from the directory of plugins or altered there: they come back. With the built
// executable, which alone installs itself.

import { BIN } from '../binary.ts'
import { ip, sh } from '../world.ts'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { PLUGINS } from '../../src/plugins.ts'
import { peers, node, until } from './nodes.ts'

const [OPT, CNI] = ['/run/opt/cni/bin', '/run/opt/cni/lib/podwire']
const OWN = ['podwire', ...Object.keys(PLUGINS).map((name) => `podwire-${name}`)].sort()
const { NODE_OPTIONS: _, ...env } = process.env

ip('link add u0 type bridge && ip link set u0 up && ip addr add 192.0.2.1/24 dev u0')
peers({ ...node('a', 1), addresses: ['192.0.2.1'], podCIDRs: ['10.244.1.0/24'] })

/** An agent of that executable, when it has installed itself. */
async function started(t: Test, executable: string): Promise<{ agent: ChildProcess; log: () => string }> {
  const args = ['agent', '--peers', '/run/peers.json', '--node', 'a', '--bin-dir', OPT, '--conf-dir', '/run/net.d', '--state-dir', '/run/state']
  const agent = spawn(executable, args, { stdio: ['ignore', 'ignore', 'pipe'], env })
  let log = ''
  agent.stderr!.on('data', (chunk) => (log += chunk))
  t.teardown(async () => {
    agent.kill()
    if (agent.exitCode === null) await once(agent, 'exit')
  })
  await until('it has installed itself', () => log.includes('msg="wrote the conflist"') || (existsSync('/run/net.d') && log.includes('msg="the overlay is ready"'))).catch((error: Error) => {
    throw new Error(`${error.message}\n${log}`)
  })
  return { agent, log: () => log }
}

/** All of them are there, as one file. */
const whole = (): boolean => OWN.every((name) => existsSync(`${OPT}/${name}`)) && new Set(OWN.map((name) => statSync(`${OPT}/${name}`).ino)).size === 1 && statSync(`${OPT}/podwire`).size === statSync(`${BIN}/podwire`).size

const DAMAGE: [what: string, line: string][] = [
  ['one is removed', `rm ${OPT}/podwire-ptp`],
  ['the file of which all are names is removed', `rm ${OPT}/podwire`],
  ['all are removed', `rm ${OPT}/*`],
  ['the directory is removed', `mv ${OPT} /run/gone && rm -r /run/gone`],
  ['one is altered', `echo >${OPT}/.x && mv ${OPT}/.x ${OPT}/podwire-ptp`],
  ['one is a symlink that leads nowhere', `ln -sf nowhere ${OPT}/podwire-sbr`],
  ['the library is removed', `mv ${CNI} /run/gone && rm -r /run/gone`],
]

t.test('an agent that runs from elsewhere', async (t) => {
  const { log } = await started(t, `${BIN}/podwire`)
  for (const [what, line] of DAMAGE)
    await t.test(what, async (t) => {
      const before = log().length
      sh(line)
      await until('all are there', () => whole() && existsSync(`${CNI}/libatomic.so.1`), 10_000)
      await until('it is said', () => /level=warn msg=repaired what=".* was missing or altered/.test(log().slice(before)), 10_000)
      t.match(sh(`${OPT}/podwire version`), /^podwire/)
      await sleep(1_000) // the next damage is a new one
    })
  t.match(JSON.parse(readFileSync('/run/state/status.json', 'utf8')).executables.sort(), OWN.map((name) => `${OPT}/${name}`).sort())

  await t.test('what another package installs there is its own: none of the names is needed', async (t) => {
    for (const name of ['bridge', 'host-local', 'loopback']) sh(`echo theirs >${OPT}/.x && mv ${OPT}/.x ${OPT}/${name}`)
    rmSync(`${OPT}/podwire-ptp`)
    await until('ours are there', whole, 10_000)
    for (const name of ['bridge', 'host-local', 'loopback']) t.equal(readFileSync(`${OPT}/${name}`, 'utf8'), 'theirs\n', name)
  })
})

t.test('an agent that runs from that directory', async (t) => {
  sh(`rm -rf /run/opt && mkdir -p ${OPT} ${CNI} && cp ${BIN}/podwire ${OPT} && cp ${BIN}/../lib/podwire/* ${CNI}`)
  const { agent } = await started(t, `${OPT}/podwire`)
  await until('all are there', whole)
  for (const line of [`rm ${OPT}/podwire`, `rm ${OPT}/*`, `mv ${OPT} /run/gone && rm -r /run/gone`])
    await t.test(line, async (t) => {
      sh(line)
      await until('all are there', whole, 10_000)
      t.match(sh(`${OPT}/podwire version`), /^podwire/)
    })
  await t.test('another executable there is an upgrade, which the next agent will be', async (t) => {
    writeFileSync(`${OPT}/.new`, 'newer', { mode: 0o755 })
    sh(`mv ${OPT}/.new ${OPT}/podwire`)
    await until('all names are of the new one', () => OWN.every((name) => readFileSync(`${OPT}/${name}`).length === 5), 10_000)
    t.equal(agent.exitCode, null)
    t.equal(readFileSync(`${OPT}/podwire`, 'utf8'), 'newer')
  })
})

t.test('where nothing can be written it is nobody\'s task here, and said nowhere', async (t) => {
  rmSync('/run/opt', { recursive: true })
  mkdirSync(OPT, { recursive: true })
  sh(`mount -t tmpfs -o ro none ${OPT}`)
  t.teardown(() => sh(`umount ${OPT}`))
  const { log } = await started(t, `${BIN}/podwire`)
  t.same(readdirSync(OPT), [])
  t.notMatch(log(), /executables|installed/)
})
