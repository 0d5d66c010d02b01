// What is too heavy for the plugin's snapshot, loaded when it is first needed: the commands of a person and running other
// executables; the agent; the Kubernetes client; regular expressions of others. In the single executable application they
// are assets; in development modules.

import { createRequire } from 'node:module'
import { getAsset, isSea } from 'node:sea'
import { setFlagsFromString } from 'node:v8'
import { compileFunction } from 'node:vm'

interface Assets {
  heavy: typeof import('./heavy.ts')
  agent: typeof import('./daemon.ts')
  kubernetes: typeof import('./vxlan/kubernetes.ts')
  re2: typeof import('./re2.ts')
}

const modules: { [Name in keyof Assets]: () => Assets[Name] } = {
  heavy: () => createRequire(import.meta.url)('./heavy.ts'),
  agent: () => createRequire(import.meta.url)('./daemon.ts'),
  kubernetes: () => createRequire(import.meta.url)('./vxlan/kubernetes.ts'),
  re2: () => createRequire(import.meta.url)('./re2.ts'),
}

const loaded: Partial<Assets> = {}

export const later = (): Assets['heavy'] => load('heavy')
export const agentLater = (): Assets['agent'] => load('agent')
export const kubernetesLater = (): Assets['kubernetes'] => load('kubernetes')
export const re2Later = (): Assets['re2'] => load('re2')

function load<Name extends keyof Assets>(name: Name): Assets[Name] {
  return (loaded[name] ??= isSea() ? fromAsset(name) : modules[name]())
}

function fromAsset<Name extends keyof Assets>(name: Name): Assets[Name] {
  setFlagsFromString('--lazy') // plugins compile all of what they load (scripts/build.ts), which is a lot here
  const module = { exports: {} }
  compileFunction(getAsset(`${name}.cjs`, 'utf8'), ['require', 'module', 'exports'])(builtin, module, module.exports)
  return module.exports as Assets[Name]
}

/** Node's own modules and no others: nothing is loaded from a directory, such as node_modules of the root or the caller's home. */
function builtin(name: string): unknown {
  const module = process.getBuiltinModule(name)
  if (module === undefined) throw new Error(`there is no module ${name} in podwire`)
  return module
}
