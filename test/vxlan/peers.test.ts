// What nodes say of themselves, judged: what cannot be used hurts only the node that said it, and is named.

import fc from 'fast-check'
import t from 'tap'
import type { Node } from '../../src/vxlan/node.ts'
import { peersOf, type Underlay } from '../../src/vxlan/peers.ts'

const underlay: Underlay = { local: '192.0.2.1', dev: 'eth0', mtu: 1500, onLink: ['192.0.2.0/24', '2001:db8::/64'] }
const node = (name: string, n: number, more: Partial<Node> = {}): Node => ({ name, addresses: [`192.0.2.${n}`, `2001:db8::${n}`], podCIDRs: [`10.244.${n}.0/24`, `fd00:10:244:${n}::/64`], created: `2026-01-0${n}T00:00:00Z`, ...more })
const [self, b, c] = [node('a', 1), node('b', 2), node('c', 3)]

/** Who is a peer, with which networks, and what is said of whom. */
function judged(nodes: Node[], below = underlay) {
  const { peers, problems } = peersOf(self, new Map([self, ...nodes].map((one) => [one.name, one])), below)
  return { peers: Object.fromEntries(peers.map(({ node, podCIDRs }) => [node.name, podCIDRs])), problems: problems.map(({ node, sentence }) => `${node}: ${sentence}`) }
}

t.test('nodes that say what they should are peers', async (t) => {
  const { peers, problems } = peersOf(self, new Map([self, b, c].map((one) => [one.name, one])), underlay)
  t.same(problems, [])
  t.same(peers, [
    { node: b, address: '192.0.2.2', podCIDRs: ['10.244.2.0/24', 'fd00:10:244:2::/64'], onLink: { 4: '192.0.2.2', 6: '2001:db8::2' } },
    { node: c, address: '192.0.2.3', podCIDRs: ['10.244.3.0/24', 'fd00:10:244:3::/64'], onLink: { 4: '192.0.2.3', 6: '2001:db8::3' } },
  ])
})

// What b says | the networks that are left to it | what is said of b
const ANSWERS: [string, Partial<Node>, string[] | undefined, RegExp | undefined][] = [
  ['the network of this node', { podCIDRs: ['10.244.1.0/24', 'fd00:10:244:2::/64'] }, ['fd00:10:244:2::/64'], /^b: its podCIDR 10\.244\.1\.0\/24 overlaps this node$/],
  ['a network around that of this node', { podCIDRs: ['10.244.0.0/16'] }, undefined, /10\.244\.0\.0\/16 overlaps this node/],
  ['a network inside that of this node', { podCIDRs: ['10.244.1.128/25'] }, undefined, /10\.244\.1\.128\/25 overlaps this node/],
  ['this node\'s IPv6 network', { podCIDRs: ['10.244.2.0/24', 'fd00:10:244:1:8000::/65'] }, ['10.244.2.0/24'], /fd00:10:244:1:8000::\/65 overlaps this node/],
  ['the underlay', { podCIDRs: ['192.0.2.0/24'] }, undefined, /192\.0\.2\.0\/24 overlaps (the underlay|an address of this node)/],
  ['a part of the underlay', { podCIDRs: ['192.0.2.128/25'] }, undefined, /192\.0\.2\.128\/25 overlaps the underlay/],
  ['the whole of IPv4', { podCIDRs: ['0.0.0.0/0'] }, undefined, /0\.0\.0\.0\/0 overlaps/],
  ['the underlay\'s IPv6 network', { podCIDRs: ['2001:db8::/32'] }, undefined, /2001:db8::\/32 overlaps/],
  ['its own network twice', { podCIDRs: ['10.244.2.0/24', '10.244.2.0/24'] }, ['10.244.2.0/24'], /10\.244\.2\.0\/24 overlaps node b/],
  ['this node\'s address', { addresses: ['192.0.2.1'] }, undefined, /^b: its address 192\.0\.2\.1 is that of this node$/],
  ['this node\'s address, mapped into IPv6', { addresses: ['::ffff:192.0.2.1'] }, undefined, /192\.0\.2\.1 is that of this node/],
  ['no network', { podCIDRs: [] }, undefined, /^b: it has no podCIDR$/],
  ['no address', { addresses: [] }, undefined, /^b: it has no address$/],
  ['an unreadable address beside a good one', { addresses: ['nowhere', '192.0.2.2'] }, b.podCIDRs, /^b: its address "nowhere" is no IP address$/],
  ['an address of the other family', { addresses: ['2001:db8::2'] }, undefined, /^b: it has no IPv4 address \(but 2001:db8::2\), and the underlay of this node is IPv4$/],
  ['an unreadable network', { podCIDRs: ['10.244.2.0/33'] }, undefined, /^b: its podCIDR "10\.244\.2\.0\/33" is no network in CIDR notation$/],
  ['one unreadable network of two', { podCIDRs: ['nonsense', 'fd00:10:244:2::/64'] }, ['fd00:10:244:2::/64'], /"nonsense" is no network/],
  ['host bits, which are ignored as everybody does', { podCIDRs: ['10.244.2.5/24', 'fd00:10:244:2::5/64'] }, ['10.244.2.0/24', 'fd00:10:244:2::/64'], undefined],
  ['a network that contains the address of a node behind a router', { podCIDRs: ['198.51.100.0/24'] }, undefined, /198\.51\.100\.0\/24 overlaps the address of node far/],
]

