// What opens something in several steps leaves nothing open when a later one fails, and closes nothing twice: a number that was
// given back is somebody else's.

import { netns } from '../world.ts'
import { spawnSync } from 'node:child_process'
import { closeSync, fstatSync, openSync, readdirSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { connectUnix, prepared } from '../../src/kernel/libc.ts'
import { Monitor } from '../../src/kernel/monitor.ts'
import { Netns } from '../../src/kernel/netns.ts'
import { waiting } from '../../src/kernel/wait.ts'

netns('pod')
const open = (): number => readdirSync('/proc/self/fd').length
const failed = (): never => {
  throw new Error('no')
}

const FAILURES: Record<string, () => void> = {
  'a namespace that is not there': () => void new Netns('/run/netns/nowhere'),
  'a socket whose second step is refused': () => void prepared(openSync('/dev/null', 'r'), failed),
  'a socket that nobody listens on': () => void connectUnix('/run/nowhere', 1000),
  'a wait whose look fails': () => waiting([new Netns()], 0, failed),
}

for (const [what, fail] of Object.entries(FAILURES))
  t.test(`nothing stays open: ${what}`, async (t) => {
    t.throws(fail)
    const before = open()
    for (let i = 0; i < 5; i++) t.throws(fail)
    const namespaces = what.startsWith('a wait') ? 5 : 0 // which the caller has opened
    t.equal(open(), before + namespaces)
  })

const CLOSED_TWICE: Record<string, () => { close(): void }> = {
  'a namespace': () => {
    const there = new Netns('/run/netns/pod')
    there.rt
    return there
  },
  'a monitor': () => new Monitor(() => {}),
}

for (const [what, make] of Object.entries(CLOSED_TWICE))
  t.test(`closed twice, ${what} closes nothing of others`, async (t) => {
    const thing = make()
    thing.close()
    const others = Array.from({ length: 8 }, () => openSync('/dev/null', 'r'))
    thing.close()
    t.doesNotThrow(() => others.forEach((fd) => fstatSync(fd)))
    others.forEach((fd) => closeSync(fd))
  })

t.test('with no descriptor left nothing of a namespace or a monitor stays open', async (t) => {
  writeFileSync('/run/full.ts', `
import { closeSync, openSync, readdirSync } from 'node:fs'
import { Monitor } from '${process.cwd()}/src/kernel/monitor.ts'
import { Netns } from '${process.cwd()}/src/kernel/netns.ts'
new Monitor(() => {}).close()
const thing = { netns: () => new Netns('/run/netns/pod'), monitor: () => new Monitor(() => {}) }[process.argv[2]]
const count = () => readdirSync('/proc/self/fd').length
console.log('ready') // what that opens is open
const before = count()
for (const free of [0, 1]) {
  const taken = []
  try { for (;;) taken.push(openSync('/dev/null')) } catch {}
  for (let i = 0; i < free; i++) closeSync(taken.pop())
  let said = 'nothing'
  try { thing() } catch (error) { said = error.code }
  taken.forEach((fd) => closeSync(fd))
  console.log(said, count() - before)
}
`)
  const { NODE_OPTIONS: _, ...env } = process.env
  for (const what of ['netns', 'monitor']) {
    const { stdout, stderr } = spawnSync('bash', ['-c', `ulimit -n 64; exec ${process.execPath} --disable-warning=ExperimentalWarning /run/full.ts ${what}`], { encoding: 'utf8', env })
    t.equal(stdout, 'ready\nEMFILE 0\nEMFILE 0\n', `${what} ${stderr}`)
  }
})
