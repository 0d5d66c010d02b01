// What nodes say of themselves, judged: what cannot be used hurts only the node that said it, and is named.

import fc from 'fast-check'
import t from 'tap'
import { vtepMac } from '../../src/names.ts'
import type { Node } from '../../src/vxlan/node.ts'
import { ownProblem, peersOf, type Bounds, type Underlay } from '../../src/vxlan/peers.ts'

const underlay: Underlay = { local: '192.0.2.1', dev: 'eth0', mtu: 1500, onLink: ['192.0.2.0/24', '2001:db8::/64'] }
const node = (name: string, n: number, more: Partial<Node> = {}): Node => ({ name, addresses: [`192.0.2.${n}`, `2001:db8::${n}`], podCIDRs: [`10.244.${n}.0/24`, `fd00:10:244:${n}::/64`], created: `2026-01-0${n}T00:00:00Z`, ...more })
const [self, b, c] = [node('a', 1), node('b', 2), node('c', 3)]

/** Who is a peer, with which networks, and what is said of whom. */
function judged(nodes: Node[], below = underlay, bounds: Bounds = {}) {
  const { peers, problems } = peersOf(self, new Map([self, ...nodes].map((one) => [one.name, one])), below, bounds)
  return {
    peers: Object.fromEntries(peers.map(({ node, podCIDRs }) => [node.name, podCIDRs])),
    problems: problems.map(({ node, sentence }) => `${node}: ${sentence}`),
  }
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
  ['a part of the underlay in which nobody is', { podCIDRs: ['192.0.2.64/26'] }, ['192.0.2.64/26'], undefined],
  ['a part of the underlay with its broadcast address', { podCIDRs: ['192.0.2.128/25'] }, undefined, /192\.0\.2\.128\/25 overlaps the underlay/],
  ['a part of the underlay in which this node is', { podCIDRs: ['192.0.2.0/29'] }, undefined, /192\.0\.2\.0\/29 overlaps an address of this node/],
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
  ['an address inside its own network', { addresses: ['10.244.2.1'] }, undefined, /^b: its address 10\.244\.2\.1 is inside its own podCIDR 10\.244\.2\.0\/24$/],
  ['the same beside a good one', { addresses: ['10.244.2.1', '192.0.2.2'] }, b.podCIDRs, /10\.244\.2\.1 is inside its own podCIDR/],
  ['an address inside the network of this node', { addresses: ['10.244.1.9', '192.0.2.2'] }, b.podCIDRs, /^b: its address 10\.244\.1\.9 is inside 10\.244\.1\.0\/24 of this node$/],
  ['one more address, inside the network of another', { addresses: ['192.0.2.2', '10.244.3.9'] }, b.podCIDRs, /^b: its address 10\.244\.3\.9 is inside 10\.244\.3\.0\/24 of node c$/],
  ['the network address of the underlay', { addresses: ['192.0.2.0', '192.0.2.2'] }, b.podCIDRs, /192\.0\.2\.0 is the network address of 192\.0\.2\.0\/24/],
  ['the broadcast address of the underlay', { addresses: ['192.0.2.255'] }, undefined, /192\.0\.2\.255 is the broadcast address of 192\.0\.2\.0\/24/],
  ['a network for one pod and the node', { podCIDRs: ['10.244.2.0/30', 'fd00:10:244:2::/126'] }, ['10.244.2.0/30', 'fd00:10:244:2::/126'], undefined],
  ...['10.244.2.0/31', '10.244.2.0/32', 'fd00:10:244:2::/127', 'fd00:10:244:2::/128'].map((cidr): (typeof ANSWERS)[number] => [`a network for no pod, ${cidr}`, { podCIDRs: [cidr] }, undefined, /is too small: \/(30|126) is the smallest/]),
  ...['0.0.0.0/8', '127.0.0.0/8', '127.5.0.0/16', '169.254.0.0/16', '169.254.7.0/24', '192.0.0.0/24', '224.0.0.0/4', '240.0.0.0/4', '255.255.255.0/24', '0.0.0.0/1', '128.0.0.0/1', '::/0', '::/16', '::/120', '::ffff:0:0/96', '64:ff9b::/96', '100::/64', '2001::/32', 'fe80::/10', 'fe80:0:0:1::/64', 'ff00::/8', 'ff05::/64']
    .map((cidr): (typeof ANSWERS)[number] => [`a special network, ${cidr}`, { podCIDRs: [cidr] }, undefined, /overlaps (\S+ \(.*RFC \d+\), where no pod can be|.* of this node|the underlay)$/]),
  ...['0.0.0.0', '0.1.2.3', '127.0.0.1', '127.255.0.9', '169.254.1.2', '192.0.0.8', '224.0.0.1', '239.1.1.1', '240.0.0.1', '255.255.255.255'].map((address): (typeof ANSWERS)[number] => [`a special address, ${address}`, { addresses: [address] }, undefined, /^b: its address \S+ is in \S+ \(.*RFC \d+\), where no node can be$/]),
  ...['::', '::1', 'fe80::1', 'ff02::1', '100::1', '64:ff9b::1'].map((address): (typeof ANSWERS)[number] => [`a special address beside a good one, ${address}`, { addresses: [address, '192.0.2.2'] }, b.podCIDRs, /^b: its address \S+ is in \S+ \(.*RFC \d+\), where no node can be$/]),
  ...['10.9.0.0/16', '172.16.0.0/12', '192.168.7.0/24', '100.64.0.0/10', '198.18.0.0/16', '203.0.113.0/24', '44.0.0.0/9', '2002:c000:204::/64', '3fff::/64', 'fd12::/64', '2600:1f14::/64'].map((cidr): (typeof ANSWERS)[number] => [`a network that people have for pods, ${cidr}`, { podCIDRs: [cidr] }, [cidr], undefined]),
  ['more addresses than anybody has', { addresses: [...Array.from({ length: 100 }, (_, i) => `192.0.2.${100 + i}`)] }, b.podCIDRs, /^b: it has more than 32 addresses: only the first 32 are heeded$/],
  ['more networks than anybody has', { podCIDRs: Array.from({ length: 100 }, (_, i) => `10.1.${i}.0/24`) }, Array.from({ length: 8 }, (_, i) => `10.1.${i}.0/24`), /^b: it has more than 8 podCIDRs: only the first 8 are heeded$/],
  ['text that is long, and obeyed by terminals', { addresses: [`\u001b[2J\u009b${'x'.repeat(1e6)}`, '192.0.2.2'] }, b.podCIDRs, /^b: its address "\\u001b\[2J\\u009bx{50,70}…" is no IP address$/],
]

