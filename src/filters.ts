// What else on the node filters what it forwards, looked up when a plan asks for it: most plans never do.

import type { Filters } from './chained.ts'
import type { Family } from './ip.ts'
import { isRunning } from './kernel/firewalld.ts'
import { filterTable } from './kernel/iptables.ts'
import type { Netns } from './kernel/netns.ts'

export function filtersOf(host: Netns): Filters {
  let running: boolean | undefined
  const tables = new Map<Family, ReturnType<Filters['iptables']>>()
  return {
    iptables(family) {
      if (!tables.has(family)) tables.set(family, filterTable(host, family))
      return tables.get(family)
    },
    firewalld: () => (running ??= isRunning()),
  }
}
