// A plugin that stands behind another in a list, as the protocol sees it: the pod it is about comes from prevResult and from the
// kernel, what it made is found again by owner. CNI 1.1 §2

import { act, complain, podName, podNetns, refuse, requireNetns, withKernel } from './act.ts'
import { addressesOf, remains } from './clean.ts'
import { CniError } from './cni/error.ts'
import type { Plugin, Request } from './cni/plugin.ts'
import type { Result } from './cni/result.ts'
import type { Chained, Pod } from './chained.ts'
import { filtersOf } from './filters.ts'
import { FORMER, GUARDS, STATUSES } from './guards.ts'
import * as link from './kernel/link.ts'
import { networkOwner, owner, type Attachment } from './names.ts'
import * as state from './state.ts'
import type { Kernel } from './state.ts'

export function chain(plugin: Chained<never>): Plugin {
  const conf = (request: Request) => request.conf as never
  return {
    schema: plugin.schema,

    add(request) {
      const prev = previous(request)
      refuse(plugin.unsupported?.(conf(request)) ?? [], 2)
      requireNetns(request.env)
      return withKernel(request.env.netns, (kernel) => {
        const pod = podOf(kernel, request, prev)
        refuse(plugin.problems?.(pod, conf(request)) ?? [])
        GUARDS[plugin.schema.$id!]?.(kernel, pod, request.conf, request.notes)
        act(kernel, plugin.plan(pod, conf(request)), podName(request.env.netns))
        return plugin.result?.(prev, pod, conf(request)) ?? prev
      })
    },

    check(request) {
      const prev = previous(request)
      requireNetns(request.env, 3)
      withKernel(request.env.netns, (kernel) => {
        const pod = podOf(kernel, request, prev)
        refuse(plugin.problems?.(pod, conf(request)) ?? [])
        complain(state.check(kernel, plugin.plan(pod, conf(request)), podName(request.env.netns)))
      })
    },

    del(request) {
      const mine = attachmentOf(request)
      withKernel(podNetns(request.env), (kernel) => takeBack(100, state.del(kernel, [...(FORMER[plugin.schema.$id!]?.(kernel.host, addressesOf(request.conf.prevResult)) ?? []), ...remains(kernel.host, plugin.owns, [owner(mine)], (whose) => whose === owner(mine))])))
    },

    // Who made the pod's interface knows without a list what is dead; here nothing tells.
    gc({ conf: { name, validAttachments } }) {
      if (!validAttachments) return
      const living = new Set(validAttachments.map((attachment) => owner({ network: name, ...attachment })))
      withKernel(undefined, (kernel) => takeBack(107, state.del(kernel, remains(kernel.host, plugin.owns, [networkOwner(name)], (whose) => !living.has(whose)))))
    },

    status(request) {
      withKernel(undefined, ({ host }) => STATUSES[plugin.schema.$id!]?.(host, request.conf))
    },
  }
}

function takeBack(code: number, problems: string[]): void {
  if (problems.length > 0) throw new CniError(code, problems.join('; '), `${code === 100 ? 'DEL' : 'GC'} can be repeated`)
}

const attachmentOf = ({ conf, env }: Request): Attachment => ({ network: conf.name, containerID: env.containerID, ifname: env.ifname })

function previous({ conf }: Request): Result {
  if (!conf.prevResult) throw new CniError(7, 'Required prevResult missing', `${conf.type} must be called as chained plugin: it stands in a list behind the plugin that gives the pod its interface`)
  return conf.prevResult
}

/** The pod, by what the plugins before have answered and by what the kernel has. */
function podOf(kernel: Kernel, request: Request, { interfaces, ips, routes }: Result): Pod {
  const attachment = attachmentOf(request)
  const inside = link.get(kernel.pod!, attachment.ifname)
  if (!inside) throw new CniError(100, `the container's network namespace has no interface ${attachment.ifname}`, 'expected that of the plugin before in the list')
  const index = interfaces.findIndex(({ name, sandbox }) => name === attachment.ifname && sandbox)
  const end = inside.kind === 'veth' ? link.byIndex(kernel.host, inside.peer) : undefined
  const master = end && end.master !== 0 ? link.byIndex(kernel.host, end.master) : undefined
  return {
    attachment,
    ips: ips.filter((ip) => ip.interface === undefined || ip.interface === index),
    routes,
    host: end?.name,
    bridge: master?.kind === 'bridge' ? { name: master.name, promisc: (master.flags & link.IFF_PROMISC) !== 0 } : undefined,
    mtu: inside.mtu,
    filters: filtersOf(kernel.host),
  }
}
