// 16 000 reservations in one network: what an ADD of the executable as it is built opens, and how long it takes.

import { directory } from '../world.ts'
import { spawnSync } from 'node:child_process'
import { linkSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { hash } from '../../src/names.ts'
import { BUILT, builtIsMissing, execute, type Start } from '../reference.ts'

const RESERVATIONS = 16_000
const network = (name: string) => ({ cniVersion: '1.1.0', name, type: 'ptp', ipam: { type: 'host-local', subnet: '10.1.0.0/16' } })
const where = (name: string): string => `/var/lib/cni/networks/${name}`
const hostLocal = (command: string, conf: object, start?: Start) => execute(join(BUILT, 'host-local'), command, conf, start)
const card = (container: string): string => `.podwire.${hash(16, container, 'eth0')}`
const address = (i: number): string => `10.1.${(i + 2) >> 8}.${(i + 2) & 255}`

const cannotTrace = spawnSync('strace', ['-o', '/dev/null', 'true']).status === 0 ? builtIsMissing : 'strace is missing or may not trace (apt-get install strace)'

t.test('an ADD among 16 000 reservations opens none of them', { skip: cannotTrace }, async (t) => {
  const conf = network('crowded')
  crowd(where('crowded'))
  const next = address(RESERVATIONS)

  const added = traced('ADD', conf, 'new')
  t.equal(added.json.ips?.[0].address, `${next}/16`, added.stdout)
  t.same(added.opened, ['', card('new'), 'last_reserved_ip.0', 'lock'], 'the directory, to sync it, and files of its own')

  const repeated = traced('ADD', conf, 'new')
  t.equal(repeated.json.code, 104, 'a repeated one finds its lease')
  t.same(repeated.opened, ['', 'lock'], 'by its names')

  const deleted = traced('DEL', conf, 'new')
  t.equal(deleted.status, 0)
  t.equal(deleted.opened.filter((name) => name.startsWith('10.')).length, RESERVATIONS / 2, "DEL reads the reference's, which no index names")

  for (const name of ['empty', 'crowded']) t.comment(`ADD among ${name === 'empty' ? 'no' : '16 000'} reservations: ${milliseconds(() => hostLocal('ADD', network(name), { container: 'next' }))} ms`)
})

/** Half of them as podwire makes them, half as the reference does: 10.1.0.2 and so on. */
function crowd(path: string): void {
  directory(path)
  for (let i = 0; i < RESERVATIONS; i++) {
    const file = join(path, address(i))
    writeFileSync(file, `c${i}\r\neth0`)
    if (i % 2 === 0) for (const name of [card(`c${i}`), `${card(`c${i}`)}.${address(i)}`]) linkSync(file, join(path, name))
  }
  writeFileSync(join(path, 'last_reserved_ip.0'), address(RESERVATIONS - 1))
}

/** Runs a request, and tells which names in the network's directory were opened, the directory itself as ''. */
function traced(command: string, conf: { name: string }, container: string) {
  const ended = hostLocal(command, conf, { container, by: ['strace', '-f', '-qq', '-e', 'trace=open,openat,openat2', '-o', '/run/trace'] })
  const paths = [...readFileSync('/run/trace', 'utf8').matchAll(/"([^"]*)"/g)].map(([, path]) => path!)
  const names = paths.flatMap((path) => (path === where(conf.name) ? [''] : path.startsWith(`${where(conf.name)}/`) ? [path.slice(where(conf.name).length + 1)] : []))
  return { ...ended, opened: [...new Set(names)].sort() }
}

function milliseconds(run: () => void): number {
  const start = performance.now()
  run()
  return Math.round(performance.now() - start)
}
