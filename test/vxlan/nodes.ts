// Nodes for the tests of the overlay: each a network namespace, all on one segment (a bridge in the world's own namespace)
// with whoever else is put there; agents are processes, as an operator starts them.
//
//   a ── u0 ┐                            192.0.2.1   2001:db8::1
//   b ── u0 ┼── bridge lan ── outside    192.0.2.254 2001:db8::fe, everybody's default route
//   c ── u0 ┘

import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { status } from '../../src/cli/status.ts'
import { Netns } from '../../src/kernel/netns.ts'
import type { Node } from '../../src/vxlan/node.ts'
import type { Status } from '../../src/vxlan/state-dir.ts'
import { call, ip, sh } from '../world.ts'

const MAIN = resolve('src/main.ts')
const PEERS = '/run/peers.json'
const METRICS = '127.0.0.1:9466'

/**
 * How long is waited for what happens at once, milliseconds: longer than the slowest machine takes, and half of the time after which
 * an agent looks at everything by itself.
 */
const PATIENCE = 30_000

/** Makes the segment and hosts on it, numbered from 1, and `outside`, number 254. */
export function segment(...names: string[]): void {
  ip('link add lan up type bridge mcast_snooping 0 && sysctl -qw net.ipv6.conf.lan.disable_ipv6=1')
  for (const [i, name] of names.entries()) host(name, i + 1)
  host('outside', 254)
}

/** A host on the segment: a namespace with u0. */
export function host(name: string, number: number): void {
  const routes = number === 254 ? '' : `&& ip -n ${name} route add default via 192.0.2.254 && ip -n ${name} -6 route add default via 2001:db8::fe`
  sh(`ip netns add ${name} && ip link add to-${name} up type veth peer name u0 netns ${name} && ip link set to-${name} master lan
    ip -n ${name} link set lo up && ip netns exec ${name} sysctl -qw net.ipv6.conf.u0.keep_addr_on_down=1 net.ipv6.conf.u0.accept_dad=0 && ip -n ${name} link set u0 up
    ip -n ${name} addr add 192.0.2.${number}/24 dev u0 && ip -n ${name} addr add 2001:db8::${number.toString(16)}/64 dev u0 nodad ${routes}`)
}

/** What a file of peers says of host number n. */
export const node = (name: string, n: number, more: Partial<Node> = {}): Node => ({ name, addresses: [`192.0.2.${n}`, `2001:db8::${n.toString(16)}`], podCIDRs: [`10.244.${n}.0/24`, `fd00:10:244:${n.toString(16)}::/64`], ...more })

/** Writes the file of peers, in place. */
export const peers = (...nodes: Node[]): void => writeFileSync(PEERS, JSON.stringify({ nodes }))

