// sbr as the protocol sees it. All that it makes is in the pod's namespace and ends with it: GC and STATUS have nothing to do.

import { act, complain, podName, podNetns, refuse, requireNetns, withKernel } from '../act.ts'
import { attachmentOf, isOfAnother, podOf, previous } from '../chain.ts'
import type { Pod } from '../chained.ts'
import { CniError } from '../cni/error.ts'
import type { Plugin, Request } from '../cni/plugin.ts'
import { addressesOf } from '../cni/result.ts'
import type { Plan } from '../facts.ts'
import { addressText, parseCidr } from '../ip.ts'
import * as addr from '../kernel/addr.ts'
import * as link from '../kernel/link.ts'
import { lockWithin } from '../kernel/patience.ts'
import type { Netns } from '../kernel/netns.ts'
import * as route from '../kernel/route.ts'
import * as rule from '../kernel/rule.ts'
import * as state from '../state.ts'
import type { Kernel } from '../state.ts'
import { expected, plan, problems, remains, SBR, type SbrConf, type There } from './sbr.ts'

const confOf = ({ conf }: Request): SbrConf => conf as SbrConf

export const sbr: Plugin = {
  schema: SBR,

  add(request) {
    const prev = previous(request)
    const { env, notes } = request
    const { table, gateways, addSourceHints } = confOf(request)
    requireNetns(env)
    if (table !== undefined && (gateways || addSourceHints)) notes.push(`${gateways ? 'gateways' : 'addSourceHints'} means nothing together with table: routes are left as they are`)
    return withKernel(env.netns, (kernel) => {
      const pod = wired(podOf(kernel, request, prev), request)
      lock(kernel.pod!, env.netns)
      act(kernel, plan(pod, confOf(request), look(kernel.pod!, env.ifname)), podName(env.netns), notes)
      return prev
    })
  },

  check(request) {
    previous(request)
    requireNetns(request.env, 3)
    withKernel(request.env.netns, (kernel) => complain(state.check(kernel, made(request, kernel), podName(request.env.netns))))
  },

  made: (request, kernel) => (kernel.pod ? made(request, kernel) : []),

  del(request) {
    const { ifname } = request.env
    const netns = podNetns(request.env)
    if (netns === undefined) return
    withKernel(netns, (kernel) => {
      if (isOfAnother(kernel, attachmentOf(request))) return
      lock(kernel.pod!, netns)
      const addresses = [...(link.get(kernel.pod!, ifname) ? addr.list(kernel.pod!, ifname) : []), ...previousAddresses(request)].map((text) => addressText(parseCidr(text)!))
      const left = state.del(kernel, remains(addresses, confOf(request), look(kernel.pod!, ifname)))
      if (left.length > 0) throw new CniError(100, left.join('; '), 'DEL can be repeated')
    })
  },

  gc() {},

  status() {},
}

function made(request: Request, kernel: Kernel): Plan {
  const pod = wired(podOf(kernel, request, previous(request)), request)
  return expected(pod, confOf(request), look(kernel.pod!, request.env.ifname))
}

/** The pod, if it has what rules and tables are made of: addresses, and the interface whose routes are moved. Errors 7 and 100. */
function wired(pod: Pod, request: Request): Pod {
  const conf = confOf(request)
  if (!pod.absent || conf.table !== undefined) refuse(problems(pod, conf))
  else throw new CniError(100, `the container's network namespace has no interface ${request.env.ifname}`, 'expected that of the plugin before in the list')
  return pod
}

/** The interface's addresses in prevResult: it may be gone, its rules are not. */
function previousAddresses({ conf, env }: Request): string[] {
  return conf.prevResult ? addressesOf(conf.prevResult, env.ifname).map(({ address }) => address) : []
}

export const look = (pod: Netns, dev: string): There => ({ rules: rule.list(pod), routes: link.get(pod, dev) ? route.of(pod, dev) : [], tables: route.tables(pod) })

const PATIENCE = 10_000 // ms

/**
 * Until the namespace is closed no other sbr chooses tables in it, of the reference's neither: it takes the same lock. Error 11
 * if that was not to be had.
 */
function lock(pod: Netns, netns: string): void {
  if (!lockWithin(PATIENCE, pod.fd)) throw new CniError(11, `${netns} has been locked by another process for ${PATIENCE / 1000} s`, `see which: fuser ${netns}`)
}
