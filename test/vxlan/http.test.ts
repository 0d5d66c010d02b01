// What the agent's listener answers, to whom; and that nobody who asks can hold it up or end it.

import { once } from 'node:events'
import type { Server } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { hostname } from 'node:os'
import { ip } from '../world.ts'
import t from 'tap'
import { listen, type Health } from '../../src/vxlan/http.ts'
import { Metrics } from '../../src/vxlan/metrics.ts'

ip('link set lo up && ip addr add 192.0.2.1/32 dev lo && ip -6 addr add 2001:db8::1/128 dev lo nodad')

const health: Health = { ready: true, reason: '', peers: () => [] }
let refresh = (): void => {}

/** A server there, that is closed with the test. */
async function server(t: { teardown(end: () => unknown): void }, address: string): Promise<{ server: Server; port: number }> {
  const server = await listen(address, () => health, new Metrics(), () => refresh())
  t.teardown(() => (server.closeAllConnections(), server.close()))
  return { server, port: (server.address() as AddressInfo).port }
}

/** What comes for these lines, until the connection is closed. */
async function ask(host: string, port: number, ...lines: string[]): Promise<string> {
  const socket = connect(port, host)
  let text = ''
  socket.on('data', (data) => (text += data)).on('error', () => {})
  socket.write(`${lines.join('\r\n')}\r\n\r\n`)
  await once(socket, 'close')
  return text
}

const status = async (...args: Parameters<typeof ask>): Promise<number> => Number(/^HTTP\/1\.1 (\d+)/.exec(await ask(...args))?.[1])
const get = (host: string, port: number, name: string): Promise<number> => status(host, port, 'GET /metrics HTTP/1.1', `Host: ${name}`)

t.test('a place at which it cannot listen is said in a sentence', async (t) => {
  const { port } = await server(t, '127.0.0.1:0')
  const at = (address: string) => listen(address, () => health, new Metrics(), () => refresh())
  await t.rejects(at(`127.0.0.1:${port}`), { message: `--listen 127.0.0.1:${port}: another process listens there (ss -Hltnp 'sport = :${port}' says which): end it, or say another port` })
  await t.rejects(at('198.51.100.1:9466'), { message: '--listen 198.51.100.1:9466: this node has no such address' })
})

t.test('GET and HEAD are answered, and nothing else is', async (t) => {
  const { port } = await server(t, '127.0.0.1:0')
  for (const path of ['/healthz', '/readyz', '/metrics', '/metrics?x=1']) t.equal(await status('127.0.0.1', port, `GET ${path} HTTP/1.1`, `Host: 127.0.0.1:${port}`), 200, path)
  t.match(await ask('127.0.0.1', port, 'HEAD /healthz HTTP/1.1', `Host: 127.0.0.1:${port}`), /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\n$/, 'no body')
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE', 'PROPFIND']) t.match(await ask('127.0.0.1', port, `${method} /metrics HTTP/1.1`, `Host: 127.0.0.1:${port}`, 'Content-Length: 0'), /^HTTP\/1\.1 405 [^]*\r\nallow: GET, HEAD\r\n/i, method)
  t.equal(await status('127.0.0.1', port, 'GET /elsewhere HTTP/1.1', `Host: 127.0.0.1:${port}`), 404)
  t.equal(await status('127.0.0.1', port, 'GET /healthz HTTP/1.0'), 200, 'HTTP/1.0 has no Host')
})

