// The benchmark of pods that are kept, with two of them. How long anything takes is no test.

import { spawnSync } from 'node:child_process'
import t from 'tap'

const { NODE_OPTIONS: _, ...env } = process.env
const bench = (...args: string[]) => spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', 'bench/pods.ts', ...args], { encoding: 'utf8', env })

t.test('what it prints', async (t) => {
  const { status, stdout, stderr } = bench('--quick', '2')
  t.match({ status, stderr }, { status: 0, stderr: '' })
  const figures = / {2}first look +\d+ ms of CPU\n {2}look at rest +[\d.]+ ms of CPU; .* ratio [\d.]+\n {2}nft flush ruleset +back after \d+ ms/
  t.match(stdout, /^2 pods$/m)
  t.match(stdout, figures)
})

t.test('what it does not know is usage', async (t) => {
  t.match(bench('many'), { status: 2, stdout: '', stderr: /^npm run bench:pods/ })
})
