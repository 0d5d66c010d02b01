// The plugins that can stand behind the one that wires, by name; and what of them an entry of ptp or bridge asks for.

import { bandwidth } from './bandwidth/bandwidth.ts'
import type { Chained } from './chained.ts'
import type { NetConf } from './cni/conf.ts'
import type { Schema } from './cni/schema.ts'
import { firewall } from './firewall/firewall.ts'
import { portmap } from './portmap/portmap.ts'
import { tuning } from './tuning/tuning.ts'

export const EXTRAS: Record<string, Chained<never>> = { portmap: portmap as Chained<never>, bandwidth: bandwidth as Chained<never>, firewall: firewall as Chained<never>, tuning: tuning as Chained<never> }

/** One of them, and its configuration. */
export interface Extra {
  plugin: Chained
  conf: NetConf
}

const all = () => Object.entries(EXTRAS) as unknown as [string, Chained][]

/** The keys that ptp and bridge have of them. */
export const extraKeys = (): Record<string, Schema> =>
  Object.fromEntries(all().map(([name, { keys }]) => [name, { type: 'object', expected: `an object with keys of ${name}`, properties: keys, description: `${name} without an entry of its own: its keys` }]))

/** What ptp and bridge know of runtimeConfig through them. */
export const extraRuntime = (): Record<string, Schema> => Object.assign({}, ...all().map(([, { runtime }]) => runtime))

/** What a configuration of ptp or bridge asks for: by an object under its name, or because the runtime passed what it serves. */
export function extras(conf: NetConf): Extra[] {
  const { cniVersion, name, type, args, runtimeConfig, prevResult } = conf
  const given = (keys: Record<string, Schema>) => Object.keys(keys).some((key) => isSomething((runtimeConfig as Record<string, unknown> | undefined)?.[key]))
  return all().flatMap(([key, plugin]): Extra[] => {
    const own = (conf as unknown as Record<string, object | undefined>)[key]
    return own || given(plugin.runtime) ? [{ plugin, conf: { ...own, cniVersion, name, type, ...(args && { args }), ...(runtimeConfig && { runtimeConfig }), ...(prevResult && { prevResult }) } }] : []
  })
}

const isSomething = (value: unknown): boolean => (Array.isArray(value) ? value.length > 0 : value !== undefined && value !== null)
