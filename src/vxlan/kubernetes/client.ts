// A connection to the API server with the credentials of this moment.
//
// Credentials, CA, proxy and `exec` are the Kubernetes client library's (KubeConfig). It is made anew for each connection:
// so tokens, certificates and kubeconfigs may rotate at any time. (The library itself reads a token's file again after a
// minute on the wall clock, which never passes when the clock is set back; and it keeps an agent with the old CA.)
//
// Its Watch and informer are not used. They keep whole objects, list without pages, report a change before the list is
// complete, drop a line that is not JSON and what the server says with a refusal (Retry-After, the Status), and give up
// after some of the errors. Of the library only config.js is imported: the generated API around it costs 75 MiB.

import { once } from 'node:events'
import { request as http, type IncomingMessage } from 'node:http'
import { request as https, type Agent, type RequestOptions } from 'node:https'
import { IN_CLUSTER } from '../in-cluster.ts'
import { credentials } from './credentials.ts'
import { Failure, failureOf, refusal } from './failure.ts'

export interface Patience {
  /** Milliseconds without a byte after which a connection counts as dead. */
  silence: number
  /** Milliseconds after which an answer must have come to its end. */
  total: number
}

export class Client {
  readonly server: string
  readonly #options: RequestOptions

  /** Reads the credentials: of a kubeconfig, or those that a pod has. An `exec` plugin is given `wait` milliseconds. */
  static async open(kubeconfig: string | undefined, wait: number, signal: AbortSignal): Promise<Client> {
    const config = credentials(kubeconfig)
    const options: RequestOptions = {}
    try {
      await within(config.applyToHTTPSOptions(options), wait, signal)
    } catch (error) {
      throw new Failure('refused', `no credentials for the API server: ${(error as Error).message.trim()}: see the user in ${kubeconfig ?? IN_CLUSTER}`)
    }
    return new Client(config.getCurrentCluster()!.server, options, signal)
  }

  constructor(server: string, options: RequestOptions, signal: AbortSignal) {
    this.server = server
    const agent = options.agent as Agent & { keepAlive: boolean }
    agent.keepAlive = true // the pages of a list and the watch that follows come over one connection
    const headers: Record<string, string> = { Accept: 'application/json', 'User-Agent': 'podwire' }
    // The library takes a token's file as it is; a newline at its end must not go into a header.
    for (const [name, value] of Object.entries(options.headers ?? {})) headers[name] = String(value).trim()
    this.#options = { ...options, signal, headers }
  }

  close(): void {
    ;(this.#options.agent as Agent).destroy()
  }

  /** The answer's bytes, if its status is 200. Errors: a Failure, before or while they are read. */
  async *get(path: string, query: Record<string, string>, patience: Patience): AsyncGenerator<Buffer> {
    let response: IncomingMessage | undefined
    const url = new URL(`${this.server}${path}?${new URLSearchParams(query)}`)
    const request = (url.protocol === 'http:' ? http : https)(url, { ...this.#options, timeout: patience.silence }).end()
    const end = (why: string) => (response ?? request).destroy(new Failure('refused', `${this.server}: ${why}`))
    request.on('timeout', () => end(`not a byte in ${patience.silence / 1000} seconds; the connection is dead or the API server hangs`))
    const deadline = setTimeout(end, patience.total, `no end of the answer after ${patience.total / 1000} seconds`)
    try {
      ;[response] = (await once(request, 'response')) as [IncomingMessage]
      request.on('error', () => {}) // from here on, reading the response says it
      if (response.statusCode !== 200) throw refusal(response.statusCode!, await status(response), response.headers['retry-after'])
      yield Buffer.alloc(0) // the answer has begun: a watch may be silent for minutes after that
      for await (const chunk of response) yield chunk as Buffer
    } catch (error) {
      throw failureOf(error, this.server)
    } finally {
      clearTimeout(deadline)
      if (!response?.complete) request.destroy()
    }
  }
}

/** The Status object of a refusal, or undefined if the body is something else. */
async function status(response: IncomingMessage): Promise<unknown> {
  const MOST = 64 * 1024
  let text = ''
  for await (const chunk of response) if ((text += chunk).length > MOST) return undefined
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

async function within<T>(work: Promise<T>, wait: number, signal: AbortSignal): Promise<T> {
  const { promise: never, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error(`not there after ${wait / 1000} seconds`)), wait)
  const stop = () => reject(signal.reason)
  signal.addEventListener('abort', stop)
  try {
    return await Promise.race([work, never])
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
  }
}
