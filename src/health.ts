// STATUS of plugins that wire pods: whether ADD can work, and whether pods that run are cut off. CNI 1.1 §2 STATUS

import { CniError } from './cni/error.ts'
import type { Request } from './cni/plugin.ts'
import { extras } from './extras.ts'
import { STATUSES } from './guards.ts'
import { Netns } from './kernel/netns.ts'
import * as nft from './kernel/nft.ts'
import { read } from './kernel/sysctl.ts'
import { overlayStatus } from './vxlan/readiness.ts'
import { ipamOf, parts, type Wirer } from './wire.ts'

export function status({ forwards }: Wirer, request: Request): void {
  const { conf, lease } = parts(request)
  const ipam = ipamOf(request)
  ipam.status(lease)
  const host = new Netns()
  try {
    if (conf.overlay) overlayStatus(host, conf.overlay)
    if (!ipam.occupied?.(lease)) return
    if (forwards?.(conf) !== false && read(host, 'net/ipv4/ip_forward') === '0') throw new CniError(51, 'net.ipv4.ip_forward is 0: pods reach nothing but this node', 'to repair it: sysctl -w net.ipv4.ip_forward=1')
    const gone = conf.ipMasq ? nft.check(host, { fact: 'table', keep: true }) : undefined
    if (gone) throw new CniError(51, `${gone.sentence}: pods are not masqueraded`, 'the next ADD makes the table anew; pods that run need theirs added or to be restarted')
    for (const { plugin, conf: own } of extras(conf)) STATUSES[plugin.schema.$id!]?.(host, own)
  } finally {
    host.close()
  }
}
