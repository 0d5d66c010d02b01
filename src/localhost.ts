// 127.0.0.0/8 of the node, which route_localnet on an interface opens to whoever is behind it, so that a pod's port can be reached
// by 127.0.0.1; and the chain that lets nobody else in (CVE-2020-8558). The one is never without the other. Pure.

import type { Chain, Plan, Sysctl } from './facts.ts'
import { sysctl } from './pod.ts'

/** What is addressed to 127.0.0.0/8, or comes from there, and is not the node's own, goes no further. */
export const DROPS: Chain = {
  fact: 'chain',
  name: 'localhost',
  base: { type: 'filter', hook: 'prerouting', priority: 'raw' },
  rules: ['saddr', 'daddr'].map((end) => `iifname != "lo" ip ${end} 127.0.0.0/8 drop`),
  keep: true,
}

export const GUARD: Plan = [{ fact: 'table', keep: true }, DROPS]

/** Opens 127.0.0.0/8 to an interface; behind GUARD in a plan. */
export const opened = (dev: string): Sysctl => sysctl(`net/ipv4/conf/${dev}/route_localnet`, '1')
