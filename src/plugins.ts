// The plugins by the name under which a configuration's `type` calls them.

import { bridge } from './bridge/bridge.ts'
import { chain, type Memory } from './chain.ts'
import { served, type Served } from './cni/serve.ts'
import { del, gc } from './clean.ts'
import { status } from './health.ts'
import { EXTRAS } from './extras.ts'
import { hostLocal } from './ipam/host-local.ts'
import { ipamPlugin } from './ipam/plugin.ts'
import { staticIpam } from './ipam/static.ts'
import { loopback } from './loopback/loopback.ts'
import { later } from './later.ts'
import { ptp } from './ptp/ptp.ts'
import { sbr } from './sbr/plugin.ts'
import { backup } from './tuning/backup.ts'
import { VXLAN } from './vxlan/conf.ts'
import { add, check, made, type Wirer } from './wire.ts'
import type { Plugin } from './cni/plugin.ts'

/** A plugin that wires: its plan, and what all of them do. */
const wire = (wirer: Wirer): Plugin => ({ schema: wirer.schema, add: (request) => add(wirer, request), del, check: (request) => check(wirer, request), made: (request, kernel) => made(wirer, request, kernel), gc, status: (request) => status(wirer, request) })

/** The plugins that are plans. */
export const WIRERS: Record<string, Wirer> = { ptp, podwire: ptp, bridge }

/** What entries of their own write down. */
const MEMORIES: Record<string, Memory> = { tuning: backup }

/** The overlay without an agent. Not in the snapshot: who has a cluster never uses it. */
const vxlan: Plugin = {
  schema: VXLAN,
  add: (request) => later().vxlan.add(request),
  del: () => {},
  check: (request) => later().vxlan.check(request),
  gc: () => {},
  status: (request) => later().vxlan.status(request),
}

export const PLUGINS: Record<string, Served> = {
  ptp: served(wire(ptp)),
  bridge: served(wire(bridge)),
  loopback: served(loopback),
  'host-local': served(ipamPlugin('host-local', hostLocal)),
  static: served(ipamPlugin('static', staticIpam)),
  vxlan: served(vxlan),
  sbr: served(sbr),
  ...Object.fromEntries(Object.entries(EXTRAS).map(([name, extra]) => [name, served(chain(extra, MEMORIES[name]))])),
}

/** Other names of theirs, for machines where the reference's are taken. */
const PREFIX = 'podwire-'

/** The plugin of that name, with or without prefix; `podwire` itself is ptp. */
export function pluginOf(name: string): Served | undefined {
  const plain = name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name
  return Object.hasOwn(PLUGINS, plain) ? PLUGINS[plain] : name === 'podwire' ? PLUGINS.ptp : undefined
}
