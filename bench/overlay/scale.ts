// One agent among many nodes: what each kind of work costs it, and what the same costs by hand, in the same round.

import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Fact, Listed, Plan } from '../../src/facts.ts'
import { show } from '../../src/show.ts'
import { sleep } from '../../src/kernel/libc.ts'
import { Netns } from '../../src/kernel/netns.ts'
import { isListed, touch } from '../../src/reconcile.ts'
import type { Node } from '../../src/vxlan/node.ts'
import { deviceName, overlay } from '../../src/vxlan/overlay.ts'
import { peersOf } from '../../src/vxlan/peers.ts'
import { spawn, wait } from '../libc.ts'
import { Namespace } from '../world.ts'
import { Agent } from './agent.ts'
import { node as nodeOf, nodes as nodesOf, UNDERLAY_PREFIX } from './nodes.ts'
import { isThere } from './probe.ts'
import { list, typeIn } from './typed.ts'

export const WORKS = ['from nothing to true', 'restart, true already', 'a node more', 'a node with another address', 'repair of fdb', 'repair of neigh', 'repair of route', 'repair of addr'] as const
export type Work = (typeof WORKS)[number]

/** Milliseconds: wall time, the agent's CPU time in it, and wall time by hand. */
export interface Sample {
  ours: number
  cpu: number
  byHand: number
}

export type Measured = Partial<Record<Work, Sample>>

const DEV = deviceName(1)
const API_PORT = 8080
const SERVER_START = 1500 // ms
const SETTLE = 300 // ms; what the agent does when it is done (leases, the log) is no part of the next figure

export class Scale {
  readonly agent: Agent
  readonly #count: number
  readonly #host: Host
  readonly #hand: Host
  readonly #file: string
  #server: Child | undefined
  #nodes: Node[]

