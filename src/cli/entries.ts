// The configurations in a file that an operator names: one plugin's, or those of a list. What is none is refused here.

import { readFileSync } from 'node:fs'
import { checkName } from '../cni/conf.ts'
import { CniError } from '../cni/error.ts'
import { decodeObject, excerpt, inFile } from '../cni/json.ts'
import { unreadable } from '../file.ts'
import { nearest } from '../nearest.ts'

export type Entry = Record<string, unknown> & { type: string }

/** A JSON object from a file, or from standard input for `-`. Errors: 5 it cannot be read, 6, 7. */
export const objectIn = (file: string, twice?: string[]): Record<string, unknown> =>
  decodeObject(read(file), nameOf(file), twice, file === '-' ? undefined : inFile)

/** How sentences call a file. */
export const nameOf = (file: string): string => (file === '-' ? 'standard input' : file)

const read = (file: string): Uint8Array => readable(file, () => readFileSync(file === '-' ? 0 : file))

/** Runs what reads a file or directory of an operator's; error 5 says in a sentence why it cannot be read. */
export function readable<T>(file: string, run: () => T): T {
  try {
    return run()
  } catch (error) {
    throw new CniError(5, unreadable(error as Error, nameOf(file)).message)
  }
}

/** The entries of a configuration: itself, or those in its list, each with what the list gives to all. Error 7 for what is none. */
export function entries(conf: Record<string, unknown>, file: string): Entry[] {
  const { name, cniVersion, type, plugins } = conf
  if (plugins === undefined && type === undefined) throw new CniError(7, `${nameOf(file)} is no network configuration: ${lacks(conf)}`)
  checkName(name)
  if (plugins === undefined) return [entry(conf, '')]
  const isList = Array.isArray(plugins) && plugins.length > 0
  if (!isList) throw new CniError(7, `plugins is ${excerpt(plugins)}: expected a list of plugin configurations`)
  return plugins.map((one: unknown, i) => {
    const at = `plugins[${i}]`
    if (!isObject(one)) throw new CniError(7, `${at} is ${excerpt(one)}: expected the configuration of a plugin`)
    return entry({ ...one, name, cniVersion }, `${at}.`)
  })
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null && !Array.isArray(value)

function lacks(conf: Record<string, unknown>): string {
  const kinds = ['type', 'plugins', 'nodes']
  const mistyped = Object.keys(conf).find((key) => nearest(key, kinds))
  const near = mistyped === undefined ? '' : `; did you mean ${nearest(mistyped, kinds)} by ${excerpt(mistyped)}?`
  return `it has neither type (one plugin), nor plugins (a list of them), nor nodes (the file of peers)${near}`
}

function entry(conf: Record<string, unknown>, at: string): Entry {
  const { type } = conf
  const is = type === undefined || type === '' ? 'is missing' : `is ${excerpt(type)}`
  if (typeof type !== 'string' || type === '' || type.includes('/')) throw new CniError(7, `${at}type ${is}: expected the name of a plugin`)
  return { ...conf, type }
}
