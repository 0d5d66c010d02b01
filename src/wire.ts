// What every plugin that wires pods does with a request: lease addresses, make a plan, and act on it by the verbs of
// state.ts. Here the pure parts meet the kernel and the disk. A plugin (ptp) brings its schema and its plan.

import { act, complain, podName, refuse, requireNetns, withKernel } from './act.ts'
import type { Filters, Pod } from './chained.ts'
import type { NetConf } from './cni/conf.ts'
import { CniError } from './cni/error.ts'
import type { Request } from './cni/plugin.ts'
import { addressesOf, dnsOf, type Interface, type IP, type Result, type ResultRoute } from './cni/result.ts'
import type { Schema } from './cni/schema.ts'
import type { Plan } from './facts.ts'
import { extras } from './extras.ts'
import { filtersOf } from './filters.ts'
import { GUARDS } from './guards.ts'
import { parseCidr, type Family } from './ip.ts'
import { ipamRoutes, type ConfWithIpam } from './ipam/conf.ts'
import { delegate } from './ipam/delegate.ts'
import { hostLocal } from './ipam/host-local.ts'
import type { Ipam } from './ipam/ipam.ts'
import { staticIpam } from './ipam/static.ts'
import * as link from './kernel/link.ts'
import type { Netns } from './kernel/netns.ts'
import { hasIPv6 } from './kernel/sysctl.ts'
import { uplink } from './kernel/uplink.ts'
import { hostIfname, owner, type Attachment } from './names.ts'
import { isNft } from './nouns.ts'
import { requireOverlay } from './vxlan/readiness.ts'
import * as state from './state.ts'
import type { Kernel } from './state.ts'

export type WireConf = NetConf & Partial<Pick<ConfWithIpam, 'ipam'>> & { ipMasq?: boolean; ipMasqBackend?: string; nonMasqueradeCIDRs?: string[]; mtu?: number; overlay?: string }

/** What a plan is made of. */
export interface Wiring {
  attachment: Attachment
  conf: WireConf
  ips: IP[]
  routes: ResultRoute[]
  /** Bytes; undefined in a CHECK whose prevResult does not tell it. */
  mtu: number | undefined
  /** In a CHECK: the MTU that ADD would choose; tuning may have set another. */
  chosen?: number | undefined
  /** A requested MAC address for the pod's end. */
  mac: string | undefined
  /** The node's interfaces with an IPv4 default route that do not forward. */
  deaf: string[]
  /** The node's interfaces whose IPv6 default route came by router advertisement. */
  advertised: string[]
  /** Whether the pod has other interfaces, whose routes may lead to the same places: ours are put behind theirs. */
  others: boolean
  filters?: Filters
}

/** A plugin that wires: pure functions. */
export interface Wirer {
  schema: Schema
  plan(wiring: Wiring): Plan
  /** What of IPAM's answer goes into the result, where that is not all of it as it is. */
  result?(wiring: Pick<Wiring, 'conf' | 'ips' | 'routes'>): Pick<Result, 'ips' | 'routes'>
  /** The result's interfaces; `sandbox` is CNI_NETNS as given, `macOf` tells the MAC address of an interface of the node. */
  interfaces(wiring: Wiring, sandbox: string, macOf: (dev: string) => string): Interface[]
  /** Index of the pod's interface among them. */
  podInterface: number
  /** The bridge that the node's end is a port of. */
  bridge?(conf: WireConf): Pod['bridge']
  /** Sentences about leases and keys that do not fit together; none if the plan can be made. */
  problems(wiring: Wiring): string[]
  /** Sentences about what podwire does not have. */
  unsupported?(conf: WireConf): string[]
}

export function add(wirer: Wirer, request: Request): Result {
  const { env, conf, attachment, lease } = parts(request)
  const extra = extras(conf)
  refuse([...(wirer.unsupported?.(conf) ?? []), ...extra.flatMap(({ plugin, conf: own }) => plugin.unsupported?.(own as never) ?? [])], 2)
  requireNetns(env)
  const dns = dnsOf(conf.dns)
  return withKernel(env.netns, (kernel) => {
    if (conf.overlay) requireOverlay(kernel.host, conf.overlay)
    const others = otherLinks(kernel, attachment)
    const ipam = ipamOf(request)
    const leased = ipam.add(lease)
    try {
      const own = wirer.result?.({ conf, ...leased }) ?? leased
      const wiring = { ...wiringOf(wirer, kernel.host, request, own), others }
      const pod = podOf(wirer, wiring)
      refuse([...wirer.problems(wiring), ...extra.flatMap(({ plugin, conf: of }) => plugin.problems?.(pod, of as never) ?? [])])
      for (const { plugin, conf: of } of extra) GUARDS[plugin.schema.$id!]?.(kernel, pod, of, request.notes)
      const plan = planOf(wirer, wiring)
      act(kernel, plan, podName(env.netns), request.notes)
      return answered(kernel, plan, () => {
        const result = {
          interfaces: wirer.interfaces(wiring, env.netns, (dev) => link.get(kernel.host, dev)?.mac ?? ''),
          ips: own.ips.map((ip) => ({ ...ip, interface: wirer.podInterface })),
          routes: own.routes,
          dns: Object.keys(dns).length > 0 ? dns : leased.dns,
        }
        return extra.reduce((before, { plugin, conf: of }) => plugin.result?.(before, pod, of as never) ?? before, behind(conf.prevResult, result))
      })
    } catch (error) {
      throw giveBack(() => ipam.del(lease), error as Error)
    }
  })
}

