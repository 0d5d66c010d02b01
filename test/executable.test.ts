// What is built and shipped: dist/bin and dist/lib.

import { readFileSync, realpathSync, statSync } from 'node:fs'
import { netns, sh, works } from './world.ts'
import t from 'tap'
import { PLUGINS } from '../src/plugins.ts'

const bin = realpathSync('dist/bin')

t.test('dist/bin is a CNI_PATH: one file under the name of every plugin, with and without prefix', async (t) => {
  const names = ['podwire', ...Object.keys(PLUGINS).flatMap((name) => [name, `podwire-${name}`])]
  t.same(sh(`ls ${bin}`).split('\n'), names.sort())
  t.equal(new Set(names.map((name) => statSync(`${bin}/${name}`).ino)).size, 1)
})

t.test('it runs on a host without libatomic, with the one it carries', async (t) => {
  const library = /libatomic\.so\.1 => (\S+)/.exec(sh(`ldd ${bin}/podwire`))![1]!
  t.equal(realpathSync(library), realpathSync('dist/lib/podwire/libatomic.so.1'), 'its own is the one it takes')
  sh('for f in $(ldconfig -p | sed -n "s/.*libatomic.so.1 .*=> //p"); do mount --bind /dev/null $f; done')
  t.ok(works(`${bin}/podwire version`))
  sh(`mkdir -p /run/opt/bin /run/opt/lib && cp ${bin}/podwire /run/opt/bin/ && cp -r dist/lib/podwire /run/opt/lib/`)
  t.ok(works('/run/opt/bin/podwire version'), 'also when it is copied elsewhere with its lib')
  t.ok(works('ln -s /run/opt/bin/podwire /run/podwire && /run/podwire version'), 'or called by a link from elsewhere')
  sh('rm -r /run/opt/lib')
  t.match(sh('/run/opt/bin/podwire version 2>&1 || true'), /libatomic\.so\.1/, 'without it the error names what is missing')
})

t.test("a plugin's start compiles nothing: of Node's own modules it loads those whose compiled code it carries, and V8 takes it", async (t) => {
  const plugin = `echo '{"cniVersion":"1.1.0","name":"lo","type":"loopback"}' | NODE_DEBUG_NATIVE=CODE_CACHE CNI_COMMAND=ADD CNI_CONTAINERID=c1 CNI_IFNAME=lo CNI_NETNS=${netns('pod')} CNI_PATH=/x ${bin}/loopback 2>&1`
  const said = sh(plugin).split('\n')
  const carried = Number(/^snapshot contains (\d+) code cache$/m.exec(said.join('\n'))![1])
  t.same(said.filter((line) => / without code cache | is rejected/.test(line)), [])
  t.equal(said.filter((line) => / is accepted/.test(line)).length, carried, 'and nothing that it does not load')
})

t.test('it needs nothing newer than glibc 2.28', async (t) => {
  t.equal(sh(`grep -aoE "GLIBC_2[.][0-9]+" ${bin}/podwire | sort -Vu | tail -1`), 'GLIBC_2.28')
})

t.test('the licence of everything inside lies beside it', async (t) => {
  const texts = readFileSync('dist/lib/podwire/LICENSES', 'utf8')
  for (const name of ['Node.js', 'ajv 8', 'execa 10', 'netlink 0']) t.match(texts, new RegExp(`^${name}`, 'm'))
  t.match(readFileSync('dist/lib/podwire/libatomic.so.1.LICENSE', 'utf8'), /RUNTIME LIBRARY EXCEPTION[^]*GNU GENERAL PUBLIC LICENSE/)
})