for (const [what, answer, networks, sentence] of ANSWERS)
  t.test(`b says: ${what}`, async (t) => {
    const far = node('far', 4, { addresses: ['198.51.100.4'], created: '2026-01-01T12:00:00Z' })
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
  const address = fc.constantFrom('127.0.0.1', '192.0.2.1', '192.0.2.2', '192.0.2.3', '10.9.0.1', '2001:db8::2', 'junk', '10.244.2.9')
  const nodes = fc.array(fc.record({ addresses: fc.array(address, { maxLength: 2 }), podCIDRs: fc.array(cidr, { maxLength: 2 }), created: fc.constantFrom('1', '2') }), { maxLength: 6 })
  fc.assert(
    fc.property(nodes, (list) => {
      const all = list.map((one, i) => ({ name: `n${i}`, ...one }))
      const { peers, problems } = peersOf(self, new Map([self, ...all].map((one) => [one.name, one])), underlay)
      const ranges = [...self.podCIDRs, '192.0.2.1/32', '2001:db8::1/128', ...peers.flatMap(({ address }) => `${address}/32`), ...peers.flatMap(({ podCIDRs }) => podCIDRs)].map(range)
      for (const [i, x] of ranges.entries()) for (const y of ranges.slice(i + 1)) if (x.family === y.family && x.from <= y.to && y.from <= x.to) return false
      const addresses = peers.map(({ address }) => address)
      const hurt = new Set(problems.map(({ node }) => node))
      return new Set(addresses).size === addresses.length && !addresses.includes('192.0.2.1') && all.every(({ name, podCIDRs }) => hurt.has(name) || peers.some(({ node, podCIDRs: used }) => node.name === name && used.length === podCIDRs.length))
    }),
    { numRuns: 500 },
  )
  t.pass('500 times')
})

