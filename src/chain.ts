// A plugin that stands behind another in a list, as the protocol sees it: the pod it is about comes from prevResult and from the
// kernel, what it made is found again by owner. CNI 1.1 §2

import { act, complain, podName, podNetns, refuse, requireNetns, withKernel } from './act.ts'
import { addressTexts, remains } from './clean.ts'
import { CniError } from './cni/error.ts'
import type { NetConf } from './cni/conf.ts'
import type { Plugin, Request } from './cni/plugin.ts'
import { addressesOf, type Result } from './cni/result.ts'
import type { Chained, Pod } from './chained.ts'
import type { Plan } from './facts.ts'
import { filtersOf } from './filters.ts'
import { FORMER, GUARDS, STATUSES } from './guards.ts'
import * as link from './kernel/link.ts'
import type { Netns } from './kernel/netns.ts'
import { hostIfname, networkOwner, owner, type Attachment } from './names.ts'
import * as state from './state.ts'
import type { Kernel } from './state.ts'

/** What an entry of its own has to write down for DEL, because then the kernel does not tell it any more. */
export interface Memory {
  /** Before anything is changed; returns what forgets it again. */
  keep(kernel: Kernel, pod: Pod, conf: NetConf): () => void
  /** What of an attachment is written down, as facts to take back. */
  recall(kernel: Kernel, attachment: Attachment, conf: NetConf): Plan
  forget(attachment: Attachment, conf: NetConf): void
  /** Forgets those of the network that are not among the living. */
  gc(living: Attachment[], conf: NetConf): void
}

export function chain(plugin: Chained<never>, memory?: Memory): Plugin {
  const conf = (request: Request) => request.conf as never
  const made = (request: Request, kernel: Kernel): Plan => {
    const pod = podOf(kernel, request, previous(request))
    refuse(plugin.problems?.(pod, conf(request)) ?? [])
    return plugin.plan(pod, conf(request))
  }
  return {
    schema: plugin.schema,

    add(request) {
      const prev = previous(request)
      refuse(plugin.unsupported?.(conf(request)) ?? [], 2)
      requireNetns(request.env)
      return withKernel(request.env.netns, (kernel) => {
        const pod = podOf(kernel, request, prev)
        refuse([...(plugin.problems?.(pod, conf(request)) ?? []), ...(plugin.idle?.(pod, conf(request)) ?? [])])
        GUARDS[plugin.schema.$id!]?.(kernel, pod, request.conf, request.notes)
        const forget = memory?.keep(kernel, pod, request.conf)
        try {
          act(kernel, plugin.plan(pod, conf(request)), podName(request.env.netns), request.notes)
        } catch (error) {
          forget?.()
          throw error
        }
        return plugin.result?.(prev, pod, conf(request)) ?? prev
      })
    },

    check(request) {
      previous(request)
      requireNetns(request.env, 3)
      withKernel(request.env.netns, (kernel) => complain(state.check(kernel, made(request, kernel), podName(request.env.netns))))
    },

    made,

    del(request) {
      const mine = attachmentOf(request)
      withKernel(podNetns(request.env), (kernel) => {
        // What cannot be put back goes with the interface, which is about to be deleted.
        if (memory) request.notes.push(...state.del(kernel, memory.recall(kernel, mine, request.conf)).map((problem) => `not put back: ${problem}`))
        memory?.forget(mine, request.conf)
        takeBack(100, state.del(kernel, [...(FORMER[plugin.schema.$id!]?.(kernel.host, addressTexts(request.conf.prevResult), request.conf.prevResult, mine) ?? []), ...remains(kernel.host, plugin.owns, [owner(mine)], (whose) => whose === owner(mine))]))
      })
    },

    // Who made the pod's interface knows without a list what is dead; here nothing tells.
    gc({ conf }) {
      const { name, validAttachments } = conf
      if (!validAttachments) return
      const attachments = validAttachments.map((attachment) => ({ network: name, ...attachment }))
      memory?.gc(attachments, conf)
      const living = new Set(attachments.map(owner))
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

export const attachmentOf = ({ conf, env }: Request): Attachment => ({ network: conf.name, containerID: env.containerID, ifname: env.ifname })

/** The result of the plugin before. Error 7 if there is none. */
export function previous({ conf }: Request): Result {
  if (!conf.prevResult) throw new CniError(7, 'Required prevResult missing', `${conf.type} must be called as chained plugin: it stands in a list behind the plugin that gives the pod its interface`)
  return conf.prevResult
}

/** The pod, by what the plugins before have answered and by what the kernel has. */
export function podOf(kernel: Kernel, request: Request, prev: Result): Pod {
  const { interfaces, routes } = prev
  const attachment = attachmentOf(request)
  const inside = kernel.pod && link.get(kernel.pod, attachment.ifname)
  const end = kernel.pod ? inside && hostEnd(kernel, inside) : ownEnd(kernel.host, attachment)
  const master = end && end.master !== 0 ? link.byIndex(kernel.host, end.master) : undefined
  return {
    attachment,
    ips: addressesOf(prev, attachment.ifname),
    routes,
    host: end?.name,
    bridge: master?.kind === 'bridge' ? { name: master.name, promisc: (master.flags & link.IFF_PROMISC) !== 0, gate: interfaces.find(({ name, sandbox }) => !sandbox && name.startsWith(`${master.name}.`))?.name ?? master.name } : undefined,
    ...(kernel.pod && !inside && { absent: true as const }),
    mtu: (inside ?? end)?.mtu,
    filters: filtersOf(kernel.host),
    mac: request.env.args.mac,
  }
}

/** The node's end of an interface that podwire made. */
function ownEnd(host: Netns, attachment: Attachment): link.LinkState | undefined {
  const end = link.get(host, hostIfname(attachment))
  return end?.alias === owner(attachment) ? end : undefined
}

/** Whether another network has the pod's interface, of the same container and name: what is of it is not ours to take back. */
export function isOfAnother(kernel: Kernel, attachment: Attachment): boolean {
  const inside = kernel.pod && link.get(kernel.pod, attachment.ifname)
  const alias = inside && hostEnd(kernel, inside)?.alias
  const mine = owner(attachment)
  return alias !== undefined && alias !== mine && alias.endsWith(mine.slice(mine.indexOf('/')))
}

/** The other end of a pod's veth pair, if it is in the host's namespace. */
export function hostEnd(kernel: Kernel, { kind, index, peer }: link.LinkState): link.LinkState | undefined {
  const end = kind === 'veth' ? link.byIndex(kernel.host, peer) : undefined
  return end?.kind === 'veth' && end.peer === index ? end : undefined
}
