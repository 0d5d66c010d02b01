// Plugins that stand behind the one that gives the pod its interface: what they add to it, as facts; pure. The same function
// serves an entry of its own in a list of plugins (src/chain.ts), and ptp and bridge, which have such an entry's keys under
// its name and need no other process for it (src/wire.ts). So both ways lead to the same plan.

import type { NetConf } from './cni/conf.ts'
import type { Result } from './cni/result.ts'
import type { Schema } from './cni/schema.ts'
import type { Plan } from './facts.ts'
import type { Cidr } from './ip.ts'
import type { Attachment } from './names.ts'
import type { Kernel } from './state.ts'

/** A pod whose interface is wired, by podwire or by somebody else's plugin. */
export interface Pod {
  attachment: Attachment
  /** Those of the interface, with prefix lengths, in the result's order. */
  addresses: Cidr[]
  /** The node's end of the pod's veth pair; undefined if the pod's interface is no veth. */
  host: string | undefined
  /** The bridge of which that is a port. */
  bridge: string | undefined
  /** What ADD answers, or has answered. */
  result: Result
  /** CNI_NETNS as given. */
  sandbox: string
}

/** What of the kernel is a plugin's, of whatever owner: elements by the name of their map or set, links by their kind. */
export interface Belongings {
  maps: (name: string) => boolean
  links: string[]
}

export interface Chained<Conf extends NetConf = NetConf> {
  /** Of an entry of its own. */
  schema: Schema
  /**
   * Keys of an entry that mean something here: an entry of ptp or bridge has them under the plugin's name. Without them
   * (and without what `runtime` names) ptp and bridge leave the plugin out.
   */
  keys: Record<string, Schema>
  /** What a runtime passes in runtimeConfig. */
  runtime?: Record<string, Schema>
  /** Sentences about keys and pod that do not fit together; none if the plan can be made. Error 7. */
  problems?(pod: Pod, conf: Conf): string[]
  /** Sentences about what podwire does not have. Error 2. */
  unsupported?(conf: Conf): string[]
  /** Looks, before anything is touched, whether something of the node is in the way: throws, or says so in `notes`. */
  guard?(kernel: Kernel, pod: Pod, conf: Conf, notes: string[]): void
  plan(pod: Pod, conf: Conf): Plan
  /** What becomes of the result; absent: it is passed on. */
  result?(pod: Pod, conf: Conf): Result
  owns: Belongings
}
