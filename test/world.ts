// A world of its own for a kernel test: user, network and mount namespace, with a fresh /run and /var/lib, so that a test
// needs no root, sees nothing of the machine and leaves nothing on it. A test file imports this first; started outside, it
// starts itself again inside.

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { serve, type Answer } from '../src/cni/serve.ts'
import { pluginOf } from '../src/plugins.ts'

/** Seconds that a file's tests may take where nobody says how many: no machine is that slow. */
export const TAP_TIMEOUT = '600'

if (process.env.PODWIRE_WORLD === undefined) {
  const { status } = spawnSync('unshare', ['-rnm', '--propagation', 'private', process.execPath, ...process.execArgv, ...process.argv.slice(1)], { stdio: 'inherit', env: { TAP_TIMEOUT, ...process.env, PODWIRE_WORLD: '1' } })
  process.exit(status ?? 1)
}
sh('mount -t tmpfs run /run && mkdir /run/netns && mount -t tmpfs lib /var/lib && ip link set lo up')

/** Runs a shell line and returns what it printed; throws with its stderr if it fails. */
export function sh(line: string): string {
  return execFileSync('bash', ['-c', line], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim()
}

/** True if a shell line succeeds. */
export const works = (line: string): boolean => spawnSync('bash', ['-c', line], { stdio: 'ignore' }).status === 0

export const ip = (args: string): string => sh(`ip ${args}`)
export const nft = (args: string): string => sh(`nft ${args}`)

/** A network namespace of that name; its path. */
export function netns(name: string): string {
  ip(`netns add ${name}`)
  return `/run/netns/${name}`
}

export interface Call {
  container?: string
  netns?: string
  ifname?: string
  args?: string
  path?: string
}

/** Sends a request to a plugin of this process, as a runtime would to the executable. */
export function call(type: string, command: string, conf: object | string, { container = 'c1', netns = '/run/netns/pod', ifname = 'eth0', args = '', path = '/nowhere' }: Call = {}): Answer & { json: any } {
  const env = { CNI_COMMAND: command, CNI_CONTAINERID: container, CNI_NETNS: netns, CNI_IFNAME: ifname, CNI_ARGS: args, CNI_PATH: path }
  const answer = serve(pluginOf(type)!, env, () => Buffer.from(typeof conf === 'string' ? conf : JSON.stringify(conf)))
  return { ...answer, json: answer.stdout === '' ? undefined : JSON.parse(answer.stdout) }
}

/** Everything in this network namespace, the pod `pod`, nf_tables and the leases that a test could leave behind. */
export function state(pod?: string): string {
  const inside = pod ? [`ip -n ${pod} -d addr`, `ip -n ${pod} route show table all`, `ip -n ${pod} -6 route show table all`] : []
  return ['ip -d addr', 'ip route show table all', 'ip -6 route show table all', 'nft list ruleset', 'find /var/lib/cni -type f ! -name "last_reserved*" ! -name lock | sort', ...inside].map((line) => sh(line)).join('\n')
}

/** A directory of this world. */
export function directory(path: string): string {
  mkdirSync(path, { recursive: true })
  return path
}

/** A network with both families, whose pods are masqueraded. */
export const podnet = {
  cniVersion: '1.1.0',
  name: 'podnet',
  type: 'ptp',
  ipMasq: true,
  ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]], routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] },
}

/** The same with all that one entry can ask for. */
export const full = (hostPort = 8080) => ({
  ...podnet,
  firewall: {},
  tuning: { sysctl: { 'net.core.somaxconn': '500' } },
  runtimeConfig: {
    portMappings: [{ hostPort, containerPort: 80, protocol: 'tcp' }, { hostPort, containerPort: 53, protocol: 'udp', hostIP: '127.0.0.1' }],
    bandwidth: { ingressRate: 8_000_000, ingressBurst: 800_000, egressRate: 16_000_000, egressBurst: 1_600_000 },
  },
})
