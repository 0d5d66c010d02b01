// What an agent has on the node's disk comes back when somebody removes or alters it: the conflist, the state directory and its lock.
//
//   a (agent) ── u0 ── bridge lan          its peer is in the file only

import { ip, sh } from '../world.ts'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { StateDir } from '../../src/vxlan/state-dir.ts'
import { Agent, node, peers, segment, until, wire } from './nodes.ts'

const CONFLIST = '/run/a/net.d/10-podwire.conflist'
const SECOND = 1_000 // milliseconds

segment('a')
peers(node('a', 1), node('b', 2))

const text = (file: string): string => (existsSync(file) ? readFileSync(file, 'utf8') : '')
const count = (log: string, word: string): number => log.split(word).length - 1

/** What peers answer is in status.json, too, and changes. */
const isBack = (file: string, before: string): boolean => (file.endsWith('status.json') ? text(file).startsWith('{"node":"a",') : text(file) === before)

/** Waits until nothing has been put back for so long that the next damage is a new one. */
const calm = (): Promise<void> => sleep(SECOND)

const DAMAGE: [what: string, file: string, damage: () => void, said: RegExp][] = [
  ['the conflist is removed', CONFLIST, () => rmSync(CONFLIST), /10-podwire\.conflist is missing/],
  ['the conflist is emptied', CONFLIST, () => writeFileSync(CONFLIST, ''), /10-podwire\.conflist is not the agent's/],
  ['an operator alters the conflist', CONFLIST, () => writeFileSync(CONFLIST, text(CONFLIST).replace('1450', '9000')), /10-podwire\.conflist is not the agent's/],
  ['another file is renamed into its place', CONFLIST, () => (writeFileSync('/run/a/net.d/x', '{}'), renameSync('/run/a/net.d/x', CONFLIST)), /10-podwire\.conflist is not the agent's/],
  ['the directory of conflists is removed', CONFLIST, () => rmSync('/run/a/net.d', { recursive: true }), /10-podwire\.conflist is missing/],
  ['it is removed again', CONFLIST, () => rmSync('/run/a/net.d', { recursive: true }), /10-podwire\.conflist is missing/],
  ['another directory comes into its place', CONFLIST, () => sh('mv /run/a/net.d /run/a/old && mkdir -p /run/a/net.d'), /10-podwire\.conflist is missing/],
  ['something is mounted over it', CONFLIST, () => sh('mount -t tmpfs other /run/a/net.d'), /10-podwire\.conflist is missing/],
  ['overlay.json is removed', '/run/a/state/overlay.json', () => rmSync('/run/a/state/overlay.json'), /overlay\.json is not the agent's/],
  ['overlay.json is altered', '/run/a/state/overlay.json', () => writeFileSync('/run/a/state/overlay.json', '{}'), /overlay\.json is not the agent's/],
  ['status.json is removed', '/run/a/state/status.json', () => rmSync('/run/a/state/status.json'), /status\.json is not the agent's/],
  ['the state directory is removed', '/run/a/state/overlay.json', () => rmSync('/run/a/state', { recursive: true }), /state\/lock is missing/],
  ['it is removed again', '/run/a/state/status.json', () => rmSync('/run/a/state', { recursive: true }), /state\/lock is missing/],
]

t.test('within a second', async (t) => {
  const agent = await Agent.ready('a')
  t.teardown(() => agent.stop())
  const repairs = () => agent.metric('podwire_repairs_total{kind="file"}')
  for (const [what, file, damage, said] of DAMAGE)
    await t.test(what, async (t) => {
      await calm()
      const [before, log, counted] = [text(file), agent.log, repairs()]
      t.not(before, '')
      damage()
      t.ok((await until('it is back', () => isBack(file, before), 2 * SECOND)) < SECOND)
      await until('it is said', () => said.test(agent.log.slice(log.length)), SECOND)
      t.match(agent.log.slice(log.length), /level=warn msg=repaired /)
      t.ok(repairs() > counted)
      t.equal(agent.get('/readyz').status, 200)
      ip('netns add p')
      t.equal(wire(agent, 'ADD', 'p').status, 0, 'and pods are wired')
      t.equal(wire(agent, 'DEL', 'p').status, 0)
      ip('netns del p')
      t.notOk(new StateDir(agent.stateDir).take(0), 'and no other agent can start')
    })
  sh('umount /run/a/net.d')

  await t.test('who takes it away time and again is not fought with in a hot loop', async (t) => {
    await calm()
    const log = agent.log.length
    const before = repairs()
    for (const end = performance.now() + 2 * SECOND; performance.now() < end; await sleep(1)) rmSync(CONFLIST, { force: true })
    t.ok(repairs() - before <= 8, `${repairs() - before} times in two seconds`)
    t.equal(count(agent.log.slice(log), 'conflist is missing'), 1, 'and it is said once')
    await until('in the end it is back', () => existsSync(CONFLIST), 2 * SECOND)
  })

  await t.test('while it cannot be written, no runtime is told that all is ready', async (t) => {
    await calm()
    rmSync('/run/a/net.d', { recursive: true })
    writeFileSync('/run/a/net.d', '')
    t.match(agent.get('/readyz'), { status: 503, body: /^\/run\/a\/net\.d\/10-podwire\.conflist is missing$/ })
    t.match(agent.podwireStatus(), { status: 1, stdout: /wrong +\/run\/a\/net\.d\/10-podwire\.conflist is missing: the runtime starts no pods without it; podwire agent writes it/ })
    rmSync('/run/a/net.d')
    await until('it is back', () => existsSync(CONFLIST), SECOND)
    t.equal(agent.get('/readyz').status, 200)
  })

  await t.test("another network's file that a runtime takes first is said once, and stays", async (t) => {
    writeFileSync('/run/a/net.d/05-other.conf', '{}')
    writeFileSync('/run/a/net.d/20-later.conf', '{}')
    writeFileSync('/run/a/net.d/05-other.txt', '')
    await until('it is said', () => agent.log.includes('another network comes first'), SECOND)
    await calm()
    t.equal(count(agent.log, 'another network comes first'), 1)
    t.match(agent.log, /level=warn msg="another network comes first" file=\/run\/a\/net\.d\/05-other\.conf before=\/run\/a\/net\.d\/10-podwire\.conflist\n/)
    t.equal(text('/run/a/net.d/05-other.conf'), '{}')
    sh('rm /run/a/net.d/*.conf /run/a/net.d/*.txt')
  })
})

t.test('another agent has the state directory by the time the first one looks: one of them goes on', async (t) => {
  const first = await Agent.ready('a')
  t.teardown(() => first.stop())
  first.pause()
  rmSync(first.stateDir, { recursive: true })
  const second = await Agent.ready('a', '--listen 127.0.0.1:9467')
  t.teardown(() => second.stop())
  first.resume()
  t.equal(await first.end(), 1)
  t.match(first.log, /podwire: --state-dir \/run\/a\/state was removed, and another agent has it now: this one ends\n$/)
  await calm()
  t.notOk(second.over)
  t.ok(second.status().ready)
})

t.test('an agent that starts brings the conflist back although it does not know the nodes yet', async (t) => {
  await (await Agent.ready('a')).stop()
  const before = text(CONFLIST)
  rmSync(CONFLIST)
  renameSync('/run/peers.json', '/run/away')
  const agent = new Agent('a')
  t.teardown(() => agent.stop())
  await until('it is back', () => text(CONFLIST) === before)
  t.match(agent.status(), { ready: true })
  renameSync('/run/away', '/run/peers.json')
})

t.test('podwire status says what is missing while no agent runs', async (t) => {
  const agent = await Agent.ready('a')
  await agent.stop()
  const wrong = () => agent.podwireStatus().stdout
  rmSync(CONFLIST)
  t.match(wrong(), /wrong +\/run\/a\/net\.d\/10-podwire\.conflist is missing: the runtime starts no pods without it; podwire agent writes it when it starts\n/)
  rmSync(`${agent.stateDir}/overlay.json`)
  t.match(wrong(), /wrong +\/run\/a\/state\/overlay\.json is missing: pods are refused \(code 11\); podwire agent writes it/)
  t.equal(agent.podwireStatus().status, 1)
  const { executables: _, ...said } = agent.said()
  mkdirSync('/run/bin')
  sh('touch /run/bin/podwire')
  writeFileSync(`${agent.stateDir}/status.json`, JSON.stringify({ ...said, executables: ['/run/bin/podwire', '/run/bin/podwire-ptp', '/run/bin/podwire-sbr'] }))
  t.match(wrong(), /wrong +\/run\/bin lacks podwire-ptp, podwire-sbr: the runtime finds no plugin there/)
  rmSync(agent.stateDir, { recursive: true })
  t.match(agent.podwireStatus(), { status: 1, stdout: /interface podwire\.1 is there, but what an agent has said of it in \/run\/a\/state is missing/ })
  t.notOk(existsSync(agent.stateDir), 'and makes nothing')
})
