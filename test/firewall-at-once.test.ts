// twelve pods at once whose policy keeps bridges apart: what they share of a bridge is there as long as one of them is, and gone
// with the last, whoever comes and goes meanwhile.

import { netns, nft, sh } from './world.ts'
import { join } from 'node:path'
import t from 'tap'
import { BUILT, builtIsMissing, launch, type Ended } from './reference.ts'

const PODS = 12
const ALL = Array.from({ length: PODS }, (_, i) => i)
const bridgeOf = (i: number): string => `cni${i % 2}`
const request = (command: string, i: number): Promise<Ended> => {
  const conf = { cniVersion: '1.1.0', name: bridgeOf(i), type: 'bridge', bridge: bridgeOf(i), isGateway: true, macspoofchk: true, firewall: { ingressPolicy: i % 4 < 2 ? 'same-bridge' : 'isolated' }, ipam: { type: 'host-local', subnet: `10.${i % 2}.2.0/24` } }
  return launch(join(BUILT, 'bridge'), command, conf, { container: `c${i}`, netns: `/run/netns/pod${i}` }).ended
}
const failures = (answers: Ended[]): string[] => answers.filter(({ status }) => status !== 0).map(({ stdout, stderr }) => stdout + stderr)
const keys = (set: string): string[] => [...nft(`list set inet podwire ${set}`).matchAll(/"[^"]+"(?: \. "[^"]+")?(?= comment)/g)].map(([key]) => key).sort()
const SHARED = [['"cni0"', '"cni1"'], ['"cni0" . "cni0"', '"cni1" . "cni1"']]
const shared = () => [keys('firewall_bridges'), keys('firewall_same_bridge')]

t.test('twelve at once', { skip: builtIsMissing }, async (t) => {
  for (const i of ALL) netns(`pod${i}`)
  t.same(failures(await Promise.all(ALL.map((i) => request('ADD', i)))), [])
  t.same(shared(), SHARED)
  t.equal(keys('firewall_ports').length, PODS)

  const half = (i: number) => (i >> 2) % 2 === 0
  t.same(failures(await Promise.all(ALL.filter(half).map((i) => request('DEL', i)))), [])
  t.same(shared(), SHARED, 'some are left')
  t.same(failures(await Promise.all(ALL.map((i) => request(half(i) ? 'ADD' : 'DEL', i)))), [], 'these go while the others come back')
  t.same(shared(), SHARED)

  t.same(failures(await Promise.all(ALL.filter(half).flatMap((i) => [request('DEL', i), request('DEL', i)]))), [], 'all go, each twice at once')
  t.same(shared(), [[], []])
  t.notMatch(nft('list ruleset'), 'comment')
  t.equal(sh('ip -br link show type veth'), '')
})
