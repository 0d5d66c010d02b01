// The nodes from a file, for people without Kubernetes. An edit is applied at once, written in place or renamed into it;
// a broken one is named, and what was good before stays.

import { statSync, watch, type BigIntStats, type FSWatcher } from 'node:fs'
import { basename, dirname } from 'node:path'
import { CniError } from '../cni/error.ts'
import { decodeText } from '../cni/json.ts'
import { canonical, type Schema } from '../cni/schema.ts'
import { chosenText } from '../file.ts'
import { Alarm } from './alarm.ts'
import { MOST_NODES, nodesIn, quoted, type Node, type Nodes } from './node.ts'
import type { Handler, Source } from './source.ts'

/** Who writes in place is not done with the first write. Milliseconds. */
const SETTLE = 5
/** How often it is looked whether the file is another although nobody said so. Milliseconds. */
const AGAIN = 1000
const MOST = 64 * 1024 * 1024 // bytes: 400 for each node

/** Reads the file now and after each change, until closed. */
export const peersFile = (file: string): Source => (handler) => {
  const reader = new PeersReader(file, handler)
  return { close: () => reader.close() }
}

/**
 * The kernel tells of changes in a directory (man 7 inotify), but not of a directory that has come into the place of the watched one
 * (made anew, renamed, mounted over), nor of a file in another that a symlink leads to. So each second it is looked, too.
 */
class PeersReader {
  readonly #file: string
  readonly #handler: Handler
  #known = ''
  #before: Nodes = new Map()
  /** What was read, and what is watched: see identityOf, place. */
  #asRead = ''
  #watched = ''
  #watcher: FSWatcher | undefined
  readonly #soon = new Alarm(() => this.read())
  readonly #first = setImmediate(() => this.#look())
  readonly #interval = setInterval(() => this.#look(), AGAIN)

  constructor(file: string, handler: Handler) {
    this.#file = file
    this.#handler = handler
  }

  close(): void {
    clearImmediate(this.#first)
    clearInterval(this.#interval)
    this.#soon.cancel()
    this.#watcher?.close()
    this.#watcher = undefined
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

  #look(): void {
    const directory = dirname(this.#file)
    if (this.#watcher === undefined || place(directory) !== this.#watched) this.#watch(directory)
    if (identityOf(this.#file) !== this.#asRead) this.read()
  }

  /**
   * The directory is watched and not the file, so that one that is renamed into its place is seen; of a mounted ConfigMap it is the
   * link ..data, through which the file is a link, that is renamed. Where it cannot be watched, to look has to do.
   */
  #watch(directory: string): void {
    this.#watcher?.close()
    this.#watched = place(directory)
    try {
      const watcher = watch(directory, (_, name) => {
        if (name === null || name === basename(this.#file) || name === '..data') this.#soon.within(SETTLE)
      })
      watcher.on('error', () => watcher.close())
      this.#watcher = watcher
    } catch {
      this.#watcher = undefined
    }
  }
}

/** The text of a file of peers. Errors: BadFile, and those of the system. */
export const readPeers = (file: string): string => chosenText(file, MOST)

/** Which directory stands under a name. */
const place = (path: string): string => about(path, ({ dev, ino }) => [dev, ino])

/** Which file stands under a name, and as of when. */
const identityOf = (path: string): string => about(path, ({ dev, ino, size, mtimeNs, ctimeNs }) => [dev, ino, size, mtimeNs, ctimeNs])

/** Some of what is known of a path, or what hinders to know it. */
function about(path: string, some: (there: BigIntStats) => bigint[]): string {
  try {
    return some(statSync(path, { bigint: true })).join()
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown'
  }
}

/**
 * The nodes of a file. A node that is not as it should be hurts itself alone, and says so; error 6 or 7 where the file is no list of
 * nodes. A byte order mark is skipped.
 */
export function parsePeers(text: string, file: string): Nodes {
  const twice: string[] = []
  const { nodes } = canonical(LIST, decodeText(text, file, twice), [], twice)
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