t.test('whatever younger nodes say, what is so of the older ones stays', async (t) => {
  const cidr = fc.oneof(fc.constantFrom('10.244.1.0/24', '10.244.2.0/24', '10.244.0.0/16', '192.0.2.0/24', '192.0.2.0/29', '198.51.100.0/24', '198.51.100.0/30', '0.0.0.0/0', '::/0', 'fd00:10:244:2::/64', 'fd00::/8', '2001:db8::/64', '10.9.0.0/16', 'junk'), fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 })).map(([ip, prefix]) => `${ip}/${prefix}`))
  const address = fc.oneof(fc.constantFrom('192.0.2.1', '192.0.2.2', '192.0.2.3', '198.51.100.4', '10.244.1.0', '10.244.2.0', '10.244.2.7', '10.244.3.1', 'fd00:10:244:2::7', '2001:db8::2', '2001:db8::1', '10.9.0.1', '0.0.0.0', 'junk'), fc.ipV4())
  const claims = fc.record({ addresses: fc.array(address, { maxLength: 4 }), podCIDRs: fc.array(cidr, { maxLength: 4 }) })
  const list = (prefix: string, created: string) => fc.array(claims, { maxLength: 4 }).map((all) => all.map((one, i): Node => ({ name: `${prefix}${i}`, created, ...one })))
  const honest = [b, c, node('far', 4, { addresses: ['198.51.100.4', '2001:db8:1::4'] })]
  // Names that come before those of the older, and one without an age.
  const bounds = fc.record({ directRouting: fc.boolean(), clusterCIDRs: fc.constantFrom<string[][]>([], ['10.244.0.0/16', 'fd00:10:244::/48']), nextHops: fc.constantFrom<string[][]>([], ['192.0.2.254']) })
  fc.assert(
    fc.property(list('old', '2026-01-09T00:00:00Z'), list('a', '2026-01-10T00:00:00Z'), list('Z', 'never'), bounds, (old, young, ageless, bound) => {
      const of = (nodes: Node[]) => peersOf(self, new Map([self, ...nodes].map((one) => [one.name, one])), underlay, bound).peers
      const before = of([...honest, ...old])
      const after = of([...ageless, ...young, ...old, ...honest])
      const known = new Map(after.map((peer) => [peer.node.name, JSON.stringify(peer)]))
      return before.every((peer) => known.get(peer.node.name) === JSON.stringify(peer))
    }),
    { numRuns: 500 },
  )
  t.same(Object.keys(judged(honest).peers), ['b', 'c', 'far'])
})

t.test('one more address inside the network of another takes nothing from that one, however old the liar is', async (t) => {
  for (const [liar, created] of [['liar', '2020-01-01T00:00:00Z'], ['liar', '2027-01-01T00:00:00Z'], ['0', undefined]] as const) {
    const lying: Node = { name: liar, addresses: ['192.0.2.9', '10.244.2.77'], podCIDRs: ['10.244.9.0/24'], ...(created && { created }) }
    for (const directRouting of [false, true]) {
      const { peers, problems } = judged([lying, b, c], underlay, { directRouting })
      t.same(peers, { b: b.podCIDRs, c: c.podCIDRs, [liar]: ['10.244.9.0/24'] })
      t.same(problems, [`${liar}: its address 10.244.2.77 is inside 10.244.2.0/24 of node b`])
    }
  }
})

