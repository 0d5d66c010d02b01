// Sockets of the node that wait for packets to a port. <linux/sock_diag.h>, <linux/inet_diag.h>, man 7 sock_diag

import { bytesText } from '../ip.ts'
import { isErrno } from './errno.ts'
import { PROTOCOLS } from './nft-data.ts'
import type { Netns } from './netns.ts'

export interface Listener {
  protocol: string
  port: number
  address?: string
}

const SOCK_DIAG_BY_FAMILY = 20
const TCP_LISTEN = 10 // enum in <linux/tcp_states.h>
const TCP_CLOSE = 7 // what a UDP socket without a peer is in
const FAMILIES = [2, 10] // AF_INET, AF_INET6

/** Who listens by a protocol, on any port. Kernels that do not tell have nobody. */
export const listeners = (netns: Netns, protocol: 'tcp' | 'udp'): Listener[] => FAMILIES.flatMap((family) => sockets(netns, family, protocol))

/** True if somebody in a namespace waits for packets. */
export const serves = (netns: Netns): boolean => FAMILIES.some((family) => ['tcp', 'udp'].some((protocol) => sockets(netns, family, protocol).length > 0))

/** Whether who is bound to an address would be asked on another, or on any. */
export const overlap = (asked: string | undefined, bound: string): boolean =>
  asked === undefined || asked === bound || bound === '0.0.0.0' || bound === '::'

function sockets(netns: Netns, family: number, protocol: string): Listener[] {
  const header = Buffer.alloc(56) // struct inet_diag_req_v2
  header[0] = family
  header[1] = PROTOCOLS[protocol]!
  header.writeUInt32LE(1 << (protocol === 'tcp' ? TCP_LISTEN : TCP_CLOSE), 4)
  try {
    return netns.diag.collect({ what: `ss -l -A ${protocol}`, type: SOCK_DIAG_BY_FAMILY, header }, ({ data }) => ({ protocol, port: data.readUInt16BE(4), address: bytesText(data.subarray(8, family === 2 ? 12 : 24)) })) // struct inet_diag_msg
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EINVAL', 'EOPNOTSUPP', 'EPROTONOSUPPORT')) return []
    throw error
  }
}