  /** Two nodes without an overlay, one for the agent and one that is typed; the nodes from a file or from an API server. */
  constructor(count: number, round: number | 'kubernetes', bin: string) {
    this.#count = count
    this.#nodes = nodesOf(count)
    const [self] = this.#nodes as [Node]
    this.#host = new Host(`agent-${count}-${round}`, self)
    this.#hand = new Host(`hand-${count}-${round}`, self)
    this.#file = `/run/nodes-${count}-${round}.json`
    this.agent = new Agent(this.#host.namespace, bin, self.name, round === 'kubernetes' ? ['--kubeconfig', this.#serve()] : ['--peers', this.#file])
    this.#write()
  }

  /** The agent runs afterwards. */
  fromNothing(): Measured {
    const plan = planOf(this.#nodes)
    const byHand = typeIn(this.#hand.namespace, plan)
    const ours = this.#timed(() => this.agent.start())
    for (const { namespace } of [this.#hand, this.#host]) complete(namespace, plan)
    sleep(SETTLE)
    return { 'from nothing to true': { ...ours, byHand } }
  }

  /** And what was changed in the kernel meanwhile, which must be nothing. */
  restart(): { measured: Measured; heard: string } {
    this.agent.stop()
    const { took: byHand } = list(this.#hand.namespace, DEV)
    const monitors = [['/sbin/ip', 'monitor', 'all'], ['/sbin/bridge', 'monitor', 'all'], ['/usr/sbin/nft', 'monitor']].map((argv, i) => new Child(this.#host.namespace, argv, `/run/heard-${i}`))
    sleep(SETTLE)
    const ours = this.#timed(() => this.agent.start())
    sleep(SETTLE)
    return { measured: { 'restart, true already': { ...ours, byHand } }, heard: monitors.map((monitor) => monitor.stop()).join('') }
  }

  /** A node comes, changes its address, and goes. */
  change(): Measured {
    const before = this.#nodes
    const more = nodeOf(this.#count)
    const moved = { ...more, addresses: nodeOf(this.#count + 1).addresses }
    const [facts, changed] = [more, moved].map((node) => factsOf(before[0]!, node)) as [Listed[], Listed[]]
    const moving = changed.filter(({ fact }) => fact === 'fdb')
    const measured = {
      'a node more': { ...this.#apply([...before, more], facts), byHand: typeIn(this.#hand.namespace, facts) },
      'a node with another address': { ...this.#apply([...before, moved], moving), byHand: typeIn(this.#hand.namespace, moving, replacing) },
    }
    this.#nodes = before
    this.#write()
    this.agent.until(() => !changed.some((fact) => isThere(this.#host.netns, fact)), 'takes a node out')
    touch(this.#hand.netns, [], [...facts, ...moving])
    sleep(SETTLE)
    return measured
  }

  /** One entry of each kind is taken out of the kernel, and with the address what went with it. */
  damage(round: number): Measured {
    const [self] = this.#nodes as [Node]
    const peer = factsOf(self, this.#nodes[1 + (round % (this.#count - 1))]!)
    const own = planOf([self]).filter((fact) => fact.fact === 'addr')
    const kinds = new Map([...peer, ...own].map((fact) => [fact.fact, fact]))
    return Object.fromEntries(
      [...kinds.values()].map((fact): [Work, Sample] => {
        const ours = this.#timed(() => {
          touch(this.#host.netns, [], [fact])
          this.agent.until(() => [fact, ...peer].every((each) => isThere(this.#host.netns, each)), `repairs ${fact.fact}`)
        })
        touch(this.#hand.netns, [], [fact])
        const byHand = typeIn(this.#hand.namespace, [fact])
        sleep(SETTLE)
        return [`repair of ${fact.fact}`, { ...ours, byHand }]
      }),
    )
  }

  end(): void {
    this.agent.stop()
    this.#server?.stop()
    this.#host.close()
    this.#hand.close()
  }

  /** Starts an API server beside the agent; the path of a kubeconfig. */
  #serve(): string {
    const { namespace } = this.#host
    const argv = [process.execPath, ...process.execArgv, join(import.meta.dirname, 'api-server.ts'), String(this.#count), String(API_PORT)]
    this.#server = new Child(namespace, argv, '/dev/null')
    const [path, name] = [`/run/kubeconfig-${this.#count}`, 'bench']
    const context = { cluster: name, user: name }
    writeFileSync(path, JSON.stringify({ apiVersion: 'v1', kind: 'Config', 'current-context': name, contexts: [{ name, context }], clusters: [{ name, cluster: { server: `http://127.0.0.1:${API_PORT}`, 'insecure-skip-tls-verify': true } }], users: [{ name, user: {} }] }))
    sleep(SERVER_START)
    return path
  }

  /** Renames another list of nodes into place, and waits until facts are true. */
  #apply(nodes: Node[], facts: Listed[]): Omit<Sample, 'byHand'> {
    this.#nodes = nodes
    this.#prepare()
    return this.#timed(() => {
      renameSync(`${this.#file}.new`, this.#file)
      this.agent.until(() => facts.every((fact) => isThere(this.#host.netns, fact)), 'applies a change')
    })
  }

  #prepare(): void {
    writeFileSync(`${this.#file}.new`, JSON.stringify({ nodes: this.#nodes }))
  }

  #write(): void {
    this.#prepare()
    renameSync(`${this.#file}.new`, this.#file)
  }

  #timed(run: () => void): Omit<Sample, 'byHand'> {
    const [start, before] = [performance.now(), this.agent.cpu()]
    run()
    return { ours: performance.now() - start, cpu: this.agent.cpu() - before }
  }
}

/** A node without an overlay, whose uplink carries the default routes. */
class Host {
  readonly namespace: Namespace
  readonly netns: Netns

  constructor(name: string, { addresses: [ipv4, ipv6] }: Node) {
    this.namespace = new Namespace(name)
    this.namespace.ip(`
link set lo up
link add eth0 type veth peer name world
addr add ${ipv4}/${UNDERLAY_PREFIX} dev eth0
addr add ${ipv6}/64 dev eth0 nodad
link set world addrgenmode none
link set world up
link set eth0 addrgenmode none
link set eth0 up
route add default via 198.19.255.254
route add default via fd00:20::ffff:ffff`)
    this.netns = new Netns(this.namespace.path)
  }

  close(): void {
    this.netns.close()
    this.namespace.delete()
  }
}

/** What the overlay is on the first of these nodes, as the agent with its defaults computes it. */
function planOf(nodes: Node[]): Plan {
  const [self] = nodes as [Node]
  const underlay = { local: self.addresses[0]!, dev: 'eth0', mtu: 1500, onLink: [] }
  const { peers } = peersOf(self, new Map(nodes.map((node) => [node.name, node])), underlay)
  return overlay(self, self.podCIDRs, underlay, peers, { vni: 1, port: 8472, mtu: undefined, directRouting: false, masquerade: true, nonMasqueradeCIDRs: [], uplinks: [], advertised: [], checksumOffload: undefined })
}

/** What one peer adds to it. */
const factsOf = (self: Node, peer: Node): Listed[] => planOf([self, peer]).filter(isListed).filter(({ fact }) => fact !== 'addr')

/** Of a MAC address that is no multicast the kernel keeps one dst. */
const replacing = (fact: Fact): string => show(fact).replace(/ (add|append) /, ' replace ')

/** Throws if not all is there, asked by hand. */
function complete(namespace: Namespace, plan: Plan): void {
  const wanted = plan.filter((fact) => isListed(fact) && fact.fact !== 'addr').length
  const { entries } = list(namespace, DEV)
  if (entries !== wanted) throw new Error(`${namespace.name}: ${entries} of ${wanted} entries are in the kernel`)
}

/** A program that runs until it is stopped. */
class Child {
  readonly #pid: number
  readonly #output: string

  constructor(namespace: Namespace, argv: string[], output: string) {
    this.#output = output
    this.#pid = namespace.inside(() => spawn(argv, {}, { stdin: '/dev/null', stdout: output, stderr: '/dev/null' }))
  }

  /** Returns what it printed. */
  stop(): string {
    process.kill(this.#pid, 'SIGTERM')
    wait(this.#pid)
    return readFileSync(this.#output, 'utf8')
  }
}
