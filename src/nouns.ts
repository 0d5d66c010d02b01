// What the verbs mean to each noun: a line for each, its work is in kernel/. Without `add` nothing can make a fact true; without `del`
// it goes with the link it stands on or is kept; without `check` it is nothing that stays. Some are done together with
// their neighbours in a plan, or only taken back so.

import type { Fact, Flows, Ifb, Link, LinkSet, Place, PortFlows } from './facts.ts'
import * as addr from './kernel/addr.ts'
import * as bridge from './kernel/bridge.ts'
import * as condition from './kernel/condition.ts'
import * as conntrack from './kernel/conntrack.ts'
import type { Difference } from './kernel/difference.ts'
import * as fdb from './kernel/fdb.ts'
import * as feature from './kernel/feature.ts'
import * as filter from './kernel/filter.ts'
import * as firewalld from './kernel/firewalld.ts'
import * as former from './kernel/former.ts'
import * as ifb from './kernel/ifb.ts'
import * as iptables from './kernel/iptables.ts'
import * as link from './kernel/link.ts'
import * as neigh from './kernel/neigh.ts'
import type { Netns } from './kernel/netns.ts'
import * as nft from './kernel/nft.ts'
import * as qdisc from './kernel/qdisc.ts'
import * as route from './kernel/route.ts'
import * as rule from './kernel/rule.ts'
import * as sysctl from './kernel/sysctl.ts'
import * as vlan from './kernel/vlan.ts'
import * as vxlan from './kernel/vxlan.ts'
import { show } from './show.ts'
import type { Kernel } from './state.ts'

type Single = Exclude<Fact, nft.NftFact>

interface Noun<F> {
  /** `what` is the line that an operator would type: it begins an error's sentence. Returns what an operator should know. */
  add?(kernel: Kernel, fact: F, what: string): string | void
  del?(kernel: Kernel, fact: F): void
  /** `pod` names the namespace in what repairs it. */
  check?(kernel: Kernel, fact: F, pod: string): Difference | undefined
  /** Makes true what is there otherwise; without it `add` does. */
  change?(kernel: Kernel, fact: F, what: string): void
}

const NOUNS: { [F in Single as F['fact']]: Noun<F> } = {
  link: {
    add: (kernel, fact, what) => link.add(kernel.host, place(kernel, 'pod'), fact, what),
    del: (kernel, fact) => link.delInside(place(kernel, 'pod'), kernel.host, fact), // those of the node go together
    check: (kernel, fact, pod) => link.check(kernel.host, kernel.pod, fact, pod),
    change: ({ host, pod }, fact, what) => link.change(host, pod, fact, what),
  },
  'link set': {
    add: (kernel, fact, what) => setLink(place(kernel, fact.in), fact, what),
    del: (kernel, fact) => link.unset(place(kernel, fact.in), fact, fact.in ? 'ip -n pod' : 'ip'),
    check: (kernel, fact) => link.checkSet(place(kernel, fact.in), fact),
  },
  bridge: { add: ({ host }, fact, what) => bridge.add(host, fact, what), check: ({ host }, fact) => bridge.check(host, fact) },
  port: { add: ({ host }, fact, what) => bridge.addPort(host, fact, what), check: ({ host }, fact) => bridge.checkPort(host, fact) },
  vlans: { add: ({ host }, fact, what) => vlan.addMember(host, fact, what), check: ({ host }, fact) => vlan.checkMember(host, fact) },
  vlan: { add: ({ host }, fact, what) => vlan.add(host, fact, what), check: ({ host }, fact) => vlan.check(host, fact) },
  ifb: { add: ({ host }, fact, what) => ifb.add(host, fact, what), check: ({ host }, fact) => ifb.check(host, fact) },
  qdisc: {
    add: ({ host }, fact, what) => qdisc.add(host, fact, what),
    del: ({ host }, fact) => qdisc.del(host, fact),
    check: ({ host }, fact) => qdisc.check(host, fact),
    change: ({ host }, fact, what) => qdisc.replace(host, fact, what),
  },
  filter: {
    add: ({ host }, fact, what) => filter.add(host, fact, what),
    check: ({ host }, fact) => filter.check(host, fact),
    change: ({ host }, fact, what) => filter.replace(host, fact, what),
  },
  vxlan: { add: ({ host }, fact, what) => vxlan.add(host, fact, what), check: ({ host }, fact) => vxlan.check(host, fact) },
  feature: { add: ({ host }, fact, what) => feature.set(host, fact, what), check: ({ host }, fact) => feature.check(host, fact) },
  neigh: {
    add: (kernel, fact, what) => place(kernel, fact.in).rt.change({ what, ...neigh.addition(place(kernel, fact.in), fact) }),
    check: (kernel, fact) => neigh.check(place(kernel, fact.in), fact),
  },
  fdb: { add: ({ host }, fact, what) => host.rt.change({ what, ...fdb.addition(host, fact) }), check: ({ host }, fact) => fdb.check(host, fact) },
  addr: {
    add: (kernel, fact, what) => (fact.keep ? addr.ensure : addr.add)(place(kernel, fact.in), fact, what),
    del: (kernel, fact) => addr.del(place(kernel, fact.in), fact),
    check: (kernel, fact) => addr.check(place(kernel, fact.in), fact),
  },
  route: {
    add: (kernel, fact, what) => (fact.absent ? route.del(place(kernel, fact.in), fact) : route.add(place(kernel, fact.in), fact, what)),
    del: (kernel, fact) => (fact.absent ? route.restore : route.del)(place(kernel, fact.in), fact),
    check: (kernel, fact) => route.check(place(kernel, fact.in), fact),
    change: (kernel, fact, what) => place(kernel, fact.in).rt.change({ what, ...route.addition(place(kernel, fact.in), fact) }),
  },
  rule: {
    add: (kernel, fact, what) => rule.add(place(kernel, fact.in), fact, what),
    del: (kernel, fact) => rule.del(place(kernel, fact.in), fact),
    check: (kernel, fact) => rule.check(place(kernel, fact.in), fact),
  },
  sysctl: {
    add: (kernel, fact) => sysctl.add(place(kernel, fact.in), fact),
    del: (kernel, fact) => sysctl.restore(place(kernel, fact.in), fact),
    check: (kernel, fact) => sysctl.check(place(kernel, fact.in), fact),
  },
  iptables: { add: ({ host }, fact) => iptables.add(host, fact), del: ({ host }, fact) => iptables.del(host, fact), check: ({ host }, fact) => iptables.check(host, fact) },
  source: { add: (_, fact, what) => firewalld.add(fact, what), del: (_, fact) => firewalld.del(fact), check: (_, fact) => firewalld.check(fact) },
  passage: { check: ({ host }) => iptables.checkPassage(host) },
  condition: {
    add: (kernel, fact) => condition.note(place(kernel, placeOf(fact)), fact),
    check: (kernel, fact) => condition.check(place(kernel, placeOf(fact)), fact),
  },
  former: { del: ({ host }, fact) => former.del(host, fact) },
  announcement: {}, // when everything is in place (state.ts)
  flows: {},
  'port flows': { add: ({ host }, { ports }) => conntrack.redirect(host, ports) },
}

