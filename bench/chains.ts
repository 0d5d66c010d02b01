// What nodes are configured with, run as runtimes run it: the reference's plugins one after the other, podwire's one entry that
// does all of it, and podwire's plugins one after the other as well. On a node without pods and among pods of that kind, each
// of which has a port of the node.

import { join } from 'node:path'
import { call, containerID, type Implementation, type Sample } from './implementation.ts'
import { add, addAll, del, has, once, sum, type Command, type Entry, type Pod } from './lists.ts'
import { through } from './ports.ts'
import { tracked } from './tracked.ts'
import { NFT, OURS, type Family, type Scenario } from './scenarios.ts'

/** A list, and the one entry of podwire's that does the same. */
export interface Chain {
  name: string
  /** Of its machines. */
  world: string
  list(someone: Implementation): Entry[]
  /** Absent: the list is that entry. */
  one?(someone: Implementation): Entry[]
  /** A runtime that starts loopback for each pod, as containerd does, is measured as well. */
  loopback?: boolean
}

const BRIDGE: Chain = { name: 'bridge + ipMasq', world: 'bridge', list: (someone) => [bridge(someone)] }

/** github.com/kubernetes-sigs/kind, images/kindnetd */
export const KIND: Chain = {
  name: "kind's chain",
  world: 'kind',
  list: (someone) => [ptp(someone), PORTMAP],
  one: (someone) => [{ ...ptp(someone), ...can('portMappings') }],
  loopback: true,
}

/** podman's and nerdctl's, and bandwidth. */
const LONG: Chain = {
  name: 'bridge + portmap + firewall + bandwidth + tuning',
  world: 'long',
  list: (someone) => [bridge(someone), PORTMAP, { type: 'firewall', ...FIREWALL }, { type: 'bandwidth', ...can('bandwidth') }, { type: 'tuning', ...TUNING }],
  one: (someone) => [{ ...bridge(someone), ...can('portMappings', 'bandwidth'), firewall: FIREWALL, tuning: TUNING }],
}

function bridge(someone: Implementation): Entry {
  return { type: 'bridge', bridge: 'cni0', isGateway: true, ipMasq: true, hairpinMode: true, ipam: ipam(someone, '/var/lib/cni/networks') }
}

function ptp(someone: Implementation): Entry {
  return { type: 'ptp', ipMasq: false, mtu: 1500, ipam: ipam(someone, '/run/cni-ipam-state') }
}

function ipam({ machine }: Implementation, directory: string): object {
  return { type: 'host-local', dataDir: join(directory, machine.name), ranges: [[{ subnet: '10.1.0.0/16' }]], routes: [{ dst: '0.0.0.0/0' }] }
}

function can(...names: string[]) {
  return { capabilities: Object.fromEntries(names.map((name) => [name, true])) }
}

const PORTMAP: Entry = { type: 'portmap', ...can('portMappings') }
const FIREWALL = { ingressPolicy: 'same-bridge' }
const TUNING = { sysctl: { 'net.core.somaxconn': '1024' } }

function family(chain: Chain, scenarios: Scenario[]): Family {
  return {
    name: chain.world,
    scenarios,
    plugins: ['ptp', 'bridge', 'host-local', 'loopback', 'portmap', 'firewall', 'bandwidth', 'tuning'],
    references: 1,
    complete: (someone) => has(someone, chain.list(someone)),
    populate: (someone, numbers, jobs) => addAll(someone, entries(chain, someone), numbers.map((number) => podOf(someone, number)), jobs),
  }
}

/** What somebody has in the place of the list: podwire its one entry. */
const entries = ({ one, list }: Chain, someone: Implementation): Entry[] => (someone.column === OURS && one ? one(someone) : list(someone))

const COMMANDS: Command[] = ['ADD', 'CHECK', 'DEL']
const AGAIN = 500 // the first of the pods that come and go a second time in a round

