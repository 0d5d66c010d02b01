// What `podwire uninstall` does: everything of an agent goes, but for what pods hold. What one step suffers holds up no other.
//
// A runtime deletes a pod's network by the conflist and the executables that are there then. Without them it cannot (containerd: "cni
// plugin not initialized"), and the pod stays for ever: so while pods run nothing is taken away, unless somebody insists.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { isOurs } from '../chains.ts'
import { isOpen } from '../exposure.ts'
import { directoryOf } from '../ipam/host-local.ts'
import * as link from '../kernel/link.ts'
import { Netns } from '../kernel/netns.ts'
import * as nft from '../kernel/nft.ts'
import { DROPS } from '../localhost.ts'
import { owner } from '../names.ts'
import { printable } from '../printable.ts'
import { Library, LIBRARY } from '../pods/library.ts'
import { subjectsOf } from '../pods/report.ts'
import { compare, uninstall as takeBack } from '../reconcile.ts'
import { word } from '../show.ts'
import type { AgentOptions } from './options.ts'
import { CONFLIST, removeConflist } from './conflist.ts'
import { installedIn, uninstall as removeFiles } from './install.ts'
import { deviceName, realmOf } from './overlay.ts'
import { StateDir } from './state-dir.ts'
import { some } from './view.ts'

export type Places = Pick<AgentOptions, 'vni' | 'stateDir' | 'confDir' | 'binDir' | 'libDir'> & { library?: string; force?: boolean }

export interface Departure {
  /** What there was and is no longer; nothing: there was nothing. */
  gone: string[]
  /** Sentences about what would not go. */
  problems: string[]
  /** Pods that have their interfaces still. */
  pods: string[]
  /** What deletes by hand what these have on the node. */
  lines: string[]
}

/** Throws if an agent is running, which would make it anew; and, without `force`, if pods are: then nothing was touched. */
export function uninstall(places: Places): Departure {
  const { stateDir, library = LIBRARY, force = false } = places
  const state = new StateDir(stateDir)
  const netns = new Netns()
  try {
    const { device, problem } = deviceOf(state, places.vni)
    const there = thingsOf(netns, device, places).filter(isThere)
    const ends = link.owned(netns)
    const pods = namesOf(netns, ends, library)
    if (there.length > 0 && pods.length > 0 && !force) throw new Error(refusal(pods))
    if (existsSync(stateDir) && !state.take()) throw new Error(`an agent is running with --state-dir ${stateDir}: end it first`)
    const { problems, tables } = takeAway(netns, device, state, places)
    const gone = there.filter((thing) => !isThere(thing)).map(({ name }) => name)
    gone.push(...tables.map((table) => `table ${table}`))
    return { gone, problems: [...problem, ...problems], pods, lines: linesFor(netns, ends) }
  } finally {
    netns.close()
    state.giveBack()
  }
}

/** The device of the last agent; what is wrong with its word. */
function deviceOf(state: StateDir, vni: number): { device: string; problem: string[] } {
  try {
    return { device: state.read()?.device ?? deviceName(vni), problem: [] }
  } catch (error) {
    return { device: deviceName(vni), problem: [(error as Error).message] }
  }
}

/** Something of an agent's, and whether it is there; what cannot be known is taken for being there. */
interface Thing {
  name: string
  there(): boolean
}

function thingsOf(netns: Netns, device: string, { confDir, binDir, stateDir }: Places): Thing[] {
  const conflist = join(confDir, CONFLIST)
  const isDevice = () => link.get(netns, device) !== undefined
  return [
    { name: `interface ${device} with its routes`, there: () => isDevice() || compare(netns, [], realmOf(device)).length > 0 },
    { name: conflist, there: () => existsSync(conflist) },
    { name: `the executables in ${binDir}`, there: () => installedIn(binDir).length > 0 },
    { name: stateDir, there: () => existsSync(stateDir) },
  ]
}

function isThere({ there }: Thing): boolean {
  try {
    return there()
  } catch {
    return true
  }
}

interface Taken {
  /** Sentences about what would not go. */
  problems: string[]
  /** The tables of nf_tables that did. */
  tables: string[]
}

function takeAway(netns: Netns, device: string, state: StateDir, { confDir, binDir, libDir }: Places): Taken {
  const problems: string[] = []
  const step = <T>(what: () => T[]): T[] => {
    try {
      return what()
    } catch (error) {
      problems.push((error as Error).message)
      return []
    }
  }
  step(() => (removeConflist(confDir), []))
  problems.push(...step(() => takeBack(netns, realmOf(device))))
  const isIdle = (family: 'inet' | 'bridge', chain: string) => isOurs(family, chain) && !(chain === DROPS.name && isOpen(netns))
  const tables = step(() => nft.removeIdle(netns, isIdle)) // the guard stays with what it guards
  step(() => (removeFiles(binDir, libDir), []))
  step(() => (state.remove(), []))
  return { problems, tables }
}

/** Pods by what Kubernetes calls them, and by what their interfaces have as their alias. */
function namesOf(netns: Netns, ends: { alias: string }[], library: string): string[] {
  const known = new Map(subjectsOf(netns, new Library(library).read()).map((subject) => [owner(subject), subject.name]))
  return [...new Set(ends.map(({ alias }) => alias))].map((alias) => printable(known.get(alias) ? `${known.get(alias)} (${alias})` : alias))
}

const count = (pods: string[]): string => (pods.length === 1 ? '1 pod' : `${pods.length} pods`)

const refusal = (pods: string[]): string =>
  `${count(pods)} on this node ${pods.length === 1 ? 'has' : 'have'} an interface of podwire's: ${some(pods)}
  without its conflist and executables no runtime can delete them (containerd: "cni plugin not initialized"), so delete them first:
  kubectl drain NODE --ignore-daemonsets; systemctl stop kubelet; crictl rmp --all --force
  nothing was touched; with --force all goes nevertheless, and what to do about the pods is said`

/** What is left of pods, for a shell. Of a network only a name is typed that CNI allows (CNI 1.1 §1). */
function linesFor(netns: Netns, ends: { name: string; alias: string }[]): string[] {
  if (ends.length === 0) return []
  const networks = new Set(ends.map(({ alias }) => alias.split('/')[0]!).filter((network) => /^[a-zA-Z0-9][\w.-]*$/.test(network)))
  const leases = [...networks].map((network) => directoryOf(network)).filter((directory) => existsSync(directory))
  return [
    ...ends.map(({ name }) => `ip link del ${word(name)}`),
    ...leases.map((directory) => `rm -r ${word(directory)}`),
    ...nft.tables(netns).map((table) => `nft delete table ${table}`),
  ]
}
