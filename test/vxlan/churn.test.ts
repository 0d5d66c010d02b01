// Nodes come, go, change and quarrel; after each, the kernel is as the plan says.
//
//   a (agent) ── u0 ── bridge lan          everybody else is in the file only: nobody asks them anything

import fc from 'fast-check'
import { ip } from '../world.ts'
import t from 'tap'
import { vtepMac } from '../../src/names.ts'
import type { Node } from '../../src/vxlan/node.ts'
import { Agent, node, on, peers, segment, until } from './nodes.ts'

const [A, B, C] = [node('a', 1), node('b', 2), node('c', 3)]

segment('a')
peers(A, B)
const a = await Agent.ready('a')
t.teardown(() => a.stop())

const entries = () => ({ routes: on('a', 'ip route show proto 119; ip -6 route show proto 119'), fdb: on('a', 'bridge fdb show dev podwire.1'), neigh: on('a', 'ip neigh show dev podwire.1; ip -6 neigh show dev podwire.1') })

t.test('two nodes with one network: the quarrel appears and goes', async (t) => {
  peers(A, B, { ...C, podCIDRs: B.podCIDRs })
  await until('it is named', () => a.podwireStatus().stdout.includes('its podCIDR 10.244.2.0/24 overlaps node b'))
  await until('in the log', () => /node=c why="its podCIDR 10.244.2.0\/24 overlaps node b"/.test(a.log))
  t.equal(a.metric('podwire_peer_problems'), 2)
  t.match(entries().neigh, `10.244.2.0 lladdr ${vtepMac('b', 1)}`)
  t.equal(a.status().ready, true)

  peers(A, { ...C, podCIDRs: B.podCIDRs })
  await a.reads()
  t.match(entries().neigh, `10.244.2.0 lladdr ${vtepMac('c', 1)}`, 'the other one has it when the first is gone')
  t.match(entries().fdb, `${vtepMac('c', 1)} dst 192.0.2.3`)
  t.equal(a.metric('podwire_peer_problems'), 0)

  peers(A, B, C)
  await a.reads()
  t.equal(a.metric('podwire_peers'), 2)
  t.equal(a.podwireStatus().status, 0)
})

const CHANGES: [string, Node[], RegExp, RegExp][] = [
  ['another address (kind#2941: a restarted node)', [A, { ...B, addresses: ['192.0.2.22', '2001:db8::22'] }], /dst 192\.0\.2\.22 /, /dst 192\.0\.2\.2 /],
  ['two nodes have changed their addresses (kind#2941: all nodes restarted)', [A, { ...B, addresses: C.addresses }, { ...C, addresses: B.addresses }], new RegExp(`${vtepMac('b', 1)} dst 192\\.0\\.2\\.3 `), new RegExp(`${vtepMac('b', 1)} dst 192\\.0\\.2\\.2 `)],
  ['other networks', [A, { ...B, podCIDRs: ['10.244.9.0/24', 'fd00:10:244:9::/64'] }], /10\.244\.9\.0\/24/, /10\.244\.2\.0/],
  ['two nodes have changed their networks', [A, { ...B, podCIDRs: C.podCIDRs }, { ...C, podCIDRs: B.podCIDRs }], new RegExp(`10\\.244\\.2\\.0 lladdr ${vtepMac('c', 1)}`), new RegExp(`10\\.244\\.2\\.0 lladdr ${vtepMac('b', 1)}`)],
  ['one network only', [A, { ...B, podCIDRs: B.podCIDRs.slice(1) }], /fd00:10:244:2::\/64/, /10\.244\.2\.0/],
  ['another name', [A, { ...B, name: 'bb' }], new RegExp(`${vtepMac('bb', 1)} dst 192\\.0\\.2\\.2 `), new RegExp(vtepMac('b', 1))],
  ['it is gone', [A, C], /10\.244\.3\.0\/24/, /10\.244\.2\.0|192\.0\.2\.2 /],
  ['this node has other networks', [{ ...A, podCIDRs: ['10.244.8.0/24', 'fd00:10:244:8::/64'] }, B], /10\.244\.2\.0/, /10\.244\.3\.0/],
]

for (const [what, nodes, is, isnt] of CHANGES)
  t.test(`a node changes: ${what}`, async (t) => {
    peers(A, B, C)
    await a.reads()
    peers(...nodes)
    await a.reads()
    const all = Object.values(entries()).join('\n')
    t.match(all, is)
    t.notMatch(all, isnt)
  })

