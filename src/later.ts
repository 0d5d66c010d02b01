// What is too heavy for the plugin's snapshot, loaded when it is first needed: the commands of a person, and running
// other executables. In the single executable application it is an asset; in development a module.

import { createRequire } from 'node:module'
import { getAsset, isSea } from 'node:sea'
import { compileFunction } from 'node:vm'

type Later = typeof import('./heavy.ts')

let loaded: Later | undefined

export function later(): Later {
  return (loaded ??= isSea() ? fromAsset() : (createRequire(import.meta.url)('./heavy.ts') as Later))
}

function fromAsset(): Later {
  const module = { exports: {} }
  compileFunction(getAsset('heavy.cjs', 'utf8'), ['require', 'module', 'exports'])(createRequire('/'), module, module.exports)
  return module.exports as Later
}
