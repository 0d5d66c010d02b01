// What a runtime's library does: the plugins of a list one after the other, and a file about it until DEL.

import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { LIBRARY } from '../../src/pods/library.ts'
import { call, ip } from '../world.ts'

export interface List {
  name: string
  plugins: Record<string, any>[]
}

export interface About {
  container?: string
  ifname?: string
  /** What the runtime passes to plugins that declare a capability. */
  capabilityArgs?: Record<string, unknown>
  /** CNI_ARGS. */
  args?: [string, string][]
}

const about = ({ container = 'c1', ifname = 'eth0', args = [], capabilityArgs = {} }: About) => ({ container, ifname, args, capabilityArgs, netns: `/run/netns/${container}` })

export const fileOf = (list: List, { container = 'c1', ifname = 'eth0' }: About = {}): string => `${LIBRARY}/${list.name}-${container}-${ifname}`

/** ADD of a list in a namespace called as the container, which is made if it is not there; its result. */
export function attach(list: List, given: About = {}): any {
  const { container, ifname, args, capabilityArgs, netns } = about(given)
  ip(`netns add ${container} 2>/dev/null || true`)
  let result: any
  for (const plugin of list.plugins) {
    const { json } = run('ADD', list, plugin, given, result)
    if (json?.code !== undefined) throw new Error(`${plugin.type}: ${JSON.stringify(json)}`)
    result = json
  }
  const config = Buffer.from(JSON.stringify({ cniVersion: '1.1.0', ...list })).toString('base64')
  mkdirSync(LIBRARY, { recursive: true })
  const kept = { kind: 'cniCacheV1', containerId: container, config, ifName: ifname, networkName: list.name, netns, cniArgs: args, capabilityArgs, result }
  writeFileSync(fileOf(list, given), JSON.stringify(kept))
  return result
}

/** DEL of a list, last to first, and the end of its file. */
export function detach(list: List, given: About = {}, result?: object): void {
  for (const plugin of list.plugins.toReversed()) {
    const { stdout } = run('DEL', list, plugin, given, result)
    if (stdout !== '') throw new Error(stdout)
  }
  rmSync(fileOf(list, given), { force: true })
}

export function run(command: string, list: List, plugin: Record<string, any>, given: About, prevResult?: object) {
  const { container, ifname, args, capabilityArgs, netns } = about(given)
  const passed = Object.entries(plugin.capabilities ?? {}).flatMap(([name, on]) => (on === true && capabilityArgs[name] !== undefined ? [[name, capabilityArgs[name]]] : []))
  const conf = { ...plugin, cniVersion: '1.1.0', name: list.name, ...(passed.length > 0 && { runtimeConfig: Object.fromEntries(passed) }), ...(prevResult && { prevResult }) }
  return call(plugin.type, command, conf, { container, netns, ifname, args: args.map((pair) => pair.join('=')).join(';') })
}
