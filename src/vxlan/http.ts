// /healthz, /readyz, /metrics: for kubelet and Prometheus.

import { createServer, type Server } from 'node:http'
import type { Metrics } from './metrics.ts'

export interface Health {
  ready: boolean
  /** Why not, a sentence. */
  reason: string
}

/** Listens on `ADDRESS:PORT`, `[ADDRESS]:PORT` or `:PORT`; rejects with what the kernel said. */
export function listen(address: string, health: () => Health, metrics: Metrics, refresh: () => void): Promise<Server> {
  const [host, port] = parseListen(address)
  const server = createServer(async ({ url, method }, response) => {
    const answer = (status: number, text: string, type = 'text/plain; charset=utf-8') => response.writeHead(status, { 'content-type': type }).end(method === 'HEAD' ? '' : text)
    const { ready, reason } = health()
    switch (url?.split('?')[0]) {
      case '/healthz':
        return answer(200, 'ok\n')
      case '/readyz':
        return ready ? answer(200, 'ok\n') : answer(503, `${reason}\n`)
      case '/metrics':
        refresh()
        return answer(200, await metrics.text(), metrics.contentType)
      default:
        return answer(404, 'podwire has /healthz, /readyz and /metrics\n')
    }
  })
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(new Error(`--listen ${address}: ${error.message}`)))
    server.listen(port, host, () => resolve(server))
  })
}

/** Host and port; error if the text is none. */
export function parseListen(address: string): [host: string | undefined, port: number] {
  const [, bracketed, plain, digits] = /^(?:\[([0-9a-fA-F:]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(address) ?? []
  const port = Number(digits)
  if (digits === undefined || port > 65535) throw new Error(`--listen ${address}: expected ADDRESS:PORT such as 127.0.0.1:9466`)
  return [bracketed ?? (plain || undefined), port]
}