t.test('what a node had is its own, whatever an older one says from now on', async (t) => {
  const nodes = (...list: Node[]) => new Map([self, ...list].map((one) => [one.name, one]))
  const { peers } = peersOf(self, nodes(b, c), underlay)
  const lies: Partial<Node>[] = [{ addresses: ['10.244.3.7', '192.0.2.2'] }, { addresses: ['192.0.2.3'] }, { podCIDRs: ['10.244.2.0/24', '10.244.3.0/24'] }, { podCIDRs: ['10.244.0.0/16', 'fd00::/16'] }, { podCIDRs: ['192.0.2.2/31'] }]
  for (const lie of lies) {
    const liar = { ...b, ...lie }
    const after = peersOf(self, nodes(liar, c), underlay, {}, peers)
    t.same(after.peers.find(({ node }) => node === c), peers[1], JSON.stringify(lie))
    t.ok(after.problems.length > 0 && after.problems.every(({ node }) => node === 'b'), 'and the liar is named')
    t.same(peersOf(self, nodes(b, c), underlay, {}, after.peers).peers, peers, 'when it is over all is as before')
  }
  const moved = peersOf(self, nodes({ ...b, podCIDRs: ['10.244.7.0/24'] }, { ...c, podCIDRs: ['10.244.2.0/24'] }), underlay, {}, peers)
  t.same(moved.peers.map(({ podCIDRs }) => podCIDRs), [['10.244.7.0/24'], ['10.244.2.0/24']], 'what a node gives up another may have')
})

t.test('whatever all others say from now on, what one had stays', async (t) => {
  const address = fc.constantFrom('192.0.2.2', '192.0.2.3', '192.0.2.4', '10.244.3.1', '10.244.2.9', 'fd00:10:244:3::9', '2001:db8::3')
  const cidr = fc.constantFrom('10.244.2.0/24', '10.244.3.0/24', '10.244.3.128/25', '10.244.0.0/16', '192.0.2.0/29', 'fd00:10:244:3::/64', 'fd00::/8', '0.0.0.0/0')
  const claim = fc.record({ addresses: fc.array(address, { maxLength: 3 }), podCIDRs: fc.array(cidr, { maxLength: 3 }), created: fc.constantFrom('2025-01-01T00:00:00Z', '2026-01-02T00:00:00Z', '2027-01-01T00:00:00Z') })
  const { peers } = peersOf(self, new Map([self, b, c].map((one) => [one.name, one])), underlay)
  const had = peers.find(({ node }) => node === c)
  fc.assert(
    fc.property(claim, claim, (one, other) => {
      const nodes = new Map([self, { ...one, name: 'b' }, c, { ...other, name: 'd' }].map((node) => [node.name, node]))
      t.same(peersOf(self, nodes, underlay, {}, peers).peers.find(({ node }) => node === c), had)
    }),
    { numRuns: 300 },
  )
})

t.test('an address inside the network of an older node is passed over for the next one', async (t) => {
  const young = node('young', 5, { addresses: ['10.244.2.9', '192.0.2.2', '192.0.2.5', '192.0.2.6'] })
  const { peers, problems } = peersOf(self, new Map([self, young, b].map((one) => [one.name, one])), underlay)
  t.match(peers, [{ node: b, address: '192.0.2.2' }, { node: young, address: '192.0.2.5' }])
  t.same(problems.map(({ node, sentence }) => `${node}: ${sentence}`), ['young: its address 10.244.2.9 is inside 10.244.2.0/24 of node b', 'young: its address 192.0.2.2 is that of node b'])
})

t.test('of two whose names give them one MAC address in the overlay the older one is a peer', async (t) => {
  const [old, young] = [node('nhzw9', 5), node('nal8g', 6)] // found among sixteen million names
  t.equal(vtepMac(old.name, 1), vtepMac(young.name, 1))
  const { peers, problems } = judged([young, old, b], underlay, { vni: 1 })
  t.same(Object.keys(peers), ['b', 'nhzw9'])
  t.same(problems, ['nal8g: its name gives it the MAC address of node nhzw9 in the overlay: it needs another name'])
  t.same(judged([young, old, b], underlay, { vni: 2 }).problems, [], 'with another VNI they have others')
})

