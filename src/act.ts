// What plugins do with a plan and the kernel, with the protocol's errors: namespaces opened and closed, a plan made true, what a
// CHECK found said.

import { CniError } from './cni/error.ts'
import type { Environment } from './cni/request.ts'
import { lackingGuard } from './exposure.ts'
import type { Plan } from './facts.ts'
import { script } from './findings.ts'
import { isErrno } from './kernel/errno.ts'
import { Netns, netnsKind } from './kernel/netns.ts'
import { Held } from './kernel/nft.ts'
import * as state from './state.ts'
import type { Finding, Kernel } from './state.ts'

export function withKernel<T>(pod: string | undefined, run: (kernel: Kernel) => T): T {
  const host = new Netns()
  try {
    const inside = pod ? new Netns(pod) : undefined
    try {
      return run({ host, ...(inside && { pod: inside }) })
    } finally {
      inside?.close()
    }
  } finally {
    host.close()
  }
}

/** How iproute2 calls a namespace: by name if it is in /run/netns, else by path. */
export const podName = (path: string): string => /^(?:\/var)?\/run\/netns\/([^/]+)$/.exec(path)?.[1] ?? path

/** Makes a plan true; what an operator should know of it goes into `notes`. */
export function act(kernel: Kernel, plan: Plan, pod: string, notes: string[]): void {
  try {
    notes.push(...state.add(kernel, [...lackingGuard(kernel.host), ...plan], pod))
  } catch (error) {
    if (!(error instanceof state.FactError)) throw error
    const left = error.left.length > 0 ? `left behind: ${error.left.join('; ')}` : 'what had been done was taken back'
    const missing = isErrno(error.cause, 'EOPNOTSUPP', 'EPROTONOSUPPORT', 'ENOTSUPP', 'EAFNOSUPPORT') || (error.code === 'ENOENT' && ['chain', 'sysctl'].includes(error.fact.fact))
    if (error.cause instanceof Held) throw new CniError(109, error.message, left)
    throw new CniError(missing ? 103 : error.code === 'EEXIST' && error.fact.fact === 'link' ? 101 : 100, error.message, left)
  }
}

/** Error 102 if a CHECK found something; its details are a script that repairs it. */
export function complain(findings: Finding[]): void {
  if (findings.length > 0) throw new CniError(102, findings.map(({ sentence }) => sentence).join('; '), script(findings))
}

/** The pod's namespace, if there is one still. */
export const podNetns = ({ netns }: Environment): string | undefined => (netns && netnsKind(netns) === 'namespace' ? netns : undefined)

export function requireNetns({ netns }: Environment, unknown = 4): void {
  const kind = netnsKind(netns)
  const said = `CNI_NETNS=${JSON.stringify(netns)}`
  if (kind === 'missing') throw new CniError(unknown, `${said}: there is no such file`, "expected the path of the container's network namespace")
  if (kind === 'other') throw new CniError(unknown, `${said} is not a network namespace`, 'expected a path such as /run/netns/NAME or /proc/PID/ns/net')
}

/** An error with the code, 7 if none is given, if there are problems. */
export function refuse(problems: string[], code = 7): void {
  if (problems.length > 0) throw new CniError(code, problems.join('; '))
}
