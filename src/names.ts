// Names that are functions of the attachment, so that DEL, CHECK and GC find what ADD made with no namespace, no
// prevResult and no state file. CNI 1.1 §2: an attachment is a network, a container ID and an interface name.

import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js'

/** One container's interface in one network. */
export interface Attachment {
  network: string
  containerID: string
  ifname: string
}

const hashes = new Map<string, string>()
const MOST = 20_000 // that an agent among thousands of nodes keeps

/** Hex digits of SHA-256 over texts; a NUL between them, which none of them can hold. Not node:crypto's: it costs the start 2 ms. */
export function hash(digits: number, ...texts: string[]): string {
  const text = texts.join('\0')
  const known = hashes.get(text) ?? bytesToHex(sha256(utf8ToBytes(text)))
  if (hashes.size === MOST) hashes.clear()
  hashes.set(text, known)
  return known.slice(0, digits)
}

/**
 * The host end of the veth: `veth` and 44 bits of hash in 11 hex digits. NetworkManager leaves `veth*` alone, and 44 bits
 * make a collision among 10 000 pods less likely than 1 in 300 000.
 */
export const hostIfname = ({ containerID, ifname }: Attachment): string => `veth${hash(11, containerID, ifname)}`

/** Where in the hash, whose first digits are in names, MAC addresses are: one hash, a third of a millisecond, for all. */
const ENDS = { host: 12, pod: 24, ifb: 36 }

/** A MAC address for one end of the veth, or for the ifb beside it. */
export function mac({ containerID, ifname }: Attachment, end: keyof typeof ENDS): string {
  return local(hash(64, containerID, ifname).slice(ENDS[end], ENDS[end] + 12))
}

/**
 * The MAC address of a node's end of the overlay. Every node can compute every other's, so none has to publish its own;
 * and one that is set at creation is not replaced by udev (MACAddressPolicy, flannel#1155).
 */
export const vtepMac = (node: string, vni: number): string => local(hash(12, 'vtep', node, String(vni)))

/** 48 bits as a MAC address: locally administered, unicast. IEEE 802 §8.2 */
function local(digits: string): string {
  const [first = '', ...rest] = digits.match(/../g)!
  return [((parseInt(first, 16) & 0xfe) | 0x02).toString(16).padStart(2, '0'), ...rest].join(':')
}

// An owner is the comment of an nft element (at most 127 bytes, NFTNL_UDATA_COMMENT_MAXLEN) and the alias of a link.
const NETWORK = 40
const CONTAINER = 66

/** `network/containerID/ifname`, long parts shortened: says to whom a thing in the kernel belongs. */
export const owner = ({ network, containerID, ifname }: Attachment): string =>
  `${networkOwner(network)}${shorten(containerID, CONTAINER)}/${ifname}`

/** Whether a link's alias is an owner, and not what somebody else has written there. */
export const isOwner = (alias: string): boolean => /^[^/]+\/[^/]+\/[^/]+$/.test(alias)

/** What every owner of a network begins with. */
export const networkOwner = (network: string): string => `${shorten(network, NETWORK)}/`

const shorten = (text: string, length: number): string =>
  text.length <= length ? text : `${text.slice(0, length - 17)}~${hash(16, text)}`
