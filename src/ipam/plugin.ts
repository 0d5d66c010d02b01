// host-local and static as executables of their own, for other people's plugins.

import { COMMON } from '../cni/conf.ts'
import { CniError } from '../cni/error.ts'
import type { Plugin, Request } from '../cni/plugin.ts'
import { IP_RANGES, IPAM, type ConfWithIpam } from './conf.ts'
import type { Ipam, IpamRequest } from './ipam.ts'

export const ipamPlugin = (name: string, ipam: Ipam): Plugin => ({
  schema: { $id: name, type: 'object', required: ['ipam'], properties: { ...COMMON, ipam: IPAM, runtimeConfig: { ...COMMON.runtimeConfig, properties: { ...COMMON.runtimeConfig!.properties, ipRanges: IP_RANGES } } } },
  add: (request) => ipam.add(about(request)),
  del: (request) => ipam.del(about(request)),
  check(request) {
    if (!request.conf.prevResult) throw new CniError(7, 'Required prevResult missing')
    const findings = ipam.check(about(request))
    if (findings.length > 0) throw new CniError(102, findings.map(({ sentence }) => sentence).join('; '))
  },
  gc({ conf }) {
    const { validAttachments: valid } = conf
    ipam.gc({ conf: conf as ConfWithIpam, ...(valid && { valid }) })
  },
  status: ({ conf }) => ipam.status({ conf: conf as ConfWithIpam }),
})

function about({ conf, env }: Request): IpamRequest {
  return { conf: conf as ConfWithIpam, attachment: { network: conf.name, containerID: env.containerID, ifname: env.ifname }, args: env.args }
}
