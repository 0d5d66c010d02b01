// firewall and the node: what an operator should know before a pod is added, what the reference's plugin made for one, and
// whether what pods share is still there.

import type { Pod } from '../chained.ts'
import { CniError } from '../cni/error.ts'
import type { Element, Iptables, Plan } from '../facts.ts'
import { show } from '../show.ts'
import { filtersOf } from '../filters.ts'
import { bits, parseAddress } from '../ip.ts'
import { add, del, sources } from '../kernel/firewalld.ts'
import { checkPassage, hasLegacy } from '../kernel/iptables.ts'
import type { Netns } from '../kernel/netns.ts'
import * as nft from '../kernel/nft.ts'
import { Patience } from '../kernel/patience.ts'
import { networkOwner } from '../names.ts'
import { script } from '../findings.ts'
import * as state from '../state.ts'
import type { Kernel } from '../state.ts'
import { ADDRESSES, firewall, isZoned, podOf, sourceOf, zoneOf, type FirewallConf } from './firewall.ts'

/** Repairs what firewalld has lost of other pods, and says what podwire cannot reach. */
export function guardFirewall({ host }: Kernel, pod: Pod, conf: FirewallConf, notes: string[]): void {
  if (isZoned(pod, conf)) notes.push(...restored(host, conf))
  const barrier = checkPassage(host)
  if (barrier) notes.push(barrier.sentence)
  if (hasLegacy(host)) notes.push('iptables-legacy has a table filter here, which podwire does not reach: if its chain FORWARD drops what pods send (iptables-legacy -S FORWARD), it has to be told otherwise, or iptables-nft used')
}

const hasAddresses = (map: string): boolean => Object.values<string>(ADDRESSES).includes(map)

const PATIENCE = 1000 // ms; firewalld takes some 20 for each address, and the next ADD goes on

/**
 * Addresses of the network's pods whose zone was forgotten, as it is when firewalld is reloaded, are put into it again. What is
 * wrong with firewalld or the zone, the pod's own address will say.
 */
function restored(host: Netns, conf: FirewallConf): string[] {
  const [zone, end] = [zoneOf(conf), new Patience(PATIENCE)]
  let count = 0
  try {
    const there = sources(zone)
    if (!there) return []
    for (const element of nft.elements(host, hasAddresses, [networkOwner(conf.name)])) {
      const [source] = sourceOf(element)
      if (!source || there.includes(source.address) || end.over) continue
      add({ ...source, zone }, show({ ...source, zone }))
      count++
      if (nft.check(host, element)) del(source) // its pod has left meanwhile
    }
  } catch {
    // the pod's own address is next
  }
  return count === 0 ? [] : [`firewalld had forgotten addresses of pods, as it does when it is reloaded: ${count} are in zone ${zone} again`]
}

/** What the reference's plugin has made for addresses. Rules of iptables tell no owner; pods of ours have none of their own. */
export const formerRules = (host: Netns, addresses: string[]): Plan =>
  addresses.flatMap((address): Plan => {
    const { family } = parseAddress(address)!
    const element: Element = { fact: 'element', map: ADDRESSES[family], key: address, owner: '' }
    const rules = [`-d ${address}/${bits(family)} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`, `-s ${address}/${bits(family)} -j ACCEPT`]
    // A source of firewalld's tells no owner either: it is the reference's if no pod of ours has the address.
    return [...rules.map((rule): Iptables => ({ fact: 'iptables', family, chain: 'CNI-FORWARD', rule })), ...(nft.check(host, element)?.missing ? sourceOf(element) : [])]
  })

/** Error 51 if something that pods of the network share is gone. */
export function firewallStatus(host: Netns, conf: FirewallConf): void {
  const [one] = nft.elements(host, hasAddresses, [networkOwner(conf.name)])
  const pod = one && podOf(nft.elements(host, firewall.owns.maps, [one.owner]))
  if (!pod) return
  const shared = firewall.plan({ ...pod, filters: filtersOf(host) }, conf).filter((fact) => 'keep' in fact && fact.keep)
  const gone = state.check({ host }, shared, 'pod')
  const sentences = gone.map(({ sentence }) => sentence).join('; ')
  if (gone.length > 0) throw new CniError(51, `${sentences}: pods that run are not forwarded as the configuration says`, script(gone))
}
