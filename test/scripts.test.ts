// The scripts that people call: each says how when asked, refuses what it does not know, and does nothing in either case; and
// what takes minutes shows at once how far it is.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'

const SCRIPTS = readdirSync('scripts').filter((name) => name.endsWith('.sh') && (statSync(`scripts/${name}`).mode & 0o111) !== 0)

/** A clone in which nothing has been installed or built. */
function clone(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'podwire-scripts-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  for (const name of ['scripts', 'conf', 'package.json', 'package-lock.json']) cpSync(name, join(directory, name), { recursive: true })
  return directory
}

t.test('--help and what is unknown', async (t) => {
  const directory = clone(t)
  mkdirSync(join(directory, 'home'))
  const files = (): string[] => readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort()
  const before = files()
  const type = (script: string, word: string) => spawnSync(`scripts/${script}`, [word], { cwd: directory, encoding: 'utf8', timeout: 60_000, env: { ...process.env, HOME: join(directory, 'home') } })

  t.ok(SCRIPTS.length >= 8, SCRIPTS.join(' '))
  for (const script of SCRIPTS) {
    for (const word of ['--help', '-h']) {
      const { status, stdout, stderr } = type(script, word)
      t.same([status, stderr], [0, ''], `${script} ${word}`)
      t.match(stdout, new RegExp(`^  \\./scripts/${script}( |$)`, 'm'), `${script} ${word}: how to call it`)
    }
    for (const word of ['--slow', 'nonsense-of-mine'].slice(0, script === 'build-image.sh' ? 1 : 2)) {
      const { status, stdout, stderr } = type(script, word)
      t.same([status, stdout], [2, ''], `${script} ${word}`)
      t.match(stderr, new RegExp(`^${script}: .*${word}[^]*\\n  \\./scripts/${script}`), `${script} ${word}: what is wrong, and how to call it`)
    }
  }
  t.same(files(), before, 'and nothing was made')
})

t.test('the script that writes the tables of the pages takes no arguments', async (t) => {
  const { status, stderr } = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', 'scripts/configuration.ts', '--help'], { encoding: 'utf8' })
  t.same([status, stderr], [2, 'configuration.ts: --help: expected no argument\n'])
})

/** A program that is fed line by line; what it has printed so far. */
function fed(file: string, args: string[]) {
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'], detached: true }) // without a terminal
  let stdout = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk))
  const shows = async (part: string) => {
    while (!stdout.includes(part)) await once(child.stdout, 'data', { signal: AbortSignal.timeout(60_000) })
    return true
  }
  const ended = once(child, 'exit')
  return { say: (text: string) => child.stdin.write(text), close: () => child.stdin.end(), shows, ended, printed: () => stdout, kill: () => child.kill() }
}

const TAP = `ok 1 - test/a.test.ts # time=12.5ms
# Subtest: test/b.test.ts
    # Subtest: a test
        ok 1 - this
        not ok 2 - that
          ---
          diff: 1
          ...
        ok 3 - those
    ok 2 - a test # SKIP no kernel for it
not ok 2 - test/b.test.ts # time=1ms
  ---
  exitCode: 1
  ...
ok 3 - test/c.test.ts # time=2ms
1..3
`

t.test('the tests tell of a file as soon as it has ended, and count files and tests apart', async (t) => {
  const tally = fed(process.execPath, ['--disable-warning=ExperimentalWarning', 'scripts/tally.ts'])
  const [first = '', ...rest] = TAP.split(/(?<=\n)/)
  tally.say(first)
  t.ok(await tally.shows('ok 1 - test/a.test.ts  12.5ms\n'), 'while the others are to come')
  tally.say(rest.join(''))
  tally.close()
  t.same(await tally.ended, [1, null])
  t.equal(tally.printed(), `ok 1 - test/a.test.ts  12.5ms
        not ok 2 - that
          ---
          diff: 1
          ...
    ok 2 - a test # SKIP no kernel for it
not ok 2 - test/b.test.ts  1ms
  ---
  exitCode: 1
  ...
ok 3 - test/c.test.ts  2ms

2 files passed, 1 failed; 1 test skipped
2 passed, 1 failed, 1 skipped
`)
  const verdict = (input: string) => spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', 'scripts/tally.ts'], { input, encoding: 'utf8' })
  t.match(verdict(first), { status: 0, stdout: /\n1 file passed, 0 failed; 0 tests skipped\n1 passed, 0 failed, 0 skipped\n$/ })
  t.match(verdict('1..0\n'), { status: 1, stdout: /\n0 passed, 0 failed, 0 skipped\n$/ }, 'no file at all is no success')
})

t.test('the checks of the clients are told as they come', async (t) => {
  const count = fed('bash', ['-c', '. scripts/e2e/lib.sh; count'])
  count.say('ok - the first\n')
  t.ok(await count.shows('ok - the first\n'))
  count.say('not ok - the second\nskip - the third\n')
  count.close()
  t.same(await count.ended, [1, null])
  t.match(count.printed(), /\n1 passed, 1 failed, 1 skipped\n$/)
})

t.test('user-mode Linux: the status is that of the tests, whatever the guest says after them', async (t) => {
  const cache = mkdtempSync(join(tmpdir(), 'podwire-uml-'))
  t.teardown(() => rmSync(cache, { recursive: true }))
  mkdirSync(join(cache, 'podwire-uml/usr/bin'), { recursive: true })
  const after = (verdict: string): number | null => {
    writeFileSync(join(cache, 'podwire-uml/usr/bin/linux.uml'), `#!/bin/sh\necho '${verdict}'\nsleep 0.1\nseq 100000\n`, { mode: 0o755 })
    return spawnSync('scripts/uml.sh', ['test/ip.test.ts'], { stdio: 'ignore', env: { ...process.env, XDG_CACHE_HOME: cache } }).status
  }
  t.equal(after('all passed'), 0)
  t.equal(after('not ok 1'), 1)
})

t.test('the demo waits for Enter before each scene', { skip: !existsSync('dist/bin/podwire') && 'dist/bin is not built' }, async (t) => {
  const demo = fed('bash', ['scripts/demo.sh', '--step', '--no-build'])
  await demo.shows('each scene waits for Enter, from standard input.')
  await demo.shows('(Enter)')
  t.notMatch(demo.printed(), '2. The plan')
  demo.say('\n')
  await demo.shows('2. The plan')
  t.equal(demo.printed().split('(Enter)').length, 2)
  demo.close()
  t.ok(await demo.shows('nobody is there: going on'), 'who has gone is not waited for')
  demo.kill()
  await demo.ended
})
