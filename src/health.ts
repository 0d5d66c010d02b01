// STATUS of plugins that wire pods: whether ADD can work, and whether pods that run are cut off. CNI 1.1 §2 STATUS

import { CniError } from './cni/error.ts'
import type { Request } from './cni/plugin.ts'
import { EMPTY } from './cni/result.ts'
import { requireGuard } from './exposure.ts'
import { extras } from './extras.ts'
import type { Fact, Plan, Sysctl } from './facts.ts'
import { script } from './findings.ts'
import { STATUSES } from './guards.ts'
import * as link from './kernel/link.ts'
import { Netns } from './kernel/netns.ts'
import { hostIfname, networkOwner } from './names.ts'
import * as state from './state.ts'
import { overlayStatus } from './vxlan/readiness.ts'
import { ipamOf, parts, planOf, wiringOf, type Wirer } from './wire.ts'

export function status(wirer: Wirer, request: Request): void {
  const { conf, lease } = parts(request)
  const ipam = ipamOf(request)
  ipam.status(lease)
  const host = new Netns()
  try {
    if (conf.overlay) overlayStatus(host, conf.overlay)
    requireGuard(host)
    if (!ipam.occupied?.(lease)) return
    for (const { plugin, conf: own } of extras(conf)) STATUSES[plugin.schema.$id!]?.(host, own)
    const found = firstFindings(host, shared(wirer, host, request))
    if (found.length > 0) throw new CniError(51, `${found.map(({ sentence }) => sentence).join('; ')}: pods that run may be cut off`, script(found))
  } finally {
    host.close()
  }
}

/** Where the node forwards nothing at all, no interface does: that is said alone. */
function firstFindings(host: Netns, plan: Plan): state.Finding[] {
  const isOfAll = (fact: Fact) => fact.fact === 'sysctl' && NODE.includes(fact.key)
  const found = state.check({ host }, plan.filter(isOfAll), '')
  return found.length > 0 ? found : state.check({ host }, plan, '').slice(0, MOST)
}

const MOST = 10 // findings in one answer; a node has a hundred pods

/** What the next pod would share with those that run, and what each of these has of its own on the node that others may change. */
function shared(wirer: Wirer, host: Netns, request: Request): Plan {
  const { lease, conf, attachment } = parts(request)
  const next = ipamOf(request).preview?.(lease) ?? EMPTY
  const plan = planOf(wirer, wiringOf(wirer, host, request, wirer.result?.({ conf, ...next }) ?? next))
  const ends = link.list(host, 'veth').filter(({ alias }) => alias?.startsWith(networkOwner(conf.name)))
  const own = plan.find((fact): fact is Sysctl => fact.fact === 'sysctl' && fact.key === forwardingOf(hostIfname(attachment)))
  const deaf = ends.filter((end) => link.ipv4(end, 'forwarding') === 0)
  const ofEnds = own ? deaf.map(({ name }) => ({ ...own, key: forwardingOf(name) })) : []
  return [...plan.filter((fact) => concernsAll(fact, ends.length > 0)), ...ofEnds]
}

/** Of nf_tables what every configuration has: which chains hang on them is each one's own. The first pod is about to make it. */
function concernsAll(fact: Fact, running: boolean): boolean {
  if (fact.fact === 'condition') return fact.name === 'forwarding' || fact.in === undefined
  if (fact.fact === 'sysctl') return fact.keep === true && !fact.optional && (running || NODE.includes(fact.key))
  return running && (fact.fact === 'table' || fact.fact === 'map' || (fact.fact === 'chain' && fact.base !== undefined && !fact.open))
}

const NODE = ['net/ipv4/ip_forward', 'net/ipv6/conf/all/forwarding']
const forwardingOf = (dev: string): string => `net/ipv4/conf/${dev}/forwarding`
