// Surroundings that nobody sane provides: closed streams, a caller's environment, a directory that is gone. None of them
// may change what podwire does (rule 23).

import { BIN, call, CONF, each, request, run, shell } from '../binary.ts'
import { directory, ip, netns, sh, works } from '../world.ts'
import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { UNHEEDED } from '../../scripts/environment.ts'

netns('pod')

const ADD = request('ADD')
const STATUS = request('STATUS')
const json = JSON.stringify(CONF)

t.test('standard streams that are closed', async (t) => {
  const lines: [string, string, string][] = [
    ['standard input', 'CNI_COMMAND=ADD "$BIN/ptp" <&-', '"code": 6'],
    ['standard error', 'CNI_COMMAND=ADD "$BIN/ptp" </run/conf 2>&-', '"address": "10.1.2.'],
    ['standard output', 'CNI_COMMAND=DEL "$BIN/ptp" </run/conf >&-', ''],
    ['standard output of VERSION', 'CNI_COMMAND=VERSION "$BIN/ptp" </run/conf >&-', ''],
    ['all', 'CNI_COMMAND=DEL "$BIN/ptp" <&- >&- 2>&-; [ $? = 1 ]', ''],
    ['all but errors, of which there is one', 'CNI_COMMAND=STATUS "$BIN/ptp" <&- >&-; [ $? = 1 ]', ''],
  ]
  writeFileSync('/run/conf', JSON.stringify({ ...CONF, ipMasqBackend: 'iptables' }))
  for (const [what, line, printed] of lines) {
    const { signal, stdout, stderr } = await shell(line, ADD)
    t.match(stdout, printed, what)
    t.same([signal, stderr], [null, ''])
  }
  t.equal(ip('-n pod -br link show type veth'), '', 'ADD and DEL did their work')
})

t.test('standard input that comes slowly, or does not block', async (t) => {
  const slowly = '(head -c 60 /run/conf; sleep 0.2; tail -c +61 /run/conf)'
  t.equal((await shell(`${slowly} | CNI_COMMAND=STATUS "$BIN/ptp"`, STATUS)).stdout, '')
  const nonblocking = 'perl -MFcntl -e "fcntl(STDIN, F_SETFL, O_NONBLOCK); exec @ARGV"'
  const { status, stdout } = await shell(`${slowly} | ${nonblocking} "$BIN/ptp"`, STATUS)
  t.same([status, stdout], [0, ''], 'a pipe that does not block')
  const child = spawn(`${BIN}/ptp`, { env: STATUS as NodeJS.ProcessEnv, stdio: ['pipe', 'pipe', 'pipe'] }) // of Node.js: a socket
  for (const chunk of json.match(/[^]{1,20}/g)!) await new Promise((written) => child.stdin.write(chunk, written))
  child.stdin.end()
  t.equal(await new Promise((done) => child.on('close', done)), 0, 'a socket, twenty bytes at a time')
})

