// How the kernel handles packets of an interface, where that is another's to choose. Documentation/networking/ip-sysctl.rst

import type { Condition } from '../facts.ts'
import { differs, type Difference } from './difference.ts'
import * as link from './link.ts'
import type { Netns } from './netns.ts'
import { read } from './sysctl.ts'

/** What makes pods silent, or undefined. An interface that is gone is nobody's obstacle. */
export function check(netns: Netns, fact: Condition): Difference | undefined {
  const there = link.get(netns, fact.dev)
  if (!there) return undefined
  if (fact.name === 'forwarding') return link.ipv4(there, 'forwarding') === 0 ? differs(`interface ${fact.dev} does not forward (net.ipv4.conf.${fact.dev}.forwarding is 0): what comes in there for pods is dropped`) : undefined
  const value = Math.max(link.ipv4(there, 'arp_ignore') ?? 0, Number(read(netns, 'net/ipv4/conf/all/arp_ignore') ?? 0)) // IN_DEV_ARP_IGNORE, <linux/inetdevice.h>
  return fact.not.includes(value) ? differs(`interface ${fact.dev}${fact.in ? " in the pod's namespace" : ''} does not answer who asks for its address (arp_ignore is ${value}): it is not found by ARP`) : undefined
}

/** The same as a sentence for ADD. */
export const note = (netns: Netns, fact: Condition): string | undefined => check(netns, fact)?.sentence
