// The sysctls that an administrator of the node allows: a file with a regular expression per line, of which one must match the
// key as it is written. Without the file all are allowed.

import { readFileSync } from 'node:fs'
import type { Pod } from '../chained.ts'
import type { NetConf } from '../cni/conf.ts'
import { CniError } from '../cni/error.ts'
import { isErrno } from '../kernel/errno.ts'
import type { Kernel } from '../state.ts'
import { sysctls, type TuningConf } from './tuning.ts'

const ALLOWLIST = '/etc/cni/tuning/allowlist.conf'

/** Errors: 5 the file cannot be read, 7 a sysctl is not allowed, or a line is no regular expression. */
export function guardSysctls(_: Kernel, pod: Pod, conf: NetConf): void {
  const wanted = sysctls(pod, conf as TuningConf)
  const allowed = wanted.length > 0 ? allowlist() : undefined
  if (!allowed) return
  const refused = wanted.filter(({ given }) => !allowed.some((line) => line.test(given)))
  if (refused.length > 0) throw new CniError(7, refused.map(({ given }) => `Sysctl ${given} is not allowed: no line of ${ALLOWLIST} matches it`).join('; '), `allowed are: ${allowed.map(({ source }) => source).join(' ')}`)
}

function allowlist(): RegExp[] | undefined {
  return text()
    ?.split('\n')
    .map((line) => line.trim())
    .filter(Boolean)
    .map(expression)
}

function text(): string | undefined {
  try {
    return readFileSync(ALLOWLIST, 'utf8')
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined
    throw new CniError(5, `the list of sysctls that are allowed: ${(error as Error).message}`)
  }
}

function expression(line: string): RegExp {
  try {
    return new RegExp(line)
  } catch (error) {
    throw new CniError(7, `${ALLOWLIST} has the line ${JSON.stringify(line)}: expected a regular expression`, (error as Error).message)
  }
}
