// How many addresses of the node's networks are leased and free, by host-local's directory.

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { bits, contains, parseAddress, parseCidr } from '../ip.ts'
import { NETWORK } from './conflist.ts'

const DATA_DIR = '/var/lib/cni/networks'

/** Per network: leases, and addresses that are left (as a number, which for IPv6 is rounded). */
export function leases(podCIDRs: string[], dataDir = DATA_DIR): { network: string; used: number; free: number }[] {
  const held = names(join(dataDir, NETWORK)).flatMap((name) => parseAddress(name) ?? [])
  return podCIDRs.map((network) => {
    const cidr = parseCidr(network)!
    const used = held.filter((address) => contains(cidr, address)).length
    const usable = 2 ** (bits(cidr.family) - cidr.prefix) - (cidr.family === 4 ? 3 : 2) // network, gateway, IPv4's broadcast
    return { network, used, free: Math.max(0, usable - used) }
  })
}

function names(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}
