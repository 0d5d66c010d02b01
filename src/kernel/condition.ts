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
  return fact.name === 'forwarding' ? forwarding(there) : answers(netns, there, fact)
}

/** The same as a sentence for ADD. */
export const note = (netns: Netns, fact: Condition): string | undefined => check(netns, fact)?.sentence

function forwarding(there: link.LinkState): Difference | undefined {
  if (link.ipv4(there, 'forwarding') !== 0) return undefined
  const why = `net.ipv4.conf.${there.name}.forwarding is 0`
  return differs(`interface ${there.name} does not forward (${why}): what comes in there for pods is dropped`)
}

/** Of the interface's value and that of all the larger one counts: IN_DEV_ARP_IGNORE, <linux/inetdevice.h>. */
function answers(netns: Netns, there: link.LinkState, fact: Extract<Condition, { name: 'arp_ignore' }>): Difference | undefined {
  const ofAll = Number(read(netns, 'net/ipv4/conf/all/arp_ignore') ?? 0)
  const value = Math.max(link.ipv4(there, 'arp_ignore') ?? 0, ofAll)
  if (!fact.not.includes(value)) return undefined
  const where = fact.in ? " in the pod's namespace" : ''
  return differs(`interface ${there.name}${where} does not answer who asks for its address (arp_ignore is ${value}): it is not found by ARP`)
}
