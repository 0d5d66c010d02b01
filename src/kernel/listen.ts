// Sockets of the node that wait for packets to a port. <linux/sock_diag.h>, <linux/inet_diag.h>, man 7 sock_diag

import { bytesText } from '../ip.ts'
import { attributes } from './attributes.ts'
import { isErrno } from './errno.ts'
import type { NetlinkMessage } from './netlink.ts'
import { PROTOCOLS } from './nft-data.ts'
import type { Netns } from './netns.ts'

export interface Socket {
  protocol: string
  port: number
  address?: string
  /** By which a process's open files name it. */
  inode: number
  /** Of an IPv6 socket: whether IPv4 is not its. */
  only6: boolean
}

const SOCK_DIAG_BY_FAMILY = 20
const INET_DIAG_SKV6ONLY = 11
const TCP_ESTABLISHED = 1 // enum in <linux/tcp_states.h>; a UDP socket with a peer
const TCP_CLOSE = 7 // a UDP socket without a peer
const TCP_LISTEN = 10
const FAMILIES = [2, 10] // AF_INET, AF_INET6

/** Who listens by a protocol, on any port. Kernels that do not tell have nobody. */
export const listeners = (netns: Netns, protocol: 'tcp' | 'udp'): Socket[] => FAMILIES.flatMap((family) => sockets(netns, family, protocol))

/** True if somebody in a namespace waits for packets. */
export const serves = (netns: Netns): boolean => FAMILIES.some((family) => ['tcp', 'udp'].some((protocol) => sockets(netns, family, protocol).length > 0))

/** All sockets of a namespace that are bound to a port, those too that hear one peer alone. */
export const bound = (netns: Netns, protocol: 'udp', port: number): Socket[] =>
  FAMILIES.flatMap((family) => sockets(netns, family, protocol, [TCP_CLOSE, TCP_ESTABLISHED])).filter((socket) => socket.port === port)

/** Whether who is bound to an address would be asked on another, or on any. */
export const overlap = (asked: string | undefined, bound: string): boolean =>
  asked === undefined || asked === bound || bound === '0.0.0.0' || bound === '::'

function sockets(netns: Netns, family: number, protocol: string, states = [protocol === 'tcp' ? TCP_LISTEN : TCP_CLOSE]): Socket[] {
  const header = Buffer.alloc(56) // struct inet_diag_req_v2
  header[0] = family
  header[1] = PROTOCOLS[protocol]!
  header.writeUInt32LE(states.reduce((mask, state) => mask | (1 << state), 0), 4)
  // struct inet_diag_msg
  const socket = ({ data }: NetlinkMessage): Socket => ({
    protocol, port: data.readUInt16BE(4), address: bytesText(data.subarray(8, family === 2 ? 12 : 24)),
    inode: data.readUInt32LE(68), only6: attributes(data.subarray(72)).get(INET_DIAG_SKV6ONLY)?.[0] === 1,
  })
  try {
    return netns.diag.collect({ what: `ss -l -A ${protocol}`, type: SOCK_DIAG_BY_FAMILY, header }, socket)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EINVAL', 'EOPNOTSUPP', 'EPROTONOSUPPORT')) return []
    throw error
  }
}
