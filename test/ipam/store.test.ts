// The directory of leases: what is in it byte for byte, what somebody else may have put there, and what is left when the
// disk says no.

import { sh, works } from '../world.ts'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, linkSync, lstatSync, mkdirSync, readFileSync, readdirSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import type { CniError } from '../../src/cni/error.ts'
import { isPresent, locked, peek, ready, type Store } from '../../src/ipam/store.ts'
import { hash } from '../../src/names.ts'

const c1 = { containerID: 'c1', ifname: 'eth0' }
const c2 = { containerID: 'c2', ifname: 'eth0' }
const card = ({ containerID, ifname }: typeof c1) => `.podwire.${hash(16, containerID, ifname)}`
const index = (holder: typeof c1, address: string) => `${card(holder)}.${address}`

let count = 0
/** A network's directory of its own, not yet made. */
const fresh = (): string => `/var/lib/cni/networks/net${++count}`
const made = (): string => {
  const directory = fresh()
  mkdirSync(directory, { recursive: true })
  return directory
}
const old = (path: string): void => utimesSync(path, Date.now() / 1000 - 120, Date.now() / 1000 - 120)
const reserve = (directory: string, addresses: string[], holder = c1): void => locked(directory, (store) => store.reserve(addresses, holder))
/** What DEL does. */
const give = (directory: string, holder: typeof c1): void => locked(directory, (store) => {
  store.release(store.of(holder))
  store.tidy()
})
const refusal = (run: () => unknown): Pick<CniError, 'code' | 'message'> => {
  try {
    run()
  } catch (error) {
    return { code: (error as CniError).code, message: (error as Error).message }
  }
  return { code: 0, message: 'nothing was refused' }
}

t.test('the files, byte for byte', async (t) => {
  const directory = fresh()
  locked(directory, (store) => {
    store.setLastReserved(0, '10.1.2.3')
    store.reserve(['10.1.2.3', 'fd00::3'], c1)
  })
  t.same(readdirSync(directory).sort(), [card(c1), index(c1, '10.1.2.3'), index(c1, 'fd00::3'), '10.1.2.3', 'fd00::3', 'last_reserved_ip.0', 'lock'])
  for (const name of ['10.1.2.3', 'fd00::3', card(c1), index(c1, '10.1.2.3'), index(c1, 'fd00::3')]) t.equal(readFileSync(join(directory, name), 'latin1'), 'c1\r\neth0', name)
  t.equal(statSync(join(directory, '10.1.2.3')).ino, statSync(join(directory, index(c1, 'fd00::3'))).ino, 'one file with all these names')
  t.equal(readFileSync(join(directory, 'last_reserved_ip.0'), 'latin1'), '10.1.2.3')
  t.equal(readFileSync(join(directory, 'lock'), 'latin1'), '')
  for (const name of readdirSync(directory)) t.equal((statSync(join(directory, name)).mode & 0o777).toString(8), '600', name)

  t.same(peek(directory).indexed(c1), ['10.1.2.3', 'fd00::3'])
  t.same(peek(directory).indexed({ ...c1, ifname: 'eth1' }), [], 'another interface is another holder')
  writeFileSync(join(directory, '10.1.2.4'), 'c1\r\neth0')
  t.same(peek(directory).leases().map(({ address }) => `${address} ${peek(directory).card(address)}`).sort(), [`10.1.2.3 ${card(c1)}`, '10.1.2.4 undefined', `fd00::3 ${card(c1)}`], 'which of them podwire made')
  t.ok(peek(directory).knows(c1))
  t.notOk(peek(directory).knows(c2))
  give(directory, c1)
  t.same(readdirSync(directory).sort(), ['last_reserved_ip.0', 'lock'])
})

t.test('a lease is found as long as it is there, whatever names of ours somebody removed', async (t) => {
  for (const gone of [card(c1), index(c1, '10.1.2.3')]) {
    const directory = made()
    reserve(directory, ['10.1.2.3'])
    sh(`rm ${directory}/${gone}`)
    t.same(peek(directory).of(c1), ['10.1.2.3'], gone)
    give(directory, c1)
    t.same(readdirSync(directory), ['lock'])
  }
})