/** With the MAC address of an interface the kernel forgets all neighbours there: those that somebody made are made again. */
function setLink(netns: Netns, fact: LinkSet, what: string): void {
  const made = fact.mac === undefined ? [] : neigh.permanent(netns, fact.dev)
  link.set(netns, fact, what)
  for (const one of made) netns.rt.change({ what: show(one), ...neigh.addition(netns, one) })
}

/** Facts that are taken back in one go with neighbours of their kind. */
interface Group<F extends Fact> {
  has(fact: Fact): fact is F
  del(kernel: Kernel, facts: F[]): void
}

const NFT = new Set(['table', 'map', 'set', 'chain', 'element'])
export const isNft = (fact: Fact): fact is nft.NftFact => NFT.has(fact.fact)
const isFlow = (fact: Fact): fact is Flows | PortFlows => fact.fact === 'flows' || fact.fact === 'port flows'
const isLink = (fact: Fact): fact is Link | Ifb => (fact.fact === 'link' && fact.in === undefined) || fact.fact === 'ifb'

const GROUPS = [
  { has: isNft, del: ({ host }, facts) => nft.del(host, facts) } satisfies Group<nft.NftFact>, // one transaction
  { has: isFlow, del: ({ host, pod }, facts) => conntrack.forget(host, facts, pod) } satisfies Group<Flows | PortFlows>, // one look
  { has: isLink, del: ({ host }, facts) => link.delAll(host, facts) } satisfies Group<Link | Ifb>, // one wait
] as unknown as Group<Fact>[]

export const groupOf = (fact: Fact): Group<Fact> | undefined => GROUPS.find(({ has }) => has(fact))

export const nounOf = <F extends Single>(fact: F): Noun<F> => NOUNS[fact.fact] as unknown as Noun<F>

const placeOf = (fact: Fact): Place | undefined => ('in' in fact ? fact.in : undefined)

/** The namespace that a fact is about. */
export function place(kernel: Kernel, where: 'pod' | undefined): Netns {
  if (where === undefined) return kernel.host
  if (!kernel.pod) throw new Error("the pod's network namespace is not open")
  return kernel.pod
}
