// An API server that has only Nodes and can be told to misbehave. It lists in pages, watches with bookmarks, forgets its
// history when told to, and keeps who asked what. https://kubernetes.io/docs/reference/using-api/api-concepts/

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createHttpsServer, type ServerOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Nodes } from '../../src/vxlan/node.ts'
import { watchNodes, type Timing, type WatchState } from '../../src/vxlan/kubernetes/nodes.ts'

interface Change {
  version: number
  line: string
}

interface Request {
  query: Record<string, string>
  authorization: string | undefined
  method: string
  path: string
}

/** Does with a request what a real server would not; returns true if it shall be served as ever. */
export type Fault = (response: ServerResponse, query: Record<string, string>) => void | true

export class ApiServer {
  readonly requests: Request[] = []
  /** The next requests meet these, one each; all that come when they are used up meet `always`. */
  readonly faults: Fault[] = []
  always: Fault | undefined
  /** Milliseconds between bookmarks; 0 for none. */
  bookmarks = 0
  page = Infinity
  version = 100
  #nodes = new Map<string, object>()
  #history: Change[] = []
  #compacted = 0
  #watches = new Set<ServerResponse>()
  #server: ReturnType<typeof createHttpServer>
  #port = 0
  #tls: boolean

  constructor(tls?: ServerOptions) {
    const serve = (request: IncomingMessage, response: ServerResponse): void => this.#serve(request, response)
    this.#tls = tls !== undefined
    this.#server = tls ? createHttpsServer(tls, serve) : createHttpServer(serve)
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve, reject) => this.#server.on('error', reject).listen(this.#port, '127.0.0.1', resolve))
    this.#port = (this.#server.address() as AddressInfo).port
    return this
  }

  /** As if it was killed: each connection breaks. */
  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  get address(): string {
    return `${this.#tls ? 'https' : 'http'}://127.0.0.1:${this.#port}`
  }

  get lists(): Request[] {
    return this.requests.filter(({ query }) => query.watch === undefined)
  }

  get watches(): Request[] {
    return this.requests.filter(({ query }) => query.watch !== undefined)
  }

  /** Presents another certificate from the next connection on. */
  present(identity: { cert: string; key: string }): void {
    ;(this.#server as ReturnType<typeof createHttpsServer>).setSecureContext(identity)
  }

  /** Makes or changes a Node object. */
  put(name: string, object: object): void {
    const type = this.#nodes.has(name) ? 'MODIFIED' : 'ADDED'
    const { metadata, ...rest } = object as { metadata?: object }
    const whole = { metadata: { name, ...metadata, resourceVersion: String(++this.version) }, ...rest }
    this.#nodes.set(name, whole)
    this.#tell(type, whole)
  }

  delete(name: string): void {
    const { metadata, ...rest } = this.#nodes.get(name) as { metadata: object }
    this.#nodes.delete(name)
    this.#tell('DELETED', { metadata: { ...metadata, resourceVersion: String(++this.version) }, ...rest })
  }

  /** Forgets the history: etcd's compaction. Watches from before are answered with 410. */
  compact(): void {
    this.#compacted = this.version
    this.#history = []
  }

  /** Ends the watches: in order, as after timeoutSeconds, or broken off. */
  endWatches(how: 'end' | 'destroy' = 'end'): void {
    for (const watch of this.#watches) watch[how]()
    this.#watches.clear()
  }

  /** Writes bytes into every watch. */
  write(text: string): void {
    for (const watch of this.#watches) watch.write(text)
  }

  bookmark(version = this.version): void {
    this.write(`${JSON.stringify({ type: 'BOOKMARK', object: { kind: 'Node', apiVersion: 'v1', metadata: { resourceVersion: String(version), creationTimestamp: null }, spec: {}, status: {} } })}\n`)
  }

  #tell(type: string, object: object): void {
    const line = `${JSON.stringify({ type, object: { kind: 'Node', apiVersion: 'v1', ...object } })}\n`
    this.#history.push({ version: this.version, line })
    this.write(line)
  }

  #serve({ url, headers, method }: IncomingMessage, response: ServerResponse): void {
    const { pathname: path, searchParams } = new URL(url!, 'http://server')
    const query = Object.fromEntries(searchParams)
    this.requests.push({ query, path, authorization: headers.authorization, method: method! })
    const fault = this.faults.shift() ?? this.always
    if (fault && fault(response, query) !== true) return
    if (query.watch) this.#watch(response, query)
    else this.#list(response, query)
  }

  #list(response: ServerResponse, query: Record<string, string>): void {
    const [version, from] = query.continue ? query.continue.split('.').map(Number) : [this.version, 0]
    if (version! < this.#compacted) return refuse(response, 410, 'The provided continue parameter is too old')
    const limit = Math.min(Number(query.limit ?? Infinity), this.page)
    const items = [...this.#nodes.values()].slice(from, from! + limit)
    const more = from! + limit < this.#nodes.size ? { continue: `${version}.${from! + limit}`, remainingItemCount: this.#nodes.size - from! - limit } : {}
    response.setHeader('content-type', 'application/json').end(JSON.stringify({ kind: 'NodeList', apiVersion: 'v1', metadata: { resourceVersion: String(version), ...more }, items }))
  }

  #watch(response: ServerResponse, query: Record<string, string>): void {
    const from = Number(query.resourceVersion)
    response.setHeader('content-type', 'application/json').flushHeaders()
    if (from < this.#compacted) return void response.end(`${JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired', message: `too old resource version: ${from} (${this.#compacted})` } })}\n`)
    for (const { version, line } of this.#history) if (version > from) response.write(line)
    this.#watches.add(response)
    response.on('close', () => this.#watches.delete(response))
    if (!this.bookmarks) return
    const ticking = setInterval(() => this.bookmark(), this.bookmarks)
    response.on('close', () => clearInterval(ticking))
  }
}

/** A refusal with a Status object. */
export function refuse(response: ServerResponse, code: number, message: string, headers: Record<string, string> = {}): void {
  response.writeHead(code, { 'content-type': 'application/json', ...headers }).end(JSON.stringify({ kind: 'Status', apiVersion: 'v1', status: 'Failure', code, message }))
}

/** A Node object with what podwire reads. */
export const node = (n: number, more: object = {}): object => ({
  metadata: { creationTimestamp: '2026-01-02T03:04:05Z' },
  spec: { podCIDR: `10.244.${n}.0/24`, podCIDRs: [`10.244.${n}.0/24`, `fd00:10:244:${n.toString(16)}::/64`] },
  status: { addresses: [{ type: 'Hostname', address: `n${n}` }, { type: 'InternalIP', address: `192.0.2.${n}` }, { type: 'InternalIP', address: `2001:db8::${n.toString(16)}` }], ...more },
})

/** A directory for the files of a test, removed at its end. */
export function directory(t: { teardown(undo: () => void): void }): string {
  const path = mkdtempSync(join(tmpdir(), 'podwire-'))
  t.teardown(() => rmSync(path, { recursive: true }))
  return path
}

export function kubeconfig(directory: string, cluster: object, user: object = {}): string {
  const path = join(directory, 'kubeconfig')
  writeFileSync(path, JSON.stringify({ apiVersion: 'v1', kind: 'Config', clusters: [{ name: 'c', cluster }], users: [{ name: 'u', user }], contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }], 'current-context': 'x' }))
  return path
}

const QUICK: Partial<Timing> = { firstWait: 5, longestWait: 20, brief: 1 }

/** Follows the nodes of a server, and keeps what is heard. */
export class Follower {
  readonly nodes: Nodes[] = []
  readonly states: WatchState[] = []
  readonly #watch: ReturnType<typeof watchNodes>

  constructor(options: { kubeconfig?: string }, timing: Partial<Timing> = {}) {
    this.#watch = watchNodes(options, { nodes: (nodes) => void this.nodes.push(nodes), state: (state) => void this.states.push(state) }, { ...QUICK, ...timing })
  }

  /** The nodes as they were told last: `a b c`. */
  get names(): string {
    return this.nodes.length === 0 ? 'nothing' : [...this.nodes.at(-1)!.keys()].sort().join(' ')
  }

  get state(): WatchState {
    return this.#watch.state
  }

  close(): void {
    this.#watch.close()
  }

  /** Waits until there is a watch that has lasted long enough to count as one. */
  async watching(): Promise<void> {
    await this.until((follower) => follower.state.phase === 'watching')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }

  /** Waits until something is so. */
  async until(is: (follower: this) => boolean, what = String(is)): Promise<void> {
    const MOST = 60_000 // milliseconds
    for (const begin = performance.now(); !is(this); await new Promise((resolve) => setTimeout(resolve, 2)))
      if (performance.now() - begin > MOST) throw new Error(`never came true: ${what}; nodes ${this.names}, state ${JSON.stringify(this.state)}`)
  }
}

/** A server with nodes a, b, c and somebody who follows it over plain HTTP, both closed at the end of the test. */
export async function following(t: { teardown(undo: () => unknown): void }, { timing = {}, prepare = () => {} }: { timing?: Partial<Timing>; prepare?: (server: ApiServer) => void } = {}): Promise<{ server: ApiServer; follower: Follower }> {
  const server = new ApiServer()
  for (const [i, name] of ['a', 'b', 'c'].entries()) server.put(name, node(i + 1))
  prepare(server)
  await server.start()
  const follower = new Follower({ kubeconfig: kubeconfig(directory(t), { server: server.address, 'insecure-skip-tls-verify': true }) }, timing)
  t.teardown(() => {
    follower.close()
    return server.stop()
  })
  return { server, follower }
}