t.test('a page whose name was made to lead here learns nothing (DNS rebinding)', async (t) => {
  const { port } = await server(t, '127.0.0.1:0')
  const right = [`127.0.0.1:${port}`, '127.0.0.1', `localhost:${port}`, `LOCALHOST:${port}`]
  for (const name of right) t.equal(await get('127.0.0.1', port, name), 200, name)
  const wrong = ['evil.example', `evil.example:${port}`, '127.0.0.1.evil.example', `localhost.evil.example:${port}`, 'localhost.', '192.0.2.1', '127.0.0.2', '0.0.0.0', '[::1]', `127.0.0.1:${port + 1}`, '127.1', '2130706433', '0x7f000001', `user@127.0.0.1:${port}`, '[127.0.0.1]:', '', '127.0.0.1:', '[evil.example]', `${hostname()}x`]
  for (const name of wrong) t.equal(await get('127.0.0.1', port, name), 421, JSON.stringify(name))
  t.not(await status('127.0.0.1', port, 'GET /metrics HTTP/1.1', `Host: 127.0.0.1:${port}`, 'Host: evil.example'), 200, 'two of them')
  t.equal(await status('127.0.0.1', port, 'GET /metrics HTTP/1.1'), 400, 'none')
  t.equal(await status('127.0.0.1', port, 'GET http://evil.example/metrics HTTP/1.1', `Host: 127.0.0.1:${port}`), 404, 'a whole URL')
  t.equal(await status('127.0.0.1', port, 'GET /readyz HTTP/1.1', 'Host: evil.example'), 421, 'nor whether the node is ready')
})

t.test('on all addresses each of them is answered to, and the host\'s name', async (t) => {
  for (const address of [':0', '0.0.0.0:0', '[::]:0']) {
    const { port } = await server(t, address)
    for (const name of [`192.0.2.1:${port}`, `${hostname()}:${port}`]) t.equal(await get('192.0.2.1', port, name), 200, `${address}: ${name}`)
    t.equal(await get('127.0.0.1', port, `127.0.0.1:${port}`), 200)
    if (address !== '0.0.0.0:0') t.equal(await get('2001:db8::1', port, `[2001:0db8:0:0::1]:${port}`), 200)
    for (const name of ['evil.example', '127.0.0.1', 'localhost']) t.equal(await get('192.0.2.1', port, name), 421, name)
  }
})

t.test('by the name that it was told', async (t) => {
  const { port } = await server(t, 'localhost:0')
  t.equal(await get('localhost', port, `localhost:${port}`), 200)
  t.equal(await get('localhost', port, 'example.org'), 421)
})

t.test('what fails while it answers is said to whoever asked, and the next one is answered', async (t) => {
  const { port } = await server(t, '127.0.0.1:0')
  refresh = () => { throw new Error('the leases cannot be read') }
  t.match(await ask('127.0.0.1', port, 'GET /metrics HTTP/1.1', `Host: 127.0.0.1:${port}`), /^HTTP\/1\.1 500 [^]*the leases cannot be read\n/)
  refresh = () => {}
  t.equal(await get('127.0.0.1', port, `127.0.0.1:${port}`), 200)
})

t.test('an error of the listening socket, such as no descriptors left, is logged and not thrown', async (t) => {
  const { server: listening, port } = await server(t, '127.0.0.1:0')
  t.doesNotThrow(() => listening.emit('error', new Error('accept EMFILE')))
  t.equal(await get('127.0.0.1', port, `127.0.0.1:${port}`), 200)
})

t.test('nobody holds it up: no connection is kept, none waits for ever, and headers are small', async (t) => {
  const { server: listening, port } = await server(t, '127.0.0.1:0')
  t.match(await ask('127.0.0.1', port, 'GET /healthz HTTP/1.1', `Host: 127.0.0.1:${port}`, 'Connection: keep-alive'), /\r\nconnection: close\r\n/i)
  t.equal(await status('127.0.0.1', port, 'GET /healthz HTTP/1.1', `Host: 127.0.0.1:${port}`, `X: ${'x'.repeat(20_000)}`), 431)
  for (const limit of ['headersTimeout', 'requestTimeout', 'timeout'] as const) t.ok(listening[limit] > 0 && listening[limit] <= 10_000, `${limit} ${listening[limit]}`)
  Object.assign(listening, { headersTimeout: 200, requestTimeout: 200 }) // so that this does not take as long
  const slow: Socket[] = ['', 'GET /healthz HTTP/1.1\r\n', `POST /healthz HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Length: 9\r\n\r\n`].map((text) => {
    const socket = connect(port, '127.0.0.1').on('error', () => {}).resume()
    socket.write(text)
    return socket
  })
  await Promise.all(slow.map((socket) => once(socket, 'close')))
  t.pass('each of the slow is sent away')
  t.ok(listening.maxConnections < 1024, 'and there are never more than the agent has descriptors for')
})
