// Executables of IPAM that would start processes without end, or leave some behind: in a process namespace with an end.

import '../bounded.ts'
import { BIN, call as execute, request } from '../binary.ts'
import { directory, netns, sh } from '../world.ts'
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, linkSync, copyFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { CniError } from '../../src/cni/error.ts'
import type { ConfWithIpam } from '../../src/ipam/conf.ts'
import { delegate, find, NO_IPAM } from '../../src/ipam/delegate.ts'
import { children } from '../../src/kernel/descendants.ts'
import { PLUGINS } from '../../src/plugins.ts'

netns('pod')
const path = directory('/run/ipam')

function script(name: string, text: string): string {
  writeFileSync(join(path, name), `#!/bin/bash\n${text}\n`, { mode: 0o755 })
  return name
}

const conf = (type: string, plugin = 'ptp') => ({ cniVersion: '1.1.0', name: 'podnet', type: plugin, ipam: { type } })
const asked = (command: string, directories: string) => request(command, { CNI_PATH: directories, PATH: process.env.PATH, BIN })

t.test('a plugin that leases nothing is no IPAM', async (t) => {
  for (const name of ['ptp', 'bridge', 'podwire', 'podwire-ptp', 'podwire-bridge', 'macvlan', 'portmap']) {
    t.match((await execute('ptp', asked('ADD', BIN), conf(name))).json, { code: 7, msg: `ipam.type is "${name}", which is no IPAM plugin`, details: /host-local/ }, name)
  }
  for (const command of ['STATUS', 'DEL']) t.match((await execute('bridge', asked(command, BIN), conf('bridge', 'bridge'))).json, { code: 7 }, command)
  t.match((await execute('ptp', asked('GC', BIN), conf('ptp'))).json, { code: 107, details: /is no IPAM plugin/ }, 'GC says it behind what else it did')
  const leasing = Object.keys(PLUGINS).filter((name) => !NO_IPAM.has(name))
  t.same(leasing, ['host-local', 'static'], 'all of our own are known')
  t.match(find('podwire-host-local', [BIN]), /host-local$/, 'which may be asked as executables')
})

t.test('nor is podwire under another name', async (t) => {
  const bin = mkdtempSync(join(BIN, '../.ipam-'))
  t.teardown(() => rmSync(bin, { recursive: true }))
  const there = (name: string) => join(bin, name)
  symlinkSync(join(BIN, 'podwire'), there('link'))
  linkSync(join(BIN, 'podwire'), there('hard'))
  copyFileSync(join(BIN, 'podwire'), there('copy'))
  for (const name of ['link', 'hard', 'copy']) {
    t.match((await execute('ptp', asked('ADD', bin), conf(name))).json, { code: 7, msg: `ipam.type is "${name}", but ${there(name)} is podwire` }, name)
  }
})

t.test('an executable of somebody else that asks podwire again', async (t) => {
  script('again', 'echo $PODWIRE_DEPTH >>/run/again; exec "$BIN/ptp"')
  for (const command of ['ADD', 'DEL', 'STATUS']) {
    t.match((await execute('ptp', asked(command, path), conf('again'))).json, { code: 7, msg: /^ipam.type is "again", which asks podwire for addresses again: 4 of them wait for each other$/ }, command)
    const depths = readFileSync('/run/again', 'utf8').trim().split('\n')
    t.ok(depths.length < 40 && depths.includes('4') && !depths.includes('5'), `${command}: ${depths.length} processes, at most four deep`)
    rmSync('/run/again')
  }
  script('two', 'echo >>/run/again; "$BIN/ptp" <&0 >/dev/null; "$BIN/ptp"')
  t.match((await execute('ptp', asked('STATUS', path), conf('two'))).json, { code: 6 }, 'the second has nothing to read')
  script('odd', `[ $CNI_COMMAND != STATUS ] || exit 0`)
  for (const odd of ['', 'many', '-1', '1e3', ' 3']) t.equal((await execute('ptp', { ...asked('STATUS', path), PODWIRE_DEPTH: odd }, conf('odd'))).status, 0, `PODWIRE_DEPTH=${odd}`)
})

