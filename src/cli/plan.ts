// `podwire plan CONF`: what ADD would do, as ip and nft lines; of a file of peers, what the agent would make. The plan is the
// one that is acted on.

import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { podName, refuse } from '../act.ts'
import type { Pod } from '../chained.ts'
import { checkName, type NetConf } from '../cni/conf.ts'
import { CniError, withNotes } from '../cni/error.ts'
import { decodeObject, excerpt } from '../cni/json.ts'
import type { Request } from '../cni/plugin.ts'
import { readEnvironment } from '../cni/request.ts'
import type { Result } from '../cni/result.ts'
import { canonical } from '../cni/schema.ts'
import { configuration, refuseTwice, type Answer, type Served } from '../cni/serve.ts'
import { parseVersion } from '../cni/version.ts'
import { EXTRAS, extras } from '../extras.ts'
import type { Plan } from '../facts.ts'
import { show } from '../show.ts'
import { Netns } from '../kernel/netns.ts'
import { pluginOf, WIRERS } from '../plugins.ts'
import { plan as sbrPlan, problems as sbrProblems, thereAfter, type SbrConf } from '../sbr/sbr.ts'
import type { VxlanConf } from '../vxlan/conf.ts'
import { parsePeers } from '../vxlan/file.ts'
import { planOf } from '../vxlan/plugin.ts'
import { findUnderlay, NoUnderlay, type FindUnderlay } from '../vxlan/underlay.ts'
import { viewOf, type View, type Wishes } from '../vxlan/view.ts'
import { ipamOf, planOf as wiredPlan, podOf, wiringOf } from '../wire.ts'
import { WISHES, wishesOf } from './wishes.ts'

interface Part {
  type: string
  plan: Plan
  notes: string[]
}

export function plan(args: string[]): Answer {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { netns: { type: 'string', default: 'pod' }, container: { type: 'string', default: 'example' }, ifname: { type: 'string', default: 'eth0' }, json: { type: 'boolean', default: false }, ...WISHES, node: { type: 'string' } },
  })
  const [file, ...more] = positionals
  if (file === undefined || more.length > 0) throw new CniError(4, 'expected one configuration: podwire plan CONF')
  const conf = decodeObject(read(file), file)
  const parts = conf.nodes === undefined ? chainOf(entries(conf), values) : [peersPart(file, conf, values.node ?? process.env.NODE_NAME ?? '', wishesOf(values))]
  const stdout = values.json ? `${JSON.stringify(parts, null, 2)}\n` : parts.map((part) => text(part, podName(values.netns), parts.length > 1)).join('\n')
  return { status: 0, stdout, stderr: parts.flatMap(({ notes }) => notes.map((note) => `podwire: ${note}\n`)).join('') }
}

/** What the agent would make of a file of peers on the node of that name. */
function peersPart(file: string, conf: Record<string, unknown>, node: string, wishes: Wishes): Part {
  if (node === '') throw new CniError(4, 'which of the nodes is this one? Say it with --node NAME, or in NODE_NAME')
  return overlayPart('agent', (host, find) => viewOf(host, parsePeers(JSON.stringify(conf), file), node, wishes, find))
}

/** The overlay's plan can be looked at on any machine: where the underlay is not, eth0 with 1500 bytes stands for it. */
function overlayPart(type: string, viewed: (host: Netns, find: FindUnderlay) => View): Part {
  const host = new Netns()
  const notes: string[] = []
  const find: FindUnderlay = (netns, self, choice) => {
    try {
      return findUnderlay(netns, self, choice)
    } catch (error) {
      if (!(error instanceof NoUnderlay) || choice !== undefined || self.addresses.length === 0) throw error
      notes.push(`${self.addresses[0]} is not an address of this machine: eth0 and an MTU of 1500 are an example`)
      return { local: self.addresses[0]!, dev: 'eth0', mtu: 1500, onLink: [] }
    }
  }
  try {
    const { plan, problems } = viewed(host, find)
    return { type, plan, notes: [...notes, ...problems.map(({ node, sentence }) => `node ${node} cannot be used as it is: ${sentence}`)] }
  } finally {
    host.close()
  }
}

/** The plugin configurations in a file: itself, or those in its list, each with what the list gives to all. */
function entries(conf: Record<string, unknown>): Record<string, unknown>[] {
  if (conf.plugins === undefined) return [conf]
  if (!Array.isArray(conf.plugins) || conf.plugins.length === 0) throw new CniError(7, `plugins is ${excerpt(conf.plugins)}: expected a list of plugin configurations`)
  return conf.plugins.map((entry: unknown, i) => {
    if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) throw new CniError(7, `plugins[${i}] is ${excerpt(entry)}: expected the configuration of a plugin`)
    return { ...entry, name: conf.name, cniVersion: conf.cniVersion }
  })
}