t.test('R23 the environment of the caller changes nothing', async (t) => {
  writeFileSync(`${directory('/run/libraries')}/libatomic.so.1`, 'bogus')
  const nowhere = '/nonexistent'
  const surroundings: [string, Record<string, string>][] = [
    ['NODE_OPTIONS', { NODE_OPTIONS: `--require ${nowhere} --inspect-brk --no-such-option` }],
    ['NODE_PATH, NODE_EXTRA_CA_CERTS', { NODE_PATH: nowhere, NODE_EXTRA_CA_CERTS: nowhere, SSL_CERT_FILE: nowhere, OPENSSL_CONF: nowhere, NODE_ICU_DATA: nowhere }],
    ['LD_LIBRARY_PATH', { LD_LIBRARY_PATH: '/run/libraries' }],
    ['debugging', { NODE_DEBUG: 'fs,module', NODE_DEBUG_NATIVE: 'all', FORCE_COLOR: '3', NODE_PENDING_DEPRECATION: '1', NODE_TEST_CONTEXT: 'child-v8' }],
    ['a channel', { NODE_CHANNEL_FD: '9', NODE_UNIQUE_ID: '4' }],
    ['tracing and Kubernetes', { TRACEPARENT: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', TRACESTATE: 'a=b', BAGGAGE: 'c=d', K8S_POD_NAME: 'p' }],
    ['a locale, a zone, a terminal', { LC_ALL: 'xx_YY.klingon', LANG: '%s', TZ: 'Not/AZone', TERM: 'dumb', COLUMNS: '-1', HOME: nowhere, TMPDIR: nowhere, UV_THREADPOOL_SIZE: 'abc' }],
  ]
  await each(surroundings, async ([what, env]) => {
    const { status, stdout, stderr } = await call('ptp', { ...STATUS, ...env })
    t.same([status, stdout, stderr], [0, '', ''], what)
  })
})

t.test('variables that Node.js would heed: it neither runs, nor reads, nor writes what they name, and passes them on', async (t) => {
  const bait = directory('/run/bait')
  const named = Object.fromEntries(UNHEEDED.map((name) => [name, `${bait}/${name}`]))
  for (const path of Object.values(named)) writeFileSync(path, `require('node:fs').writeFileSync('/run/taken', '${path}')\n`)
  const before = sh(`ls -l --time-style=full-iso ${bait}`)
  const files = directory('/run/traced')
  const traced = (command: string) => shell(`strace -f -o ${files}/$$ -e trace=%file "$BIN"/${command} </run/conf`, { ...ADD, ...named, CNI_COMMAND: command === 'ptp' ? 'ADD' : undefined })
  writeFileSync('/run/conf', json)
  for (const command of ['ptp', 'podwire version', 'podwire status', 'podwire plan -']) {
    const plain = await shell(`"$BIN"/${command} </run/conf`, { ...ADD, ...named, CNI_COMMAND: command === 'ptp' ? 'STATUS' : undefined })
    t.same([plain.status, plain.stderr], [0, ''], command)
    if (works('strace -V')) await traced(command)
  }
  t.equal(sh(`grep -h ${bait} ${files}/* | grep -v execve || true`), '', 'not even opened')
  t.equal(sh(`ls -l --time-style=full-iso ${bait}; ls -d /run/taken 2>&1 || true`), `${before}\nls: cannot access '/run/taken': No such file or directory`)
  await call('ptp', { ...ADD, CNI_COMMAND: 'DEL' })

  const channel = await shell('exec 9<>/run/conf; "$BIN/ptp" </run/conf; cat <&9', { ...STATUS, NODE_CHANNEL_FD: '9' })
  t.same([channel.status, channel.stdout], [0, json], 'an open file is no channel')
  writeFileSync('/run/bait/env', '#!/bin/sh\nenv >/run/passed\n', { mode: 0o755 })
  t.equal((await call('ptp', { ...STATUS, ...named, CNI_PATH: bait, PATH: process.env.PATH }, { ...CONF, ipam: { type: 'env' } })).status, 0)
  const passed = readFileSync('/run/passed', 'utf8').split('\n')
  t.same(Object.entries(named).filter(([name, value]) => !passed.some((line) => line.startsWith(`${name}=`) && line.includes(value))), [], 'to an executable of IPAM, whose they may be')
})

t.test('the variables that this version of Node.js documents are all known', async (t) => {
  const documented = sh(`${process.execPath} --help`).split(/^Environment variables:$/m)[1]!.match(/^[A-Z][A-Z0-9_]+(?=\s)/gm)!
  t.ok(documented.length > 15)
  const harmless = ['FORCE_COLOR', 'NO_COLOR', 'TZ', 'NODE_DEBUG_NATIVE'] // colours, of which there are none; times, which are UTC; words on standard error
  t.same(documented.filter((name) => !UNHEEDED.includes(name) && !harmless.includes(name)), [])
})

t.test('options of Node.js are none of podwire', async (t) => {
  writeFileSync('/run/option.js', "require('node:fs').writeFileSync('/run/option', 'taken')\n")
  for (const option of ['--node-options=--require=/run/option.js', '--require=/run/option.js', '--inspect=127.0.0.1:9339', '--node-options=--cpu-prof', '--version']) {
    for (const line of [[option], ['status', option], ['agent', option]]) {
      const { status, stderr, stdout } = await run(`${BIN}/podwire`, line, {}, json)
      t.match([status, stdout + stderr], line[0] === '--version' ? [0, /^podwire/] : [1, /^podwire: /], line.join(' '))
    }
    t.match(await run(`${BIN}/ptp`, [option], STATUS, json), { status: 0, stdout: '', stderr: '' }, `ptp ${option}`)
  }
  t.notOk(works('ls /run/option /run/*.cpuprofile *.cpuprofile'), 'nothing was run or written')
})

t.test('a caller cannot lead a plugin to other sysctls: PODWIRE_PROC_SYS is the agent\'s', async (t) => {
  sh(`mkdir -p /run/proc/net/ipv4 /run/proc/net/ipv6/conf/all; echo 0 >/run/proc/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv4/ip_forward`)
  const env = { ...ADD, PODWIRE_PROC_SYS: '/run/proc' }
  t.equal((await call('ptp', env)).status, 0)
  t.equal(sh('cat /run/proc/net/ipv4/ip_forward /proc/sys/net/ipv4/ip_forward'), '0\n1')
  t.equal((await call('ptp', { ...env, CNI_COMMAND: 'DEL' })).status, 0)
  const { status, stderr } = await run(`${BIN}/podwire`, ['agent', '--peers', '/run/none', '--node', 'a', '--state-dir', '/run/state'], { PODWIRE_PROC_SYS: '/run/elsewhere' }, '')
  t.same([status, stderr], [1, 'podwire: there is no /run/elsewhere/net, where this node\'s sysctls should be: see PODWIRE_PROC_SYS\n'])
})

t.test('the process that the caller leaves behind changes nothing', async (t) => {
  writeFileSync('/run/conf', json)
  const from = (setting: string, command: string) => shell(`${setting} CNI_COMMAND=${command} "$BIN/ptp" </run/conf`, ADD)
  for (const [what, setting] of [['a directory that is gone', 'mkdir /run/cwd; cd /run/cwd; rmdir /run/cwd;'], ['umask', 'umask 0777;'], ['umask', 'umask 0;'], ['open files', 'exec 3</etc/passwd 4</dev/zero 77>/run/out 200<>/run/conf;'], ['signals ignored', "trap '' PIPE CHLD HUP INT TERM;"], ['few files', 'ulimit -n 40;']] as const) {
    t.match((await from(setting, 'ADD')).stdout, '"address": "10.1.2.', `${what}: ${setting}`)
    t.equal(sh('stat -c "%a %n" /run/leases/podnet /run/leases/podnet/10.* /run/leases/podnet/lock | cut -c1-3 | xargs'), '755 600 600', 'state is 0600 in 0755')
    t.same((await from(setting, 'DEL')).stdout, '')
  }
  t.equal(sh('cat /run/out; stat -c %s /run/conf'), String(json.length), 'inherited files are left alone')
})
