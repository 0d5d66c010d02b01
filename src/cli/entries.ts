// The configurations in a file that an operator names: one plugin's, or those of a list. What is none is refused here.

import { existsSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { checkName } from '../cni/conf.ts'
import { CniError } from '../cni/error.ts'
import { decodeObject, excerpt } from '../cni/json.ts'
import { isErrno } from '../kernel/errno.ts'
import { nearest } from '../nearest.ts'

export type Entry = Record<string, unknown> & { type: string }

/** A JSON object from a file, or from standard input for `-`. Errors: 5 it cannot be read, 6, 7. */
export const objectIn = (file: string, twice?: string[]): Record<string, unknown> => decodeObject(read(file), nameOf(file), twice)

/** How sentences call a file. */
export const nameOf = (file: string): string => (file === '-' ? 'standard input' : file)

function read(file: string): Uint8Array {
  try {
    return readFileSync(file === '-' ? 0 : file)
  } catch (error) {
    throw new CniError(5, unreadable(error as Error, file))
  }
}

/** A sentence about a file of an operator's that cannot be read. */
function unreadable(error: Error, file: string): string {
  if (isErrno(error, 'ENOENT')) return `${file}: there is no such ${existsSync(dirname(file)) ? 'file' : 'directory'}`
  if (isErrno(error, 'EACCES', 'EPERM')) return `${file} cannot be read: permission denied. Type it as root, or give yourself the right to`
  if (isErrno(error, 'EISDIR')) return `${nameOf(file)} is a directory: name a file in it`
  if (isErrno(error, 'ENOTDIR')) return `${file}: what should be a directory on the way there is a file`
  return `${nameOf(file)} cannot be read: ${error.message}`
}

/** The entries of a configuration: itself, or those in its list, each with what the list gives to all. Error 7 for what is none. */
export function entries(conf: Record<string, unknown>, file: string): Entry[] {
  const { name, cniVersion, type, plugins } = conf
  if (plugins === undefined && type === undefined) throw new CniError(7, `${nameOf(file)} is no network configuration: ${lacks(conf)}`)
  checkName(name)
  if (plugins === undefined) return [entry(conf, '')]
  if (!Array.isArray(plugins) || plugins.length === 0) throw new CniError(7, `plugins is ${excerpt(plugins)}: expected a list of plugin configurations`)
  return plugins.map((one: unknown, i) => {
    const at = `plugins[${i}]`
    if (!isObject(one)) throw new CniError(7, `${at} is ${excerpt(one)}: expected the configuration of a plugin`)
    return entry({ ...one, name, cniVersion }, `${at}.`)
  })
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null && !Array.isArray(value)

function lacks(conf: Record<string, unknown>): string {
  const kinds = ['type', 'plugins', 'nodes']
  const [mistyped] = Object.keys(conf).flatMap((key) => (nearest(key, kinds) ? [`; did you mean ${nearest(key, kinds)} by ${excerpt(key)}?`] : []))
  return `it has neither type (one plugin), nor plugins (a list of them), nor nodes (the file of peers)${mistyped ?? ''}`
}

function entry(conf: Record<string, unknown>, at: string): Entry {
  const { type } = conf
  const is = type === undefined || type === '' ? 'is missing' : `is ${excerpt(type)}`
  if (typeof type !== 'string' || type === '' || type.includes('/')) throw new CniError(7, `${at}type ${is}: expected the name of a plugin`)
  return { ...conf, type }
}