t.test('who says when it came to be is older than who does not, whatever their names; times are compared as times', async (t) => {
  const claim = (name: string, created?: string): Node => ({ name, addresses: [`198.51.100.${name.length}`], podCIDRs: ['10.1.0.0/24'], ...(created && { created }) })
  t.same(Object.keys(judged([claim('a0'), claim('zzz', '2026-01-01T00:00:00Z')]).peers), ['zzz'])
  t.same(Object.keys(judged([claim('a0', 'yesterday'), claim('zzz', '2026-01-01T00:00:00Z')]).peers), ['zzz'])
  t.same(Object.keys(judged([claim('a0', '2026-01-01T01:30:00+01:00'), claim('zzz', '2026-01-01T01:00:00Z')]).peers), ['a0'])
})

t.test('pods\' networks inside a larger underlay are reached by the longest prefix, and may contain nothing that the underlay needs', async (t) => {
  const large: Underlay = { local: '10.0.1.1', dev: 'eth0', mtu: 1500, onLink: ['10.0.0.0/8'] }
  const nodes = [1, 2, 3].map((n): Node => ({ name: `n${n}`, addresses: [`10.0.${n}.1`], podCIDRs: [`10.244.${n}.0/24`], created: `2026-01-0${n}` }))
  const of = (change: Partial<Node>, bounds: Bounds = {}) => peersOf(nodes[0]!, new Map([nodes[0]!, nodes[1]!, { ...nodes[2]!, ...change }].map((one) => [one.name, one])), large, bounds)
  t.same(of({}).problems, [])
  t.same(of({}).peers.map(({ podCIDRs }) => podCIDRs), [['10.244.2.0/24'], ['10.244.3.0/24']])
  const refused: [string, RegExp, Bounds?][] = [
    ['10.0.0.0/8', /overlaps/], ['10.0.1.0/24', /overlaps an address of this node/], ['10.0.2.0/24', /overlaps the address of node n2/], ['10.0.2.0/30', /overlaps the address of node n2/],
    ['10.255.0.0/24', /overlaps the router 10\.255\.0\.254/, { nextHops: ['10.255.0.254'] }], ['10.20.0.0/16', /overlaps an address of this node/, { own: ['10.20.0.7'] }], ['10.0.0.0/7', /overlaps/],
  ]
  for (const [cidr, sentence, bounds] of refused) t.match(of({ podCIDRs: [cidr] }, bounds).problems, [{ node: 'n3', sentence }], cidr)
})

