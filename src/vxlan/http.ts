// /healthz, /readyz, /metrics: for kubelet and Prometheus. Whoever can send a packet here is served, and so is a page in somebody's
// browser whose name was made to lead here (DNS rebinding): so only requests that name what was listened on are answered,
// only those that change nothing, and none holds a connection for long.

import { createServer, type IncomingMessage, type Server } from 'node:http'
import { isIP } from 'node:net'
import { hostname } from 'node:os'
import { contains, parseAddress, parseCidr, sameAddress } from '../ip.ts'
import { printable } from '../printable.ts'
import { log } from './log.ts'
import type { Metrics } from './metrics.ts'

export interface Health {
  ready: boolean
  /** Why not, a sentence. */
  reason: string
  /** A line for each peer. */
  peers(): string[]
}

/** A request is a few hundred bytes in one packet; Prometheus gives an answer 10 s by default. */
const LIMITS = { maxHeaderSize: 8192, headersTimeout: 5_000, requestTimeout: 5_000, connectionsCheckingInterval: 1_000 } // bytes, ms
const SILENCE = 10_000 // milliseconds
const HEADERS = { 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff', connection: 'close' }
const MOST_CONNECTIONS = 128

/** Listens on `ADDRESS:PORT`, `[ADDRESS]:PORT` or `:PORT`; rejects with what the kernel said. */
export function listen(address: string, health: () => Health, metrics: Metrics, refresh: () => void): Promise<Server> {
  const [host, port] = parseListen(address)
  const server = createServer(LIMITS, async (request, response) => {
    const { status, text, headers } = await answer(request, { host, health, metrics, refresh })
    response.writeHead(status, { ...HEADERS, ...headers }).end(request.method === 'HEAD' ? '' : text)
  })
  server.timeout = SILENCE
  server.maxConnections = MOST_CONNECTIONS
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(new Error(`--listen ${address}: ${refusals(port)[(error as NodeJS.ErrnoException).code ?? ''] ?? error.message}`)))
    server.listen(port, host, () => {
      // From here on it is that a connection could not be accepted, for lack of descriptors: the next one may be.
      server.removeAllListeners('error').on('error', (error) => log.error('a request could not be heard', { why: error.message }))
      resolve(server)
    })
  })
}

/** What the kernel says of a place to listen at, in sentences. */
const refusals = (port: number): Record<string, string> => ({
  EADDRINUSE: `another process listens there (ss -Hltnp 'sport = :${port}' says which): end it, or say another port`,
  EADDRNOTAVAIL: 'this node has no such address',
  EACCES: 'ports below 1024 take root, or CAP_NET_BIND_SERVICE',
})

interface Serving {
  /** The address or name that --listen says. */
  host: string | undefined
  health: () => Health
  metrics: Metrics
  refresh: () => void
}

interface Answer {
  status: number
  text: string
  headers?: Record<string, string>
}

/** Never rejects: what goes wrong here is told to whoever asked, and the overlay goes on. */
async function answer(request: IncomingMessage, { host, health, metrics, refresh }: Serving): Promise<Answer> {
  try {
    if (!isForUs(request, host)) return { status: 421, text: 'podwire answers to the address that --listen says\n' } // RFC 9110 §15.5.20
    const { method = '' } = request
    if (!['GET', 'HEAD'].includes(method)) return { status: 405, text: 'podwire answers GET and HEAD\n', headers: { allow: 'GET, HEAD' } }
    switch (request.url?.split('?')[0]) {
      case '/healthz':
        return { status: 200, text: 'ok\n' }
      case '/readyz': {
        const { ready, reason, peers } = health()
        const text = isVerbose(request.url) ? details(ready, reason, peers()) : ready ? 'ok\n' : `${reason}\n`
        return { status: ready ? 200 : 503, text }
      }
      case '/metrics':
        refresh()
        return { status: 200, text: await metrics.text(), headers: { 'content-type': metrics.contentType } }
      default:
        return { status: 404, text: 'podwire has /healthz, /readyz and /metrics\n' }
    }
  } catch (error) {
    return { status: 500, text: `${(error as Error).message}\n` }
  }
}

const isVerbose = (url = ''): boolean => new URL(url, 'http://podwire').searchParams.has('verbose')

/** As Kubernetes' own programs tell: a line for each thing that is looked at, and what comes of it. A peer makes no node unready. */
function details(ready: boolean, reason: string, peers: string[]): string {
  const lines = [ready ? '[+]overlay ok' : `[-]overlay failed: ${reason}`, ...peers, `readyz check ${ready ? 'passed' : 'failed'}`]
  return lines.map((line) => `${printable(line)}\n`).join('')
}

/**
 * True if the Host of a request is the address at which it came in, or a name that is surely this node's: what --listen says,
 * `localhost` on the loopback, the node's host name elsewhere. HTTP/1.0 has no Host, and no browser speaks it.
 */
function isForUs({ headers, headersDistinct, httpVersion, socket }: IncomingMessage, told: string | undefined): boolean {
  if (headers.host === undefined) return httpVersion === '1.0'
  const [, bracketed, plain, digits] = /^(?:\[([0-9a-f:.]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/i.exec(headers.host) ?? []
  const name = (bracketed ?? plain)?.toLowerCase()
  if (name === undefined || headersDistinct.host!.length > 1 || (digits !== undefined && Number(digits) !== socket.localPort)) return false
  const here = parseAddress(socket.localAddress ?? '')
  if (bracketed !== undefined || isIP(name) === 4) {
    const literal = parseAddress(name)
    return here !== undefined && literal !== undefined && sameAddress(here, literal)
  }
  if (name === told?.toLowerCase()) return true
  const loopback = here !== undefined && LOOPBACK.some((cidr) => contains(cidr, here))
  return name === (loopback ? 'localhost' : hostname().toLowerCase())
}

const LOOPBACK = ['127.0.0.0/8', '::1/128'].map((text) => parseCidr(text)!)

/** Host and port; error if the text is none. */
export function parseListen(address: string): [host: string | undefined, port: number] {
  const [, bracketed, plain, digits] = /^(?:\[([0-9a-fA-F:]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(address) ?? []
  const port = Number(digits)
  if (digits === undefined || port > 65535) throw new Error(`--listen ${address}: expected ADDRESS:PORT such as 127.0.0.1:9466`)
  return [bracketed ?? (plain || undefined), port]
}
