// Files that are replaced and directories that are made: whole or not at all, whatever stands in the way.

import './bounded.ts'
import { sh } from './world.ts'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, linkSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { makeDirectory, nearest } from '../src/directory.ts'
import { remove, replace, replaceText } from '../src/replace.ts'
import { ODD, put, take } from './odd.ts'

const said = (run: () => unknown): string => {
  try {
    return String(run())
  } catch (error) {
    return (error as Error).message
  }
}

t.test('a directory is made with those above it', async (t) => {
  makeDirectory('/run/a/b/c')
  makeDirectory('/run/a/b/c')
  for (const path of ['/run/a', '/run/a/b', '/run/a/b/c']) t.equal((statSync(path).mode & 0o777).toString(8), '755', path)
  sh('ln -s /run/a /run/link')
  makeDirectory('/run/link/d/../e/')
  t.same(readdirSync('/run/a').sort(), ['b', 'd', 'e'], 'where a symlink leads, too')
  for (const path of ['/', '.', '/run', '/run/a/b/c/']) t.equal(said(() => makeDirectory(path)), 'undefined', path)
  t.same(['/run/a/x/y', '/run/a', '/', '/proc/none/x'].map(nearest), ['/run/a', '/run/a', '/', '/proc'])
})

t.test('a directory that cannot be made: the error of the one that could not, at once', async (t) => {
  writeFileSync('/run/file', '')
  sh('mkdir /run/ro; mount -t tmpfs -o ro ro /run/ro; mkdir /run/full; mount -t tmpfs -o nr_inodes=2 full /run/full; ln -s /run/nowhere /run/dangling; ln -s loop /run/loop')
  const refused: [string, string][] = [
    ['/proc/podwire/networks/podnet', "ENOENT: no such file or directory, mkdir '/proc/podwire'"],
    ['/proc/sys/net/a/b', "mkdir '/proc/sys/net/a'"],
    ['/sys/podwire/a', "mkdir '/sys/podwire'"],
    ['/run/ro/a/b/c', "EROFS: read-only file system, mkdir '/run/ro/a'"],
    ['/run/full/a/b', "ENOSPC: no space left on device, mkdir '/run/full/a/b'"],
    ['/run/file/a/b', "ENOTDIR: not a directory, mkdir '/run/file'"],
    ['/run/file', "ENOTDIR: not a directory, mkdir '/run/file'"],
    ['/run/dangling/a', "ENOTDIR: not a directory, mkdir '/run/dangling'"],
    ['/run/loop/a', 'ELOOP'],
    [`/run/${'d'.repeat(256)}/a`, 'ENAMETOOLONG'],
    ['/d'.repeat(5000), 'ENAMETOOLONG'],
  ]
  for (const [path, why] of refused) t.match(said(() => makeDirectory(path)), why, path.slice(0, 40))
  for (const [path] of refused) if (path.length < 4096) t.match(said(() => nearest(path)), /^\/|ELOOP|ENAMETOOLONG|ENOTDIR/)
  sh('umount /run/ro /run/full')
})

t.test('in a directory that was deleted', async (t) => {
  const script = "import('./src/directory.ts').then(async ({ makeDirectory }) => { process.chdir('/run/gone'); (await import('node:fs')).rmdirSync('/run/gone'); for (const path of ['a', 'a/b/c', './a', '.']) try { makeDirectory(path); console.log('made') } catch (error) { console.log(error.code) } })"
  mkdirSync('/run/gone')
  const { stdout, signal } = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', '-e', script], { encoding: 'utf8', timeout: 30_000 })
  t.same([stdout.trim().split('\n'), signal], [['ENOENT', 'ENOENT', 'ENOENT', 'made'], null])
})

