// What `podwire uninstall` does: everything of an agent goes, but for what pods hold. What one step suffers holds up no other.

import { existsSync } from 'node:fs'
import { isOurs } from '../chains.ts'
import { isOpen } from '../exposure.ts'
import { Netns } from '../kernel/netns.ts'
import * as nft from '../kernel/nft.ts'
import { DROPS } from '../localhost.ts'
import { uninstall as takeBack } from '../reconcile.ts'
import type { AgentOptions } from './options.ts'
import { removeConflist } from './conflist.ts'
import { uninstall as removeFiles } from './install.ts'
import { deviceName, realmOf } from './overlay.ts'
import { StateDir } from './state-dir.ts'

/** Returns sentences about what would not go. Throws if an agent is running, which would make it anew. */
export function uninstall({ vni, stateDir, confDir, binDir, libDir }: Pick<AgentOptions, 'vni' | 'stateDir' | 'confDir' | 'binDir' | 'libDir'>): string[] {
  const state = new StateDir(stateDir)
  if (existsSync(stateDir) && !state.take()) throw new Error(`an agent is running with --state-dir ${stateDir}: end it first`)
  const netns = new Netns()
  const problems: string[] = []
  const step = (what: () => void) => {
    try {
      what()
    } catch (error) {
      problems.push((error as Error).message)
    }
  }
  try {
    let device = deviceName(vni)
    step(() => removeConflist(confDir))
    step(() => (device = state.read()?.device ?? device))
    step(() => problems.push(...takeBack(netns, realmOf(device))))
    step(() => nft.removeIdle(netns, (family, chain) => isOurs(family, chain) && !(chain === DROPS.name && isOpen(netns)))) // the guard stays with what it guards
    step(() => removeFiles(binDir, libDir))
    step(() => state.remove())
    return problems
  } finally {
    netns.close()
    state.giveBack()
  }
}