t.test('this node has another address, and the file says so', async (t) => {
  peers(A, B)
  await a.reads()
  on('a', 'ip addr add 192.0.2.77/24 dev u0 && ip addr del 192.0.2.1/24 dev u0 && ip addr add 192.0.2.77/24 dev u0 2>/dev/null; ip route replace default via 192.0.2.254')
  peers({ ...A, addresses: ['192.0.2.77', ...A.addresses.slice(1)] }, B)
  await a.reads()
  t.match(on('a', 'ip -d link show podwire.1'), 'local 192.0.2.77 dev u0')
  on('a', 'ip addr add 192.0.2.1/24 dev u0 && ip addr del 192.0.2.77/24 dev u0; ip addr replace 192.0.2.1/24 dev u0; ip route replace default via 192.0.2.254')
  peers(A, B)
  await a.reads()
  t.match(on('a', 'ip -d link show podwire.1'), 'local 192.0.2.1 dev u0')
})

t.test('the underlay has another MTU, and so have the overlay and the conflist', async (t) => {
  for (const [mtu, inside] of [[1400, 1350], [1500, 1450]]) {
    on('a', `ip link set u0 mtu ${mtu}`)
    await until('it follows', () => on('a', 'ip link show podwire.1').includes(`mtu ${inside} `))
    await a.settled()
    await until('new pods, too', () => on('a', `cat ${a.confDir}/10-podwire.conflist`).includes(`"mtu": ${inside}`))
  }
  t.pass('there and back')
})

t.test('200 nodes join in the same second, and leave', async (t) => {
  const crowd = Array.from({ length: 200 }, (_, i) => node(`n${i}`, 0, { addresses: [`198.51.100.${i + 1}`], podCIDRs: [`10.${i}.0.0/24`, `fd01:${i}::/64`] }))
  for (let there = 20; there <= 200; there += 20) peers(A, B, ...crowd.slice(0, there))
  await a.reads()
  t.equal(on('a', 'ip route show proto 119 | wc -l; bridge fdb show dev podwire.1 | wc -l; ip -6 neigh show dev podwire.1 nud permanent | wc -l'), '201\n201\n201')
  peers(A, B)
  await a.reads()
  t.equal(on('a', 'ip route show proto 119 | wc -l; bridge fdb show dev podwire.1 | wc -l; ip -6 neigh show dev podwire.1 nud permanent | wc -l'), '1\n1\n1')
})

// The model: what is in the file, and who had which network and which address until now. The real thing: the kernel of node a, which
// status and iproute2 are asked about.
type Model = { nodes: Map<string, Node>; had: Map<string, string> }

class Edit implements fc.AsyncCommand<Model, null> {
  readonly #name: string
  readonly #node: Node | undefined

  constructor(name: string, node: Node | undefined) {
    this.#name = name
    this.#node = node
  }

  check = () => true

