// Error numbers by name, and the error that carries what the kernel said. <asm-generic/errno.h>

import { constants } from 'node:os'

// Some numbers have two names; and some that nf_tables and rtnetlink speak are not in Node's table. <linux/errno.h>
const PREFERRED = { EAGAIN: 11, ERESTART: 85, EOPNOTSUPP: 95, ENOTSUPP: 524 }
const names = new Map([...Object.entries(constants.errno), ...Object.entries(PREFERRED)].map(([name, number]) => [number, name]))

/** `ENODEV` for 19; the number itself when it has no name here. */
export const errnoName = (errno: number): string => names.get(errno) ?? `errno ${errno}`

/** The kernel refused something. `code` as in Node's own system errors; `words` is its extended ACK, if it gave one. */
export class KernelError extends Error {
  readonly code: string
  readonly words: string | undefined

  constructor(what: string, errno: number, words?: string) {
    const code = errnoName(errno)
    super(`${what}: ${code}${words ? `: ${words}` : ''}`)
    this.code = code
    this.words = words
  }
}

/** True if the error is a KernelError or a Node system error of one of these codes. */
export const isErrno = (error: unknown, ...codes: string[]): boolean =>
  error instanceof Error && 'code' in error && codes.includes(error.code as string)