t.test('an address more does not hide the others, nor one less', async (t) => {
  const directory = made()
  reserve(directory, ['10.1.2.3', 'fd00::3'])
  reserve(directory, ['10.1.2.4'], c2)
  locked(directory, (store) => {
    store.release(['10.1.2.3'])
    store.tidy()
    t.same(store.indexed(c1), ['fd00::3'])
    t.same(store.indexed(c2), ['10.1.2.4'])
  })
  give(directory, c1)
  give(directory, c2)
  t.same(readdirSync(directory), ['lock'])
})

t.test('few addresses are looked up, many in the list', async (t) => {
  const directory = made()
  reserve(directory, ['10.1.2.3'])
  const store = peek(directory)
  for (let i = 1; i < 100; i++) t.equal(store.has(`10.1.2.${i}`), i === 3, `10.1.2.${i}`)
  t.ok(store.has('10.1.2.3'))
})

t.test('a last address that is replaced by a shorter one leaves nothing of it', async (t) => {
  const directory = made()
  locked(directory, (store) => store.setLastReserved(1, '10.1.2.254'))
  locked(directory, (store) => store.setLastReserved(1, '10.1.2.3'))
  t.equal(readFileSync(join(directory, 'last_reserved_ip.1'), 'latin1'), '10.1.2.3')
  t.equal(peek(directory).lastReserved(1), '10.1.2.3')
  t.equal(peek(directory).lastReserved(0), '', 'there is none')
})

t.test('leases that the reference made are found by reading, of its first days too', async (t) => {
  const directory = made()
  writeFileSync(join(directory, '10.1.2.3'), 'c1\r\neth0')
  writeFileSync(join(directory, '10.1.2.4'), 'c1')
  writeFileSync(join(directory, '10.1.2.5'), 'c1\n')
  writeFileSync(join(directory, '10.1.2.6'), 'c1\r\neth1')
  writeFileSync(join(directory, '10.1.2.7'), 'c12\r\neth0')
  const store = peek(directory)
  t.same(store.of(c1).sort(), ['10.1.2.3', '10.1.2.4', '10.1.2.5'])
  t.same(store.indexed(c1), [], 'our index knows nothing of them')
  t.match(store.lease('10.1.2.6'), { containerID: 'c1', ifname: 'eth1' })
  t.match(store.lease('10.1.2.4'), { containerID: 'c1', ifname: '' })
})

t.test('what a crash left', async (t) => {
  const directory = made()
  reserve(directory, ['10.1.2.3'])
  sh(`rm ${directory}/10.1.2.3`)
  t.same(readdirSync(directory).sort(), [card(c1), index(c1, '10.1.2.3'), 'lock'], 'names of ours without their lease')
  t.same(peek(directory).of(c1), [], 'are no lease')
  give(directory, c2)
  t.same(readdirSync(directory), ['lock'], 'and go with the next change')

  writeFileSync(join(directory, card(c1)), 'c1\r\n') // torn itself
  t.same(peek(directory).of(c1), [])
  reserve(directory, ['10.1.2.9'], c2)
  locked(directory, (store) => store.forget(c1))
  t.same(readdirSync(directory).sort(), [card(c2), index(c2, '10.1.2.9'), '10.1.2.9', 'lock'])
  reserve(directory, ['10.1.2.3'])
  give(directory, c1)
  give(directory, c2)

  for (const [address, content] of Object.entries({ '10.1.2.4': '', '10.1.2.5': '\0'.repeat(20), '10.1.2.6': '\r\n' })) {
    writeFileSync(join(directory, address), content)
    t.same(peek(directory).torn(), [], `${address}: somebody may be writing it just now`)
    old(join(directory, address))
    t.same(peek(directory).torn(), [address])
    t.same(peek(directory).lease(address), { address, torn: true })
    t.ok(peek(directory).held.has(address), 'held until it is released')
    locked(directory, (store) => {
      store.release(store.torn())
      t.notOk(store.held.has(address), 'then it can be leased at once')
    })
    t.notOk(existsSync(join(directory, address)))
  }
})

