// The keys that every configuration on standard input may have. CNI 1.1 §1 "Plugin configuration objects", §2.

import { CniError } from './error.ts'
import { excerpt } from './json.ts'
import { IDENTIFIER } from './request.ts'
import type { Schema } from './schema.ts'
import type { Result } from './result.ts'
import type { CniVersion } from './version.ts'
import type { Attachment } from '../names.ts'

export interface NetConf {
  cniVersion: CniVersion
  name: string
  type: string
  dns?: Dns
  args?: { cni?: { ips?: string[]; mac?: string } }
  runtimeConfig?: RuntimeConfig
  prevResult?: Result
  /** The living attachments of the network, in a GC request; undefined when the request names none. */
  validAttachments?: Omit<Attachment, 'network'>[]
}

export interface Dns {
  nameservers?: string[]
  domain?: string
  search?: string[]
  options?: string[]
}

export interface RuntimeConfig {
  ips?: string[]
  mac?: string
  ipRanges?: unknown[][]
}

const strings = (expected: string): Schema => ({ type: 'array', items: { type: 'string', expected }, expected: `a list of ${expected}` })

export const DNS: Schema = {
  description: 'replaces what IPAM says of DNS',
  type: 'object',
  expected: 'an object with nameservers, domain, search, options',
  properties: {
    nameservers: { ...strings('IP addresses of name servers'), description: 'name servers' },
    domain: { type: 'string', expected: 'a domain name', description: 'local domain' },
    search: { ...strings('domain names'), description: 'search list' },
    options: { ...strings('resolver options such as ndots:5'), description: 'resolver options' },
  },
}

const MAC: Schema = { type: 'string', format: 'mac', expected: 'a MAC address such as "0a:58:0a:01:02:03"' }
const IPS: Schema = { description: 'requested addresses', type: 'array', items: { type: 'string', format: 'address-or-cidr', expected: 'an IP address, with or without prefix length' }, expected: 'a list of IP addresses' }
const ATTACHMENTS: Schema = {
  type: 'array',
  expected: 'a list of {containerID, ifname}',
  items: { type: 'object', expected: 'an object with containerID and ifname', required: ['containerID', 'ifname'], properties: { containerID: { type: 'string', expected: 'a container ID' }, ifname: { type: 'string', expected: 'an interface name' } } },
}

/** Schema properties that all plugins share. */
export const COMMON: Record<string, Schema> = {
  cniVersion: { type: 'string' },
  name: { type: 'string', expected: 'a network name' },
  type: { type: 'string', pattern: '^[^/\\0]*$', expected: 'the name of a plugin' },
  dns: DNS,
  args: { type: 'object', expected: 'an object', properties: { cni: { type: 'object', expected: 'an object', properties: { ips: IPS, mac: { ...MAC, description: 'requested MAC address' } } } } },
  runtimeConfig: { type: 'object', expected: 'an object', properties: { ips: IPS, mac: { ...MAC, description: 'requested MAC address' } } },
  capabilities: { type: 'object', expected: 'an object' },
  prevResult: { type: 'object', expected: 'a result' },
  'cni.dev/valid-attachments': ATTACHMENTS,
  'cni.dev/attachments': ATTACHMENTS,
}

const NAME_MAX = 255 // bytes, here characters. <linux/limits.h>

/** Error 7 if the network has no name, or one that could not be a file's. */
export function checkName(name: unknown): string {
  if (name === undefined || name === '') throw new CniError(7, 'missing network name', 'name is missing: expected the name of the network')
  if (typeof name !== 'string') throw new CniError(7, `name is ${excerpt(name)}: expected the name of the network, a string`)
  if (!IDENTIFIER.test(name)) throw new CniError(7, `invalid characters found in network name: name is ${excerpt(name)}`, `${name}: allowed are letters, digits, ".", "_" and "-", beginning with a letter or a digit`)
  if (name.length > NAME_MAX)
    throw new CniError(7, `name is ${excerpt(name)}: expected at most ${NAME_MAX} characters, because it becomes the name of a directory`)
  return name
}

/** The attachments that live: the union of the key's two names (containernetworking/cni#1101); undefined without either. */
export function validAttachments(conf: Record<string, unknown>): Omit<Attachment, 'network'>[] | undefined {
  const lists = [conf['cni.dev/valid-attachments'], conf['cni.dev/attachments']].filter((list) => Array.isArray(list))
  return lists.length === 0 ? undefined : lists.flat()
}
