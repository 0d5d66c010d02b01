// What `podwire plan` warns of: a configuration that is no error to podwire, but probably not meant so.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { didYouMean, nearest } from '../nearest.ts'
import { PLUGINS, pluginOf } from '../plugins.ts'
import type { Entry } from './entries.ts'

/** Directories in which a runtime looks for executables. */
export const path = (): string => process.env.CNI_PATH || '/opt/cni/bin'

/** Whether there is an executable of that name. */
const isInPath = (name: string): boolean => path().split(':').some((directory) => directory !== '' && existsSync(join(directory, name)))

/** What a runtime passes as `runtimeConfig`. https://www.cni.dev/docs/conventions/ */
const CAPABILITIES = ['portMappings', 'ipRanges', 'bandwidth', 'dns', 'ips', 'mac', 'infinibandGUID', 'deviceID', 'aliases', 'cgroupPath']

/** Plugins that are not podwire's, which lists have beside them. https://www.cni.dev/plugins/current/ */
const OTHERS = 'macvlan ipvlan vlan host-device dummy tap vrf flannel calico cilium-cni multus'.split(' ')

/** Sentences about one entry of a list. */
export function remarksOn({ type, ipam, capabilities }: Entry): string[] {
  const own = pluginOf(type) || isInPath(type) ? [] : [unfound('plugin', type, [...Object.keys(PLUGINS), ...OTHERS])]
  return [...own, ...ipamRemarks(ipam), ...capabilityRemarks(capabilities)]
}

function ipamRemarks(ipam: unknown): string[] {
  const type = typeof ipam === 'object' && ipam !== null && 'type' in ipam ? ipam.type : undefined
  if (typeof type !== 'string' || type === '' || type.includes('/') || pluginOf(type) || isInPath(type)) return []
  return [unfound('IPAM plugin', type, ['host-local', 'static', 'dhcp', 'whereabouts'])]
}

function unfound(what: string, type: string, names: string[]): string {
  const near = names.includes(type) ? '' : didYouMean(type, names)
  const where = `CNI_PATH (${path()})`
  return `no ${what} ${JSON.stringify(type)}${near ? `${near} Not found in ${where} either` : ` in podwire, nor in ${where}`}`
}

function capabilityRemarks(capabilities: unknown): string[] {
  if (typeof capabilities !== 'object' || capabilities === null) return []
  return Object.keys(capabilities).flatMap((name) => {
    const near = CAPABILITIES.includes(name) ? undefined : nearest(name, CAPABILITIES)
    return near === undefined ? [] : [`capabilities has ${JSON.stringify(name)}, for which a runtime passes nothing: did you mean ${near}?`]
  })
}
