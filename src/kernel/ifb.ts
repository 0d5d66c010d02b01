// Intermediate functional block devices: what is redirected to one passes its queue, and goes on where it was going. So packets
// that come in are queued, for which an interface of its own has no place. drivers/net/ifb.c, man 8 ip-link

import type { Ifb } from '../facts.ts'
import { differs, missing, type Difference } from './difference.ts'
import * as link from './link.ts'
import type { Netns } from './netns.ts'

/** Makes the device. One of that name is an error. */
export const add = (netns: Netns, fact: Ifb, what: string): void => link.addIfb(netns, fact, what)

/** Its MTU counts for nothing: what is redirected is of the interface it comes from, whose MTU tuning may have changed since. */
export function check(netns: Netns, { name, mac, alias }: Ifb): Difference | undefined {
  const there = link.get(netns, name)
  if (!there) return missing(`interface ${name} is missing`)
  if (there.kind !== 'ifb') return { ...differs(`interface ${name} is of type ${there.kind ?? 'unknown'}, not ifb`), anew: true }
  if (there.mac !== mac) return { ...differs(`interface ${name} has MAC address ${there.mac}, not ${mac}`), anew: true } // it cannot be set
  return there.alias === alias ? undefined : link.otherAlias(there, alias)
}
