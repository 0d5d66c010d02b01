// The nodes from a file, for people without Kubernetes. An edit is applied at once, written in place or renamed into it;
// a broken one is named, and what was good before stays.

import { readFileSync, watch, type FSWatcher } from 'node:fs'
import { basename, dirname } from 'node:path'
import { compile } from '../cni/compile.ts'
import { CniError } from '../cni/error.ts'
import { validate } from '../cni/schema.ts'
import { PEERS, type Node, type Nodes, type PeersFile } from './node.ts'
import type { Source } from './source.ts'

const validator = compile(PEERS)

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

/** Error 6 or 7 that says what is wrong in the file. */
export function parsePeers(text: string, file: string): Nodes {
  let content: unknown
  try {
    content = JSON.parse(text)
  } catch (error) {
    throw new CniError(6, `${file} is not JSON: ${(error as Error).message}`)
  }
  try {
    if (typeof content !== 'object' || content === null || Array.isArray(content)) throw new CniError(7, `expected {"nodes": […]}`)
    validate(PEERS, validator, content as Record<string, unknown>)
    return byName((content as PeersFile).nodes)
  } catch (error) {
    throw error instanceof CniError ? new CniError(error.code, `${file}: ${error.message}`, error.details) : error
  }
}

/** Nodes by name. Error 7 if two have one name. */
export function byName(nodes: Node[]): Nodes {
  const all = new Map<string, Node>()
  for (const [i, node] of nodes.entries()) {
    if (all.has(node.name)) throw new CniError(7, `nodes[${i}].name is ${JSON.stringify(node.name)}: another node has that name`)
    all.set(node.name, node)
  }
  return all
}

/** A node that says the same as before is the same object, so that what was computed of it stays. */
function unchanged(nodes: Nodes, before: Nodes): Nodes {
  return new Map([...nodes].map(([name, node]) => [name, same(before.get(name), node) ? before.get(name)! : node]))
}

const same = (a: Node | undefined, b: Node): boolean => a !== undefined && a.created === b.created && a.addresses.join() === b.addresses.join() && a.podCIDRs.join() === b.podCIDRs.join()
