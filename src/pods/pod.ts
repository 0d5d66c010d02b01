// A pod that runs, by what the runtime's library keeps of it and by what the kernel has: which of its list's plugins are podwire's,
// and what these have made, as facts.

import { statSync } from 'node:fs'
import { join } from 'node:path'
import { checkName } from '../cni/conf.ts'
import type { Request } from '../cni/plugin.ts'
import { readEnvironment } from '../cni/request.ts'
import { canonical } from '../cni/schema.ts'
import { configuration } from '../cni/serve.ts'
import { isVersion, parseVersion } from '../cni/version.ts'
import type { Plan } from '../facts.ts'
import { directoryOf } from '../ipam/host-local.ts'
import * as link from '../kernel/link.ts'
import { hostIfname, isOwner, owner } from '../names.ts'
import { pluginOf, WIRERS } from '../plugins.ts'
import type { Finding, Kernel } from '../state.ts'
import { ipamOf, parts } from '../wire.ts'
import type { Kept } from './library.ts'

/** What is known of one entry of a pod's list. */
export interface Part {
  plan: Plan
  /** Whether its addresses are leased to it still, where podwire leases; `restore` leases what it lost and nobody else has. */
  leases: { check(): Finding[]; restore(): Finding[] }[]
  /** Why its facts are not known. */
  unknown: string[]
}

/** Whether an executable of a plugin's name is podwire's; undefined if there is none. */
export type IsOurs = (type: string) => boolean | undefined

/**
 * What podwire's plugins have made for a pod, entry by entry: what one makes of it depends on what the kernel has of those before.
 * Error: what the library keeps is none of podwire's configurations any more.
 */
export function* partsOf(kept: Kept, kernel: Kernel, isOurs: IsOurs): Generator<Part> {
  for (const entry of kept.entries) {
    const type = String(entry.type ?? '')
    const plugin = pluginOf(type)
    if (!plugin || isOurs(type) === false) yield { plan: [], leases: [], unknown: [`${type} is not podwire's: its own CHECK knows`] }
    else {
      const request = requestOf(kept, plugin, entry)
      yield { plan: plugin.made?.(request, kernel) ?? [], leases: isWirer(entry) ? leasesOf(request) : [], unknown: [] }
    }
  }
}

/** An IPAM executable of somebody else's is not asked. */
function leasesOf(request: Request): Part['leases'] {
  const [ipam, { lease }] = [ipamOf(request), parts(request)]
  return ipam.restore ? [{ check: () => ipam.check(lease), restore: () => ipam.restore!(lease) }] : []
}

type Plugin = NonNullable<ReturnType<typeof pluginOf>>

/** What the library would ask with CHECK. */
function requestOf({ attachment, netns, args, capabilityArgs, result }: Kept, plugin: Plugin, entry: Record<string, unknown>): Request {
  const notes: string[] = []
  const declared = Object.entries((entry.capabilities ?? {}) as Record<string, unknown>).filter(([, on]) => on === true)
  const given = declared.flatMap(([name]) => (capabilityArgs[name] === undefined ? [] : [[name, capabilityArgs[name]]]))
  const runtimeConfig = given.length > 0 && { runtimeConfig: Object.fromEntries(given) }
  const input = canonical(plugin.schema, { ...entry, ...runtimeConfig, prevResult: result }, notes, [])
  const version = parseVersion(isVersion(result.cniVersion) ? result.cniVersion : input.cniVersion, 'ADD')
  const conf = configuration(plugin, input, checkName(input.name), version, notes)
  const words = [...args].map(([key, value]) => `${key}=${value}`).join(';')
  const { containerID, ifname } = attachment
  const about = { CNI_CONTAINERID: containerID, CNI_NETNS: netns ?? '-', CNI_IFNAME: ifname, CNI_ARGS: words }
  const env = readEnvironment({ CNI_COMMAND: 'CHECK', CNI_PATH: '/', ...about })
  return { env, conf, stdin: Buffer.alloc(0), notes }
}

/**
 * How it is about a pod's interface: `wired` by podwire; `lost`, because podwire's is gone; `others`, of another plugin or another
 * network of the same container.
 */
export type Standing = 'wired' | 'lost' | 'others'

export function standingOf({ attachment, entries, result }: Kept, kernel: Kernel): Standing {
  const end = link.get(kernel.host, hostIfname(attachment))
  if (end?.kind === 'veth') return end.alias === owner(attachment) || !isOwner(end.alias ?? '') ? 'wired' : 'others'
  return isWirer(entries[0]) && names(result).includes(hostIfname(attachment)) ? 'lost' : 'others'
}

/** Whether the first of a list's plugins is one of podwire's that give a pod its interface, by its type. */
const isWirer = (entry: Record<string, unknown> | undefined): boolean => Object.hasOwn(WIRERS, String(entry?.type).replace(/^podwire-/, ''))

const names = ({ interfaces }: Record<string, unknown>): unknown[] =>
  Array.isArray(interfaces) ? interfaces.map((one) => (one as { name?: unknown } | null)?.name) : []

/** Tells by a directory of plugins which are podwire's: they are one file under many names, or copies of it. */
export const executablesIn = (directory: string): IsOurs => (type) => {
  if (type.startsWith('podwire')) return true
  const [own, there] = ['podwire', type].map((name) => statSync(join(directory, name), { throwIfNoEntry: false }))
  if (!there || !own) return undefined
  return there.size === own.size
}

/** `namespace/name` of the pod in Kubernetes; undefined if no runtime of Kubernetes made it. */
export function podNameOf(args: Map<string, string>): string | undefined {
  const [namespace, name] = ['K8S_POD_NAMESPACE', 'K8S_POD_NAME'].map((key) => args.get(key))
  return namespace && name ? `${namespace}/${name}` : undefined
}

/** The files of a pod's leases, where podwire leases. */
export function leaseFilesOf({ attachment, entries: [entry], result }: Kept): string[] {
  const { type, dataDir } = (entry?.ipam ?? {}) as { type?: unknown; dataDir?: unknown }
  const ips = Array.isArray(result.ips) ? (result.ips as ({ address?: unknown } | null)[]) : []
  if (type !== 'host-local') return []
  const directory = directoryOf(attachment.network, typeof dataDir === 'string' ? dataDir : undefined)
  return ips.flatMap((ip) => (typeof ip?.address === 'string' ? [join(directory, ip.address.split('/')[0]!)] : []))
}
