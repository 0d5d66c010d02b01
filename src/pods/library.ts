// What a container runtime's library (libcni) keeps of each attachment until its DEL: the configuration, what the runtime asked for,
// the result of ADD. containerd, CRI-O, podman, nerdctl and cnitool use that library, in one directory. It is the only place
// that knows what a pod was promised, and its word is a claim: of a file that is not as the library writes it nothing is believed.
// https://github.com/containernetworking/cni, libcni/api.go: cachedInfo; since 0.8

import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { decodeText, decodeObject } from '../cni/json.ts'
import { IDENTIFIER } from '../cni/request.ts'
import { textOf } from '../file.ts'
import { isErrno } from '../kernel/errno.ts'
import type { Attachment } from '../names.ts'

/** Where the library keeps them. */
export const LIBRARY = '/var/lib/cni/results'

const KIND = 'cniCacheV1'
const MOST = 32 * 1024 * 1024 // bytes of a file: a configuration in base64, all ports of a node, a result
const MOST_ENTRIES = 64 // of a list of plugins

/** One attachment, as the library keeps it. */
export interface Kept {
  attachment: Attachment
  /** Path of the pod's network namespace, of the file (since 1.2) or the result; undefined if neither tells. */
  netns: string | undefined
  /** CNI_ARGS, the later of two with one name. */
  args: Map<string, string>
  /** What a runtime passes to plugins that declare the capability, by its name. */
  capabilityArgs: Record<string, unknown>
  /** The configurations of the list's plugins, each with name and cniVersion of the list. */
  entries: Record<string, unknown>[]
  result: Record<string, unknown>
}

/** A file of the library, and what it says; or why that is not believed. */
export interface Leaf {
  file: string
  /** Changes when the file does. */
  mark: string
  kept?: Kept
  problem?: string
}

/** Reads a library again and again: a file that is the same as before is not read. */
export class Library {
  readonly directory: string
  #leaves = new Map<string, Leaf>()

  constructor(directory: string = LIBRARY) {
    this.directory = directory
  }

  /** What is kept now; nothing where there is no such directory. Error if it cannot be read. */
  read(): Leaf[] {
    const before = this.#leaves
    this.#leaves = new Map(names(this.directory).flatMap((name) => {
      const leaf = leafOf(this.directory, name, before.get(name))
      return leaf ? [[name, leaf]] : []
    }))
    return [...this.#leaves.values()]
  }
}

function names(directory: string): string[] {
  try {
    return readdirSync(directory).sort()
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return []
    throw error
  }
}

/** Undefined if the file is gone by now. */
function leafOf(directory: string, name: string, before: Leaf | undefined): Leaf | undefined {
  const file = join(directory, name)
  const stat = statSync(file, { throwIfNoEntry: false, bigint: true })
  if (!stat) return undefined
  const mark = [stat.ino, stat.size, stat.mtimeNs, stat.ctimeNs].join(' ')
  if (before?.mark === mark) return before
  try {
    const text = textOf(file, MOST)
    return text === undefined ? undefined : { file, mark, kept: parse(text, name) }
  } catch (error) {
    return { file, mark, problem: (error as Error).message }
  }
}

/** The contents of the file of that name. Error that says what is not as the library writes it. */
export function parse(text: string, name: string): Kept {
  const { kind, containerId, ifName, networkName, netns, config, cniArgs, capabilityArgs, result } = decodeText(text, name)
  if (kind === undefined) throw new Error('it has a result only: its library is older than 0.8')
  if (kind !== KIND) throw new Error(`kind is ${show(kind)}, not "${KIND}"`)
  const [network, containerID] = [word(networkName, 'networkName'), word(containerId, 'containerId')]
  const ifname = word(ifName, 'ifName', IFNAME)
  const attachment = { network, containerID, ifname }
  const own = `${network}-${containerID}-${ifname}`
  if (name !== own) throw new Error(`it says that it is ${own}`)
  const told = object(result, 'result')
  return {
    attachment,
    netns: netns === undefined || netns === '' ? sandboxOf(told, ifname) : path(netns),
    args: new Map(pairs(cniArgs)),
    capabilityArgs: capabilityArgs === undefined || capabilityArgs === null ? {} : object(capabilityArgs, 'capabilityArgs'),
    entries: entriesOf(config),
    result: told,
  }
}

function entriesOf(config: unknown): Record<string, unknown>[] {
  if (typeof config !== 'string') throw new Error(`config is ${show(config)}: expected base64`)
  const { plugins, ...list } = decodeObject(Buffer.from(config, 'base64'), 'config')
  if (plugins === undefined) return [list]
  if (!Array.isArray(plugins) || plugins.length > MOST_ENTRIES)
    throw new Error(`config.plugins is ${show(plugins)}: expected at most ${MOST_ENTRIES} plugins`)
  return plugins.map((entry, i) => ({ ...object(entry, `config.plugins[${i}]`), name: list.name, cniVersion: list.cniVersion }))
}

/** The sandbox of a result's interface. CNI 1.1 §5 "Success" */
function sandboxOf({ interfaces }: Record<string, unknown>, ifname: string): string | undefined {
  const list = Array.isArray(interfaces) ? (interfaces as Record<string, unknown>[]) : []
  const own = list.find((one) => one?.name === ifname && one.sandbox)
  return own && path(own.sandbox)
}

function path(value: unknown): string {
  if (typeof value !== 'string' || !/^\/[^\0]*$/.test(value)) throw new Error(`the namespace is ${show(value)}: expected an absolute path`)
  return value
}

const IFNAME = /^[^/:\s\0]{1,15}$/

function word(value: unknown, key: string, pattern = IDENTIFIER): string {
  if (typeof value !== 'string' || !pattern.test(value)) throw new Error(`${key} is ${show(value)}`)
  return value
}

function pairs(value: unknown): [string, string][] {
  if (value === undefined || value === null) return []
  const isWord = (part: unknown) => typeof part === 'string' && !/[;=]/.test(part)
  const isPair = (one: unknown): one is [string, string] => Array.isArray(one) && one.length === 2 && one.every(isWord)
  if (!Array.isArray(value) || !value.every(isPair)) throw new Error(`cniArgs is ${show(value)}: expected pairs of words`)
  return value
}

function object(value: unknown, key: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error(`${key} is ${show(value)}: expected an object`)
  return value as Record<string, unknown>
}

const show = (value: unknown): string => (JSON.stringify(value) ?? 'missing').slice(0, 100)
