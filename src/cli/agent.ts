// `podwire agent` and `podwire uninstall`: options to what the agent wants.

import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { CniError } from '../cni/error.ts'
import { parseAddress, parseCidr } from '../ip.ts'
import { agentLater } from '../later.ts'
import type { AgentOptions } from '../vxlan/agent.ts'

const OPTIONS = {
  peers: { type: 'string' },
  kubeconfig: { type: 'string' },
  node: { type: 'string' },
  vni: { type: 'string', default: '1' },
  port: { type: 'string', default: '8472' },
  underlay: { type: 'string' },
  mtu: { type: 'string' },
  'direct-routing': { type: 'boolean', default: false },
  'no-masquerade': { type: 'boolean', default: false },
  'non-masquerade-cidrs': { type: 'string', default: '' },
  'conf-dir': { type: 'string', default: '/etc/cni/net.d' },
  'bin-dir': { type: 'string', default: '/opt/cni/bin' },
  'lib-dir': { type: 'string' },
  'state-dir': { type: 'string', default: '/run/podwire' },
  listen: { type: 'string', default: '127.0.0.1:9466' },
  'install-only': { type: 'boolean', default: false },
  uninstall: { type: 'boolean', default: false },
} as const

export async function agent(args: string[]): Promise<string> {
  const { values } = parseArgs({ args, options: OPTIONS })
  const options = optionsOf(values)
  if (values.uninstall) return takeAway(options)
  if (values['install-only']) return installed(options)
  if (options.node === '') throw new CniError(4, 'which node is this? Say it with --node NAME, or in NODE_NAME')
  await agentLater().agent(options)
  return ''
}

/** The same options, so that what was said to the agent can be said here. */
export const uninstall = (args: string[]): string => takeAway(optionsOf(parseArgs({ args, options: OPTIONS }).values))

type Values = ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>['values']

function optionsOf(values: Values): AgentOptions {
  const binDir = values['bin-dir']
  return {
    node: values.node ?? process.env.NODE_NAME ?? '',
    peers: values.peers,
    kubeconfig: values.kubeconfig,
    vni: number('vni', values.vni, 1, 0xffffff), // RFC 7348 §5: 24 bits
    port: number('port', values.port, 1, 65535),
    underlay: values.underlay,
    mtu: values.mtu === undefined ? undefined : number('mtu', values.mtu, 68, 65535),
    directRouting: values['direct-routing'],
    masquerade: !values['no-masquerade'],
    nonMasqueradeCIDRs: values['non-masquerade-cidrs'].split(',').filter(Boolean).map(network),
    confDir: values['conf-dir'],
    binDir,
    libDir: values['lib-dir'] ?? join(binDir, '../lib/podwire'),
    stateDir: values['state-dir'],
    listen: values.listen,
  }
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

function number(name: string, text: string, least: number, most: number): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < least || value > most) throw new CniError(4, `--${name} ${text}: expected a number from ${least} to ${most}`)
  return value
}

function network(text: string): string {
  const cidr = parseCidr(text) ?? (parseAddress(text) ? parseCidr(`${text}/${text.includes(':') ? 128 : 32}`) : undefined)
  if (!cidr) throw new CniError(4, `--non-masquerade-cidrs: ${text} is no network in CIDR notation`)
  return text.includes('/') ? text : `${text}/${text.includes(':') ? 128 : 32}`
}
