// `podwire agent` and `podwire uninstall`: options to what the agent wants.

import { join } from 'node:path'
import { CniError } from '../cni/error.ts'
import { agentLater } from '../later.ts'
import { LIBRARY } from '../pods/library.ts'
import type { AgentOptions } from '../vxlan/agent.ts'
import { parse } from './args.ts'
import { removeBridge } from './bridge.ts'
import { number, WISHES, wishesOf } from './wishes.ts'

const OPTIONS = {
  peers: { type: 'string' },
  kubeconfig: { type: 'string' },
  node: { type: 'string' },
  ...WISHES,
  library: { type: 'string', default: LIBRARY },
  'conf-dir': { type: 'string', default: '/etc/cni/net.d' },
  'bin-dir': { type: 'string', default: '/opt/cni/bin' },
  'lib-dir': { type: 'string' },
  'state-dir': { type: 'string', default: '/run/podwire' },
  listen: { type: 'string', default: '127.0.0.1:9466' },
  'probe-port': { type: 'string', default: '9467' },
  'probe-interval': { type: 'string', default: '30' },
  'install-only': { type: 'boolean', default: false },
  uninstall: { type: 'boolean', default: false },
} as const

const UNINSTALL = { ...OPTIONS, bridge: { type: 'string' } } as const

export async function agent(args: string[]): Promise<string> {
  const { values } = parse(args, OPTIONS)
  const options = optionsOf(values)
  if (values.uninstall) return takeAway(options)
  if (values['install-only']) return installed(options)
  if (options.node === '') throw new CniError(4, 'which node is this? Say it with --node NAME, or in NODE_NAME')
  await agentLater().agent(options)
  return ''
}

/** The same options, so that what was said to the agent can be said here; or a bridge, and of the overlay nothing. */
export function uninstall(args: string[]): string {
  const { values } = parse(args, UNINSTALL)
  return values.bridge === undefined ? takeAway(optionsOf(values)) : removeBridge(values.bridge)
}

type Values = ReturnType<typeof parse<typeof OPTIONS>>['values']

function optionsOf(values: Values): AgentOptions {
  const binDir = values['bin-dir']
  return {
    node: values.node ?? process.env.NODE_NAME ?? '',
    peers: values.peers,
    kubeconfig: values.kubeconfig,
    ...wishesOf(values),
    library: values.library,
    confDir: values['conf-dir'],
    binDir,
    libDir: values['lib-dir'] ?? join(binDir, '../lib/podwire'),
    stateDir: values['state-dir'],
    listen: values.listen,
    ...probing(values),
    procSys: process.env.PODWIRE_PROC_SYS || '/proc/sys',
  }
}

/** A port of its own: at the overlay's the kernel takes all packets. */
function probing(values: Values): Pick<AgentOptions, 'probePort' | 'probeInterval'> {
  if (values['probe-port'] === values.port) throw new CniError(4, `--probe-port ${values.port} is --port, by which VXLAN receives: choose another`)
  return { probePort: number('probe-port', values['probe-port'], 0, 65535), probeInterval: number('probe-interval', values['probe-interval'], 1, 86_400) }
}

function takeAway(options: AgentOptions): string {
  const problems = agentLater().uninstall(options)
  if (problems.length > 0) throw new CniError(107, problems.join('; '))
  return `the overlay is gone, with its conflist and executables; pods that run keep their interfaces until they are deleted\n`
}

function installed({ binDir, libDir }: AgentOptions): string {
  const names = agentLater().install(process.execPath, binDir, libDir)
  return names.length === 0 ? `${binDir} has this podwire already\n` : `installed into ${binDir}: ${names.join(', ')}\n`
}
