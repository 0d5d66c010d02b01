// A DEL that comes while a pod is repaired finds some of it gone, and leaves what is made behind it. That is taken back by whoever made it.

import { tracesOf } from '../clean.ts'
import * as link from '../kernel/link.ts'
import type { Netns } from '../kernel/netns.ts'
import { hostIfname, type Attachment } from '../names.ts'
import * as state from '../state.ts'

/** How it is about a pod that was repaired a moment ago. */
export interface Afterwards {
  /** The runtime's library keeps it still: no DEL has succeeded. */
  kept: boolean
  /** Its interface was made again, too. */
  made: boolean
}

/** Takes back what was made of a pod that is gone by now. An interface that nobody here has made is a new ADD's. */
export function takeBack(host: Netns, attachment: Attachment, { kept, made }: Afterwards): void {
  const there = link.get(host, hostIfname(attachment)) !== undefined
  if (there && (kept || !made)) return
  state.del({ host }, tracesOf(host, attachment))
}