for (const [what, answer, networks, sentence] of ANSWERS)
  t.test(`b says: ${what}`, async (t) => {
    const far = node('far', 4, { addresses: ['198.51.100.4'] })
    const { peers, problems } = judged([{ ...b, ...answer }, c, far])
    t.same(peers.b, networks)
    t.equal(problems.length, sentence ? 1 : 0, problems.join())
    if (sentence) t.match(problems[0], sentence)
    t.same([peers.c, peers.far], [c.podCIDRs, far.podCIDRs], 'and nobody else is hurt')
  })

t.test('an address of another node is the older one\'s', async (t) => {
  const { peers, problems } = judged([c, { ...b, addresses: ['192.0.2.3'], created: '2026-02-01T00:00:00Z' }])
  t.same(Object.keys(peers), ['c'])
  t.same(problems, ['b: its address 192.0.2.3 is that of node c'])
})

t.test('over an IPv6 underlay nodes are reached by their IPv6 address', async (t) => {
  const below = { ...underlay, local: '2001:db8::1' }
  const { peers } = peersOf(self, new Map([self, b].map((one) => [one.name, one])), below)
  t.match(peers, [{ address: '2001:db8::2' }])
  t.same(judged([{ ...b, addresses: ['192.0.2.2'] }], below).problems, ['b: it has no IPv6 address (but 192.0.2.2), and the underlay of this node is IPv6'])
})

t.test('the older node keeps a network that several claim, in whatever order they come', async (t) => {
  const contested = [
    node('young', 5, { created: '2026-03-03T00:00:00Z', podCIDRs: ['10.1.0.0/24', 'fd01::/64'] }),
    node('old', 3, { created: '2026-03-01T00:00:00Z', podCIDRs: ['10.1.0.0/16', 'fd02::/64'] }),
    node('between', 4, { created: '2026-03-02T00:00:00Z', podCIDRs: ['10.1.0.0/24', 'fd01:0:0:0:8000::/65'] }),
    node('aside', 6, { created: '2026-03-04T00:00:00Z' }),
  ]
  fc.assert(
    fc.property(fc.shuffledSubarray(contested, { minLength: contested.length }), (order) => {
      t.same(judged(order), {
        peers: { old: ['10.1.0.0/16', 'fd02::/64'], between: ['fd01::8000:0:0:0/65'], aside: ['10.244.6.0/24', 'fd00:10:244:6::/64'] },
        problems: ['between: its podCIDR 10.1.0.0/24 overlaps node old', 'young: its podCIDR 10.1.0.0/24 overlaps node old', 'young: its podCIDR fd01::/64 overlaps node between'],
      })
    }),
    { numRuns: 24 },
  )
})

t.test('of two of one age the name decides, so that all nodes decide alike', async (t) => {
  const same = { podCIDRs: ['10.1.0.0/24'], created: '2026-03-01T00:00:00Z' }
  for (const order of [['x', 'y'], ['y', 'x']]) t.same(Object.keys(judged(order.map((name, i) => node(name, 3 + i, same))).peers), ['x'])
})

t.test('whatever nodes say, no two peers have overlapping networks, one address, or ours', async (t) => {
  const cidr = fc.constantFrom('10.0.0.0/8', '10.244.1.0/24', '10.244.2.0/24', '10.244.2.0/25', '10.244.2.128/25', '192.0.2.0/25', 'fd00::/16', 'fd00:10:244:2::/64', '0.0.0.0/0', 'junk', '10.9.0.0/16')
  const address = fc.constantFrom('192.0.2.1', '192.0.2.2', '192.0.2.3', '10.9.0.1', '2001:db8::2', 'junk', '10.244.2.9')
  const nodes = fc.array(fc.record({ addresses: fc.array(address, { maxLength: 2 }), podCIDRs: fc.array(cidr, { maxLength: 2 }), created: fc.constantFrom('1', '2') }), { maxLength: 6 })
  fc.assert(
    fc.property(nodes, (list) => {
      const all = list.map((one, i) => ({ name: `n${i}`, ...one }))
      const { peers, problems } = peersOf(self, new Map([self, ...all].map((one) => [one.name, one])), underlay)
      const ranges = [...self.podCIDRs, ...underlay.onLink, ...peers.flatMap(({ podCIDRs }) => podCIDRs)].map(range)
      for (const [i, x] of ranges.entries()) for (const y of ranges.slice(i + 1)) if (x.family === y.family && x.from <= y.to && y.from <= x.to) return false
      const addresses = peers.map(({ address }) => address)
      const hurt = new Set(problems.map(({ node }) => node))
      return new Set(addresses).size === addresses.length && !addresses.includes('192.0.2.1') && all.every(({ name, podCIDRs }) => hurt.has(name) || peers.some(({ node, podCIDRs: used }) => node.name === name && used.length === podCIDRs.length))
    }),
    { numRuns: 500 },
  )
  t.pass('500 times')
})

/** First and last address of a network, as numbers, computed apart from the code under test. */
function range(cidr: string): { family: 4 | 6; from: bigint; to: bigint } {
  const [text, prefix] = cidr.split('/') as [string, string]
  const family = text.includes(':') ? 6 : 4
  const [left, right] = text.split('::').map((part) => part.split(':').filter(Boolean)) as [string[], string[]?]
  const groups = right === undefined ? left : [...left, ...Array.from({ length: 8 - left.length - right.length }, () => '0'), ...right]
  const from = family === 4 ? text.split('.').reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n) : groups.reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n)
  return { family, from, to: from + (1n << BigInt((family === 4 ? 32 : 128) - Number(prefix))) - 1n }
}
