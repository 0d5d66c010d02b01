// The licence texts of what is inside the executable: Node.js and its own parts, and each npm package of which esbuild took
// a file into a bundle.

import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Metafile } from 'esbuild'

/** One text with all of them, packages in alphabetical order. `node` is the path of the executable of Node.js. */
export function licences(bundles: Metafile[], node: string): string {
  const files = bundles.flatMap(({ inputs }) => Object.keys(inputs))
  // The functions that Ajv writes are its code too, though no file of its own.
  const packages = new Set(['node_modules/ajv', ...files.flatMap((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? [])])
  return [part('Node.js', textIn(join(dirname(node), '..'))), ...[...packages].sort().map(ofPackage)].join('\n')
}

function ofPackage(directory: string): string {
  const { name, version, license } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'))
  return part(`${name} ${version} (${license})`, textIn(directory))
}

function textIn(directory: string): string {
  const file = readdirSync(directory).find((name) => /^(licen[cs]e|copying)(\.|$)/i.test(name))
  if (!file) throw new Error(`${directory} has no licence text`)
  return readFileSync(join(directory, file), 'utf8').trim()
}

const part = (title: string, text: string): string => `${'='.repeat(80)}\n${title}\n${'='.repeat(80)}\n\n${text}\n`
