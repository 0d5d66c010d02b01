// The file of peers, and what may come into its place or that of its directory: each time what is there then is read.

import { ip, sh } from '../world.ts'
import { writeFileSync } from 'node:fs'
import t from 'tap'
import type { SourceState } from '../../src/vxlan/source.ts'
import { peersFile } from '../../src/vxlan/file.ts'
import { node, until } from './nodes.ts'

const FILE = '/run/peers/peers.json'
const text = (...names: string[]): string => JSON.stringify({ nodes: names.map((name, i) => node(name, i + 1)) })
const put = (file: string, ...names: string[]): void => writeFileSync(file, text(...names))
const BOUND = 20_000

ip('link set lo up')
sh('mkdir /run/peers /run/other')

let names = ''
let state: SourceState = { phase: 'connecting', reason: '' }
const reader = peersFile(FILE)({ nodes: (nodes) => (names = [...nodes.keys()].join()), state: (now) => (state = now) })
const reads = (expected: string) => until(`${expected} is read`, () => names === expected && state.reason === '', BOUND)
const fails = (reason: RegExp) => until(`it says ${reason}`, () => reason.test(state.reason), BOUND)

t.teardown(() => reader.close())

t.test('it is not there yet', async () => {
  await fails(/^\/run\/peers\/peers\.json: there is no such file/)
  put(FILE, 'a')
  await reads('a')
})

const PLACES: [what: string, line: string][] = [
  ['the directory is removed and made anew', 'rm -r /run/peers && mkdir /run/peers'],
  ['another is renamed into its place', 'mv /run/peers /run/away && mv /run/other /run/peers && mv /run/away /run/other'],
  ['another is mounted over it', 'mount -t tmpfs peers /run/peers'],
  ['it is unmounted', 'rm -f /run/peers/peers.json && umount /run/peers'],
  ['the directory is a symlink', 'mv /run/peers /run/real && ln -s real /run/peers'],
  ['the symlink leads elsewhere', 'mkdir /run/else && ln -sfn else /run/peers'],
]

for (const [i, [what, line]] of PLACES.entries())
  t.test(what, async () => {
    sh(line)
    for (const name of [`x${i}`, `y${i}`]) {
      put(FILE, 'a', name)
      await reads(`a,${name}`)
    }
  })

t.test('it is a symlink to a file in another directory, which is written in place', async () => {
  put('/run/far.json', 'a', 'far')
  sh(`ln -sf /run/far.json ${FILE}`)
  await reads('a,far')
  put('/run/far.json', 'a', 'farther')
  await reads('a,farther')
})

const ODD: [what: string, line: string, sentence: RegExp][] = [
  ['a directory', `mkdir ${FILE}`, /is a directory: name a file in it/],
  ['a FIFO', `mkfifo ${FILE}`, /is a FIFO, not a file/],
  ['a file of gigabytes', `truncate -s 3G ${FILE}`, /has more than \d+ bytes/],
  ['a symlink to itself', `ln -s peers.json ${FILE}`, /leads in a circle/],
  ['a device', `ln -s /dev/zero ${FILE}`, /is a device, not a file/],
]

for (const [what, line, sentence] of ODD)
  t.test(`in its place is ${what}`, async (t) => {
    put('/run/good.json', 'a', 'b')
    sh(`rm -rf ${FILE} && mv /run/good.json ${FILE}`)
    await reads('a,b')
    sh(`rm ${FILE} && ${line}`)
    await fails(sentence)
    t.equal(names, 'a,b', 'what was good stays')
    put('/run/good.json', 'a', 'c')
    sh(`rm -rf ${FILE} && mv /run/good.json ${FILE}`)
    await reads('a,c')
  })
