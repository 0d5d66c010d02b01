// The nodes from a file, for people without Kubernetes. An edit is applied at once, written in place or renamed into it;
// a broken one is named, and what was good before stays.

import { readFileSync, watch, type FSWatcher } from 'node:fs'
import { basename, dirname } from 'node:path'
import { CniError } from '../cni/error.ts'
import { decodeText } from '../cni/json.ts'
import { canonical, type Schema } from '../cni/schema.ts'
import { MOST_NODES, nodesIn, quoted, type Node, type Nodes } from './node.ts'
import type { Source } from './source.ts'

/** Who writes in place is not done with the first write. Milliseconds. */
const SETTLE = 5
/** How often a directory is looked for that is not there. Milliseconds. */
const AGAIN = 1000

/** Reads the file now and after each change, until closed. */
export const peersFile = (file: string): Source => (handler) => {
  let [known, before]: [string, Nodes] = ['', new Map()]
  let timer: NodeJS.Timeout | undefined
  const read = () => {
    timer = undefined
    try {
      const text = readFileSync(file, 'utf8')
      if (text === known) return
      const nodes = unchanged(parsePeers(text, file), before)
      known = text
      before = nodes
      handler.nodes(nodes)
      handler.state({ phase: 'watching', reason: '' })
    } catch (error) {
      known = ''
      handler.state({ phase: 'failed', reason: (error as Error).message })
    }
  }
  // The directory is watched and not the file, so that one that is renamed into its place is seen (man 7 inotify); of a
  // mounted ConfigMap it is the link ..data, through which the file is a link, that is renamed.
  let watcher: FSWatcher | undefined
  const begin = () => {
    try {
      watcher = watch(dirname(file), (_, name) => {
        if (name === null || name === basename(file) || name === '..data') timer ??= setTimeout(read, SETTLE)
      })
      read()
    } catch (error) {
      handler.state({ phase: 'failed', reason: (error as Error).message })
      timer = setTimeout(begin, AGAIN)
    }
  }
  setImmediate(begin)
  return {
    close: () => {
      clearTimeout(timer)
      watcher?.close()
    },
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
