// What the kernel has of each interface, in a few digits: enough to see that nothing of it has changed since it was right. The
// interface with its settings and sysctls (IFLA_AF_SPEC), addresses, routes that nobody's protocol has, qdiscs. <linux/rtnetlink.h>

import * as addr from './addr.ts'
import { Digest } from './digest.ts'
import * as link from './link.ts'
import type { Netns } from './netns.ts'
import * as qdisc from './qdisc.ts'
import * as route from './route.ts'

type Take = (index: number, buffer: Buffer, start: number, end: number) => void

/** By interface index. Undefined if something changed while it was read. */
export function prints(netns: Netns): Map<number, string> | undefined {
  const digests = new Map<number, Digest>()
  const take: Take = (index, buffer, start, end) => {
    let digest = digests.get(index)
    if (digest === undefined) digests.set(index, (digest = new Digest()))
    digest.add(buffer, start, end)
  }
  const whole = [link.scan, addr.scan, route.scan, qdisc.scan].every((scan) => scan(netns, take))
  return whole ? new Map([...digests].map(([index, digest]) => [index, digest.text()])) : undefined
}
