// `podwire uninstall --bridge NAME`: the bridge that pods of a network were on goes, if nobody is on it.

import { CniError } from '../cni/error.ts'
import { remove } from '../kernel/bridge.ts'
import { Netns } from '../kernel/netns.ts'

export function removeBridge(name: string): string {
  const netns = new Netns()
  try {
    const on = remove(netns, name)
    if (on.length > 0) throw new CniError(107, `bridge ${name} stays, somebody is on it: ${on.join(', ')}`, 'delete these pods first; what is not a pod\'s: ip link set NAME nomaster')
    return `there is no bridge ${name} any more\n`
  } finally {
    netns.close()
  }
}
