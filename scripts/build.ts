// The steps of scripts/build-sea.sh that need more than a shell: bundles, the single executable application, and where
// it looks for libraries.

import { execFileSync } from 'node:child_process'
import { copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { build, type BuildOptions } from 'esbuild'
import { keepCode } from './code-cache.ts'
import { setLibraryPath } from './elf.ts'
import { UNHEEDED, unheed } from './environment.ts'
import { kubernetesClient } from './kubernetes-client.ts'
import { licences } from './licences.ts'
import { validators } from './validators.ts'

const common: BuildOptions = { bundle: true, platform: 'node', format: 'cjs', target: 'node26', logLevel: 'warning', minifySyntax: true, minifyWhitespace: true, plugins: [validators, kubernetesClient], metafile: true, define: { 'import.meta.url': '"file:///"' } }

// What src/later.ts loads by name in development is here an asset each.
const external = ['./heavy.ts', './daemon.ts', './vxlan/kubernetes.ts', './re2.ts']
const main = await build({ ...common, entryPoints: ['src/main.ts'], outfile: 'dist/build/main.cjs', external })
const heavy = await build({ ...common, entryPoints: ['src/heavy.ts'], outfile: 'dist/build/heavy.cjs', external })
const agent = await build({ ...common, entryPoints: ['src/daemon.ts'], outfile: 'dist/build/agent.cjs', external })
const kubernetes = await build({ ...common, entryPoints: ['src/vxlan/kubernetes.ts'], outfile: 'dist/build/kubernetes.cjs', external })
const re2 = await build({ ...common, entryPoints: ['src/re2.ts'], outfile: 'dist/build/re2.cjs', external })

writeFileSync('dist/build/snapshot.cjs', eager(readFileSync('dist/build/main.cjs', 'utf8')))

// --no-rehash-snapshot: hash tables as the snapshot has them, not hashed anew with a seed of this process. The seed guards against
// keys chosen to collide, and what a plugin reads comes from the node's own container runtime. The others: no compiler for
// code that runs once, and a young generation (MiB) that a plugin does not fill, and that stays small in the agent.
// docs/performance.md has the figures.
const V8 = ['--no-rehash-snapshot', '--no-sparkplug', '--min-semi-space-size=4', '--max-semi-space-size=12']

// Node.js's own ways in are closed: SIGUSR1 would open its inspector, and OpenSSL's configuration can name code to load.
const CLOSED = ['--disable-sigusr1', '--openssl-config=/dev/null']

const executable = 'dist/build/node'
copyFileSync(process.execPath, executable)
setLibraryPath(executable, '$ORIGIN/../lib/podwire')
unheed(executable, UNHEEDED)
writeFileSync(
  'dist/build/sea.json',
  JSON.stringify({
    main: 'dist/build/snapshot.cjs',
    executable,
    output: 'dist/bin/podwire',
    useSnapshot: true,
    disableExperimentalSEAWarning: true,
    execArgv: ['--disable-warning=ExperimentalWarning', ...CLOSED, ...V8, '--no-lazy'],
    execArgvExtension: 'none', // neither NODE_OPTIONS nor arguments of a caller: they would run code in a program of root's
    assets: { 'heavy.cjs': 'dist/build/heavy.cjs', 'agent.cjs': 'dist/build/agent.cjs', 'kubernetes.cjs': 'dist/build/kubernetes.cjs', 're2.cjs': 'dist/build/re2.cjs' },
  }),
)
copyLibrary('libatomic.so.1')
// By the copy: the snapshot holds what Node.js's modules became when they were compiled, with the names of variables in them.
execFileSync(executable, ['--no-warnings', ...V8, '--build-sea', 'dist/build/sea.json'], { stdio: ['ignore', 'ignore', 'inherit'] })
keepCode('dist/bin/podwire', statSync(executable).size, (name) => /^(internal\/)?ffi\b/.test(name))
writeFileSync('dist/lib/podwire/LICENSES', licences([main.metafile!, heavy.metafile!, agent.metafile!, kubernetes.metafile!, re2.metafile!], process.execPath))
copyFileSync('LICENSE', 'dist/lib/podwire/LICENSE')

/**
 * The bundle with every function compiled at once, so that the snapshot holds its bytecode: a plugin runs each function
 * about once, and would spend more time compiling than running. V8 uses the code of Node.js's modules that is kept only where all flags
 * are as they were when it was made: in a plugin (src/main.ts; src/later.ts switches --no-lazy off for what is large).
 */
function eager(bundle: string): string {
  return `for (const flag of ['--no-lazy', '--no-maglev', '--no-opt']) require('node:v8').setFlagsFromString(flag)
const podwire = require('node:vm').compileFunction(${JSON.stringify(bundle)}, ['require', 'module', 'exports'], { filename: 'podwire' })
podwire(require, { exports: {} }, {})
`
}

/** A library that Node.js needs and that not every host has, from this machine, with its licence. */
function copyLibrary(name: string): void {
  const loaded = execFileSync('ldd', [process.execPath], { encoding: 'utf8' })
  const path = new RegExp(`${name} => (\\S+)`).exec(loaded)?.[1]
  if (!path) throw new Error(`${name} is not among the libraries of ${process.execPath}:\n${loaded}`)
  copyFileSync(path, `dist/lib/podwire/${name}`)
  writeFileSync(`dist/lib/podwire/${name}.LICENSE`, readFileSync('scripts/libatomic.LICENSE'))
}
