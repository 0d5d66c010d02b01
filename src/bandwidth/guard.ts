// The ifb that the reference's plugin made for a pod: nothing on it says whose it is, but the result of its ADD named it.

import type { Result } from '../cni/result.ts'
import type { Plan } from '../facts.ts'
import * as link from '../kernel/link.ts'
import type { Netns } from '../kernel/netns.ts'

export const formerIfb = (host: Netns, _: string[], before: Result | undefined): Plan =>
  (before?.interfaces ?? []).flatMap(({ name, sandbox }): Plan => {
    if (sandbox || !/^bwp[0-9a-f]{12}$/.test(name)) return []
    const there = link.get(host, name)
    return there?.kind === 'ifb' && there.alias === undefined ? [{ fact: 'ifb', name, mac: '', alias: '' }] : []
  })
