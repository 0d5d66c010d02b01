// What podwire needs to know of a node, whoever tells it: a Node object of Kubernetes, a file of peers, the peers of an entry
// `vxlan`. The last two are read here: what is wrong with one node hurts that one, and becomes a sentence about it. Pure.

import { canonical, type Schema } from '../cni/schema.ts'
import { printable } from '../printable.ts'

export interface Node {
  name: string
  /** Where the node is reached on the underlay; those of Kubernetes' type InternalIP. The first one's family is the primary. */
  addresses: string[]
  /** The networks of the node's pods, at most one of a family. */
  podCIDRs: string[]
  /** When the node came to be, ISO 8601: of two that claim one network, the older keeps it. */
  created?: string
  /** What of the node could not be read, sentences. */
  wrong?: string[]
  /** The name that it says, where another node has that already. */
  namesake?: string
}

/** The nodes by their names. */
export type Nodes = ReadonlyMap<string, Node>

/** How much of what is said is heeded: so many nodes in a list, addresses and networks of a node, characters of a name. */
export const MOST_NODES = 50_000
export const MOST_ADDRESSES = 32
export const MOST_NETWORKS = 8
const LONGEST_NAME = 253 // RFC 1123, as Kubernetes has it

const ADDRESSES: Schema = {
  type: 'array',
  minItems: 1,
  expected: 'a list of IP addresses',
  description: "the node's addresses on the underlay, the primary family's first",
  items: { type: 'string', expected: 'an IP address' },
}

const POD_CIDRS: Schema = {
  type: 'array',
  expected: 'a list of networks in CIDR notation',
  description: "the networks of the node's pods, one of each family",
  items: { type: 'string', expected: 'a network in CIDR notation such as "10.244.1.0/24"' },
}

const CREATED: Schema = {
  type: 'string',
  expected: 'a time such as "2026-01-31T12:00:00Z"',
  description: 'when the node came to be: of two that claim one network, the older keeps it; without it, the first by name',
}

const NAME: Schema = { type: 'string', pattern: '.', expected: 'the name of the node', description: "the node's name" }

/** What a node is to be; one that is not so hurts itself alone. */
export const NODE: Schema = {
  type: 'object',
  expected: 'an object with name, addresses, podCIDRs',
  required: ['name', 'addresses', 'podCIDRs'],
  properties: { name: NAME, addresses: ADDRESSES, podCIDRs: POD_CIDRS, created: CREATED },
}

/** A file of peers: all nodes of the overlay, this one among them. */
export const PEERS: Schema = {
  $id: 'peers',
  type: 'object',
  required: ['nodes'],
  properties: { nodes: { type: 'array', expected: 'a list of nodes', description: 'all nodes of the overlay, this one among them', items: NODE } },
}

/**
 * Nodes by name, read from a list of whatever there is in it. One without a name of its own is `nodes[3]`, its place. `ambiguous` has
 * sentences about those of which nobody can know what they say.
 */
export function nodesIn(list: unknown[], ambiguous: ReadonlyMap<number, string> = new Map()): Nodes {
  const all = new Map<string, Node>()
  for (const [i, value] of list.entries()) {
    const place = `nodes[${i}]`
    const read = nodeIn(value, place)
    const node = ambiguous.has(i) ? unusable(read.name, ambiguous.get(i)!) : read
    if (!all.has(node.name)) all.set(node.name, node)
    else all.set(place, { ...unusable(place, `${place}.name is ${quoted(node.name)}: another node has that name`), namesake: node.name })
  }
  return all
}

function nodeIn(value: unknown, place: string): Node {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
  if (!isObject) return unusable(place, `${place} is ${quoted(value)}: expected ${NODE.expected}`)
  const twice: string[] = []
  const { name, addresses, podCIDRs, created } = canonical(NODE, value as Record<string, unknown>, [], twice, place)
  const named = `${NAME.expected}, of 1 to ${LONGEST_NAME} characters that can be printed`
  if (!isName(name)) return unusable(place, `${place}.name ${isOrMissing(name)}: expected ${named}`)
  if (twice.length > 0) return unusable(name, twice[0]!)
  const wrong: string[] = []
  const node: Node = {
    name,
    addresses: texts(addresses, `${place}.addresses`, ADDRESSES, wrong).slice(0, MOST_ADDRESSES + 1),
    podCIDRs: texts(podCIDRs, `${place}.podCIDRs`, POD_CIDRS, wrong).slice(0, MOST_NETWORKS + 1),
  }
  if (isTime(created)) node.created = created
  else if (created !== undefined) wrong.push(`${place}.created is ${quoted(created)}: expected ${CREATED.expected}`)
  return wrong.length > 0 ? { ...node, wrong } : node
}

const unusable = (name: string, sentence: string): Node => ({ name, addresses: [], podCIDRs: [], wrong: [sentence] })

/** The texts in a list; a sentence for what is none. */
function texts(value: unknown, path: string, { expected, items }: Schema, wrong: string[]): string[] {
  if (!Array.isArray(value)) return wrong.push(`${path} ${isOrMissing(value)}: expected ${expected}`), []
  const other = value.findIndex((item) => typeof item !== 'string')
  if (other >= 0) wrong.push(`${path}[${other}] is ${quoted(value[other])}: expected ${items!.expected}`)
  return value.filter((item) => typeof item === 'string')
}

const isOrMissing = (value: unknown): string => (value === undefined || value === null ? 'is missing' : `is ${quoted(value)}`)

/** A name that can stand in a line of a log, a metric, a table. */
const isName = (value: unknown): value is string =>
  typeof value === 'string' && value.length <= LONGEST_NAME && value.trim() !== '' && !UNPRINTABLE.test(value)

export const isTime = (value: unknown): value is string => typeof value === 'string' && value.length <= LONGEST_TIME && !Number.isNaN(Date.parse(value))

const LONGEST_TIME = 64 // characters; RFC 3339 with nanoseconds has 35

/** What somebody has said, for a sentence: in quotes, of bounded length, with nothing in it that a terminal obeys. */
export function quoted(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? '[]' : 'a list'
  if (typeof value === 'object' && value !== null) return Object.keys(value).length === 0 ? '{}' : 'an object'
  if (typeof value !== 'string') return String(value)
  return printable(JSON.stringify(value.length > LONGEST_QUOTED ? `${value.slice(0, LONGEST_QUOTED)}…` : value))
}

const LONGEST_QUOTED = 64 // characters; an IPv6 network has at most 49

const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/u
