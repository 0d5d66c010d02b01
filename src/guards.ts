// What plugins behind the wiring one look at on the node, by the plugin's name: before anything is touched, for something may be
// in the way; whether what pods share is there still; and what others than podwire made for a pod.

import { remarks } from './bandwidth/bandwidth.ts'
import { formerIfb } from './bandwidth/guard.ts'
import type { Pod } from './chained.ts'
import type { NetConf } from './cni/conf.ts'
import type { Result } from './cni/result.ts'
import { requireGuard } from './exposure.ts'
import { firewallStatus, formerRules, guardFirewall } from './firewall/guard.ts'
import type { Plan } from './facts.ts'
import { former } from './former.ts'
import { tables } from './kernel/former.ts'
import type { Netns } from './kernel/netns.ts'
import type { Attachment } from './names.ts'
import { guardPorts } from './portmap/guard.ts'
import type { Kernel } from './state.ts'
import { guardSysctls } from './tuning/guard.ts'

/** Throws what makes an ADD impossible; what an operator should know goes into `notes`. */
export type Guard = (kernel: Kernel, pod: Pod, conf: NetConf, notes: string[]) => void

export const GUARDS: Record<string, Guard> = { portmap: guardPorts, bandwidth: (_, pod, conf, notes) => void notes.push(...remarks(pod, conf)), firewall: guardFirewall, tuning: guardSysctls }

/** Throws error 51 if pods that run are cut off. */
export const STATUSES: Record<string, (host: Netns, conf: NetConf) => void> = { firewall: firewallStatus, portmap: requireGuard }

/** What the reference's plugins made for a pod with such addresses, and answered with such a result: DEL takes it back. */
export const FORMER: Record<string, (host: Netns, addresses: string[], result: Result | undefined, attachment: Attachment) => Plan> = {
  firewall: formerRules,
  bandwidth: formerIfb,
  portmap: (host, _addresses, _result, attachment) => former(attachment, tables(host), 'portmap'),
}
