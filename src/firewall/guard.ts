// firewall and the node: what an operator should know before a pod is added, what the reference's plugin made for one, and
// whether what pods share is still there.

import type { Pod } from '../chained.ts'
import type { NetConf } from '../cni/conf.ts'
import { CniError } from '../cni/error.ts'
import type { Plan } from '../facts.ts'
import { filtersOf } from '../filters.ts'
import { bits, parseAddress } from '../ip.ts'
import { checkPassage, hasLegacy } from '../kernel/iptables.ts'
import type { Netns } from '../kernel/netns.ts'
import * as nft from '../kernel/nft.ts'
import { networkOwner } from '../names.ts'
import * as state from '../state.ts'
import type { Kernel } from '../state.ts'
import { firewall, podOf } from './firewall.ts'

/** Says what podwire cannot reach. */
export function guardFirewall({ host }: Kernel, _pod: Pod, _conf: NetConf, notes: string[]): void {
  const barrier = checkPassage(host)
  if (barrier) notes.push(barrier.sentence)
  if (hasLegacy(host)) notes.push('iptables-legacy has a table filter here, which podwire does not reach: if its chain FORWARD drops what pods send (iptables-legacy -S FORWARD), it has to be told otherwise, or iptables-nft used')
}

/** Rules that the reference's plugin has made for addresses, which tell no owner: pods of ours have none of their own. */
export const formerRules = (addresses: string[]): Plan =>
  addresses.flatMap((address): Plan => {
    const { family } = parseAddress(address)!
    const rules = [`-d ${address}/${bits(family)} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`, `-s ${address}/${bits(family)} -j ACCEPT`]
    return rules.map((rule) => ({ fact: 'iptables', family, chain: 'CNI-FORWARD', rule }))
  })

/** Error 51 if something that pods of the network share is gone. */
export function firewallStatus(host: Netns, conf: NetConf): void {
  const elements = nft.elements(host, firewall.owns.maps, [networkOwner(conf.name)])
  const pod = podOf(elements)
  if (!pod) return
  const shared = firewall.plan({ ...pod, filters: filtersOf(host) }, conf as never).filter((fact) => 'keep' in fact && fact.keep)
  const gone = state.check({ host }, shared, 'pod')
  if (gone.length > 0) throw new CniError(51, `${gone.map(({ sentence }) => sentence).join('; ')}: pods that run are not forwarded as the configuration says`, `to repair it: ${gone.map(({ repair }) => repair).join('\n')}`)
}
