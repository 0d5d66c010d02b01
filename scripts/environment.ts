// Takes names of environment variables out of an executable, so that what a caller's environment happens to have is not heeded:
// code to run, files to write, whom to trust. Node.js reads some of them before any JavaScript runs, and has no option against it.

import { readFileSync, writeFileSync } from 'node:fs'

/** What Node.js and its libraries would heed. docs/architecture.md says what each would do, and what is left. */
export const UNHEEDED = [
  ...`CHANNEL_FD CHANNEL_SERIALIZATION_MODE CLUSTER_SCHED_POLICY COMPILE_CACHE COMPILE_CACHE_PORTABLE COMPILE_CACHE_READONLY DEBUG
    DISABLE_COLORS DISABLE_COMPILE_CACHE EXTRA_CA_CERTS ICU_DATA INSPECT_RESUME_ON_START NO_WARNINGS OPTIONS PATH PENDING_DEPRECATION
    PENDING_PIPE_INSTANCES PRESERVE_SYMLINKS PRESERVE_SYMLINKS_MAIN REDIRECT_WARNINGS REPL_EXTERNAL_MODULE REPL_HISTORY
    SKIP_PLATFORM_CHECK TEST_CONTEXT TEST_WORKER_ID TLS_REJECT_UNAUTHORIZED UNIQUE_ID USE_ENV_PROXY USE_SYSTEM_CA V8_COVERAGE`
    .split(/\s+/)
    .map((name) => `NODE_${name}`),
  ...['WATCH_REPORT_DEPENDENCIES'],
  ...['UV_THREADPOOL_SIZE', 'UV_USE_IO_URING'], // libuv
  ...['OPENSSL_CONF', 'OPENSSL_CONF_INCLUDE', 'OPENSSL_ENGINES', 'OPENSSL_MODULES', 'OPENSSL_ia32cap', 'OPENSSL_armcap'], // OpenSSL
  ...['SSL_CERT_DIR', 'SSL_CERT_FILE', 'SSLKEYLOGFILE', 'CTLOG_FILE', 'QLOGDIR', 'OSSL_QFILTER'],
  ...['CARES_HOSTS', 'RES_OPTIONS', 'LOCALDOMAIN'], // c-ares
  ...['ICU_TIMEZONE_FILES_DIR'], // ICU
]

/**
 * Writes `$` in place of the first letter of these names: what is asked for then is a variable that no shell can set, and to
 * JavaScript it is a name as before.
 */
export function unheed(file: string, names: string[]): void {
  const bytes = readFileSync(file)
  for (const at of names.flatMap((name) => occurrences(bytes, name))) bytes.write('$', at, 'latin1')
  writeFileSync(file, bytes)
}

/** Where a name is a string of C's, or a word in the source text of Node.js's modules, which is in the executable as it is. */
export function occurrences(bytes: Buffer, name: string): number[] {
  const found: number[] = []
  for (let at = bytes.indexOf(name); at >= 0; at = bytes.indexOf(name, at + 1)) {
    if (isWord(bytes, at, name.length) && !isOfHeap(bytes, at, name.length)) found.push(at)
  }
  return found
}

const isWord = (bytes: Buffer, at: number, length: number): boolean => !goesOn(bytes[at - 1]) && !goesOn(bytes[at + length])
const goesOn = (byte: number | undefined): boolean => byte !== undefined && /[\w$]/.test(String.fromCharCode(byte))

/** A string in the heap of Node.js's own snapshot has its length before it. The executable has another snapshot. */
const isOfHeap = (bytes: Buffer, at: number, length: number): boolean => at >= 4 && bytes.readUInt32LE(at - 4) === length