  async run(model: Model): Promise<void> {
    if (this.#node) model.nodes.set(this.#name, this.#node)
    else model.nodes.delete(this.#name)
    peers(A, ...model.nodes.values())
    await asModel(model)
  }

  toString = () => `${this.#name} is ${JSON.stringify(this.#node)}`
}

class Damage implements fc.AsyncCommand<Model, null> {
  readonly #line: string

  constructor(line: string) {
    this.#line = line
  }

  check = () => true

  async run(model: Model): Promise<void> {
    on('a', `${this.#line} 2>/dev/null || true`)
    await asModel(model)
  }

  toString = () => this.#line
}

class Both implements fc.AsyncCommand<Model, null> {
  readonly #edit: Edit
  readonly #line: string

  constructor(edit: Edit, line: string) {
    this.#edit = edit
    this.#line = line
  }

  check = () => true

  async run(model: Model): Promise<void> {
    on('a', `${this.#line} 2>/dev/null || true`)
    await this.#edit.run(model)
  }

  toString = () => `${this.#line}, and ${this.#edit.toString()}`
}

/** Who has which network and address: those who had it before keep it while they claim it, then the nodes by their names. */
function owners({ nodes, had }: Model): Map<string, string> {
  const all = [...nodes.values()].sort((x, y) => (x.name < y.name ? -1 : 1)).flatMap(({ name, addresses: [address], podCIDRs }) => [address!, ...podCIDRs].map((claim) => [claim, name] as const))
  const now = new Map(all.filter(([claim, name]) => had.get(claim) === name))
  for (const [claim, name] of all) if (!now.has(claim)) now.set(claim, name)
  return now
}

/** The kernel gets the networks of the nodes in the file, each behind its node, and none other. */
async function asModel(model: Model): Promise<void> {
  const all = owners(model)
  const used = [...model.nodes.values()].map((one) => ({ ...one, address: one.addresses[0]!, podCIDRs: one.podCIDRs.filter((cidr) => all.get(cidr) === one.name) }))
    .filter(({ name, address, podCIDRs }) => all.get(address) === name && podCIDRs.length > 0)
  model.had = new Map(used.flatMap(({ name, address, podCIDRs }) => [address, ...podCIDRs].map((claim) => [claim, name])))
  const wanted = used.flatMap(({ name, address, podCIDRs }) => podCIDRs.map((cidr) => `${cidr} ${vtepMac(name, 1)} ${address}`)).sort().join('\n')
  await a.settled() // with a device, so that it can be asked
  await until('as in the model', () => there().networks === wanted).catch(() => {
    throw new Error(`the kernel has\n${there().networks}\nbut should have\n${wanted}\n${a.log.split('\n').slice(-8).join('\n')}`)
  })
  await a.settled()
  const [neighbours, networks] = [there().neighbours, used.flatMap(({ podCIDRs }) => podCIDRs).length]
  if (neighbours !== networks) throw new Error(`there are ${neighbours} neighbours for ${networks} networks`)
}

/** What the kernel has: each network with the MAC and the underlay address behind it, and how many neighbours. */
function there(): { networks: string; neighbours: number } {
  const { routes, fdb, neigh } = entries()
  const lladdr = new Map(neigh.split('\n').filter(Boolean).map((line) => [line.split(' ')[0], /lladdr (\S+)/.exec(line)?.[1]]))
  const dst = new Map(fdb.split('\n').filter(Boolean).map((line) => [line.split(' ')[0], /dst (\S+)/.exec(line)?.[1]]))
  const networks = routes.split('\n').filter(Boolean).map((line) => {
    const [cidr, via] = [line.split(' ')[0]!, /via (\S+)/.exec(line)?.[1]]
    return `${cidr} ${lladdr.get(via)} ${dst.get(lladdr.get(via)!)}`
  })
  return { networks: networks.sort().join('\n'), neighbours: lladdr.size }
}

t.test('whatever happens, in whatever order', async (t) => {
  const some = fc.record({ name: fc.constantFrom('b', 'c', 'd'), n: fc.integer({ min: 2, max: 5 }), address: fc.integer({ min: 2, max: 6 }), families: fc.constantFrom([0, 1], [0], [1]) })
  const edit = fc.oneof(
    some.map(({ name, n, address, families }) => new Edit(name, { ...node(name, n, { addresses: node(name, address).addresses }), podCIDRs: families.map((i) => node(name, n).podCIDRs[i]!) })),
    fc.constantFrom('b', 'c', 'd').map((name) => new Edit(name, undefined)),
  )
  const line = fc.constantFrom(
    'ip link del podwire.1', 'ip link set podwire.1 down', 'ip link set podwire.1 mtu 1300', 'ip route flush proto 119', 'ip -6 route flush proto 119', 'nft flush ruleset',
    'ip neigh flush dev podwire.1 nud permanent', 'ip addr flush dev podwire.1', 'ip route replace 10.244.2.0/24 via 192.0.2.254 proto 119', 'bridge fdb del $(bridge fdb show dev podwire.1 | head -1 | cut -d" " -f1) dev podwire.1',
    'ip link set u0 down; ip link set u0 up; ip route replace default via 192.0.2.254', 'ip route append 10.244.3.0/24 via 192.0.2.254 dev u0 proto 119', 'ip route add 10.244.4.0/24 via 192.0.2.254 dev u0 proto 119',
  )
  const commands = fc.commands([edit, line.map((text) => new Damage(text)), fc.tuple(edit, line).map(([one, text]) => new Both(one, text))], { maxCommands: 10 })
  await fc.assert(
    fc.asyncProperty(commands, async (list) => {
      peers(A)
      await a.reads()
      await fc.asyncModelRun(() => ({ model: { nodes: new Map(), had: new Map() }, real: null }), list)
    }),
    { numRuns: Number(process.env.RUNS ?? 3), interruptAfterTimeLimit: 60_000 },
  )
  t.ok(a.whole)
})

t.test('and nothing is left over', async (t) => {
  peers(A)
  await a.reads()
  t.same(entries(), { routes: '', fdb: '', neigh: '' })
  t.notMatch(a.log, /Error|ENODEV/)
})

t.teardown(() => ip('netns del a'))
