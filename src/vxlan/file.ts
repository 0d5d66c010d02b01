// The nodes from a file, for people without Kubernetes. An edit is applied at once, written in place or renamed into it;
// a broken one is named, and what was good before stays.

import { basename, dirname } from 'node:path'
import { CniError } from '../cni/error.ts'
import { decodeText, inFile } from '../cni/json.ts'
import { canonical, type Schema } from '../cni/schema.ts'
import { chosenText } from '../file.ts'
import { Alarm } from './alarm.ts'
import { DirectoryWatch, identityOf } from './directory-watch.ts'
import { MOST_NODES, nodesIn, quoted, type Node, type Nodes } from './node.ts'
import type { Handler, Source } from './source.ts'

/** Who writes in place is not done with the first write. Milliseconds. */
const SETTLE = 5
const MOST = 64 * 1024 * 1024 // bytes: 400 for each node

/** Reads the file now and after each change, until closed. */
export const peersFile = (file: string): Source => (handler) => {
  const reader = new PeersReader(file, handler)
  return { close: () => reader.close() }
}

/**
 * The directory is watched and not the file, so that one that is renamed into its place is seen; of a mounted ConfigMap it is the
 * link ..data, through which the file is a link, that is renamed.
 */
class PeersReader {
  readonly #file: string
  readonly #handler: Handler
  #known = ''
  #before: Nodes = new Map()
  /** Which file was read: see identityOf. */
  #asRead = ''
  readonly #soon = new Alarm(() => this.read())
  readonly #watch: DirectoryWatch

  constructor(file: string, handler: Handler) {
    this.#file = file
    this.#handler = handler
    this.#watch = new DirectoryWatch(dirname(file), (name) => this.#hear(name))
  }

  close(): void {
    this.#soon.cancel()
    this.#watch.close()
  }

  /** What cannot be read leaves what was good before. */
  read(): void {
    this.#asRead = identityOf(this.#file)
    try {
      const text = readPeers(this.#file)
      if (text === this.#known) return
      const nodes = unchanged(parsePeers(text, this.#file), this.#before)
      this.#known = text
      this.#before = nodes
      this.#handler.nodes(nodes)
      this.#handler.state({ phase: 'watching', reason: '' })
    } catch (error) {
      this.#known = ''
      this.#handler.state({ phase: 'failed', reason: (error as Error).message })
    }
  }

  #hear(name: string | undefined): void {
    if (name === undefined) {
      if (identityOf(this.#file) !== this.#asRead) this.read()
    } else if (['', basename(this.#file), '..data'].includes(name)) this.#soon.within(SETTLE)
  }
}

/** The text of a file of peers. Errors: BadFile, and those of the system. */
export const readPeers = (file: string): string => chosenText(file, MOST)

/** What a file of peers says of one node; undefined if nothing, or not yet. */
export function nodeIn(file: string, name: string): Node | undefined {
  try {
    return parsePeers(readPeers(file), file).get(name)
  } catch {
    return undefined // the agent says why, and reads it again
  }
}

/**
 * The nodes of a file. A node that is not as it should be hurts itself alone, and says so; error 6 or 7 where the file is no list of
 * nodes. A byte order mark is skipped.
 */
export function parsePeers(text: string, file: string): Nodes {
  const twice: string[] = []
  const { nodes } = canonical(LIST, decodeText(text, file, twice, inFile), [], twice)
  const [ofNodes, others] = [new Map<number, string>(), twice.filter((sentence) => !OF_NODE.test(sentence))]
  for (const sentence of twice) ofNodes.set(Number(OF_NODE.exec(sentence)?.[1]), sentence)
  if (others.length > 0) throw new CniError(7, `${file}: ${others.join('; ')}`)
  if (nodes === undefined) throw new CniError(7, `${file}: nodes is missing: expected a list of nodes`)
  if (!Array.isArray(nodes)) throw new CniError(7, `${file}: nodes is ${quoted(nodes)}: expected a list of nodes`)
  if (nodes.length > MOST_NODES) throw new CniError(7, `${file}: there are ${nodes.length} nodes: expected at most ${MOST_NODES}`)
  return nodesIn(nodes, ofNodes)
}

const LIST: Schema = { properties: { nodes: {} } } // what is in it, each node answers for
const OF_NODE = /^nodes\[(\d+)\]/i

/** A node that says the same as before is the same object, so that what was computed of it stays. */
function unchanged(nodes: Nodes, before: Nodes): Nodes {
  return new Map([...nodes].map(([name, node]) => [name, same(before.get(name), node) ? before.get(name)! : node]))
}

const same = (a: Node | undefined, b: Node): boolean => a !== undefined && a.created === b.created && a.addresses.join() === b.addresses.join() && a.podCIDRs.join() === b.podCIDRs.join() && a.wrong?.join() === b.wrong?.join()
