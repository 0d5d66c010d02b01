// How plugins that wire pods clean up: DEL of one attachment, GC of all that are dead. What belongs to whom is written in the
// kernel: names of links are computed, an alias or a comment is the owner.

import { CniError } from './cni/error.ts'
import type { Request } from './cni/plugin.ts'
import type { Element, Link, Plan } from './facts.ts'
import { addressText, parseAddress, parseCidr, type Address } from './ip.ts'
import * as link from './kernel/link.ts'
import { netnsKind } from './kernel/netns.ts'
import * as nft from './kernel/nft.ts'
import { hostIfname, networkOwner, owner, type Attachment } from './names.ts'
import { MASQUERADE_MAPS, masqueraded } from './nat.ts'
import * as state from './state.ts'
import type { Kernel } from './state.ts'
import { ipamOf, parts, withKernel } from './wire.ts'

export function del(request: Request): void {
  const { env, conf, attachment, lease } = parts(request)
  const ipam = ipamOf(request)
  const pod = env.netns && netnsKind(env.netns) === 'namespace' ? env.netns : undefined
  withKernel(pod, (kernel) => {
    const leased = ipam.addresses?.(lease)
    const previous = (conf.prevResult?.ips ?? []).map(({ address }) => addressText(parseCidr(address)!))
    const mine = owner(attachment)
    const facts = [
      // What prevResult names may be another's by now, whose connections are not ours to forget; a lease of ours is ours.
      ...flows(leased ?? previous),
      linkFact(hostIfname(attachment)),
      // Who leases in process makes the lease first and frees it last: without it there is none of our elements either.
      ...(leased || previous.length > 0 ? masqueraded(addresses([...previous, ...(leased ?? [])]), '', mine) : present(kernel).filter((element) => element.owner === mine)),
    ]
    const problems = state.del(kernel, pod ? [podEnd(attachment), ...facts] : facts)
    if (problems.length > 0) throw new CniError(100, problems.join('; '), 'the addresses stay leased until this is gone; DEL can be repeated')
    ipam.del(lease)
  })
}

export function gc(request: Request): void {
  const { conf, lease } = parts(request)
  const { validAttachments: valid, name } = conf
  const ipam = ipamOf(request)
  withKernel(undefined, (kernel) => {
    const veths = link.list(kernel.host, 'veth')
    const names = new Set(veths.map((veth) => veth.name))
    const living = valid?.map((attachment) => owner({ network: name, ...attachment }))
    const dead = (attachment: Attachment) => !names.has(hostIfname(attachment))
    const stale = (whose: string | undefined) => whose?.startsWith(networkOwner(name)) && (living ? !living.includes(whose) : !veths.some(({ alias }) => alias === whose))
    const elements = present(kernel).filter((element) => stale(element.owner))
    const leased = (ipam.holders?.(lease) ?? []).filter((holder) => living && !living.includes(owner({ network: name, ...holder })))
    const links = new Set([...veths.filter(({ alias }) => stale(alias)).map((veth) => veth.name), ...leased.map((holder) => hostIfname({ network: name, ...holder }))])
    const problems = state.del(kernel, [...flows(elements.map(({ key }) => key)), ...[...links].map(linkFact), ...elements])
    try {
      ipam.gc({ conf: lease.conf, dead, ...(valid && { valid }) })
    } catch (error) {
      problems.push((error as Error).message)
    }
    if (problems.length > 0) throw new CniError(107, `GC could not remove everything: ${problems.length === 1 ? 'one problem' : `${problems.length} problems`}`, problems.join('\n'))
  })
}

const flows = (list: string[]): Plan => [...new Set(list)].map((address) => ({ fact: 'flows', address }))
const addresses = (texts: string[]): Address[] => [...new Set(texts)].flatMap((text) => parseAddress(text) ?? [])

/** A link by name alone, enough to take it back. */
const linkFact = (name: string): Link => ({ fact: 'link', name, mac: '', peer: { name: '', mac: '' } })

/** The pod's end, which the reference's plugins wired to a host end of another name. */
const podEnd = ({ ifname }: Attachment): Link => ({ ...linkFact(ifname), in: 'pod' })

const present = (kernel: Kernel): Element[] => Object.values(MASQUERADE_MAPS).flatMap((map) => nft.elements(kernel.host, map))
