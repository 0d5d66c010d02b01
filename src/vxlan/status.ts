// status.json, read: it says what an agent saw, and whoever can write it could say anything. So it is looked through before it is
// believed, down to each address, and what can be typed into a shell is a plain word. Pure.

import { parseAddress, parseCidr } from '../ip.ts'
import { vniOf } from './overlay.ts'
import type { Status } from './state-dir.ts'

/** Error that says what in the text is not what an agent writes. */
export function statusOf(text: string): Status {
  const status = parse(text)
  STATUS(status, '')
  const { parts, device } = status as Status
  if (parts && vniOf(device) !== parts.options.vni) throw new Error(`parts.options.vni is ${parts.options.vni}, and device is ${device}`)
  if (parts) parts.options.uplinks ??= []
  return status as Status
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new Error('it is not JSON')
  }
}

/** Throws what is wrong with a value; `path` is where it stands. */
type Check = (value: unknown, path: string) => void

const is = (what: string, right: (value: unknown) => boolean): Check => (value, path) => {
  if (!right(value)) throw new Error(`${path || 'all of it'} is ${value === undefined ? 'missing' : `not ${what}`}`)
}

const optional = (check: Check): Check => (value, path) => {
  if (value !== undefined) check(value, path)
}

const list = (check: Check): Check => (value, path) => {
  isList(value, path)
  for (const [i, item] of (value as unknown[]).entries()) check(item, `${path}[${i}]`)
}

const isList = is('a list', Array.isArray)
const isObject = is('an object', (value) => typeof value === 'object' && value !== null && !Array.isArray(value))

const object = (keys: Record<string, Check>): Check => (value, path) => {
  isObject(value, path)
  for (const [key, check] of Object.entries(keys)) {
    check(Object.hasOwn(value as object, key) ? (value as Record<string, unknown>)[key] : undefined, path ? `${path}.${key}` : key)
  }
}

const matching = (what: string, right: (text: string) => boolean): Check => is(what, (value) => typeof value === 'string' && right(value))
const text = is('a text', (value) => typeof value === 'string')
const flag = is('true or false', (value) => typeof value === 'boolean')
const number = (least: number, most: number): Check =>
  is(`a number from ${least} to ${most}`, (value) => Number.isInteger(value) && (value as number) >= least && (value as number) <= most)
const address = matching('an IP address', (value) => parseAddress(value) !== undefined)
const cidr = matching('a network', (value) => parseCidr(value) !== undefined)
const dev = matching('the name of an interface', (value) => /^[\w@%+=,.-]{1,15}$/.test(value)) // IFNAMSIZ, <linux/if.h>
const mtu = number(0, 0x7fffffff)

const seconds = is('a number of seconds or milliseconds', (value) => typeof value === 'number' && value >= 0 && value <= Number.MAX_SAFE_INTEGER)
const count = number(0, Number.MAX_SAFE_INTEGER)

const HEARD = object({ node: text, address, asked: optional(seconds), answered: optional(seconds), roundTrip: optional(seconds), missed: count, missedLarge: count })

const NODE = object({ name: text, addresses: list(text), podCIDRs: list(text), created: optional(text) })

const OPTIONS = object({
  vni: number(1, 0xffffff), port: number(1, 0xffff), mtu: optional(mtu),
  directRouting: flag, masquerade: flag, nonMasqueradeCIDRs: list(cidr),
  checksumOffload: optional(flag), uplinks: optional(list(dev)), advertised: list(dev), // before 0.2 there were no uplinks
})

const PARTS = object({
  self: NODE, podCIDRs: list(cidr), options: OPTIONS,
  underlay: object({ local: address, dev: optional(dev), mtu, onLink: list(cidr) }),
  peers: list(object({ node: NODE, address, podCIDRs: list(cidr), onLink: object({ 4: optional(address), 6: optional(address) }) })),
})

const STATUS = object({
  node: text, device: matching('a device of podwire', (name) => vniOf(name) !== undefined), ready: flag, reason: text, conflist: text,
  problems: list(object({ node: text, sentence: text })),
  promised: optional(list(cidr)), executables: optional(list(text)), parts: optional(PARTS), heard: optional(list(HEARD)),
  source: object({ phase: matching('a phase', (phase) => ['connecting', 'listing', 'watching', 'failed'].includes(phase)), reason: text, what: text }),
})