interface About {
  netns: string
  container: string
  ifname: string
}

/** The plans of a list's entries; what one wires the next ones add to. */
function chainOf(inputs: Record<string, unknown>[], about: About): Part[] {
  let pod: Pod = { attachment: { network: String(inputs[0]?.name), containerID: about.container, ifname: about.ifname }, ips: EXAMPLE.ips, routes: [], host: 'veth0', bridge: undefined, mtu: undefined }
  const made: Plan = []
  return inputs.map((input) => {
    const { wired, ...part } = partOf(input, about, pod, made)
    pod = wired ?? pod
    for (const fact of part.plan) made.push(fact)
    return part
  })
}

function partOf(input: Record<string, unknown>, { netns, container, ifname }: About, before: Pod, made: Plan): Part & { wired?: Pod } {
  const type = String(input.type ?? '')
  const [plugin, wirer] = [pluginOf(type), WIRERS[type.replace(/^podwire-/, '')]]
  if (!plugin) return { type, plan: [], notes: [`type ${JSON.stringify(type)} is not podwire's: its executable does its own work`] }
  const notes: string[] = []
  const conf = decode(plugin, input, notes)
  if (conf.type.replace(/^podwire-/, '') === 'vxlan') return overlayPart(type, (host, find) => planOf(host, conf as VxlanConf, find))
  const extra = EXTRAS[conf.type.replace(/^podwire-/, '')]
  if (extra) {
    refuse(extra.problems?.(before, conf as never) ?? [])
    return { type, plan: extra.plan(before, conf as never), notes }
  }
  if (conf.type.replace(/^podwire-/, '') === 'sbr') {
    refuse(sbrProblems(before, conf as SbrConf))
    return { type, plan: sbrPlan(before, conf as SbrConf, thereAfter(made, ifname)), notes }
  }
  if (!wirer) return { type, plan: type === 'loopback' ? [{ fact: 'link set', in: 'pod', dev: 'lo', up: true }] : [], notes }
  const env = readEnvironment({ CNI_COMMAND: 'ADD', CNI_CONTAINERID: container, CNI_NETNS: netns, CNI_IFNAME: ifname, CNI_PATH: process.env.CNI_PATH || '/opt/cni/bin' })
  const request: Request = { env, conf, stdin: Buffer.alloc(0), notes }
  const host = new Netns()
  try {
    const leased = leases(request, notes)
    const wiring = wiringOf(wirer, host, request, wirer.result?.({ conf, ...leased }) ?? leased)
    const pod = podOf(wirer, wiring)
    refuse([...wirer.problems(wiring), ...extras(conf).flatMap(({ plugin: behind, conf: own }) => behind.problems?.(pod, own as never) ?? [])])
    return { type, plan: wiredPlan(wirer, wiring), notes, wired: pod }
  } finally {
    host.close()
  }
}

function decode(plugin: Served, given: Record<string, unknown>, notes: string[]): NetConf {
  const twice: string[] = []
  const input = canonical(plugin.schema, given, notes, twice)
  try {
    refuseTwice(twice, false, notes)
    return configuration(plugin, input, checkName(input.name), parseVersion(input.cniVersion, 'ADD'), notes)
  } catch (error) {
    throw error instanceof CniError ? withNotes(error, notes) : error
  }
}

const EXAMPLE: Result = { interfaces: [], ips: [{ address: '192.0.2.2/24', gateway: '192.0.2.1' }], routes: [], dns: {} } // RFC 5737

/** What ADD would lease next; an executable of somebody else's cannot be asked, so its addresses are examples. */
function leases(request: Request, notes: string[]): Result {
  const conf = request.conf as Parameters<NonNullable<ReturnType<typeof ipamOf>['preview']>>[0]['conf']
  const attachment = { network: conf.name, containerID: request.env.containerID, ifname: request.env.ifname }
  const preview = ipamOf(request).preview?.({ conf, attachment, args: {} })
  if (preview) return preview
  notes.push(`addresses come from ${conf.ipam.type} at ADD: the ones shown are examples`)
  return { ...EXAMPLE, routes: conf.ipam.routes ?? [] }
}

function text({ type, plan }: Part, pod: string, titled: boolean): string {
  const lines = plan.map((fact) => show(fact, pod)).filter(Boolean)
  return `${titled ? `# ${type}\n` : ''}${lines.map((line) => `${line}\n`).join('')}`
}

function read(file: string): Uint8Array {
  try {
    return readFileSync(file === '-' ? 0 : file)
  } catch (error) {
    throw new CniError(5, (error as Error).message)
  }
}