/** How a verb of the executable of that name ends when it is given so many milliseconds. */
function ends(type: string, verb: 'add' | 'del' | 'check' | 'status' | 'gc', milliseconds: number): string {
  try {
    const request = { conf: conf(type) as unknown as ConfWithIpam, attachment: { network: 'podnet', containerID: 'c1', ifname: 'eth0' }, args: {} }
    delegate({ path: [path], stdin: Buffer.from('{}') }, milliseconds)[verb](request)
    return 'well'
  } catch (error) {
    return `${(error as CniError).code} ${(error as Error).message}`
  }
}

const lives = (pid: number): boolean => existsSync(`/proc/${pid}`)
/** The processes that a script has written down, which has to have got that far. */
function written(file: string): number[] {
  const pids = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').map(Number) : []
  rmSync(file, { force: true })
  return pids
}

t.test('whose time is up takes along all that it has started', async (t) => {
  // A child; one in a session of its own; an orphan, whose parent has ended; one that keeps all streams, and starts another.
  const spawning = ['sleep 100 & echo $! >>/run/pids', 'setsid sleep 100 & echo $! >>/run/pids', '(setsid bash -c "echo \\$\\$ >>/run/pids; sleep 100; true" &)', 'bash -c "sleep 100 & echo \\$! >>/run/pids; wait" & echo $! >>/run/pids']
  script('family', `${spawning.join('\n')}\nwait`)
  script('gone', `cat >/dev/null; ${spawning[2]}\nuntil [ -s /run/pids ]; do sleep 0.01; done; exec sleep 100`)
  for (const [name, verb, least] of [['family', 'add', 8], ['family', 'del', 4], ['family', 'check', 4], ['family', 'status', 4], ['family', 'gc', 4], ['gone', 'status', 1]] as const) {
    let pids: number[] = []
    for (let patience = 200; pids.length < least; patience *= 2) {
      t.match(ends(name, verb, patience), /^11 .*did not end within .* and was killed$/, `${name}, ${verb}`)
      pids = written('/run/pids')
    }
    t.same(pids.filter(lives), [], `${name}, ${verb}: all ${pids.length} of them`)
  }
})

t.test('what we had started before is no part of that, nor what ends well leaves behind', async (t) => {
  const before = sh('sleep 100 >/dev/null 2>&1 & echo $!')
  const { spawn } = await import('node:child_process')
  const own = spawn('sleep', ['100'])
  t.ok(children().includes(own.pid!))
  script('slow', 'exec sleep 100')
  t.match(ends('slow', 'status', 200), /^11 /)
  t.ok(lives(own.pid!) && lives(Number(before)), 'they live')
  script('leaves', 'sleep 100 >/dev/null & echo $! >>/run/pids')
  t.equal(ends('leaves', 'status', 30_000), 'well')
  const [left] = written('/run/pids')
  t.ok(lives(left!), 'as CNI has it: an executable may leave a daemon')
  own.kill('SIGKILL')
  for (const pid of [Number(before), left!]) process.kill(pid, 'SIGKILL')
})

t.test('one that prints without end, or reads nothing of much', async (t) => {
  script('flood', 'cat /dev/zero')
  t.match(ends('flood', 'status', 30_000), /^106 .*flood STATUS ended with status 1 and without an error object/, 'is stopped at a mebibyte')
  script('words', 'exec yes')
  t.match(ends('words', 'status', 30_000), /^106 .*words STATUS ended with status 1/)
  script('holder', 'sleep 100 <&0 2>/dev/null & echo $! >>/run/pids')
  const much = { ...conf('holder'), padding: 'x'.repeat(500_000) }
  t.equal((await execute('ptp', asked('STATUS', path), much)).status, 0, 'nobody waits for a child that has our input open')
  for (const pid of written('/run/pids')) process.kill(pid, 'SIGKILL')
})