/** Rows with the list's name: podwire's one entry, the reference's list. Others: podwire's plugins one after the other, too. */
export function wiring(chain: Chain, suffix = ''): Scenario {
  const { name, list, one, loopback } = chain
  const row = (kind: string, samples: Partial<Record<Command, Sample>>) => Object.fromEntries(Object.entries(samples).map(([command, sample]) => [`${name}${kind} ${command}${suffix}`, sample]))
  const works = (kind: string, commands: Command[] = COMMANDS) => commands.map((command) => `${name}${kind} ${command}${suffix}`)
  return {
    unit: 'ms',
    works: [...works(''), ...(loopback ? works(LOOPBACK, ['ADD', 'DEL']) : []), ...(one ? works(SEPARATE) : [])],
    round(someone, number) {
      const pod = podOf(someone, number)
      const up = loopback && lo(someone, 'ADD', pod)
      const taken = once(someone, entries(chain, someone), pod)
      const down = loopback && lo(someone, 'DEL', pod)
      const separate = one && someone.column === OURS ? once(someone, list(someone), podOf(someone, AGAIN + number)) : taken
      return { ...row('', taken), ...(up && down && row(LOOPBACK, { ADD: sum(up, taken.ADD), DEL: sum(taken.DEL, down) })), ...(one && row(SEPARATE, separate)) }
    },
  }
}

const LOOPBACK = ' + loopback'
const SEPARATE = ', entry by entry,'

/** podwire's one entry alone. */
const inShort = (chain: Chain): Chain => ({ name: chain.name, world: chain.world, list: (someone) => entries(chain, someone) })

/** Where there is nft and no iptables, the reference's plugins choose nft. */
function withoutIptables(chain: Chain): Scenario {
  return { ...wiring(inShort(chain), ', no iptables'), by: [OURS, NFT], most: 110, share: 1 / 2 }
}

/** A pod with a range of ports, as a server of RTP has. Not CHECK, which fails with the reference where there is ip6tables. */
function range(chain: Chain, ports: number): Scenario {
  const work = (command: Command) => `${chain.name} ${command}, ${ports} ports`
  return {
    unit: 'ms',
    works: [work('ADD'), work('DEL')],
    most: 0,
    share: 1 / 10,
    round(someone, number) {
      const [pod, list] = [podOf(someone, number, ports), entries(chain, someone)]
      const { sample, result } = add(someone, list, pod)
      return { [work('ADD')]: sample, [work('DEL')]: del(someone, list, pod, result) }
    },
  }
}

function lo(someone: Implementation, command: Command, { container, netns }: Pod): Sample {
  return call(someone, { plugin: 'loopback', command, conf: { cniVersion: '1.0.0', name: 'lo', type: 'loopback' }, container, netns }).sample
}

const FIRST_PORT = 10_000
const RATE = 100_000_000 // bit/s

function podOf({ machine }: Implementation, number: number, ports = 1): Pod {
  const portMappings = Array.from({ length: ports }, (_, i) => ({ hostPort: FIRST_PORT + number + i, containerPort: 80 + i, protocol: 'tcp' }))
  const bandwidth = { ingressRate: RATE, ingressBurst: RATE / 10, egressRate: RATE, egressBurst: RATE / 10 }
  return { container: containerID(), netns: machine.pod(number), runtime: { portMappings, bandwidth } }
}

/** What is measured of each list, and the traffic through ports of kind's. */
export const CHAINS: Family[] = [
  family(BRIDGE, [wiring(BRIDGE), withoutIptables(BRIDGE)]),
  family(KIND, [wiring(KIND), withoutIptables(KIND), { ...tracked(wiring(inShort(KIND), ', connections tracked')), share: 1 / 2 }, range(KIND, 300), { ...range(KIND, 10_000), by: [OURS] }, ...through((someone) => entries(KIND, someone))]),
  family(LONG, [{ ...wiring(LONG), share: 1 / 2 }]),
]
