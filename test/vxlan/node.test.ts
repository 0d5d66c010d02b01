// What is read of a list of nodes that somebody wrote, whatever there is in it: what is wrong with one hurts that one.

import fc from 'fast-check'
import t from 'tap'
import { printable } from '../../src/printable.ts'
import { log } from '../../src/vxlan/log.ts'
import { parsePeers } from '../../src/vxlan/file.ts'
import { nodesIn } from '../../src/vxlan/node.ts'
import { peersOf } from '../../src/vxlan/peers.ts'

const a = { name: 'a', addresses: ['192.0.2.1'], podCIDRs: ['10.244.1.0/24'] }
const b = { name: 'b', addresses: ['192.0.2.2'], podCIDRs: ['10.244.2.0/24'], created: '2026-01-02T03:04:05Z' }
const underlay = { local: '192.0.2.1', dev: 'eth0', mtu: 1500, onLink: ['192.0.2.0/24'] }

// An entry | the name it has then | what is said.
const ENTRIES: [unknown, string, RegExp][] = [
  [5, 'nodes[1]', /^nodes\[1\] is 5: expected an object with name, addresses, podCIDRs$/],
  [null, 'nodes[1]', /^nodes\[1\] is null/],
  [[], 'nodes[1]', /^nodes\[1\] is \[\]/],
  ['b', 'nodes[1]', /^nodes\[1\] is "b"/],
  [{ ...b, name: undefined }, 'nodes[1]', /^nodes\[1\]\.name is missing/],
  [{ ...b, name: '' }, 'nodes[1]', /^nodes\[1\]\.name is ""/],
  [{ ...b, name: '  ' }, 'nodes[1]', /^nodes\[1\]\.name is "  "/],
  [{ ...b, name: 7 }, 'nodes[1]', /^nodes\[1\]\.name is 7/],
  [{ ...b, name: 'x'.repeat(254) }, 'nodes[1]', /^nodes\[1\]\.name is "x{64}…": expected the name of the node, of 1 to 253 characters/],
  [{ ...b, name: 'b\nlevel=info' }, 'nodes[1]', /^nodes\[1\]\.name is "b\\nlevel=info"/],
  [{ ...b, name: '\u001b[2J' }, 'nodes[1]', /^nodes\[1\]\.name is "\\u001b\[2J"/],
  [{ ...b, name: 'b\u202ea' }, 'nodes[1]', /^nodes\[1\]\.name is "b\\u202ea"/],
  [{ ...b, name: 'a' }, 'nodes[1]', /^nodes\[1\]\.name is "a": another node has that name$/],
  [{ ...b, addresses: 'x' }, 'b', /^nodes\[1\]\.addresses is "x": expected a list of IP addresses$/],
  [{ ...b, addresses: undefined }, 'b', /^nodes\[1\]\.addresses is missing/],
  [{ ...b, addresses: [{ a: 1 }] }, 'b', /^nodes\[1\]\.addresses\[0\] is an object: expected an IP address$/],
  [{ ...b, podCIDRs: {} }, 'b', /^nodes\[1\]\.podCIDRs is \{\}/],
  [{ ...b, podCIDRs: [null, '10.244.2.0/24'] }, 'b', /^nodes\[1\]\.podCIDRs\[0\] is null: expected a network/],
  [{ ...b, created: 5 }, 'b', /^nodes\[1\]\.created is 5: expected a time/],
  [{ ...b, created: 'yesterday' }, 'b', /^nodes\[1\]\.created is "yesterday"/],
]

for (const [entry, name, sentence] of ENTRIES)
  t.test(`one node of three is ${printable(JSON.stringify(entry)?.slice(0, 90) ?? 'undefined')}`, async (t) => {
    const nodes = nodesIn([a, entry, { ...b, name: 'c', addresses: ['192.0.2.3'], podCIDRs: ['10.244.3.0/24'] }])
    t.same([...nodes.keys()], ['a', name, 'c'])
    t.match(nodes.get(name)!.wrong, [sentence])
    t.equal(nodes.get(name)!.wrong!.length, 1)
    const { peers, problems } = peersOf(nodes.get('a')!, nodes, underlay)
    t.ok(peers.some(({ node }) => node.name === 'c'), 'the others are peers')
    t.match(problems[0], { node: name, sentence })
    t.ok(problems.every((problem) => problem.node === name))
  })

