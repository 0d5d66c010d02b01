// One request: what the runtime put into the environment, and the bytes it wrote to standard input. CNI 1.1 §2
// "Parameters". Nothing else of the environment is looked at.

import { CniError } from './error.ts'
import { formats } from './formats.ts'
import { excerpt } from './json.ts'
import type { Command } from './version.ts'

export interface Environment {
  command: Command
  containerID: string
  /** As given; empty when the runtime gave none. */
  netns: string
  ifname: string
  args: CniArgs
  /** Directories in which executables are looked for. */
  path: string[]
}

/** CNI_ARGS that podwire understands. */
export interface CniArgs {
  ip?: string
  mac?: string
  gateway?: string
}

type Env = Record<string, string | undefined>

const COMMANDS = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'] as const
const REQUIRED: Record<Command, string[]> = {
  ADD: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
  CHECK: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
  DEL: ['CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_PATH'],
  GC: ['CNI_PATH'],
  STATUS: [],
  VERSION: [],
}

/** Reads the environment. Errors: 4, naming the variable. */
export function readEnvironment(env: Env): Environment {
  const command = env.CNI_COMMAND as Command
  if (!(COMMANDS as readonly string[]).includes(command)) throw new CniError(4, `unknown CNI_COMMAND: ${env.CNI_COMMAND}`, `expected one of ${COMMANDS.join(', ')}`)
  const required = REQUIRED[command]
  for (const name of required) {
    const problem = env[name] && PROBLEMS[name]?.(env[name])
    if (problem) throw new CniError(4, `${name}=${excerpt(env[name])}: ${problem[0]}`, problem[1])
  }
  const missing = required.filter((name) => !env[name])
  if (missing.length > 0) throw new CniError(4, `required env variables [${missing.join(',')}] missing`)
  return {
    command,
    containerID: env.CNI_CONTAINERID ?? '',
    netns: env.CNI_NETNS ?? '',
    ifname: env.CNI_IFNAME ?? '',
    // Judged when a plugin asks for them: loopback has no use for any, and DEL fails for nothing it does not need.
    get args() {
      return command === 'ADD' || command === 'CHECK' ? parseArgs(env.CNI_ARGS ?? '') : {}
    },
    path: (env.CNI_PATH ?? '').split(':').filter(Boolean),
  }
}

/** What a container ID and a network name look like. CNI 1.1 §2, §1 */
export const IDENTIFIER = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/

type Problem = [message: string, details: string] | undefined

const PROBLEMS: Record<string, (value: string) => Problem> = {
  CNI_CONTAINERID: (value) => (IDENTIFIER.test(value) ? undefined : ['invalid characters in containerID', 'allowed are letters, digits, ".", "_" and "-", beginning with a letter or a digit']),
  CNI_IFNAME: (value) => {
    if (value === '.' || value === '..') return ['interface name is . or ..', 'choose another interface name']
    if (Buffer.byteLength(value) > 15) return ['interface name is too long', 'interface name should be less than 16 characters'] // IFNAMSIZ, <linux/if.h>
    if (/[/:\s\x85]/.test(value)) return ['interface name contains / or : or whitespace characters', 'choose another interface name']
    if (value.includes('\uFFFD')) return ['interface name is not UTF-8', 'choose another interface name'] // what Node.js puts for such bytes
    return undefined
  },
}

/** The fields that podwire understands: what each may be, in a list or alone. */
const FIELDS: Record<string, { valid: (value: string) => boolean; expected: string }> = {
  IP: { valid: (value) => value.split(',').every(formats['address-or-cidr']), expected: 'an IP address, with or without prefix length' },
  MAC: { valid: formats.mac, expected: 'a MAC address such as 0a:58:0a:01:02:03' },
  GATEWAY: { valid: (value) => value.split(',').every(formats.address), expected: 'an IP address' },
}
const KNOWN = new Set([...Object.keys(FIELDS), 'K8S_POD_NAMESPACE', 'K8S_POD_NAME', 'K8S_POD_INFRA_CONTAINER_ID', 'K8S_POD_UID'])

/** `K=V;K=V`. Unknown keys are an error unless IgnoreUnknown is given. */
function parseArgs(text: string): CniArgs {
  const found = new Map<string, string>()
  for (const pair of text.split(';').filter(Boolean)) {
    const [key, value, ...more] = pair.split('=')
    if (!key || value === undefined || more.length > 0) throw new CniError(4, `CNI_ARGS: invalid pair ${excerpt(pair)}: expected KEY=VALUE;KEY=VALUE`)
    if (Object.hasOwn(FIELDS, key) && (found.get(key) ?? value) !== value) throw new CniError(4, `CNI_ARGS: ${key} stands twice, as ${found.get(key)} and as ${value}`)
    found.set(key, value)
  }
  const ignore = found.get('IgnoreUnknown') ?? 'false'
  if (!/^(1|0|true|false)$/i.test(ignore)) throw new CniError(4, `CNI_ARGS: IgnoreUnknown=${excerpt(ignore)}: expected 1, 0, true or false`)
  found.delete('IgnoreUnknown')
  const unknown = [...found].filter(([key]) => !KNOWN.has(key)).map(([key, value]) => `${key}=${value}`)
  if (unknown.length > 0 && /^(0|false)$/i.test(ignore)) throw new CniError(4, `CNI_ARGS: unknown args ${excerpt(unknown)}`, 'podwire knows IP, MAC, GATEWAY and K8S_POD_*; with IgnoreUnknown=1 others are ignored')
  for (const [key, { valid, expected }] of Object.entries(FIELDS)) {
    const value = found.get(key)
    if (value && !valid(value)) throw new CniError(4, `CNI_ARGS: ${key}=${value}: expected ${expected}`)
  }
  const [ip, mac, gateway] = [found.get('IP'), found.get('MAC'), found.get('GATEWAY')]
  return { ...(ip && { ip }), ...(mac && { mac }), ...(gateway && { gateway }) }
}
