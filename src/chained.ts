// Plugins that stand behind the one that gives the pod its interface: what they add to it, as facts; pure. The same function
// serves an entry of its own in a list of plugins (src/chain.ts), and ptp and bridge, which have such an entry's keys under
// its name and need no other process for it (src/wire.ts). So both ways lead to the same plan.

import type { NetConf } from './cni/conf.ts'
import type { IP, Result, ResultRoute } from './cni/result.ts'
import type { Schema } from './cni/schema.ts'
import type { Element, LinkSettings, Plan } from './facts.ts'
import type { Family } from './ip.ts'
import type { Attachment } from './names.ts'

/** A pod whose interface is wired, by podwire or by somebody else's plugin. */
export interface Pod {
  attachment: Attachment
  /** Those of the interface, and all routes, of the result. */
  ips: IP[]
  routes: ResultRoute[]
  /** Its namespace has no such interface: of one in user space (vhost-user, DPDK) there are only addresses. */
  absent?: true
  /** The node's end of the pod's veth pair; undefined if the pod's interface is no veth. */
  host: string | undefined
  /** The bridge of which that is a port. */
  bridge: { name: string; promisc: boolean; /** What is routed passes this interface, on a VLAN's gateway not the bridge. */ gate?: string } | undefined
  /** Bytes. */
  mtu: number | undefined
  /** What it may have been when the plugin before made it. */
  chosen?: number | undefined
  /** The MAC address that the runtime asked for. */
  mac?: string | undefined
  filters?: Filters
}

/** What else on the node filters what it forwards; looked up when it is asked for. */
export interface Filters {
  /** Whether chain FORWARD of iptables drops what no rule of it accepts. */
  drops(family: Family): boolean
  /** Whether iptables' table filter has a chain. */
  hasChain(family: Family, name: string): boolean
  /** Whether firewalld runs. */
  firewalld(): boolean
}

/** What of the kernel is a plugin's: elements by the name of their map or set, links by their kind and name. */
export interface Belongings {
  maps: (name: string) => boolean
  links?: { kind: string; name: (attachment: Attachment) => string }
  /** What goes with elements, and only then can be told. */
  with?: (elements: Element[]) => Plan
}

export interface Chained<Conf extends NetConf = NetConf> {
  /** Of an entry of its own: COMMON, `keys`, and `runtime` in runtimeConfig. */
  schema: Schema
  /** The keys that are its own. An entry of ptp or bridge has them in an object under the plugin's name. */
  keys: Record<string, Schema>
  /** What a runtime passes in runtimeConfig: where ptp or bridge get it, the plugin is meant. */
  runtime: Record<string, Schema>
  /** Sentences about keys and pod that do not fit together; none if the plan can be made. Error 7. */
  problems?(pod: Pod, conf: Conf): string[]
  /**
   * Sentences about what an entry of its own is asked for and has nothing to do it with: it would be there for nothing. Error 7 of
   * ADD; of ptp and bridge, which have done the rest, notes.
   */
  idle?(pod: Pod, conf: Conf): string[]
  /** Sentences about what podwire does not have. Error 2. */
  unsupported?(conf: Conf): string[]
  plan(pod: Pod, conf: Conf): Plan
  /** What becomes of the pod's interface. */
  settings?(pod: Pod, conf: Conf): LinkSettings
  /** What becomes of the result; absent: it is passed on. */
  result?(result: Result, pod: Pod, conf: Conf): Result
  owns: Belongings
}