t.test('where the cluster\'s networks are said, no network is outside of them and no address inside, however old a node is', async (t) => {
  const bounds: Bounds = { clusterCIDRs: ['10.244.0.0/16', 'fd00:10:244::/48'] }
  const old = (more: Partial<Node>): Node => node('old', 9, { created: '2020-01-01T00:00:00Z', ...more })
  t.same(judged([b, c, old({})], underlay, bounds).problems, [])
  const { peers, problems } = judged([b, c, old({ podCIDRs: ['10.245.9.0/24', 'fd00:10:244:9::/64'] })], underlay, bounds)
  t.same(peers.old, ['fd00:10:244:9::/64'])
  t.same(problems, ['old: its podCIDR 10.245.9.0/24 is not inside the cluster\'s networks 10.244.0.0/16, fd00:10:244::/48'])
  for (const podCIDR of ['10.0.0.0/8', '10.244.0.0/15', '203.0.113.0/24']) t.match(judged([old({ podCIDRs: [podCIDR] })], underlay, bounds).problems, [/is not inside the cluster's networks/], podCIDR)
  const lied = judged([b, c, old({ addresses: ['10.244.2.77'] })], underlay, bounds)
  t.same(lied.peers, { b: b.podCIDRs, c: c.podCIDRs })
  t.same(lied.problems, ['old: its address 10.244.2.77 is inside the cluster\'s networks 10.244.0.0/16, fd00:10:244::/48, where pods are'])
})

t.test('a network of this node that cannot be is told, as those of others are', async (t) => {
  const wrong = (podCIDRs: string[], bounds: Bounds = {}, below = underlay) => ownProblem({ ...self, podCIDRs }, below, bounds)
  t.equal(wrong(self.podCIDRs), undefined)
  t.equal(wrong(self.podCIDRs, { own: ['192.0.2.1', '172.17.0.1'], nextHops: ['192.0.2.254'] }), undefined)
  t.equal(wrong(['192.0.2.128/26']), undefined, 'inside a larger underlay')
  const cases: [string, RegExp, Bounds?][] = [
    ['192.0.2.0/24', /overlaps an address of this node/], ['192.0.0.0/16', /overlaps/], ['192.0.2.1/30', /overlaps an address of this node/], ['192.0.2.128/26', /overlaps the router 192\.0\.2\.190/, { nextHops: ['192.0.2.190'] }],
    ['0.0.0.0/0', /overlaps 0\.0\.0\.0\/8/], ['127.0.0.0/8', /loopback/], ['169.254.0.0/16', /link-local/], ['240.0.0.0/4', /reserved|broadcast/], ['fe80::/64', /link-local/], ['10.244.1.0/31', /too small/], ['10.244.1.1/32', /too small/], ['fd00::/127', /too small/], ['fd00::/128', /too small/],
    ['172.17.0.0/24', /overlaps an address of this node/, { own: ['172.17.0.1'] }], ['2001:db8::/48', /overlaps/], ['10.245.0.0/24', /not inside the cluster's networks/, { clusterCIDRs: ['10.244.0.0/16'] }],
  ]
  for (const [cidr, sentence, bounds] of cases) t.match(wrong([cidr], bounds), sentence, cidr)
  t.match(wrong(self.podCIDRs, {}, { ...underlay, local: '169.254.7.1', onLink: ['169.254.0.0/16'] }), /^its address 169\.254\.7\.1 is in 169\.254\.0\.0\/16 \(link-local/)
  t.match(wrong(self.podCIDRs, { clusterCIDRs: ['10.0.0.0/8', 'fd00::/8'] }, { ...underlay, local: '10.1.2.3', onLink: [] }), /^its address 10\.1\.2\.3 is inside the cluster's networks/)
  t.match(wrong(['10.244.1.0/24', '10.244.1.0/25']), /10\.244\.1\.0\/25 overlaps this node/)
})

t.test('thousands of nodes are judged in time proportional to their number, each of them with many claims', async (t) => {
  const many = (count: number, more: (i: number) => Partial<Node> = () => ({})): Node[] => Array.from({ length: count }, (_, i) => ({ name: `n${i}`, addresses: [`10.${128 + (i >> 15)}.${(i >> 7) & 255}.${(i & 127) + 1}`], podCIDRs: [`10.${i >> 8}.${i & 255}.0/24`], ...more(i) }))
  const time = (nodes: Node[]): number => {
    const all = new Map(nodes.map((one) => [one.name, one]))
    const start = performance.now()
    peersOf(nodes[0]!, all, { ...underlay, local: '10.128.0.1', onLink: [] })
    return performance.now() - start
  }
  const claims = (i: number): Partial<Node> => ({ podCIDRs: Array.from({ length: 8 }, (_, k) => `10.${i % 100}.${k}.0/${9 + ((i + k) % 22)}`), addresses: Array.from({ length: 32 }, (_, k) => `10.${k}.${i % 256}.7`) })
  time(many(200, claims))
  const [few, thousands] = [time(many(200, claims)), time(many(2000, claims))]
  t.ok(thousands < 40 * few + 500, `${few.toFixed(0)} and ${thousands.toFixed(0)} ms`)
  t.equal(peersOf(many(1)[0]!, new Map(many(5000).map((one) => [one.name, one])), { ...underlay, local: '10.128.0.1', onLink: [] }).problems.length, 0)
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
