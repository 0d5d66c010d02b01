// The network configuration of a node: what the container runtime reads. CNI 1.1 §1

import { extname, join } from 'node:path'
import { namesIn } from '../directory.ts'
import { textOf } from '../file.ts'
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

/** The file, as the agent means it to be. */
export class ConflistFile {
  readonly path: string
  readonly #confDir: string
  #text: string | undefined

  constructor(confDir: string) {
    this.#confDir = confDir
    this.path = join(confDir, CONFLIST)
  }

  /** Writes the file if it is not so already. True if it was written. */
  write(content: object): boolean {
    const text = `${JSON.stringify(content, null, 2)}\n`
    const written = replaceText(this.path, text)
    this.#text = text
    return written
  }

  /** Writes what was written before, if the file is not so: says what it was like. Throws if it cannot be written. */
  restore(): string[] {
    const { problem } = this
    if (problem) replaceText(this.path, this.#text!)
    return problem ? [problem] : []
  }

  /** How the file differs from what was written, a sentence; empty if it does not, or nothing has been written yet. */
  get problem(): string {
    if (this.#text === undefined) return ''
    const there = this.#there(Buffer.byteLength(this.#text))
    return there === this.#text ? '' : `${this.path} ${there === undefined ? 'is missing' : "is not the agent's"}`
  }

  #there(most: number): string | undefined {
    try {
      return textOf(this.path, most)
    } catch {
      return '' // larger, or no file at all
    }
  }

  /** Files beside it that a runtime takes instead: the first by name is the network's. containerd: go-cni, libcni.ConfFiles */
  rivals(): string[] {
    return namesIn(this.#confDir).filter((name) => name < CONFLIST && ['.conf', '.conflist', '.json'].includes(extname(name)))
  }
}

export const removeConflist = (confDir: string): void => remove(join(confDir, CONFLIST))