t.test('what is right in a node stays, and is as it was written', async (t) => {
  t.same([...nodesIn([a, { ...b, created: null }]).values()], [a, { name: 'b', addresses: b.addresses, podCIDRs: b.podCIDRs }])
  t.equal(JSON.stringify(nodesIn([b]).get('b')), JSON.stringify(b))
  t.same([...nodesIn([{ Name: 'a', ADDRESSES: a.addresses, podcidrs: a.podCIDRs }]).values()], [a], 'keys in any case, as in every configuration')
  const half = nodesIn([a, { ...b, podCIDRs: [7, '10.244.2.0/24'] }])
  t.match(peersOf(half.get('a')!, half, underlay).peers, [{ node: { name: 'b' }, podCIDRs: ['10.244.2.0/24'] }])
})

t.test('whatever a list holds, it is read, and what is said of it is short and can be printed', async (t) => {
  const value = fc.oneof(fc.anything(), fc.record({ name: fc.oneof(fc.string({ unit: 'binary' }), fc.anything()), addresses: fc.oneof(fc.array(fc.string({ unit: 'binary' })), fc.anything()), podCIDRs: fc.oneof(fc.array(fc.string()), fc.anything()), created: fc.anything() }, { requiredKeys: [] }))
  fc.assert(
    fc.property(fc.array(value, { maxLength: 6 }), (list) => {
      const nodes = nodesIn([a, ...list])
      const { problems } = peersOf(nodes.get('a')!, nodes, underlay)
      return nodes.size === list.length + 1 && problems.every(({ node, sentence }) => `${node}${sentence}`.length < 1000 && !/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/u.test(node + sentence))
    }),
    { numRuns: 150 },
  )
  t.pass('150 lists')
})

t.test('a file: a byte order mark is skipped, nothing that is nested deep or long is repeated, too many nodes are refused', async (t) => {
  t.same([...parsePeers(`\uFEFF${JSON.stringify({ nodes: [a, b] })}`, 'f').keys()], ['a', 'b'])
  t.throws(() => parsePeers(`{"nodes": [${JSON.stringify(a)}, ${'['.repeat(5000)}${']'.repeat(5000)}]}`, 'f'), { code: 6, message: 'f is nested deeper than 128 levels' })
  t.throws(() => parsePeers(JSON.stringify({ nodes: Array.from({ length: 50_001 }, () => 0) }), 'f'), { code: 7, message: 'f: there are 50001 nodes: expected at most 50000' })
  for (const [text, message] of [['{}', /nodes is missing/], ['{"nodes": "x"}', /nodes is "x": expected a list/], ['{"nodes": null}', /nodes is missing: expected a list/]] as const) t.throws(() => parsePeers(text, 'f'), { code: 7, message })
  for (const text of ['', '[]', 'null', '{', '\u001b[2J']) t.throws(() => parsePeers(text, 'f'), { code: 6, message: /^f(?: is (?:empty|\[\]|null)|:1:\d): [^\p{C}]*$/u })
})

t.test('a line of the log is one line, whatever is in it', async (t) => {
  const { write } = process.stderr
  let text = ''
  process.stderr.write = (chunk: string | Uint8Array) => ((text += String(chunk)), true)
  try {
    log.warn('said', { why: 'a\nb', escape: '\u001b[2J', c1: '\u009b2J', turned: 'a\u202eb', plain: 'node-1', quote: '"' })
  } finally {
    process.stderr.write = write
  }
  t.match(text, /msg=said why="a\\nb" escape=\\u001b\[2J c1=\\u009b2J turned=a\\u202eb plain=node-1 quote="\\""\n$/)
})
