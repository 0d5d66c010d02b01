// The network configuration of a node: what the container runtime reads. CNI 1.1 §1

import { join } from 'node:path'
import { remove, replaceText } from '../replace.ts'

export const NETWORK = 'podwire'
export const CONFLIST = '10-podwire.conflist'

/**
 * The conflist for pods of these networks: one entry, so a pod costs one start. `stateDir` is where the agent says whether its
 * overlay is ready. Pure.
 */
export function conflist(podCIDRs: string[], mtu: number, stateDir: string): object {
  return {
    // Older runtimes take the first, newer ones the best of the list: containerd 1.6, 1.7 and podman refuse 1.1.0 alone.
    cniVersion: '1.0.0',
    cniVersions: ['0.4.0', '1.0.0', '1.1.0'],
    name: NETWORK,
    plugins: [
      {
        type: 'podwire',
        capabilities: { portMappings: true, bandwidth: true },
        mtu,
        overlay: stateDir,
        ipam: {
          type: 'host-local',
          ranges: podCIDRs.map((subnet) => [{ subnet }]),
          routes: [...new Set(podCIDRs.map((cidr) => (cidr.includes(':') ? '::/0' : '0.0.0.0/0')))].map((dst) => ({ dst })),
        },
      },
    ],
  }
}

/** Writes the file if it is not so already. True if it was written. */
export const writeConflist = (confDir: string, content: object): boolean => replaceText(join(confDir, CONFLIST), `${JSON.stringify(content, null, 2)}\n`)

export const removeConflist = (confDir: string): void => remove(join(confDir, CONFLIST))
