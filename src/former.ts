// What the reference's plugins made for a pod, by the names that they compute of it: DEL takes it back, so that a node can
// change over with pods on it. Of 0.7 to 1.9 with iptables, of 1.6 to 1.9 with nft.

import { sha512 } from '@noble/hashes/sha2.js'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js'
import type { Former } from './facts.ts'
import type { Attachment } from './names.ts'

/** Masquerading by ptp and bridge, and bridge's macspoofchk. `tables` are those that there are, such as `ip nat`. */
export function formerWiring({ network, containerID, ifname }: Attachment, tables: Set<string>): Former[] {
  const guard = `cni-br-iface-${containerID}-${ifname}`
  return [
    ...within(tables, ['ip nat', 'ip6 nat'], () => ({ chains: [`CNI-${digits(24, network + containerID)}`] })),
    ...within(tables, ['inet cni_plugins_masquerade'], () => ({ comment: `${digits(16, network)}-${digits(16, `${ifname}:${containerID}`)}` })),
    ...within(tables, ['bridge nat'], () => ({ chains: [guard, `${guard}-mac`] })),
  ]
}

/** Ports by portmap. */
export const formerPorts = ({ network, containerID }: Attachment, tables: Set<string>): Former[] => [
  ...within(tables, ['ip nat', 'ip6 nat'], () => ({ chains: [`CNI-DN-${digits(21, network + containerID)}`] })),
  ...within(tables, ['ip cni_hostport', 'ip6 cni_hostport'], () => ({ comment: containerID })),
]

/** A name is computed if there is a table in which it could be. */
function within(tables: Set<string>, wanted: string[], made: () => Pick<Former, 'chains' | 'comment'>): Former[] {
  const there = wanted.filter((table) => tables.has(table))
  if (there.length === 0) return []
  const rest = made()
  return there.map((table) => ({ fact: 'former', family: table.split(' ')[0] as Former['family'], table: table.split(' ')[1]!, ...rest }))
}

const digits = (count: number, text: string): string => bytesToHex(sha512(utf8ToBytes(text))).slice(0, count)
