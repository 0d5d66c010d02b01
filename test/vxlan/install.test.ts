// The executable put in place and taken away: whole or not at all, and nothing of somebody else's goes with it.

import { sh } from '../world.ts'
import { mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { PLUGINS } from '../../src/plugins.ts'
import { install, uninstall } from '../../src/vxlan/install.ts'

const [bin, lib] = ['/run/opt/cni/bin', '/run/opt/cni/lib/podwire']
const LINKS = Object.keys(PLUGINS).map((name) => `podwire-${name}`).sort()

/** A release: an executable of that content, and its library beside it. */
function release(name: string, content: string): string {
  mkdirSync(`/run/${name}/bin`, { recursive: true })
  mkdirSync(`/run/${name}/lib/podwire`, { recursive: true })
  writeFileSync(`/run/${name}/bin/podwire`, content, { mode: 0o755 })
  writeFileSync(`/run/${name}/lib/podwire/libatomic.so.1`, content)
  return `/run/${name}/bin/podwire`
}
const old = release('old', 'one')

t.beforeEach(() => sh('rm -rf /run/opt'))

t.test('one file under all names; again, nothing is written', async (t) => {
  t.same(install(old, bin, lib).sort(), ['libatomic.so.1', 'loopback', 'podwire', ...LINKS].sort())
  t.same(readdirSync(bin), ['loopback', 'podwire', ...LINKS])
  t.equal(new Set(readdirSync(bin).map((name) => statSync(`${bin}/${name}`).ino)).size, 1)
  t.same(install(old, bin, lib), [])
})

t.test('an upgrade of the same size and age, as from a reproducible image, is seen by its content', async (t) => {
  const next = release('next', 'two')
  for (const file of [old, next]) utimesSync(file, 0, 0)
  install(old, bin, lib)
  t.ok(install(next, bin, lib).includes('podwire'))
  t.equal(readFileSync(`${bin}/podwire-ptp`, 'utf8'), 'two')
  t.same(install(next, bin, lib), [])
})

t.test("somebody else's loopback stays theirs, and so does what lies beside the library", async (t) => {
  sh(`mkdir -p ${bin} ${lib}; echo theirs >${bin}/loopback; echo theirs >${lib}/libc.so.6`)
  install(old, bin, lib)
  t.equal(readFileSync(`${bin}/loopback`, 'utf8'), 'theirs\n')
  uninstall(bin, lib)
  t.same([readdirSync(bin), readdirSync(lib)], [['loopback'], ['libc.so.6']])
})

t.test('what an installation left that was killed goes with the next, or with uninstall', async (t) => {
  sh(`mkdir -p ${bin} ${lib}; echo half >${bin}/.podwire.new; echo half >${bin}/.podwire-ptp.new; echo half >${lib}/.libatomic.so.1.new`)
  install(old, bin, lib)
  t.notOk([...readdirSync(bin), ...readdirSync(lib)].some((name) => name.endsWith('.new')), 'the next')
  uninstall(bin, lib)
  sh(`mkdir -p ${lib}; echo half >${bin}/.podwire.new; echo half >${lib}/.libatomic.so.1.new`)
  uninstall(bin, lib)
  t.equal(sh('find /run/opt -type f'), '', 'uninstall, though nothing was there yet under its name')
})

t.test('uninstall where nothing is', async (t) => t.doesNotThrow(() => uninstall(bin, lib)))