t.test('an index entry that outlived its lease does not hide whose the address is now', async (t) => {
  const directory = made()
  reserve(directory, ['10.1.2.3'])
  sh(`rm ${directory}/10.1.2.3`) // an operator did
  writeFileSync(join(directory, '10.1.2.3'), 'c2\r\neth0') // and the reference leased it again
  const store = peek(directory)
  t.same(store.of(c1), [], 'c1 has it no more')
  t.same(store.of(c2, ['10.1.2.3']), ['10.1.2.3'], 'c2 is found by what it is said to have')
  t.same(store.leases(), [{ address: '10.1.2.3', containerID: 'c2', ifname: 'eth0', torn: false }])
  t.equal(store.card('10.1.2.3'), undefined, "and it is not podwire's")
  locked(directory, (inside) => inside.forget(c1))
  reserve(directory, ['10.1.2.4'])
  t.same(peek(directory).of(c1), ['10.1.2.4'], 'c1 can have another')
})

t.test('somebody else with a name of ours for an address keeps it until the address is free', async (t) => {
  const directory = made()
  reserve(directory, ['10.1.2.3'])
  sh(`rm ${directory}/10.1.2.3`)
  writeFileSync(join(directory, '10.1.2.3'), 'c2\r\neth0')
  give(directory, c1)
  t.same(peek(directory).leases().map(({ containerID }) => containerID), ['c2'], 'it is not released with c1')
  locked(directory, (store) => {
    store.release(store.of(c2, ['10.1.2.3']))
    store.tidy()
  })
  t.same(readdirSync(directory), ['lock'])
})

t.test('whatever else has the name of an address keeps it, is never opened for long, followed or removed', async (t) => {
  const directory = made()
  writeFileSync('/run/secret', 'c1\r\neth0')
  symlinkSync('/run/secret', join(directory, '10.1.2.3'))
  mkdirSync(join(directory, '10.1.2.4'))
  sh(`mkfifo ${directory}/10.1.2.5`)
  writeFileSync(join(directory, '10.1.2.6'), 'for the printer, do not touch')
  const server = createServer().listen(join(directory, '10.1.2.7'))
  await once(server, 'listening')
  for (const name of ['10.1.2.4', '10.1.2.5', '10.1.2.6', '10.1.2.7']) old(join(directory, name))
  locked(directory, (store) => {
    t.equal(store.held.size, 5)
    t.same(store.of(c1), [])
    t.same(store.leases(), [{ address: '10.1.2.6', torn: false }], 'a file that names no container')
    t.same(store.torn(), [])
    store.tidy()
  })
  t.equal(readdirSync(directory).length, 6)
  server.close()
})

t.test('names that are no addresses are not counted', async (t) => {
  const directory = made()
  for (const name of ['abc', 'dead', '10.1.2.3.bak', '.podwir.10.1.2.3', 'last_reserved_ip.7', 'notes:1', '10.1.2.3~']) writeFileSync(join(directory, name), '')
  t.same([...peek(directory).held], [])
  locked(directory, (store) => store.tidy())
  t.equal(readdirSync(directory).length, 8, 'and left alone')
})

t.test('a planted symlink', async (t) => {
  writeFileSync('/run/target', 'keep')
  mkdirSync('/run/elsewhere/net', { recursive: true })

  await t.test('in the place of the network', async (t) => {
    for (const target of ['/run/elsewhere/net', '/run/nothing']) {
      const directory = fresh()
      mkdirSync('/var/lib/cni/networks', { recursive: true })
      symlinkSync(target, directory)
      for (const act of [() => reserve(directory, ['10.1.2.3']), () => peek(directory).held]) t.same(refusal(act), { code: 5, message: `state directory ${directory} is not a directory` })
      t.same(refusal(() => ready(directory)), { code: 50, message: `state directory ${directory} is not a directory` }, 'STATUS knows')
    }
    t.same(readdirSync('/run/elsewhere/net'), [])
    t.notOk(existsSync('/run/nothing'))
  })

  await t.test('above it is the choice of the administrator', async (t) => {
    symlinkSync('/run/elsewhere', '/var/lib/link')
    reserve('/var/lib/link/net', ['10.1.2.3'])
    t.ok(existsSync('/run/elsewhere/net/10.1.2.3'))
  })

  await t.test('in the place of the lock', async (t) => {
    const directory = made()
    symlinkSync('/run/target', join(directory, 'lock'))
    t.same(refusal(() => reserve(directory, ['10.1.2.3'])), { code: 5, message: `state directory ${directory}: ${directory}/lock is a symlink, which is not followed` })
    t.same(readdirSync(directory), ['lock'])
  })

  await t.test('in the place of the last address', async (t) => {
    const directory = made()
    symlinkSync('/run/target', join(directory, 'last_reserved_ip.0'))
    t.equal(peek(directory).lastReserved(0), '')
    locked(directory, (store) => store.setLastReserved(0, '10.1.2.3'))
    t.equal(peek(directory).lastReserved(0), '', 'which is no hint, and nobody needs one')
  })

  await t.test('in the place of a lease, existing or not', async (t) => {
    for (const target of ['/run/target', '/run/nothing']) {
      const directory = made()
      symlinkSync(target, join(directory, '10.1.2.4'))
      t.match(refusal(() => reserve(directory, ['10.1.2.3', '10.1.2.4'])), { code: 5, message: 'EEXIST' })
      t.same(readdirSync(directory).sort(), ['10.1.2.4', 'lock'], 'and nothing of the other lease is left')
    }
  })

  await t.test('in the place of an index entry', async (t) => {
    const directory = made()
    for (const name of [card(c1), index(c1, '10.1.2.3')]) symlinkSync('/run/target', join(directory, name))
    locked(directory, (store) => {
      t.ok(store.knows(c1))
      t.same(store.indexed(c1), [])
      store.forget(c1)
      store.reserve(['10.1.2.3'], c1)
    })
    for (const name of [card(c1), index(c1, '10.1.2.3')]) t.notOk(lstatSync(join(directory, name)).isSymbolicLink())
  })

  t.equal(readFileSync('/run/target', 'utf8'), 'keep')
  t.notOk(existsSync('/run/nothing'))
})

