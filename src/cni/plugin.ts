// A plugin as the protocol sees it: what it does for each command. VERSION is answered by serve.

import type { Environment } from './request.ts'
import type { Result } from './result.ts'
import type { Schema } from './schema.ts'
import type { NetConf } from './conf.ts'

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
  gc(request: Request): void
  status(request: Request): void
}
