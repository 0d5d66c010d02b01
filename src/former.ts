// What the reference's plugins made for a pod, by the names that they compute of it: DEL takes it back, so that a node can
// change over with pods on it. Of 0.7 to 1.9 with iptables, of 1.6 to 1.9 with nft.

import { sha512 } from '@noble/hashes/sha2.js'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js'
import type { Former } from './facts.ts'
import type { Attachment } from './names.ts'

/** Ports by portmap; and of wirers, masquerading and macspoofchk. `tables` are those that there are, such as `ip nat`. */
export function former({ network, containerID, ifname }: Attachment, tables: Set<string>, whose: 'all' | 'portmap' = 'all'): Former[] {
  const [nat, guard] = [['ip nat', 'ip6 nat'], `cni-br-iface-${containerID}-${ifname}`]
  return [
    ...within(tables, nat, () => {
      const hash = digits(network + containerID)
      return { chains: [`CNI-DN-${hash.slice(0, 21)}`, ...(whose === 'all' ? [`CNI-${hash.slice(0, 24)}`] : [])] }
    }),
    ...within(tables, ['ip cni_hostport', 'ip6 cni_hostport'], () => ({ comment: containerID })),
    ...(whose === 'portmap' ? [] : within(tables, ['inet cni_plugins_masquerade'], () => ({ comment: `${digits(network).slice(0, 16)}-${digits(`${ifname}:${containerID}`).slice(0, 16)}` }))),
    ...(whose === 'portmap' ? [] : within(tables, ['bridge nat'], () => ({ chains: [guard, `${guard}-mac`].filter(canBe) }))),
  ]
}

const NFT_NAME_MAXLEN = 256 // bytes, with the NUL. <linux/netfilter/nf_tables.h>

/** Whether a chain can have that name; if not, none was made. */
const canBe = (name: string): boolean => utf8ToBytes(name).length < NFT_NAME_MAXLEN

/** A name is computed if there is a table in which it could be. */
function within(tables: Set<string>, wanted: string[], made: () => Pick<Former, 'chains' | 'comment'>): Former[] {
  const there = wanted.filter((table) => tables.has(table))
  if (there.length === 0) return []
  const rest = made()
  return there.map((table) => ({ fact: 'former', family: table.split(' ')[0] as Former['family'], table: table.split(' ')[1]!, ...rest }))
}

const digits = (text: string): string => bytesToHex(sha512(utf8ToBytes(text)))