/** What a plan came to; if that cannot be told, the plan is taken back. */
function answered(kernel: Kernel, plan: Plan, tell: () => Result): Result {
  try {
    return tell()
  } catch (error) {
    state.del(kernel, plan)
    throw error
  }
}

/**
 * All that ADD makes: the wiring, and what plugins add to it that the configuration asks for. What stands in nf_tables comes
 * together, since neighbours are one transaction.
 */
export function planOf(wirer: Wirer, wiring: Wiring): Plan {
  const pod = podOf(wirer, wiring)
  // The MAC address is the pod's from the beginning: by it the pod is known to others, and held to it (macspoofchk).
  const mac = extras(wiring.conf).map(({ plugin, conf }) => plugin.settings?.(pod, conf as never).mac).findLast((one) => one !== undefined)
  const own = wirer.plan({ ...wiring, mac: mac ?? wiring.mac })
  const end = own.findLastIndex((fact) => !isNft(fact)) + 1
  const more = extras(wiring.conf).map(({ plugin, conf }) => around(plugin.plan(pod, conf as never)))
  return [...own.slice(0, end), ...more.flatMap(({ before }) => before), ...own.slice(end), ...more.flatMap(({ nft }) => nft), ...more.flatMap(({ behind }) => behind)]
}

/** A plan in three: what comes before its first facts of nf_tables, these, and what is behind them. */
function around(plan: Plan): Record<'before' | 'nft' | 'behind', Plan> {
  const first = (is: boolean, from: number) => {
    const index = plan.findIndex((fact, i) => i >= from && isNft(fact) === is)
    return index < 0 ? plan.length : index
  }
  const start = first(true, 0)
  const end = first(false, start)
  return { before: plan.slice(0, start), nft: plan.slice(start, end), behind: plan.slice(end) }
}

/** The pod as plugins behind see it. */
export function podOf(wirer: Wirer, { attachment, conf, ips, routes, mtu, chosen, mac, filters }: Wiring): Pod {
  return { attachment, ips, routes, host: hostIfname(attachment), bridge: wirer.bridge?.(conf), mtu, chosen, mac, ...(filters && { filters }) }
}

/** A result added to that of the plugins before us in the chain. CNI 1.1 §2 ADD */
function behind(prev: Result | undefined, own: Result): Result {
  if (!prev) return own
  const shift = prev.interfaces.length
  return {
    interfaces: [...prev.interfaces, ...own.interfaces],
    ips: [...prev.ips, ...own.ips.map((ip) => ({ ...ip, interface: ip.interface! + shift }))],
    routes: [...prev.routes, ...own.routes],
    dns: Object.keys(own.dns).length > 0 ? own.dns : prev.dns,
  }
}

export function check(wirer: Wirer, request: Request): void {
  const { env, conf, lease } = parts(request)
  requireResult(conf)
  requireNetns(env, 3)
  withKernel(env.netns, (kernel) => {
    const plan = made(wirer, request, kernel)
    requireKnown(request, kernel)
    complain([...ipamOf(request).check(lease), ...state.check(kernel, plan, podName(env.netns))])
  })
}

/** Error 3 if nothing tells of the attachment any more: no end of its veth pair and, where who leases can say so, no lease. */
function requireKnown(request: Request, kernel: Kernel): void {
  const { attachment, lease } = parts(request)
  const { network, containerID, ifname } = attachment
  const ipam = ipamOf(request)
  if (!ipam.holders || !ipam.addresses || link.get(kernel.host, hostIfname(attachment)) || link.get(kernel.pod!, ifname)) return
  if (ipam.addresses(lease).length === 0) throw new CniError(3, `network ${network} does not know container ${containerID} (${ifname}): it has neither interface nor lease`)
}

