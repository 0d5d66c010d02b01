// The floor: a single executable application made as ours is, from the same Node.js, whose snapshot holds a main function
// that leaves at once. What ours costs above it is ours.

import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { keepCode } from '../scripts/code-cache.ts'

const MAIN = `require('node:v8').startupSnapshot.setDeserializeMainFunction(() => process.reallyExit(0))`

/** Builds it beside our plugins' directory; its path. */
export function buildEmpty(bin: string): string {
  const build = join(bin, '../build')
  const [config, base, main, output] = ['sea.json', 'node', 'empty.cjs', 'empty'].map((name) => join(build, name)) as [string, string, string, string]
  mkdirSync(build, { recursive: true })
  const ours = existsSync(config) ? (JSON.parse(readFileSync(config, 'utf8')) as object) : { useSnapshot: true, disableExperimentalSEAWarning: true }
  writeFileSync(main, MAIN)
  const executable = existsSync(base) ? base : process.execPath
  writeFileSync(join(build, 'empty.json'), JSON.stringify({ ...ours, main, output, assets: {}, executable }))
  execFileSync(process.execPath, ['--build-sea', join(build, 'empty.json')], { stdio: ['ignore', 'ignore', 'inherit'] })
  keepCode(output, statSync(executable).size, () => false)
  return output
}
