// A process namespace of its own, in which nothing lives longer than this file's tests: for tests of what may multiply or never
// end. A test file imports this before anything else; it is the world of world.ts, too.

import { spawnSync } from 'node:child_process'

const SECONDS = '600'

if (process.env.PODWIRE_WORLD === undefined) {
  const namespaces = ['-rnm', '--propagation', 'private', '--pid', '--fork', '--kill-child', '--mount-proc']
  const command = ['timeout', '--signal=KILL', SECONDS, process.execPath, ...process.execArgv, process.argv[1]!]
  const { status } = spawnSync('unshare', [...namespaces, ...command], { stdio: 'inherit', env: { TAP_TIMEOUT: SECONDS, ...process.env, PODWIRE_WORLD: '1' } })
  process.exit(status ?? 1)
}