t.test('a file is the old one or the new one, and nothing else is left', async (t) => {
  const file = '/run/replaced/file'
  t.equal(replaceText(file, 'one'), true)
  t.equal(replaceText(file, 'one'), false, 'it is so')
  t.equal(replaceText(file, 'two'), true)
  t.equal((statSync(file).mode & 0o777).toString(8), '644')
  for (const left of ['.file.new', '.file.7-123456789.new']) writeFileSync(`/run/replaced/${left}`, 'of somebody who was killed')
  writeFileSync('/run/replaced/.file.b.7-1.new', 'of another file')
  const other = spawn('flock', ['--no-fork', '/run/replaced', 'sh', '-c', 'echo held; exec sleep 60'], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(other.stdout, 'data')
  t.equal(replaceText(file, 'two and a half'), true, 'whoever has a lock on the directory holds up nobody')
  t.equal(readdirSync('/run/replaced').length, 4, 'but then nobody knows what is left')
  other.kill('SIGKILL')
  await once(other, 'close')
  replaceText(file, 'three')
  t.same([readFileSync(file, 'utf8'), readdirSync('/run/replaced').sort()], ['three', ['.file.b.7-1.new', 'file']])
  remove('/run/replaced/file.b')
  t.equal(said(() => replace(file, () => { throw new Error('while it was made') })), 'while it was made')
  t.match(said(() => replace(file, (temporary) => { writeFileSync(temporary, 'half'); throw new Error('later') })), 'later')
  t.match(said(() => replace(file, () => {})), 'ENOENT', 'nothing was made')
  replace('/run/replaced/link', (temporary) => linkSync(file, temporary))
  replace('/run/replaced/link', (temporary) => linkSync(file, temporary))
  t.same([readFileSync(file, 'utf8'), readdirSync('/run/replaced').sort()], ['three', ['file', 'link']], 'two names of one file, too')
  remove(file)
  remove(file)
  t.equal(existsSync(file), false)
})

const cannotTrace = spawnSync('strace', ['-o', '/dev/null', 'true']).status !== 0 && 'strace is missing or may not trace (apt-get install strace)'

t.test('what was replaced is so after a power failure: the file before its name, its name before the answer', { skip: cannotTrace }, async (t) => {
  const script = "import('./src/replace.ts').then(({ replaceText }) => replaceText('/run/lasting/a/file', 'text'))"
  spawnSync('strace', ['-f', '-y', '-qq', '-e', 'trace=fsync,rename,mkdir', '-o', '/run/trace', process.execPath, '--disable-warning=ExperimentalWarning', '-e', script])
  const calls = readFileSync('/run/trace', 'utf8').split('\n').filter((line) => line.includes('/run/lasting') || line.includes('</run>'))
  t.same(calls.map((line) => line.replace(/^\d+ +/, '').replace(/\d+</, '<').replace(/\.\d+-\d+\.new/g, '.new').replace(/ += 0$|, 0755/g, '')), [
    'mkdir("/run/lasting")',
    'fsync(</run>)',
    'mkdir("/run/lasting/a")',
    'fsync(</run/lasting>)',
    'fsync(</run/lasting/a/.file.new>)',
    'rename("/run/lasting/a/.file.new", "/run/lasting/a/file")',
    'fsync(</run/lasting/a>)',
  ])
})

t.test('a disk that is full keeps the old one, and no temporary', async (t) => {
  sh('mkdir /run/small; mount -t tmpfs -o size=16k small /run/small')
  replaceText('/run/small/file', 'old')
  for (const text of ['x'.repeat(20_000), 'x'.repeat(12_289)]) t.match(said(() => replaceText('/run/small/file', text)), 'ENOSPC')
  writeFileSync('/run/large', Buffer.alloc(100_000))
  t.match(said(() => replace('/run/small/file', (temporary) => copyFileSync('/run/large', temporary))), 'ENOSPC')
  t.same([readFileSync('/run/small/file', 'utf8'), readdirSync('/run/small')], ['old', ['file']])
  t.equal(replaceText('/run/small/file', 'x'.repeat(8000)), true, 'what has room is written')
  sh('umount /run/small')
})

for (const kind of Object.keys(ODD))
  t.test(`${kind} in the place of the file, or of its temporary`, async (t) => {
    const [file, temporary] = ['/run/odd/file', '/run/odd/.file.1-1.new']
    mkdirSync('/run/odd', { recursive: true })
    for (const path of [file, temporary]) {
      put(kind, path)
      const outcome = said(() => replaceText(file, 'text'))
      if (path === temporary) t.equal(outcome, 'true', "what was left of another is in nobody's way")
      if (outcome !== 'true') t.match(outcome, /EISDIR|EBUSY/, path)
      else t.same([readFileSync(file, 'utf8'), readdirSync('/run/odd').filter((name) => !/directory|device/.test(kind) || name === 'file')], ['text', ['file']], path)
      t.match(said(() => remove(file)), /undefined|EBUSY|is a directory, not a file/)
      take(path)
    }
    take('/run/odd')
  })

t.test('two who replace one file at once: never half of one under the other, and both are done', async (t) => {
  const script = `import('./src/replace.ts').then(({ replace, replaceText }) => { const fs = require('fs')
    for (let i = 0; i < 40; i++) { replaceText('/run/both/text', process.argv[1].repeat(50000) + i)
      replace('/run/both/copy', (temporary) => { fs.writeFileSync(temporary, '', { flag: 'wx' }); for (let j = 0; j < 5; j++) fs.appendFileSync(temporary, process.argv[1]) }) } })`
  mkdirSync('/run/both')
  const writers = ['a', 'b'].map((letter) => spawn(process.execPath, ['--disable-warning=ExperimentalWarning', '-e', script, letter], { stdio: ['ignore', 'inherit', 'pipe'] }))
  const errors: string[] = []
  for (const writer of writers) writer.stderr!.on('data', (chunk) => errors.push(String(chunk)))
  const seen = new Set<string>()
  const ended = Promise.all(writers.map((writer) => once(writer, 'close')))
  for (let over = false; !over; ) {
    over = await Promise.race([ended.then(() => true), new Promise<boolean>((next) => setTimeout(next, 1, false))])
    for (const file of ['text', 'copy']) if (existsSync(`/run/both/${file}`)) seen.add(readFileSync(`/run/both/${file}`, 'utf8').replace(/(.)\1*/g, (run, letter) => `${letter}${run.length}`).replace(/\d1$|\d1\d1$/, ''))
  }
  t.same([...seen].filter((one) => !/^[ab](50000|5)/.test(one)), [])
  t.same([errors, readdirSync('/run/both').sort()], [[], ['copy', 'text']])
})
