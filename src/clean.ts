// How plugins clean up: DEL of one attachment, GC of all that are dead. What belongs to whom is written in the kernel: names of
// links are computed, an alias or a comment is the owner.

import { podNetns, withKernel } from './act.ts'
import type { Belongings } from './chained.ts'
import { CniError } from './cni/error.ts'
import type { Request } from './cni/plugin.ts'
import type { Result } from './cni/result.ts'
import { EXTRAS, extras } from './extras.ts'
import type { Fact, Ifb, Link, Plan } from './facts.ts'
import { former } from './former.ts'
import { FORMER } from './guards.ts'
import { addressText, parseCidr } from './ip.ts'
import type { Ipam } from './ipam/ipam.ts'
import { tables } from './kernel/former.ts'
import * as link from './kernel/link.ts'
import type { Netns } from './kernel/netns.ts'
import * as nft from './kernel/nft.ts'
import { hostIfname, networkOwner, owner, type Attachment } from './names.ts'
import { MASQUERADED } from './nat.ts'
import * as state from './state.ts'
import type { Kernel } from './state.ts'
import { ipamOf, parts } from './wire.ts'

/** Everything in the kernel that belongs to owners whose name begins with one of `whose` and who are stale; `of`: their addresses, if that is all of them. */
export function remains(host: Netns, { maps, links, with: along }: Belongings, whose: string[], stale: (owner: string) => boolean, of: string[] = []): Plan {
  const elements = nft.elements(host, maps, whose, of).filter((element) => stale(element.owner))
  const isTheirs = (alias: string) => whose.some((begin) => alias.startsWith(begin)) && stale(alias)
  const named = (links ? link.list(host, links.kind) : []).flatMap(({ name, alias, kind }) => (alias !== undefined && isTheirs(alias) ? [linkFact(name, alias, kind)] : []))
  return [...(along?.(elements) ?? []), ...named, ...elements]
}

/** The plugins that a pod's wiring may hold, beside the link itself. */
const holdings = (): Belongings[] => [MASQUERADED, ...Object.values(EXTRAS).map(({ owns }) => owns)]

/** What plugins that wire may have made, those within them too: elements of any map. */
const ALL: Belongings = {
  maps: () => true,
  with: (elements) => holdings().flatMap(({ maps, with: along }) => along?.(elements.filter(({ map }) => maps(map))) ?? []),
}

export function del(request: Request): void {
  const { env, conf, attachment, lease } = parts(request)
  const ipam = ipamOf(request)
  const pod = podNetns(env)
  withKernel(pod, (kernel) => {
    const leased = ipam.addresses?.(lease)
    const previous = addressTexts(conf.prevResult)
    const mine = owner(attachment)
    const left = remains(kernel.host, ALL, [mine], (whose) => whose === mine, leased)
    const facts = [
      // What prevResult names may be another's by now, whose connections are not ours to forget; a lease of ours is ours.
      ...flows(leased ?? previous),
      ...left.filter(tracked),
      ...extras(conf).flatMap(({ plugin }) => FORMER[plugin.schema.$id!]?.(kernel.host, previous, conf.prevResult, attachment) ?? []),
      ...former(attachment, tables(kernel.host)), // ports too: where there is one entry now, there may have been a list
      ...left.filter(holds),
      ...linksOf(attachment),
      // First to go: the kernel frees elements behind its answer, and whoever closes a socket before that waits for it. While it
      // takes the link down it has the time.
      ...left.filter((fact) => !holds(fact) && !tracked(fact)),
    ]
    const problems = state.del(kernel, distinct(pod ? [podEnd(attachment), ...facts] : facts))
    if (problems.length > 0) throw new CniError(100, problems.join('; '), 'the addresses stay leased until this is gone; DEL can be repeated')
    ipam.del({ ...lease, ...(leased && { held: leased }) })
  })
}

/** What holds a pod's frames to its address: it stays while the pod can send any. */
const holds = (fact: Fact): boolean => fact.fact === 'element' && fact.family === 'bridge'

/** Connections of what is gone: last, and those of ports with those of addresses. */
const tracked = (fact: Fact): boolean => fact.fact === 'flows' || fact.fact === 'port flows'

