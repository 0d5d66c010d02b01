// The benchmark's machinery, with few pods: lists of plugins as a runtime runs them, machines that are gone when they are done
// with, traffic through a published port, and what is made of the figures. How long anything takes is no test.

import { nft, sh } from './world.ts'
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { CHAINS } from '../bench/chains.ts'
import { implementation, type Sample } from '../bench/implementation.ts'
import { add, addAll, check, del, type Entry } from '../bench/lists.ts'
import { verdicts } from '../bench/musts.ts'
import { rows, type Measured } from '../bench/report.ts'
import { run } from '../bench/rounds.ts'
import { settle } from '../bench/world.ts'
import { BUILT, builtIsMissing } from './reference.ts'

/** Plugins that write down what they were asked, and answer with their name. */
function scribes(...names: string[]): string {
  mkdirSync('/run/scribes')
  for (const name of names) {
    writeFileSync(`/run/scribes/${name}`, `#!/bin/sh\necho "$CNI_COMMAND ${name} $CNI_CONTAINERID $(cat)" >>/run/asked\n[ $CNI_COMMAND != ADD ] || echo '{"by":"${name}","of":"'$CNI_CONTAINERID'"}'\n`)
    chmodSync(`/run/scribes/${name}`, 0o755)
  }
  return '/run/scribes'
}

t.test('a list is run as libcni runs it: each is handed the result before, DEL goes backwards, a capability goes to who declares it', async (t) => {
  const someone = implementation('podwire', scribes('one', 'two'), 'lists')
  const list: Entry[] = [{ type: 'one' }, { type: 'two', capabilities: { portMappings: true } }]
  const pod = (container: string) => ({ container, netns: someone.machine.pod(0), runtime: { portMappings: [container], bandwidth: {} } })
  const asked = () => {
    const lines = readFileSync('/run/asked', 'utf8').trim().split('\n')
    sh('rm /run/asked')
    return lines.map((line) => {
      const [, command, plugin, container, conf] = /^(\S+) (\S+) (\S+) (.*)$/.exec(line)!
      const { prevResult, runtimeConfig } = JSON.parse(conf!)
      return [command, plugin, container, prevResult && `${prevResult.by} ${prevResult.of}`, runtimeConfig && Object.keys(runtimeConfig).join()].filter((word) => word).join(' ')
    })
  }

  const { sample, result } = add(someone, list, pod('a'))
  t.ok(sample.value > 0 && sample.cpu! > 0, 'it took its time')
  check(someone, list, pod('a'), result)
  del(someone, list, pod('a'), result)
  t.same(asked(), ['ADD one a', 'ADD two a one a portMappings', 'CHECK one a two a', 'CHECK two a two a portMappings', 'DEL two a two a portMappings', 'DEL one a two a'])

  addAll(someone, list, [pod('a'), pod('b'), pod('c')], 2)
  t.same(asked().sort(), ['a', 'b', 'c'].flatMap((name) => [`ADD one ${name}`, `ADD two ${name} one ${name} portMappings`]).sort(), 'many at once, each its own')
  t.throws(() => add(someone, [{ type: 'none' }], pod('a')), /none/, 'a plugin that is not there')
  sh('echo "exit 1" >>/run/scribes/two')
  t.throws(() => add(someone, list, pod('a')), /two ended with status 1/, 'and one that will not')
  someone.machine.delete()
})

const kind = CHAINS.find(({ name }) => name === 'kind')!
const [chain, connections] = ["kind's chain ADD", 'connections through a port'].map((row) => kind.scenarios.find(({ works }) => works[0] === row)!)

t.test("kind's chain: among a pod that stays, one comes and goes in a round, and nothing stays of it", { skip: builtIsMissing }, async (t) => {
  const someone = implementation('podwire', BUILT, 'kind')
  const dump = () => someone.machine.inside(() => `${sh('ip -br link')}\n${nft('-s list ruleset')}`)
  kind.populate(someone, [1000], 2)
  const before = dump()
  t.match(before, '11000', 'the one that stays has a port')
  const taken = chain!.round(someone, 0)
  t.same(Object.keys(taken).sort(), chain!.works.toSorted(), 'each row has its sample')
  for (const [work, sample] of Object.entries(taken)) t.ok(sample.value > 0, work)
  t.ok(taken["kind's chain + loopback ADD"]!.value > taken["kind's chain ADD"]!.value, 'loopback counts')
  t.equal(dump(), before)

  const { [connections!.works[0]!]: samples } = run(connections!, [someone], '', 1)
  t.ok(samples!.podwire![0]!.value > 0, 'connections through a port')
  t.same(Object.keys(samples!), ['podwire'], 'a rate has no empty start')
  t.equal(dump(), before)

  someone.machine.delete()
  settle()
  t.same(readdirSync('/run/netns'), [], 'the machine, its world and its pods are gone')
})

t.test('what the figures say: by the reference, above an empty start, by the same without pods', async (t) => {
  const samples = (value: number): Sample[] => Array.from({ length: 5 }, () => ({ value, cpu: value / 2 }))
  const work = 'bridge + ipMasq ADD'
  const measured: Measured[] = [0, 1000].map((pods) => ({ work, pods, unit: 'ms', samples: { podwire: samples(pods ? 120 : 50), 'empty start': samples(pods ? 60 : 30), '1.9.1': samples(pods ? 240 : 40) } }))
  const [few, many] = rows(measured, false)
  t.match(few, { above: { value: 20 }, cells: { '1.9.1': { ratio: { value: 1.25 } } } })
  t.match(many, { growth: { value: 1.2 }, cells: { '1.9.1': { ratio: { value: 0.5 } } } })
  t.notOk(few!.growth)
  t.equal(rows(measured, true)[1]!.cells.podwire!.median, 60, 'or by CPU time')
  t.same(verdicts([few!, many!], '1.9.1').map(({ pods, of, met }) => [pods, of, met]), [[0, 'ratio', false], [1000, 'ratio', true], [1000, 'growth', false]])
  t.same(verdicts([few!, many!], undefined).map(({ of }) => of), ['growth'], 'without a reference')
})
