// What else on the node filters what it forwards, looked up when a plan asks for it: most plans never do.

import type { Filters } from './chained.ts'
import type { Family } from './ip.ts'
import { isRunning } from './kernel/firewalld.ts'
import { drops, hasChain } from './kernel/iptables.ts'
import type { Netns } from './kernel/netns.ts'

export function filtersOf(host: Netns): Filters {
  const dropping = new Map<Family, boolean>()
  let running: boolean | undefined
  return {
    drops(family) {
      if (!dropping.has(family)) dropping.set(family, drops(host, family))
      return dropping.get(family)!
    },
    hasChain: (family, name) => hasChain(host, family, name),
    firewalld: () => (running ??= isRunning()),
  }
}
