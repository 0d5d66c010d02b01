// The sysctls that an administrator of the node allows: a file with a regular expression per line, of which one must match the
// key as it is written. Without the file all are allowed. The expressions are RE2's, as the reference's are: whatever they are,
// matching takes a time in proportion to the key. https://github.com/google/re2/wiki/Syntax

import type { Pod } from '../chained.ts'
import type { NetConf } from '../cni/conf.ts'
import { CniError } from '../cni/error.ts'
import { textOf } from '../file.ts'
import { re2Later } from '../later.ts'
import type { Kernel } from '../state.ts'
import { sysctls, type TuningConf } from './tuning.ts'

const ALLOWLIST = '/etc/cni/tuning/allowlist.conf'
const LARGEST = 1024 * 1024 // bytes

/** Errors: 5 the file cannot be read, 7 a sysctl is not allowed, or a line is no regular expression. */
export function guardSysctls(_: Kernel, pod: Pod, conf: NetConf): void {
  const wanted = sysctls(pod, conf as TuningConf)
  const allowed = wanted.length > 0 ? allowlist() : undefined
  if (!allowed) return
  const expressions = allowed.map(expression)
  const refused = wanted.filter(({ given }) => !expressions.some((matches) => matches(given)))
  if (refused.length > 0) throw new CniError(7, refused.map(({ given }) => `Sysctl ${given} is not allowed: no line of ${ALLOWLIST} matches it`).join('; '), `allowed are: ${allowed.join(' ')}`)
}

function allowlist(): string[] | undefined {
  return text()
    ?.split('\n')
    .map((line) => line.trim())
    .filter(Boolean)
}

function text(): string | undefined {
  try {
    return textOf(ALLOWLIST, LARGEST, true)
  } catch (error) {
    throw new CniError(5, `the list of sysctls that are allowed: ${(error as Error).message}`)
  }
}

/** Whether a key has something that the line matches, as Go's regexp.MatchString. */
function expression(line: string): (key: string) => boolean {
  const { RE2JS } = re2Later()
  try {
    const compiled = RE2JS.compile(line)
    return (key) => compiled.test(key)
  } catch (error) {
    throw new CniError(7, `${ALLOWLIST} has the line ${JSON.stringify(line)}: expected a regular expression, in the syntax of RE2`, (error as Error).message)
  }
}
