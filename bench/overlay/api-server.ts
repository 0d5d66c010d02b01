// An API server with nothing but nodes, a program of its own: api-server.ts COUNT PORT. It lists them in pages and sends a
// watch what kubelets send when nothing happens: each node's status once in five minutes (nodeStatusReportFrequency).

import { createServer, type ServerResponse } from 'node:http'
import { nodeObject } from './nodes.ts'

const HEARTBEAT = 300_000 // ms
const BOOKMARK = 60_000 // ms
const [count, port] = process.argv.slice(2).map(Number) as [number, number]
const nodes = Array.from({ length: count }, (_, i) => JSON.stringify(nodeObject(i))) // beforehand: it shares the CPUs with the agent
let version = count + 1

createServer((request, response) => {
  const query = new URL(request.url!, 'http://server').searchParams
  response.setHeader('content-type', 'application/json')
  if (query.get('watch')) watch(response)
  else list(response, Number(query.get('continue')), Number(query.get('limit')) || count)
}).listen(port, '127.0.0.1')

function list(response: ServerResponse, from: number, limit: number): void {
  const to = Math.min(from + limit, count)
  const metadata = { resourceVersion: String(version), ...(to < count && { continue: String(to) }) }
  response.end(`{"kind":"NodeList","apiVersion":"v1","metadata":${JSON.stringify(metadata)},"items":[${nodes.slice(from, to).join()}]}`)
}

function watch(response: ServerResponse): void {
  let next = 0
  const send = (type: string, object: string) => response.write(`{"type":"${type}","object":{"kind":"Node","apiVersion":"v1",${object.slice(1)}}\n`)
  const heartbeats = setInterval(() => send('MODIFIED', changed(nodes[next++ % count]!)), HEARTBEAT / count)
  const bookmarks = setInterval(() => send('BOOKMARK', `{"metadata":{"resourceVersion":"${version}"}}`), BOOKMARK)
  response.flushHeaders()
  response.on('close', () => [heartbeats, bookmarks].forEach(clearInterval))
}

const changed = (object: string): string => object.replace(/"resourceVersion":"\d+"/, `"resourceVersion":"${++version}"`)
