// What a runtime's library keeps of an attachment, as podwire reads it: formats of libcni 0.8 to 1.3, and what is none.

import '../world.ts'
import { execFileSync } from 'node:child_process'
import { mkdirSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { Library, LIBRARY, parse } from '../../src/pods/library.ts'

const list = { cniVersion: '1.0.0', name: 'podnet', plugins: [{ type: 'ptp', ipam: { type: 'host-local' } }, { type: 'portmap', capabilities: { portMappings: true } }] }
const base64 = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64')
const result = { cniVersion: '1.0.0', interfaces: [{ name: 'veth0' }, { name: 'eth0', sandbox: '/var/run/netns/a' }], ips: [{ address: '10.1.2.2/24' }] }
const leaf = { kind: 'cniCacheV1', containerId: 'c1', config: base64(list), ifName: 'eth0', networkName: 'podnet', cniArgs: [['IgnoreUnknown', '1'], ['K8S_POD_NAME', 'web']], capabilityArgs: { portMappings: [] }, result }
const NAME = 'podnet-c1-eth0'
const read = (changes: object) => parse(JSON.stringify({ ...leaf, ...changes }), NAME)

t.test('a list, as libcni 0.8 keeps it', async (t) => {
  t.match(read({}), {
    attachment: { network: 'podnet', containerID: 'c1', ifname: 'eth0' },
    netns: '/var/run/netns/a',
    args: new Map([['IgnoreUnknown', '1'], ['K8S_POD_NAME', 'web']]),
    capabilityArgs: { portMappings: [] },
    entries: [{ type: 'ptp', name: 'podnet', cniVersion: '1.0.0' }, { type: 'portmap', name: 'podnet', cniVersion: '1.0.0' }],
  })
})

t.test('since 1.2 the namespace is a key of its own', async (t) => t.equal(read({ netns: '/run/netns/b' }).netns, '/run/netns/b'))
t.test('a single configuration is a list of one', async (t) => t.match(read({ config: base64({ ...list.plugins[0], name: 'podnet' }) }).entries, [{ type: 'ptp', name: 'podnet' }]))
t.test('what a result of 0.2.0 does not tell', async (t) => t.equal(read({ result: { cniVersion: '0.2.0', ip4: { ip: '10.1.2.2/24' } } }).netns, undefined))
t.test('without arguments', async (t) => t.match(read({ cniArgs: null, capabilityArgs: null }), { args: new Map(), capabilityArgs: {} }))

const WRONG: [what: string, changes: object, sentence: RegExp][] = [
  ['a result alone (libcni 0.7)', { kind: undefined, ...result }, /^it has a result only: its library is older than 0\.8$/],
  ['another kind', { kind: 'cniCacheV2' }, /^kind is "cniCacheV2", not "cniCacheV1"$/],
  ['another attachment than its name', { containerId: 'c2' }, /^it says that it is podnet-c2-eth0$/],
  ['a network that is a path', { networkName: '../podnet' }, /^networkName is "\.\.\/podnet"$/],
  ['an interface that is a path', { ifName: 'a/b' }, /^ifName is "a\/b"$/],
  ['a relative namespace', { netns: 'run/netns/a' }, /^the namespace is "run\/netns\/a": expected an absolute path$/],
  ['a configuration that is none', { config: base64([]) }, /^config is \[\]: expected a JSON object$/],
  ['a list of numbers', { config: base64({ plugins: [1] }) }, /^config\.plugins\[0\] is 1: expected an object$/],
  ['a thousand plugins', { config: base64({ plugins: Array(1000).fill({}) }) }, /expected at most 64 plugins$/],
  ['no configuration', { config: 7 }, /^config is 7: expected base64$/],
  ['arguments that would be others', { cniArgs: [['A', 'b;IP=10.0.0.1']] }, /^cniArgs is .*: expected pairs of words$/],
  ['no result', { result: null }, /^result is null: expected an object$/],
]
for (const [what, changes, sentence] of WRONG) t.test(what, async (t) => t.throws(() => read(changes), { message: sentence }))

t.test('a directory is read again, and of it what has changed', async (t) => {
  t.same(new Library().read(), [], 'where there is none, nothing is kept')
  mkdirSync(LIBRARY, { recursive: true })
  const library = new Library()
  writeFileSync(`${LIBRARY}/${NAME}`, JSON.stringify(leaf))
  const [first] = library.read()
  t.match(first, { kept: { attachment: { containerID: 'c1' } } })
  t.equal(library.read()[0], first, 'the same object while it stays the same')
  writeFileSync(`${LIBRARY}/new`, JSON.stringify({ ...leaf, netns: '/run/netns/c' }))
  renameSync(`${LIBRARY}/new`, `${LIBRARY}/${NAME}`)
  utimesSync(`${LIBRARY}/${NAME}`, new Date(0), new Date(0))
  t.equal(library.read()[0]!.kept!.netns, '/run/netns/c')
  rmSync(`${LIBRARY}/${NAME}`)
  t.same(library.read(), [])
})

t.test('whatever stands in the place of a file hurts nobody', async (t) => {
  writeFileSync(`${LIBRARY}/${NAME}`, JSON.stringify(leaf))
  execFileSync('mkfifo', [`${LIBRARY}/fifo`])
  mkdirSync(`${LIBRARY}/directory`)
  execFileSync('truncate', ['-s', '1T', `${LIBRARY}/large`])
  writeFileSync(`${LIBRARY}/torn`, '')
  const leaves = new Library().read()
  t.same(leaves.flatMap(({ kept }) => kept?.attachment.containerID ?? []), ['c1'])
  t.match(leaves.map(({ problem }) => problem), [/is a directory/, /FIFO/, /has more than/, undefined, /torn is empty/])
})