t.test('the lock', async (t) => {
  const directory = made()
  const holder = spawn('flock', ['--no-fork', join(directory, 'lock'), 'sh', '-c', 'echo held; exec sleep 60'], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(holder.stdout!, 'data')
  const said = refusal(() => locked(directory, () => t.fail('it ran without the lock'), 50))
  t.same(said, { code: 11, message: `state directory ${directory} has been locked by another process for 0.05 s` })
  holder.kill('SIGKILL')
  await once(holder, 'close')
  t.equal(locked(directory, () => 'mine', 5000), 'mine', 'it goes with its holder')
  t.equal(locked(directory, () => works(`flock -n ${directory}/lock true`)), false, 'others see ours')
  t.throws(() => locked(directory, () => { throw new Error('inside') }), { message: 'inside' })
  t.ok(works(`flock -n ${directory}/lock true`), 'given back after an error')
})

t.test('a disk without room: nothing is left, whichever step it was', async (t) => {
  const two = (store: Store) => store.reserve(['10.1.2.3', 'fd00::3'], c1)
  let refusals = 0
  let inodes = 2 // the root and the directory
  for (; ; inodes++) {
    const directory = made()
    sh(`mount -t tmpfs -o nr_inodes=${inodes} full ${directory}`)
    const said = refusal(() => locked(directory, two))
    if (said.code === 0) break
    refusals++
    t.match(said, { code: 5, message: `state directory ${directory}: ENOSPC` }, `${inodes} inodes`)
    t.same(readdirSync(directory).filter((name) => name !== 'lock'), [])
    sh(`umount ${directory}`)
  }
  t.ok(refusals >= 4, `refused at ${refusals} steps`)

  const directory = made()
  sh(`mount -t tmpfs -o size=8k full ${directory}`)
  writeFileSync(join(directory, 'fill'), Buffer.alloc(8192))
  t.match(refusal(() => locked(directory, two)), { code: 5, message: 'ENOSPC' })
  t.same(readdirSync(directory).sort(), ['fill', 'lock'])
  t.same(refusal(() => ready(directory)), { code: 50, message: `state directory ${directory}: ENOSPC: no space left on device` })
  sh(`rm ${directory}/fill`)
  locked(directory, two)
  t.equal(ready(directory).held.size, 2)
})

t.test('a directory that cannot be written', async (t) => {
  const directory = made()
  reserve(directory, ['10.1.2.3'])
  sh(`mount --bind ${directory} ${directory} && mount -o remount,bind,ro ${directory}`)
  t.match(refusal(() => reserve(directory, ['10.1.2.4'], c2)), { code: 5, message: `state directory ${directory}: EROFS` })
  t.match(refusal(() => ready(directory)), { code: 50, message: `state directory ${directory}: EROFS` })
  t.same(peek(directory).of(c1), ['10.1.2.3'], 'it can still be read')
  sh(`umount ${directory}`)

  writeFileSync('/var/lib/file', '')
  t.match(refusal(() => reserve('/var/lib/file/net', ['10.1.2.3'])), { code: 5, message: 'state directory /var/lib/file/net: ENOTDIR' })
  t.match(refusal(() => ready('/var/lib/file/net')), { code: 50 })
  t.equal(isPresent('/var/lib/file/net'), false, 'nothing can have been leased there')
  t.match(refusal(() => reserve('/proc/podwire/net', ['10.1.2.3'])), { code: 5, message: "state directory /proc/podwire/net: ENOENT: no such file or directory, mkdir '/proc/podwire'" })
  sh('mkdir /run/ro; mount -t tmpfs -o ro ro /run/ro')
  t.match(refusal(() => reserve('/run/ro/a/net', ['10.1.2.3'])), { code: 5, message: "EROFS: read-only file system, mkdir '/run/ro/a'" })
  t.match(refusal(() => ready('/run/ro/a/net')), { code: 50, message: 'EROFS' })
})

t.test('STATUS knows whatever cannot be written, as ADD does, and changes nothing', async (t) => {
  const places: [what: string, before: string, directory: string][] = [
    ['below /proc', '', '/proc/podwire/net'],
    ['below /sys', '', '/sys/podwire/net'],
    ['a process that is there', '', '/proc/self/net'],
    ['a mount that is read-only', 'mkdir /run/ro1; mount -t tmpfs -o ro ro /run/ro1', '/run/ro1/net'],
    ['a file in the way', 'touch /run/way', '/run/way/networks/net'],
    ['a device in the way', '', '/dev/null/net'],
    ['a file in its place', 'touch /run/place', '/run/place'],
    ['a lock that is a directory', 'mkdir -p /run/locked/lock', '/run/locked'],
    ['a lock that is a FIFO', 'mkdir /run/fifo; mkfifo /run/fifo/lock', '/run/fifo'],
    ['a lock that is read-only', 'mkdir /run/ro2; touch /run/ro2/lock; mount --bind /run/ro2/lock /run/ro2/lock; mount -o remount,bind,ro /run/ro2/lock', '/run/ro2'],
  ]
  for (const [what, before, directory] of places) {
    sh(before)
    t.match(refusal(() => ready(directory)), { code: 50, message: 'state directory' }, what)
    t.match(refusal(() => reserve(directory, ['10.1.2.3'])), { code: 5, message: 'state directory' }, `${what}: ADD`)
  }
  const directory = made()
  ready(directory)
  t.same(readdirSync(directory), [])

  // On a file system without files that have no names (NFS), a file is there for a moment: message queues are one.
  const status = `import { ready } from '${process.cwd()}/src/ipam/store.ts'; console.log(ready('/run/queues').held.size)`
  const run = `${process.execPath} --disable-warning=ExperimentalWarning --input-type=module -e "${status}"`
  t.equal(sh(`mkdir /run/queues; NODE_OPTIONS= unshare --ipc --mount sh -c 'mount -t mqueue queues /run/queues && "$@" && ls -A /run/queues' sh ${run}`), '0')
})

t.test('a directory that is missing', async (t) => {
  t.equal(peek('/var/lib/none/at/all').held.size, 0)
  t.equal(ready('/var/lib/none/at/all').held.size, 0, 'ADD would make it')
  t.notOk(existsSync('/var/lib/none'), 'asking does not')
  reserve('/var/lib/none/at/all', ['10.1.2.3'])
  for (const path of ['/var/lib/none', '/var/lib/none/at', '/var/lib/none/at/all']) t.equal((statSync(path).mode & 0o777).toString(8), '755', path)
})

t.test('an address that somebody takes without the lock is not taken twice', async (t) => {
  const directory = made()
  t.match(refusal(() => locked(directory, (store) => {
    writeFileSync(join(directory, 'other'), 'c2\r\neth0')
    linkSync(join(directory, 'other'), join(directory, 'fd00::3'))
    store.reserve(['10.1.2.3', 'fd00::3'], c1)
  })), { code: 5, message: 'EEXIST' })
  t.same(readdirSync(directory).sort(), ['fd00::3', 'lock', 'other'])
  t.equal(readFileSync(join(directory, 'fd00::3'), 'utf8'), 'c2\r\neth0')
})
