// A directory of network configurations, such as /etc/cni/net.d: which file of it a runtime takes, and why.
//
//   containerd   the first by name of *.conf, *.conflist, *.json; if that one is broken, none (loadFromConfDir of containerd/go-cni)
//   CRI-O        the first of these that is not broken (loadNetworks of cri-o/ocicni)
//   podman       the network that is asked for, of *.conflist (loadNetworks of containers/common, libnetwork/cni)

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { CniError } from '../cni/error.ts'
import { entries, objectIn, readable } from './entries.ts'

export interface Chosen {
  file: string
  /** Sentences: why this one. */
  why: string[]
}

/** The file that containerd and CRI-O take. Errors: 7 if there is none, or if the first one is broken. */
export function chosenIn(directory: string): Chosen {
  const [first, ...others] = filesIn(directory)
  const none = `${directory} has no network configuration: runtimes read *.conf, *.conflist and *.json there`
  if (first === undefined) throw new CniError(7, none)
  const file = join(directory, first)
  const broken = wrong(file)
  const before = others.length === 0 ? 'there is no other' : `the first by name, before ${others.join(', ')}`
  const taken = `${first} is the one that containerd and CRI-O take: ${before}`
  if (broken === undefined) return { file, why: [taken, named(directory, [first, ...others])] }
  const next = others.find((name) => wrong(join(directory, name)) === undefined)
  throw new CniError(7, broken, [
    `${first} is the first by name in ${directory}: containerd takes it, and has no network until it is mended`,
    next === undefined
      ? 'there is no other that CRI-O could take'
      : `CRI-O passes it over and takes ${next}: podwire plan ${join(directory, next)}`,
  ].join('\n'))
}

/** By name, byte for byte, as Go sorts. */
const filesIn = (directory: string): string[] =>
  readable(directory, () => readdirSync(directory, { withFileTypes: true }))
    .filter((one) => !one.isDirectory() && KINDS.test(one.name))
    .map(({ name }) => name)
    .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))

const KINDS = /\.(?:conf|conflist|json)$/

/** What podman sees: networks by name; of two with one name the first. */
function named(directory: string, files: string[]): string {
  const networks = new Map<string, string>()
  for (const name of files) {
    const file = join(directory, name)
    if (!name.endsWith('.conflist') || wrong(file) !== undefined) continue
    const network = String(objectIn(file, []).name)
    if (!networks.has(network)) networks.set(network, name)
  }
  const list = [...networks].map(([network, name]) => `${network} (${name})`)
  return `podman takes a network by its name, of *.conflist alone: ${list.join(', ') || 'there is none'}`
}

/** Why a runtime's library does not load a file; undefined if it does. It takes more than podwire: a key that stands twice, for one. */
function wrong(file: string): string | undefined {
  try {
    const conf = objectIn(file, [])
    const list = file.endsWith('.conflist')
    if (list && conf.plugins === undefined) return `${file} has no plugins: expected a list of them, since its name ends in .conflist`
    if (!list && conf.type === undefined) return `${file} has no type: expected one plugin; a list of them belongs in a *.conflist`
    entries(conf, file)
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}
