// The plans of a network configuration's entries, which are those that ADD acts on, and of an overlay.

import { refuse } from '../act.ts'
import { previous } from '../chain.ts'
import type { Pod } from '../chained.ts'
import { checkName, type NetConf } from '../cni/conf.ts'
import { CniError, withNotes } from '../cni/error.ts'
import type { Request } from '../cni/plugin.ts'
import { readEnvironment } from '../cni/request.ts'
import type { Result } from '../cni/result.ts'
import { canonical } from '../cni/schema.ts'
import { configuration, refuseTwice, type Served } from '../cni/serve.ts'
import { parseVersion } from '../cni/version.ts'
import { EXTRAS, extras } from '../extras.ts'
import type { Plan } from '../facts.ts'
import { refuseNoIpam } from '../ipam/delegate.ts'
import { Netns } from '../kernel/netns.ts'
import { pluginOf, WIRERS } from '../plugins.ts'
import { plan as sbrPlan, problems as sbrProblems, thereAfter, type SbrConf } from '../sbr/sbr.ts'
import type { VxlanConf } from '../vxlan/conf.ts'
import { mtuProblem } from '../vxlan/overlay.ts'
import { planOf } from '../vxlan/plugin.ts'
import { findUnderlay, NoUnderlay, type FindUnderlay } from '../vxlan/underlay.ts'
import type { View } from '../vxlan/view.ts'
import { ipamOf, planOf as wiredPlan, podOf, wiringOf, type Wirer } from '../wire.ts'
import type { Entry } from './entries.ts'
import { path, remarksOn } from './remarks.ts'

export interface Part {
  type: string
  plan: Plan
  /** What an operator should know. */
  notes: string[]
  /** What is probably not meant so. */
  warnings: string[]
}

/** The pod. */
interface About {
  netns: string
  container: string
  ifname: string
}

/** The plans of a list's entries; what one wires the next ones add to. */
export function chainOf(inputs: Entry[], about: About): Part[] {
  const attachment = { network: String(inputs[0]!.name), containerID: about.container, ifname: about.ifname }
  let pod: Pod = { attachment, ips: EXAMPLE.ips, routes: [], host: 'veth0', bridge: undefined, mtu: undefined }
  const made: Plan = []
  return inputs.map((input, i) => {
    const { wired, ...part } = partOf(input, about, { pod, made, first: i === 0 })
    pod = wired ?? pod
    for (const fact of part.plan) made.push(fact)
    return part
  })
}

interface Before {
  pod: Pod
  made: Plan
  /** There is no entry before. */
  first: boolean
}

function partOf(input: Entry, about: About, { pod: before, made, first }: Before): Part & { wired?: Pod } {
  const { type } = input
  const [plugin, plain] = [pluginOf(type), type.replace(/^podwire-/, '')]
  const warnings = remarksOn(input)
  const theirs = `type "${type}" is not podwire's: its executable does its own work`
  if (!plugin) return { type, plan: [], notes: warnings.length > 0 ? [] : [theirs], warnings }
  const conf = decode(plugin, input, warnings)
  if (first && ADD_ONS.has(plain)) previous({ conf } as Request)
  const extra = EXTRAS[plain]
  if (extra) {
    refuse(extra.problems?.(before, conf as never) ?? [])
    return { type, plan: extra.plan(before, conf as never), notes: [], warnings }
  }
  if (plain === 'vxlan') {
    const part = overlayPart(type, (host, find) => planOf(host, conf as VxlanConf, find))
    return { ...part, warnings: [...warnings, ...part.warnings] }
  }
  if (plain === 'sbr') {
    refuse(sbrProblems(before, conf as SbrConf))
    return { type, plan: sbrPlan(before, conf as SbrConf, thereAfter(made, about.ifname)), notes: [], warnings }
  }
  const wirer = WIRERS[plain]
  if (!wirer) return { type, plan: type === 'loopback' ? [{ fact: 'link set', in: 'pod', dev: 'lo', up: true }] : [], notes: [], warnings }
  return { ...wiredPart(wirer, conf, about), warnings }
}

/** Plugins that need the result of one before. */
const ADD_ONS = new Set([...Object.keys(EXTRAS), 'sbr', 'vxlan'])

function wiredPart(wirer: Wirer, conf: NetConf, { netns, container, ifname }: About): Omit<Part, 'warnings'> & { wired: Pod } {
  const { type } = conf
  const notes: string[] = []
  const env = readEnvironment({ CNI_COMMAND: 'ADD', CNI_CONTAINERID: container, CNI_NETNS: netns, CNI_IFNAME: ifname, CNI_PATH: path() })
  const request: Request = { env, conf, stdin: Buffer.alloc(0), notes }
  const host = new Netns()
  try {
    const leased = leases(request, notes)
    const wiring = wiringOf(wirer, host, request, wirer.result?.({ conf, ...leased }) ?? leased)
    const pod = podOf(wirer, wiring)
    const behind = extras(conf).flatMap(({ plugin, conf: own }) => plugin.problems?.(pod, own as never) ?? [])
    refuse([...wirer.problems(wiring), ...behind])
    return { type, plan: wiredPlan(wirer, wiring), notes, wired: pod }
  } finally {
    host.close()
  }
}

/** A configuration as ADD reads it; `notes` receives what is read otherwise than written. */
function decode(plugin: Served, given: Entry, notes: string[]): NetConf {
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
  refuseNoIpam(conf.ipam.type)
  notes.push(`addresses come from ${conf.ipam.type} at ADD: the ones shown are examples`)
  return { ...EXAMPLE, routes: conf.ipam.routes ?? [] }
}

/** The overlay's plan can be looked at on any machine: where the underlay is not, eth0 with 1500 bytes stands for it. */
export function overlayPart(type: string, viewed: (host: Netns, find: FindUnderlay) => View): Part {
  const host = new Netns()
  const notes: string[] = []
  const find: FindUnderlay = (netns, self, choice) => {
    try {
      return findUnderlay(netns, self, choice)
    } catch (error) {
      if (!(error instanceof NoUnderlay) || choice !== undefined || self.addresses.length === 0) throw error
      notes.push(`${self.addresses[0]} is not an address of this machine: eth0 and an MTU of 1500 are an example`)
      return { local: self.addresses[0]!, dev: 'eth0', mtu: 1500, onLink: [], example: true }
    }
  }
  try {
    const { plan, problems, underlay, options, podCIDRs } = viewed(host, find)
    const narrow = mtuProblem(underlay, options.mtu, podCIDRs)
    const warnings = problems.map(({ node, sentence }) => `node ${node} cannot be used as it is: ${sentence}`)
    return { type, plan, notes, warnings: narrow === undefined ? warnings : [narrow, ...warnings] }
  } finally {
    host.close()
  }
}
