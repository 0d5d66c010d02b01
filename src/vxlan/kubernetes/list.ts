// The list of all Nodes, page by page, and the watch of what changes after it.
// https://kubernetes.io/docs/reference/using-api/api-concepts/

import type { Client, Patience } from './client.ts'
import { Items, Lines } from './cut.ts'
import { Failure } from './failure.ts'
import { at } from './node.ts'

const NODES = '/api/v1/nodes'
const PAGE = 500 // as client-go
const MOST_PAGES = 1000
const LONGEST_VERSION = 256 // characters; it is a decimal number of 64 bits today
const LONGEST_TOKEN = 4096 // what a URL may hold

/** Hands over each Node object of the list; returns its resource version, at which a watch begins. */
export async function list(client: Client, patience: Patience, began: () => void, item: (object: unknown) => void): Promise<string> {
  let resourceVersion: string | undefined
  let pages = 0
  for (let token = ''; ; ) {
    if (++pages > MOST_PAGES) throw new Failure('garbled', `the API server's list of Nodes has no end after ${MOST_PAGES} pages`)
    const page = await onePage(client, { limit: String(PAGE), ...(token && { continue: token }) }, patience, began, item)
    resourceVersion ??= page.resourceVersion
    if (page.token === '') return resourceVersion
    if (page.token === token) throw new Failure('garbled', 'the API server names the same page of the list again and again')
    token = page.token
  }
}

async function onePage(client: Client, query: Record<string, string>, patience: Patience, began: () => void, item: (object: unknown) => void): Promise<{ resourceVersion: string; token: string }> {
  const page = new Items()
  for await (const chunk of client.get(NODES, query, patience)) {
    began()
    page.push(chunk).forEach(item)
  }
  const { list, items } = page.end()
  items.forEach(item)
  const resourceVersion = at(list, 'metadata', 'resourceVersion')
  if (at(list, 'kind') !== 'NodeList' || !isVersion(resourceVersion)) throw new Failure('garbled', `${client.server} answers, but not with a list of Nodes: see that it is the address of a Kubernetes API server`)
  const token = at(list, 'metadata', 'continue')
  if (typeof token === 'string' && token.length > LONGEST_TOKEN) throw new Failure('garbled', `the API server's token for the next page has more than ${LONGEST_TOKEN} characters`)
  return { resourceVersion, token: typeof token === 'string' ? token : '' }
}

export const isVersion = (value: unknown): value is string => typeof value === 'string' && value !== '' && value.length <= LONGEST_VERSION

export interface Event {
  type: string
  object: unknown
}

/** Hands over each event until the server ends the watch, which it is asked to do after `seconds`. */
export async function watch(client: Client, resourceVersion: string, seconds: number, patience: Patience, began: () => void, event: (event: Event) => void): Promise<void> {
  const query = { watch: 'true', allowWatchBookmarks: 'true', resourceVersion, timeoutSeconds: String(seconds) }
  const lines = new Lines()
  for await (const chunk of client.get(NODES, query, patience)) {
    began()
    for (const line of lines.push(chunk)) event(eventOf(line))
  }
}

function eventOf(line: unknown): Event {
  const type = at(line, 'type')
  if (typeof type !== 'string') throw new Failure('garbled', 'what the API server sends in a watch is no event')
  return { type, object: at(line, 'object') }
}
