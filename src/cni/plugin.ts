// A plugin as the protocol sees it: what it does for each command. VERSION is answered by serve.

import type { Environment } from './request.ts'
import type { Result } from './result.ts'
import type { Schema } from './schema.ts'
import type { NetConf } from './conf.ts'
import type { Plan } from '../facts.ts'
import type { Kernel } from '../state.ts'

export interface Request {
  env: Environment
  conf: NetConf
  /** The configuration as it came. */
  stdin: Uint8Array
  /** What an operator should read, though it is no error: printed on stderr. */
  notes: string[]
}

export interface Plugin {
  schema: Schema
  add(request: Request): Result
  /** Best effort; never fails for what is missing. */
  del(request: Request): void
  check(request: Request): void
  /**
   * What ADD has made, as facts: by the result of ADD, which CHECK has as prevResult, and by the kernel. The pod's namespace may not be
   * open: then facts of the node count, and `in: 'pod'` is what nobody looked at. Absent: it makes nothing that others could undo.
   */
  made?(request: Request, kernel: Kernel): Plan
  gc(request: Request): void
  status(request: Request): void
}
