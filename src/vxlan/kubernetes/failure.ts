// What keeps the nodes from being known, as a sentence that says what to do about it.

import { BadFile, Unreadable } from '../../file.ts'
import { printable } from '../../printable.ts'
import { at } from './node.ts'

/** gone: the resource version is of no use, list again. garbled: what came is no answer. refused: all else, try again. */
export type Kind = 'gone' | 'garbled' | 'refused'

export class Failure extends Error {
  readonly kind: Kind
  /** How long the server asks us to wait, milliseconds. */
  readonly retryAfter: number

  constructor(kind: Kind, message: string, retryAfter = 0) {
    super(printable(message.replace(/\s+/g, ' '))) // one line, in a log
    this.kind = kind
    this.retryAfter = retryAfter
  }
}

/** An answer that is not 200: its status, its Status object (or whatever the body was), its header Retry-After. */
export function refusal(status: number, body: unknown, retryAfter?: string, kind: Kind = 'refused'): Failure {
  const said = at(body, 'message')
  const words = `the API server answers ${status}${typeof said === 'string' && said !== '' ? ` (${said.slice(0, 300)})` : ''}`
  const remedy = status >= 500 ? REMEDIES[500] : REMEDIES[status]
  const seconds = Number(retryAfter ?? at(body, 'details', 'retryAfterSeconds') ?? 0)
  return new Failure(isGone(status, body) ? 'gone' : kind, remedy ? `${words}: ${remedy}` : words, Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : 0)
}

const RULE = 'apiGroups [""], resources ["nodes"], verbs ["get", "list", "watch"]'

const REMEDIES: Record<number, string> = {
  401: 'it does not accept the credentials; see that the ServiceAccount (or the user of the kubeconfig) exists and its token or certificate has not expired. They are read anew at each attempt',
  403: `bind a ClusterRole with the rule ${RULE} to the agent's ServiceAccount (conf/podwire.yaml has both)`,
  404: 'the address is not that of a Kubernetes API server; see `server` in the kubeconfig',
  429: 'it is overloaded; podwire waits as long as it asks',
  500: 'it cannot serve at the moment; see its log and that of etcd',
}

/** Of an etcd restored from a backup the resource version we know lies in the future. */
function isGone(status: number, body: unknown): boolean {
  return status === 410 || (status === 504 && /resource version/i.test(String(at(body, 'message'))))
}

/** An error of Node's, of the library's or ours. `server`: the address that was asked. */
export function failureOf(error: unknown, server = 'the API server'): Failure {
  if (error instanceof Failure) return error
  const { code = '', message } = error as NodeJS.ErrnoException
  if (error instanceof BadFile || error instanceof Unreadable) return new Failure('refused', `${server}: ${message}`)
  const said = message.includes(code) ? message : `${code} ${message}`.trim()
  const remedy = Object.entries(CAUSES).find(([, codes]) => codes.test(code))?.[0]
  return new Failure('refused', remedy ? `${server}: ${said}: ${remedy}` : `${server}: ${said}`)
}

/** What to do, and the error codes that ask for it. Node.js's manual, tls "X509 certificate error codes". */
const CAUSES: Record<string, RegExp> = {
  'cannot be reached; see that the API server runs, that the address is right, and that kube-proxy (or what serves Services) runs on this node': /^(ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EHOSTDOWN|ENETDOWN|EADDRNOTAVAIL)$/,
  'the name is not resolved; see `server` in the kubeconfig and /etc/resolv.conf': /^(ENOTFOUND|EAI_AGAIN|EAI_NODATA)$/,
  "its certificate is not valid now; renew it, or set this node's clock": /^CERT_(HAS_EXPIRED|NOT_YET_VALID)$/,
  'its certificate is made for another name or address; give the kubeconfig a `server` or `tls-server-name` that the certificate has': /^ERR_TLS_CERT_ALTNAME_INVALID$/,
  "its certificate is not signed by the CA we trust; see `certificate-authority` in the kubeconfig, or the ServiceAccount's ca.crt. Both are read anew at each attempt": /^(SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_\w+|CERT_(?!HAS_EXPIRED|NOT_YET_VALID)\w+|INVALID_CA|ERR_OSSL_X509\w*)$/,
  'TLS failed; see that the address is that of an API server, and the client certificate in the kubeconfig': /^(EPROTO|ERR_SSL_\w+|ERR_OSSL_\w+)$/,
  'the file cannot be read; see that it is there and readable': /^(ENOENT|EACCES|EISDIR|ENOTDIR)$/,
}
