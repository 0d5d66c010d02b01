// A Node object of the API server, reduced to what an overlay needs of it: some 200 bytes of 10 to 20 KB. The object is
// read as somebody else's: what is wrong in it is left out, so that it hurts the one node and no other.
// https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/node-v1/

import { parseAddress } from '../../ip.ts'
import { isTime, MOST_ADDRESSES, MOST_NETWORKS, type Node } from '../node.ts'

/** The node, or undefined if the object has no name that a Node may have. */
export function nodeOf(object: unknown): Node | undefined {
  const name = nameOf(object)
  if (name === undefined) return undefined
  const created = at(object, 'metadata', 'creationTimestamp')
  return { name, addresses: addressesOf(object), podCIDRs: podCIDRsOf(object), ...(isTime(created) && { created }) }
}

/** metadata.name: a DNS subdomain (RFC 1123), as the API server itself demands. */
export function nameOf(object: unknown): string | undefined {
  const LONGEST = 253
  const name = at(object, 'metadata', 'name')
  return typeof name === 'string' && name.length <= LONGEST && /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(name) ? name : undefined
}

/** True if nothing changed that an overlay would see: a heartbeat changes a lot, but not this. */
export const same = (a: Node, b: Node): boolean =>
  a.name === b.name && a.created === b.created && equal(a.addresses, b.addresses) && equal(a.podCIDRs, b.podCIDRs)

/** A value somewhere inside, or undefined if the way there is not one of objects. */
export function at(value: unknown, ...path: string[]): unknown {
  for (const key of path) {
    if (typeof value !== 'object' || value === null) return undefined
    value = (value as Record<string, unknown>)[key]
  }
  return value
}

/** Kubelet puts the address of the primary family first. */
function addressesOf(object: unknown): string[] {
  const internal = list(at(object, 'status', 'addresses')).filter((address) => at(address, 'type') === 'InternalIP')
  const addresses = internal.map((address) => at(address, 'address')).filter((text) => typeof text === 'string' && parseAddress(text) !== undefined)
  return [...new Set(addresses as string[])].slice(0, MOST_ADDRESSES + 1) // one more, so that it is said
}

/** Their form is judged where it matters (vxlan/peers.ts), with the words of an error that names the node. */
function podCIDRsOf(object: unknown): string[] {
  const all = list(at(object, 'spec', 'podCIDRs'))
  const single = at(object, 'spec', 'podCIDR') // all that there is before Kubernetes 1.16
  const texts = (all.length > 0 ? all : [single]).filter((text) => typeof text === 'string' && text !== '') as string[]
  return texts.slice(0, MOST_NETWORKS + 1).map((text) => text.slice(0, LONGEST_CIDR + 1))
}

const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : [])
const LONGEST_CIDR = 49 // characters: an IPv6 address with an IPv4 one in it, and a length
const equal = (a: string[], b: string[]): boolean => a.length === b.length && a.every((text, i) => text === b[i])
