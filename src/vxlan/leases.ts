// How many addresses of the node's networks are leased and free, by host-local's directory.

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { bits, contains, parseAddress, parseCidr } from '../ip.ts'
import { isErrno } from '../kernel/errno.ts'
import { NETWORK } from './conflist.ts'

const DATA_DIR = '/var/lib/cni/networks'

export interface Leases {
  network: string
  used: number
  /** Exact: an IPv6 network has more addresses than a double can count. */
  free: bigint
}

/** Per network: leases, and addresses that are left. Undefined if this process may not list the leases. */
export function leases(podCIDRs: string[], dataDir = DATA_DIR): Leases[] | undefined {
  const held = names(join(dataDir, NETWORK))?.flatMap((name) => parseAddress(name) ?? [])
  return held && podCIDRs.map((network) => {
    const cidr = parseCidr(network)!
    const used = held.filter((address) => contains(cidr, address)).length
    const reserved = cidr.family === 4 ? 3n : 2n // network, gateway, IPv4's broadcast
    const left = (1n << BigInt(bits(cidr.family) - cidr.prefix)) - reserved - BigInt(used)
    return { network, used, free: left > 0n ? left : 0n }
  })
}

function names(directory: string): string[] | undefined {
  try {
    return readdirSync(directory)
  } catch (error) {
    return isErrno(error, 'EACCES') ? undefined : []
  }
}
