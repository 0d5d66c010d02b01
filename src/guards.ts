// What plugins behind the wiring one look at before anything is touched, by the plugin's name: something of the node may be in
// the way.

import type { Pod } from './chained.ts'
import type { NetConf } from './cni/conf.ts'
import { guardPorts } from './portmap/guard.ts'
import type { Kernel } from './state.ts'

/** Throws what makes an ADD impossible; what an operator should know goes into `notes`. */
export type Guard = (kernel: Kernel, pod: Pod, conf: NetConf, notes: string[]) => void

export const GUARDS: Record<string, Guard> = { portmap: guardPorts }