/** Runs a shell line on a node. */
export const on = (name: string, line: string): string => sh(`nsenter --net=/run/netns/${name} bash -c ${quote(line)}`)
export const quote = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`

/** Runs a synchronous function of podwire's on a node. */
export function inside<T>(name: string, run: (netns: Netns) => T): T {
  const netns = new Netns(`/run/netns/${name}`)
  try {
    return netns.inside(() => run(netns))
  } finally {
    netns.close()
  }
}

/** Asks until the answer is true, and returns how long that took, milliseconds; throws when it takes too long. */
export async function until(what: string, probe: () => boolean, patience = PATIENCE): Promise<number> {
  const start = performance.now()
  while (!probe()) {
    if (performance.now() - start > patience) throw new Error(`not within ${patience} ms: ${what}`)
    await sleep(Math.min(5 + (performance.now() - start) / 10, 50)) // what takes long is asked about less often
  }
  return performance.now() - start
}

const started: ChildProcess[] = []
process.once('exit', () => started.forEach((child) => child.kill('SIGKILL')))

export class Agent {
  readonly node: string
  readonly stateDir: string
  readonly confDir: string
  readonly binDir: string
  #process: ChildProcess
  #log = ''

  /** Starts an agent on a node; `options` come behind what every agent of these tests is told. */
  constructor(node: string, options = '') {
    this.node = node
    ;[this.stateDir, this.confDir, this.binDir] = [`/run/${node}/state`, `/run/${node}/net.d`, `/run/${node}/bin`]
    mkdirSync(this.binDir, { recursive: true })
    const args = `${podwire} agent --peers ${PEERS} --node ${node} --state-dir ${this.stateDir} --conf-dir ${this.confDir} --bin-dir ${this.binDir} ${options.includes('--listen ') ? '' : `--listen ${METRICS}`} ${options}`
    this.#process = spawn('nsenter', [`--net=/run/netns/${node}`, ...args.trim().split(/ +/)], { stdio: ['ignore', 'ignore', 'pipe'] })
    this.#process.stderr!.on('data', (chunk) => (this.#log += chunk))
    this.#process.unref() // a test that has failed does not wait for it
    ;(this.#process.stderr as Socket).unref()
    started.push(this.#process)
  }

  /** Starts one and waits until its overlay is ready. */
  static async ready(node: string, options = ''): Promise<Agent> {
    const agent = new Agent(node, options)
    try {
      await until('starting', () => agent.log.includes('msg=starting') || agent.over)
      await until('ready', () => agent.status().ready || agent.over)
      if (agent.over) throw new Error('the agent has ended')
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${agent.log}`)
    }
    return agent
  }

  /** What it has logged. */
  get log(): string {
    return this.#log
  }

  get pid(): number {
    return this.#process.pid!
  }

  get over(): boolean {
    return this.#process.exitCode !== null || this.#process.signalCode !== null
  }

  /** Waits for its end; its exit code. */
  async end(): Promise<number | null> {
    this.#process.ref()
    ;(this.#process.stderr as Socket).ref()
    if (!this.over) await once(this.#process, 'close')
    return this.#process.exitCode
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (!this.over) this.#process.kill(signal)
    return this.end()
  }

  /** Holds it up, so that damage is done before it hears of it. */
  pause(): void {
    this.#process.kill('SIGSTOP')
  }

  resume(): void {
    this.#process.kill('SIGCONT')
  }

  /** overlay.json, as a plugin reads it. */
  status(): { ready: boolean; reason: string } {
    const file = `${this.stateDir}/overlay.json`
    return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : { ready: false, reason: '' }
  }

  /** `podwire status` on the node: exit status and text. */
  podwireStatus(...args: string[]): { status: number; stdout: string } {
    return inside(this.node, () => status(['--state-dir', this.stateDir, ...args]))
  }

  /** True if `podwire status` finds nothing to repair: the kernel is as the plan says (what nodes say may be wrong). */
  get whole(): boolean {
    try {
      const { ready, findings } = JSON.parse(this.podwireStatus('--json').stdout) as { ready: boolean; findings: { repair: string }[] }
      return ready && findings.every(({ repair }) => repair === '')
    } catch {
      return false // a device went away while it was read
    }
  }

  /** Waits until the kernel is as the plan says, and returns how long it took. */
  async settled(patience = PATIENCE): Promise<number> {
    try {
      return await until('podwire status has nothing to say', () => this.whole, patience)
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${this.podwireStatus().stdout}\n${this.log.split('\n').slice(-8).join('\n')}`)
    }
  }

  /** Waits until it has read the file of peers as it is now, and has made it true; returns how long that took. */
  async reads(patience = PATIENCE): Promise<number> {
    const nodes = (JSON.parse(readFileSync(PEERS, 'utf8')) as { nodes: Node[] }).nodes.map((one) => JSON.stringify(one))
    const known = () => {
      const { parts, problems } = this.said()
      const used = [parts?.self, ...(parts?.peers ?? []).map((peer) => peer.node)].map((one) => JSON.stringify(one))
      return used.every((one) => nodes.includes(one)) && nodes.every((one) => used.includes(one) || problems.some(({ node }) => node === JSON.parse(one).name))
    }
    const took = await until('the file has been read', known, patience).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.log}`)
    })
    return took + (await this.settled(patience))
  }

  /** status.json. */
  said(): Status {
    const file = `${this.stateDir}/status.json`
    return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : ({ problems: [], source: { reason: '' } } as unknown as Status)
  }

  /** Asks /healthz, /readyz or /metrics: status and body. */
  get(path: string): { status: number; body: string } {
    const answer = on(this.node, `exec 3<>/dev/tcp/${METRICS.replace(':', '/')}; printf 'GET ${path} HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3`)
    const [, code, body] = /^HTTP\/1\.1 (\d+)[^]*?\r\n\r\n([^]*)$/.exec(answer) ?? []
    return { status: Number(code), body: body ?? '' }
  }

  /** The value of a sample in /metrics; 0 if there is none. */
  metric(sample: string): number {
    return Number(this.get('/metrics').body.split('\n').find((line) => line.startsWith(`${sample} `))?.slice(sample.length + 1) ?? 0)
  }
}

// tap's loaders are for tests, not for what is tested; compiled once, an agent starts in two thirds of the time.
const podwire = `env -u NODE_OPTIONS NODE_COMPILE_CACHE=${resolve('node_modules/.cache/podwire')} ${process.execPath} --disable-warning=ExperimentalWarning ${MAIN}`

/** The command line of podwire, the executable that ships, on a node. */
export const podwireOn = (name: string, args: string): string => on(name, `${resolve('dist/bin/podwire')} ${args}`)

/** What a container runtime does: a namespace, and ADD with the first plugin of the node's conflist. Its addresses. */
export function pod(agent: Agent, name: string): string[] {
  ip(`netns add ${name}`)
  const { json, stdout } = wire(agent, 'ADD', name)
  if (!json?.ips) throw new Error(stdout)
  return json.ips.map(({ address }: { address: string }) => address.split('/')[0])
}

export function wire(agent: Agent, command: string, name: string, keys: object = {}): ReturnType<typeof call> {
  const list = JSON.parse(readFileSync(`${agent.confDir}/10-podwire.conflist`, 'utf8'))
  const conf = { ...list.plugins[0], name: list.name, cniVersion: '1.1.0', ...keys }
  return inside(agent.node, () => call('podwire', command, conf, { container: name, netns: `/run/netns/${name}` }))
}

/** The kernel of a node, as iproute2 and nft tell it, sorted and without what only says when it was made. */
export function kernel(name: string): string {
  const text = on(name, `
    printf 'addr show dev podwire.1\\nroute show table all\\nneigh show nud all dev podwire.1\\n' | ip -d -force -batch - 2>&1
    bridge fdb show dev podwire.1 2>&1
    for key in ipv4/ip_forward ipv6/conf/all/forwarding ipv6/conf/podwire.1/{accept_ra,addr_gen_mode,disable_ipv6}; do [ -e /proc/sys/net/$key ] && echo $key $(</proc/sys/net/$key); done
    nft -s list ruleset`)
  const timeless = (line: string) => line.replace(/^\d+: /, '').replaceAll(/ (linkdown|tentative)\b/g, '')
  const [facts, ruleset] = text.split(/(?=^table )/m)
  return [...facts!.split('\n').filter((line) => !/fe80|ff00|ff02/.test(line)).map(timeless).sort(), ruleset ?? ''].join('\n')
}
