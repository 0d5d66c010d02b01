// `podwire agent` and `podwire uninstall`: options to what the agent wants.

import { join, resolve } from 'node:path'
import { CniError } from '../cni/error.ts'
import { agentLater } from '../later.ts'
import { LIBRARY } from '../pods/library.ts'
import { lackingInPod } from '../vxlan/in-cluster.ts'
import type { AgentOptions } from '../vxlan/options.ts'
import { parse, Usage } from './args.ts'
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
  force: { type: 'boolean', default: false },
} as const

const UNINSTALL = { ...OPTIONS, bridge: { type: 'string' } } as const

/** What has a meaning in another way of calling it than as an agent that goes on. */
const INSTALL_ONLY = ['install-only', 'bin-dir', 'lib-dir']
const TAKE_AWAY = ['uninstall', 'force', 'vni', 'conf-dir', 'bin-dir', 'lib-dir', 'state-dir', 'library']

export async function agent(args: string[]): Promise<string> {
  const { values, given } = parse(args, OPTIONS)
  if (values['install-only']) refuseOthers(given, 'install-only', INSTALL_ONLY)
  else if (values.uninstall) refuseOthers(given, 'uninstall', TAKE_AWAY)
  else if (values.force) throw new Usage('--force has a meaning with --uninstall alone')
  const options = optionsOf(values)
  if (values['install-only']) return installed(options)
  if (values.uninstall) return takeAway(options, values.force)
  requireNode(options)
  requireSource(options)
  await agentLater().agent(options)
  return ''
}

/** The same options as of an agent, so that it is found what that has made; or a bridge, and of the overlay nothing. */
export function uninstall(args: string[]): string {
  const { values, given } = parse(args, UNINSTALL)
  if (values.bridge !== undefined) refuseOthers(given, 'bridge', ['bridge'])
  else for (const name of given) if (!TAKE_AWAY.includes(name)) throw new Usage(`--${name} has no meaning here`)
  return values.bridge === undefined ? takeAway(optionsOf(values), values.force) : removeBridge(values.bridge)
}

function refuseOthers(given: Set<string>, way: string, meant: string[]): void {
  for (const name of given) if (!meant.includes(name)) throw new Usage(`--${name} has no meaning with --${way}`)
}

function requireNode({ node }: AgentOptions): void {
  if (node === '') throw new CniError(4, 'which node is this? Say it with --node NAME, or in NODE_NAME')
}

/** There has to be one place from which the nodes come. */
function requireSource({ peers, kubeconfig }: AgentOptions): void {
  const twice = peers !== undefined && kubeconfig !== undefined
  if (twice) throw new Usage('--peers and --kubeconfig exclude each other: the nodes come from one of them')
  const lacking = peers === undefined && kubeconfig === undefined ? lackingInPod() : undefined
  if (lacking === undefined) return
  const ways = '--peers FILE, --kubeconfig FILE, or run the agent in a pod of the cluster as conf/podwire.yaml does'
  throw new CniError(4, `where do the nodes come from? ${lacking}: say ${ways}`)
}

type Values = ReturnType<typeof parse<typeof OPTIONS>>['values']

function optionsOf(values: Values): AgentOptions {
  const binDir = resolve(values['bin-dir'])
  return {
    node: values.node ?? process.env.NODE_NAME ?? '',
    peers: values.peers,
    kubeconfig: values.kubeconfig,
    ...wishesOf(values),
    library: resolve(values.library),
    confDir: resolve(values['conf-dir']),
    binDir,
    libDir: resolve(values['lib-dir'] ?? join(binDir, '../lib/podwire')),
    stateDir: resolve(values['state-dir']), // it is in the conflist, which a runtime reads in a directory of its own
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

function takeAway(options: AgentOptions, force: boolean): string {
  const { gone, problems, pods, lines } = agentLater().uninstall({ ...options, force })
  if (problems.length > 0) throw new CniError(107, problems.join('; '))
  const { stateDir, confDir, binDir, vni } = options
  const places = [confDir, binDir, stateDir].join(', ')
  if (gone.length === 0) return `there was nothing of an overlay: neither an interface of VNI ${vni} nor anything in ${places}\n`
  return `removed: ${gone.join(', ')}\n${pods.length === 0 ? '' : whatIsLeft(pods, lines, confDir)}`
}

/** How pods are deleted without the network that they had. */
const whatIsLeft = (pods: string[], lines: string[], confDir: string): string => `left: ${pods.join(', ')}
  A runtime deletes these pods when it has a network again: put the conflist of another one into ${confDir}, with its executables, or
  start podwire agent once more. What that one does not know of goes by these lines, when the pods are deleted:
${lines.map((line) => `${line}\n`).join('')}`

function installed({ binDir, libDir }: AgentOptions): string {
  const names = agentLater().install(process.execPath, binDir, libDir)
  return names.length === 0 ? `${binDir} has this podwire already\n` : `installed into ${binDir}: ${names.join(', ')}\n`
}