/** What in the kernel is an attachment's by its owner: elements, and interfaces on the node. */
export function tracesOf(host: Netns, attachment: Attachment): Plan {
  const mine = owner(attachment)
  const elements = remains(host, ALL, [mine], (whose) => whose === mine).filter((fact) => !tracked(fact))
  return [...elements, ...linksOf(attachment)]
}

/** The node's interfaces of an attachment, by their names and its owner. */
const linksOf = (attachment: Attachment): Plan => [
  ...holdings().flatMap(({ links }) => (links ? [linkFact(links.name(attachment), owner(attachment), links.kind)] : [])),
  linkFact(hostIfname(attachment), owner(attachment)),
]

export function gc(request: Request): void {
  const { conf, lease } = parts(request)
  const { validAttachments: valid } = conf
  withKernel(undefined, (kernel) => {
    const { facts, isDead } = stale(kernel, request)
    const problems = state.del(kernel, facts)
    try {
      ipamOf(request).gc({ conf: lease.conf, dead: isDead, ...(valid && { valid }) })
    } catch (error) {
      problems.push((error as Error).message)
    }
    if (problems.length > 0) throw new CniError(107, `GC could not remove everything: ${problems.length === 1 ? 'one problem' : `${problems.length} problems`}`, problems.join('\n'))
  })
}

/** What GC would take back: facts of the kernel, and leases. */
export function garbage(request: Request): { facts: Plan; leases: ReturnType<NonNullable<Ipam['stale']>> } {
  const { conf, lease } = parts(request)
  const { validAttachments: valid } = conf
  return withKernel(undefined, (kernel) => {
    const { facts, isDead } = stale(kernel, request)
    return { facts, leases: ipamOf(request).stale?.({ conf: lease.conf, dead: isDead, ...(valid && { valid }) }) ?? [] }
  })
}

/** What in the kernel is of attachments of a network that do not live: by the request's list, or provably. */
function stale(kernel: Kernel, request: Request): { facts: Plan; isDead: (attachment: Attachment) => boolean } {
  const { conf, lease } = parts(request)
  const { validAttachments: valid, name } = conf
  const links = ['veth', ...holdings().flatMap((one) => one.links?.kind ?? [])].flatMap((kind) => link.list(kernel.host, kind))
  const ends = new Map(links.flatMap((one) => (one.kind === 'veth' ? [[one.name, one.alias]] : [])))
  const aliases = new Set(ends.values())
  const living = valid && new Set(valid.map((attachment) => owner({ network: name, ...attachment })))
  const isDead = (attachment: Attachment) => !ends.has(hostIfname(attachment)) || isAnothers(ends.get(hostIfname(attachment)), attachment)
  const isStale = (whose: string) => whose.startsWith(networkOwner(name)) && (living ? !living.has(whose) : !aliases.has(whose))
  const left = remains(kernel.host, ALL, [networkOwner(name)], isStale)
  const stray = links.flatMap((one) => (one.alias !== undefined && isStale(one.alias) ? [linkFact(one.name, one.alias, one.kind)] : []))
  const holders = living ? (ipamOf(request).holders?.(lease) ?? []).map((holder) => ({ network: name, ...holder })) : []
  const leased = holders.filter((holder) => !living!.has(owner(holder))).map((holder) => linkFact(hostIfname(holder), owner(holder)))
  return { facts: distinct([...left, ...stray, ...leased]), isDead }
}

const isAnothers = (alias: string | undefined, attachment: Attachment): boolean => alias !== undefined && alias !== owner(attachment)

const flows = (list: string[]): Plan => [...new Set(list)].map((address) => ({ fact: 'flows', address }))

/** The addresses of a result. */
export const addressTexts = (result: Result | undefined): string[] => (result?.ips ?? []).map(({ address }) => addressText(parseCidr(address)!))

/** Facts once each. */
const distinct = (plan: Plan): Plan => [...new Map(plan.map((fact) => [JSON.stringify(fact), fact])).values()]

/** A link by name and owner, enough to take it back. */
const linkFact = (name: string, alias: string, kind = 'veth'): Link | Ifb =>
  kind === 'ifb' ? { fact: 'ifb', name, mac: '', alias } : { fact: 'link', name, mac: '', alias, peer: { name: '', mac: '' } }

/** The pod's end, which the reference's plugins wired to a host end of another name. */
const podEnd = (attachment: Attachment): Link => ({ fact: 'link', in: 'pod', name: attachment.ifname, mac: '', alias: owner(attachment), peer: { name: '', mac: '' } })
