// Filters of what comes in by an interface: one that matches everything and leads it to another. Made of u32 and mirred, which
// every kernel with traffic control has; matchall is younger (Linux 4.8) and often left out. <linux/pkt_cls.h>, man 8 tc-u32

import { constants } from 'node:os'
import type { Filter } from '../facts.ts'
import { differs, missing, type Difference } from './difference.ts'
import { KernelError } from './errno.ts'
import * as link from './link.ts'
import { attributes, items } from './attributes.ts'
import { NLM_F_CREATE, NLM_F_EXCL, type NetlinkMessage } from './netlink.ts'
import type { Netns } from './netns.ts'
import { cstring, INGRESS, TCA_KIND, TCA_OPTIONS, tcmsg } from './qdisc.ts'

const RTM_NEWTFILTER = 44
const RTM_DELTFILTER = 45
const RTM_GETTFILTER = 46

const PRIORITY = 1
const ETH_P_ALL = 0x0300 // in network byte order, <linux/if_ether.h>
const INFO = PRIORITY * 0x10000 + ETH_P_ALL

const TCA_U32_CLASSID = 1
const TCA_U32_SEL = 5
const TCA_U32_ACT = 7
const TC_U32_TERMINAL = 1
const TCA_ACT_KIND = 1
const TCA_ACT_OPTIONS = 2
const TCA_MIRRED_PARMS = 2 // <linux/tc_act/tc_mirred.h>
const TCA_EGRESS_REDIR = 1
const TC_ACT_STOLEN = 4

/** Adds the filter. Beside one that is there u32 would put a second: refused with EEXIST, as the kernel does of other nouns. */
export function add(netns: Netns, fact: Filter, what: string): void {
  if (!check(netns, fact)) throw new KernelError(what, constants.errno.EEXIST)
  const { dev, redirect } = fact
  const target = link.index(netns, redirect)
  netns.rt.change({
    what,
    type: RTM_NEWTFILTER,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    header: tcmsg(link.index(netns, dev), 0, INGRESS, INFO),
    attrs: (out) => {
      out.push(TCA_KIND, cstring('u32'))
      out.push(TCA_OPTIONS, (options) => {
        options.push(TCA_U32_CLASSID, link.u32(0x10001))
        options.push(TCA_U32_ACT, (actions) => actions.push(1, (action) => (action.push(TCA_ACT_KIND, cstring('mirred')), action.push(TCA_ACT_OPTIONS, (mirred) => mirred.push(TCA_MIRRED_PARMS, parameters(target))))))
        options.push(TCA_U32_SEL, EVERYTHING)
      })
    },
  })
}

/** Adds the filter in the place of all that look at what comes in by the interface. */
export function replace(netns: Netns, fact: Filter, what: string): void {
  const { dev } = fact
  netns.rt.change({ what: `tc filter del dev ${dev} parent ffff:`, type: RTM_DELTFILTER, header: tcmsg(link.index(netns, dev), 0, INGRESS) })
  add(netns, fact, what)
}

/** The filter is there and is alone: what another takes does not get to it, or is not shaped. */
export function check(netns: Netns, { dev, redirect }: Filter): Difference | undefined {
  const messages = netns.rt.dump({ what: `tc filter show dev ${dev} parent ffff:`, type: RTM_GETTFILTER, header: tcmsg(link.index(netns, dev), 0, INGRESS) })
  const filters = messages.flatMap((message) => parse(message) ?? [])
  if (filters.length === 0) return missing(`interface ${dev} has no filter that redirects to ${redirect}`)
  const target = link.get(netns, redirect)?.index
  const [first] = filters
  return filters.length === 1 && first!.everything && first!.target === target ? undefined : differs(`interface ${dev} has a filter that does not redirect everything to ${redirect}`)
}

/** A filter of whatever kind; undefined for a message about a table of u32's. */
function parse({ data }: NetlinkMessage): { everything: boolean; target: number | undefined } | undefined {
  const found = attributes(data.subarray(20))
  const options = attributes(found.get(TCA_OPTIONS) ?? Buffer.alloc(0))
  const selector = options.get(TCA_U32_SEL)
  const [info, kind] = [data.readUInt32LE(16), found.get(TCA_KIND)?.toString('utf8')]
  if (kind !== 'u32\0') return { everything: false, target: undefined }
  const [action] = items(options.get(TCA_U32_ACT)).map(attributes)
  const mirred = action?.get(TCA_ACT_KIND)?.toString('utf8') === 'mirred\0' ? attributes(action.get(TCA_ACT_OPTIONS)!).get(TCA_MIRRED_PARMS) : undefined
  const redirects = mirred?.readInt32LE(8) === TC_ACT_STOLEN && mirred.readInt32LE(20) === TCA_EGRESS_REDIR
  return selector && { everything: info === INFO && redirects && selector.subarray(16).equals(EVERYTHING.subarray(16)), target: mirred?.readUInt32LE(24) }
}

/** struct tc_u32_sel with one key, whose mask is 0: everything. */
const EVERYTHING = Buffer.alloc(32)
EVERYTHING[0] = TC_U32_TERMINAL
EVERYTHING[2] = 1 // keys

/** struct tc_mirred */
function parameters(index: number): Buffer {
  const mirred = Buffer.alloc(28)
  mirred.writeInt32LE(TC_ACT_STOLEN, 8)
  mirred.writeInt32LE(TCA_EGRESS_REDIR, 20)
  mirred.writeUInt32LE(index, 24)
  return mirred
}