/** What ADD made, by its result. Errors 7 and 102: that is not one of this configuration and this pod. */
export function made(wirer: Wirer, request: Request, kernel: Kernel): Plan {
  const { env, conf, attachment, lease } = parts(request)
  const prev = requireResult(conf)
  const ours = prev.interfaces.find(({ name, sandbox }) => name === attachment.ifname && sandbox)
  if (!ours) throw new CniError(7, `prevResult.interfaces has no ${attachment.ifname} in a sandbox`)
  if (ours.sandbox !== env.netns) throw new CniError(102, `Sandbox in prevResult ${ours.sandbox} doesn't match configured netns: ${env.netns}`)
  const ips = addressesOf(prev, attachment.ifname)
  // Other plugins' routes may be in the result too: ours are those of our configuration, where IPAM has no others.
  const configured = ipamRoutes(lease.conf)
  const routes = ipamOf(request).preview ? prev.routes.filter(({ dst }) => configured.some((route) => route.dst === dst)) : prev.routes
  const own = wirer.result?.({ conf, ips, routes }) ?? { ips, routes }
  const asAdd = wiringOf(wirer, kernel.host, request, own)
  const end = kernel.pod ? link.get(kernel.pod, attachment.ifname) : link.get(kernel.host, hostIfname(attachment))
  const wiring: Wiring = { ...asAdd, chosen: asAdd.mtu, mtu: ours.mtu ?? end?.mtu, mac: ours.mac }
  refuse(wirer.problems(wiring))
  return planOf(wirer, wiring)
}

function requireResult({ prevResult }: NetConf): Result {
  if (prevResult) return prevResult
  throw new CniError(7, 'Required prevResult missing', 'CHECK compares with the result of ADD, which the runtime passes as prevResult')
}

/** What a request is about, and how its addresses are leased. */
export function parts(request: Request) {
  const conf = request.conf as WireConf
  const attachment: Attachment = { network: conf.name, containerID: request.env.containerID, ifname: request.env.ifname }
  return { env: request.env, conf, attachment, lease: { conf: conf as WireConf & ConfWithIpam, attachment, args: request.env.args } }
}

const ETH_DATA_LEN = 1500 // a veth's MTU when nothing says another. <linux/if_ether.h>

/** Everything that a plan is made of, of an ADD's leases or a CHECK's prevResult. */
export function wiringOf(wirer: Wirer, host: Netns, request: Request, { ips, routes }: Pick<Result, 'ips' | 'routes'>): Wiring {
  const { env, conf, attachment } = parts(request)
  const families = [...new Set(ips.map(({ address }) => parseCidr(address)!.family))]
  requireIPv6(families)
  if (conf.ipMasqBackend === 'iptables') request.notes.push('ipMasqBackend "iptables" is served with nf_tables, as "nftables" is: one table of our own, no program needed')
  const { mtu, deaf, advertised } = uplink(host, families)
  const bridge = conf.mtu ? undefined : wirer.bridge?.(conf) // one that is there, of whoever's making, has the MTU that it should have
  return { attachment, conf, ips, routes, mtu: conf.mtu || ((bridge && link.get(host, bridge.name)?.mtu) ?? mtu ?? ETH_DATA_LEN), mac: (conf.runtimeConfig?.mac ?? conf.args?.cni?.mac ?? env.args.mac)?.toLowerCase().replaceAll('-', ':'), deaf, advertised, others: false, filters: filtersOf(host) }
}

export function ipamOf({ conf, env, stdin }: Request): Ipam {
  const { type } = (conf as WireConf).ipam ?? {}
  if (!type) return NO_IPAM
  return type === 'host-local' ? hostLocal : type === 'static' ? staticIpam : delegate({ path: env.path, stdin })
}

/** A pod that has no address from anybody. */
const NO_IPAM: Ipam = { add: () => ({ interfaces: [], ips: [], routes: [], dns: {} }), del: () => {}, check: () => [], gc: () => {}, status: () => {}, addresses: () => [], occupied: () => true }

/**
 * Whether the pod has interfaces beside lo. One of our name is an error (CNI 1.1 §2 ADD), told before anything is leased.
 */
function otherLinks(kernel: Kernel, attachment: Attachment): boolean {
  const { containerID, ifname } = attachment
  const there = link.list(kernel.pod!).map(({ name }) => name)
  if (there.includes(ifname)) throw new CniError(101, `interface ${ifname} already exists in the container's network namespace`, `container ${containerID}: send DEL first, or choose another CNI_IFNAME`)
  const [host, mine] = [hostIfname(attachment), owner(attachment)]
  const end = link.get(kernel.host, host)
  const already = `container ${containerID} already has an interface ${ifname}`
  if (end?.alias !== undefined && end.alias !== mine)
    throw new CniError(101, `${already} in another network: its host end ${host} belongs to ${end.alias}`, 'send DEL for that network first, or choose another CNI_IFNAME')
  if (end) throw new CniError(101, `${already}: its host end ${host} exists`, 'send DEL for this container and interface first')
  return there.some((name) => name !== 'lo')
}

function requireIPv6(families: Family[]): void {
  if (families.includes(6) && !hasIPv6()) throw new CniError(103, 'an IPv6 address is asked for, but this kernel has no IPv6', 'boot without ipv6.disable=1, or take the IPv6 ranges out of ipam')
}

/** Frees what an ADD leased, and returns the error with which it failed; a second failure goes into its details. */
function giveBack(free: () => void, error: Error): Error {
  try {
    free()
    return error
  } catch (second) {
    const { code, details } = error instanceof CniError ? error : { code: 108, details: undefined }
    return new CniError(code, error.message, [details, `the address could not be released: ${(second as Error).message}`].filter(Boolean).join('; '))
  }
}
