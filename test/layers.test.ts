// The house rules of docs/architecture.md: who may import whom. Read from the sources themselves; an import of types only
// is not one, because nothing of it is left at run time.

import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'

const files = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts')).sort()
const imports = new Map(files.map((file) => [file, importsOf(file)]))

/** What a file imports at run time: files by their path below src, packages and Node's modules by name. */
function importsOf(file: string): string[] {
  const text = readFileSync(join('src', file), 'utf8')
  const statements = text.matchAll(/^(?:import |export (?=[{*]))(?!type )(?:[^'"]* from )?['"]([^'"]+)['"]/gm)
  const calls = text.matchAll(/(?<!typeof )\b(?:require|import|getBuiltinModule|createRequire\([^)]*\))\('([^']+)'\)/g)
  return [...statements, ...calls].map(([, name]) => (name!.startsWith('.') ? join(dirname(file), name!) : name!))
}

/** Everything that a file brings along, itself included; what later.ts loads comes only when it is asked for. */
function closure(file: string, seen = new Set<string>()): Set<string> {
  if (seen.has(file)) return seen
  seen.add(file)
  if (file !== 'later.ts') for (const name of imports.get(file) ?? []) closure(name, seen)
  return seen
}

const kernel = (name: string): boolean => name.startsWith('kernel/')
const importers = (name: string): string[] => files.filter((file) => imports.get(file)!.includes(name))
const breaches = (these: string[], forbidden: (name: string) => boolean): string[] =>
  these.flatMap((file) => [...closure(file)].filter(forbidden).map((name) => `${file} brings ${name}`))

t.test('the reader of imports sees them all', async (t) => {
  t.ok(imports.get('state.ts')!.includes('kernel/link.ts'), 'a namespace')
  t.ok(imports.get('kernel/libc.ts')!.includes('node:ffi'), 'a built-in module asked for at run time')
  t.ok(imports.get('later.ts')!.includes('heavy.ts'), 'a module loaded when it is needed')
  t.ok(imports.get('heavy.ts')!.includes('run.ts'), 'what is exported again')
  t.notOk(imports.get('wire.ts')!.includes('facts.ts'), 'and not types')
  const unknown = files.flatMap((file) => imports.get(file)!.filter((name) => name.endsWith('.ts') && !files.includes(name)).map((name) => `${file}: ${name}`))
  t.same(unknown, [], 'every file imported is there')
})

t.test('what is pure has no kernel, no disk, no process, no network', async (t) => {
  const pure = ['facts.ts', 'show.ts', 'names.ts', 'chains.ts', 'nat.ts', 'pod.ts', 'nearest.ts', 'findings.ts', 'chained.ts', 'extras.ts', 'former.ts', 'ip.ts', 'ipam/conf.ts', 'ipam/ranges.ts', 'ipam/static.ts', 'cni/result.ts', 'cni/version.ts', 'cni/error.ts', 'cni/json.ts', 'cni/json-fault.ts', 'cni/conf.ts', 'cni/schema.ts', 'cni/request.ts', 'vxlan/node.ts', 'vxlan/peers.ts', 'vxlan/networks.ts', 'vxlan/special.ts', 'vxlan/overlay.ts', 'vxlan/heard.ts', 'vxlan/probe-packet.ts', ...files.filter((file) => /^(ptp|bridge|portmap|bandwidth|firewall|tuning|sbr)\/(?!guard|backup|plugin)/.test(file))]
  const impure = (name: string) => kernel(name) || ['state.ts', 'nouns.ts', 'reconcile.ts', 'act.ts', 'wire.ts', 'chain.ts', 'clean.ts', 'guards.ts', 'health.ts', 'main.ts', 'later.ts'].includes(name) || name.startsWith('node:')
  t.same(pure.filter((file) => !files.includes(file)), [], 'all of them are there')
  t.same(breaches(pure, impure), [], 'neither do what they import')
})

t.test('the plugins know nothing of the API server, of metrics and of watching files', async (t) => {
  const agents = (name: string) => name.startsWith('vxlan/kubernetes') || ['@kubernetes/client-node', 'prom-client', 'vxlan/agent.ts', 'vxlan/keeper.ts', 'kernel/monitor.ts', 'node:http'].includes(name)
  t.same(breaches(['plugins.ts'], agents), [])
})

t.test('what pods were promised is no concern of plugins', async (t) => {
  t.same(breaches(['plugins.ts', 'main.ts'], (name) => name.startsWith('pods/') || name === 'mend.ts'), [])
})

t.test('only kernel/libc.ts knows the foreign function interface', async (t) => {
  t.same(importers('node:ffi'), ['kernel/libc.ts'], 'by its name')
  t.same(files.filter((file) => /\bdlopen\b/.test(readFileSync(join('src', file), 'utf8'))), ['kernel/libc.ts'], 'and by its function')
})

t.test('a namespace is opened where a request is served; state.ts and the nouns of the kernel are handed theirs', async (t) => {
  const openers = files.filter((file) => /\bnew Netns\(/.test(readFileSync(join('src', file), 'utf8')))
  t.same(openers, ['act.ts', 'cli/bridge.ts', 'cli/gc.ts', 'cli/parts.ts', 'cli/pods.ts', 'cli/status.ts', 'health.ts', 'loopback/loopback.ts', 'pods/judge.ts', 'pods/keeper.ts', 'vxlan/agent.ts', 'vxlan/plugin.ts', 'vxlan/uninstall.ts'], 'who opens')
  t.same(files.filter((file) => /\bnew Netlink\(/.test(readFileSync(join('src', file), 'utf8'))), ['kernel/netns.ts'], 'and its sockets with it')
})

t.test('the kernel knows nothing of CNI', async (t) => {
  const above = (name: string) => /^(cni|ipam|cli|ptp|bridge|loopback|portmap|bandwidth|firewall|tuning|sbr|vxlan)\//.test(name) || ['state.ts', 'nouns.ts', 'act.ts', 'wire.ts', 'chain.ts', 'clean.ts', 'main.ts', 'plugins.ts'].includes(name)
  t.same(breaches(files.filter(kernel), above), [], 'it brings nothing from above')
  t.same(imports.get('state.ts')!.filter((name) => !['show.ts', 'nouns.ts', 'findings.ts'].includes(name) && !kernel(name)), [], 'state.ts has facts and the kernel, no more')
  t.same(imports.get('mend.ts')!.filter((name) => !['show.ts', 'state.ts', 'nouns.ts', 'names.ts'].includes(name) && !kernel(name)), [], 'so has mend.ts')
  t.same(imports.get('reconcile.ts')!.filter((name) => !['show.ts', 'state.ts', 'nouns.ts'].includes(name) && !kernel(name)), [], 'and so has reconcile.ts')
})

t.test('other programs are run in one place, which the snapshot does not hold', async (t) => {
  t.same(importers('execa'), ['run.ts'], 'by execa')
  t.same(files.filter((file) => imports.get(file)!.some((name) => /^node:(child_process|net|http|https|dgram)$/.test(name))), ['vxlan/http.ts', 'vxlan/kubernetes/client.ts', 'vxlan/probe.ts'], 'not past it; only the agent talks to a network')
  t.same(importers('heavy.ts'), ['later.ts'], 'what is heavy comes by later.ts alone')
  t.same(importers('run.ts'), ['heavy.ts'], 'running a program is heavy')
  t.same([importers('re2js'), importers('re2.ts')], [['re2.ts'], ['later.ts']], "so are others' regular expressions")
  t.same([importers('vxlan/agent.ts'), importers('daemon.ts')], [['daemon.ts'], ['later.ts']], 'and so is the agent')
  t.same(importers('vxlan/kubernetes.ts'), ['later.ts'], 'and the Kubernetes client')
  t.same(files.filter((file) => file.startsWith('cli/')).flatMap((file) => importers(file)).filter((file) => !file.startsWith('cli/')), ['heavy.ts'], 'and so are the commands of a person')
})

t.test('nobody waits by the clock on the wall', async (t) => {
  const readers = files.filter((file) => /\bDate\.now\b/.test(readFileSync(join('src', file), 'utf8')))
  t.same(readers, ['cli/age.ts', 'ipam/store.ts'], 'only a file has its age by it')
})

t.test('no file imports itself by way of others', async (t) => {
  const cycles: string[] = []
  const walk = (file: string, path: string[]): void => {
    if (path.includes(file)) return void cycles.push([...path.slice(path.indexOf(file)), file].join(' → '))
    for (const name of imports.get(file) ?? []) if (file !== 'later.ts' && name.endsWith('.ts')) walk(name, [...path, file])
  }
  for (const file of files) walk(file, [])
  t.same([...new Set(cycles)], [], 'no cycles')
})
