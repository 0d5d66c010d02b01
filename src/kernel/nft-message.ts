// Messages to nf_tables about podwire's tables, and transactions of them. <linux/netfilter/nf_tables.h>

import type { Family } from '../facts.ts'
import { isErrno, type KernelError } from './errno.ts'
import { attributes, type Attrs, type Out } from './attributes.ts'
import { NLM_F_CREATE, type Request } from './netlink.ts'
import type { Netns } from './netns.ts'

const TABLE = 'podwire'
const NFPROTO: Record<Family, number> = { inet: 1, bridge: 7 } // <linux/netfilter.h>
const NFNL_SUBSYS_NFTABLES = 10
const NFNL_MSG_BATCH_BEGIN = 16
const NFNL_MSG_BATCH_END = 17
const NFNL_BATCH_GENID = 1

export const MSG = {
  NEWTABLE: 0, GETTABLE: 1, DELTABLE: 2, NEWCHAIN: 3, GETCHAIN: 4, DELCHAIN: 5, NEWRULE: 6, GETRULE: 7, DELRULE: 8, NEWSET: 9, GETSET: 10, DELSET: 11, NEWSETELEM: 12, GETSETELEM: 13, DELSETELEM: 14, NEWGEN: 15, GETGEN: 16,
}

// Each message names its table first, and then, by the kind of message, what in it.
const NFTA_TABLE = 1
const NFTA_CHAIN_NAME = 3
const NFTA_NAME = 2 // NFTA_RULE_CHAIN, NFTA_SET_NAME, NFTA_SET_ELEM_LIST_SET

/** The family of a fact's table. */
export const familyOf = ({ family }: { family?: Family }): Family => family ?? 'inet'

/** `inet podwire`, as nft names a table. */
export const tableOf = (fact: { family?: Family }): string => `${familyOf(fact)} podwire`

/** A message about one of podwire's tables, or about what of that name is in it; `attrs` writes the rest. */
export function message(type: number, family: Family, name: string | undefined, what: string, attrs?: (out: Out) => void, flags = 0): Request {
  return {
    what,
    type: (NFNL_SUBSYS_NFTABLES << 8) | type,
    flags,
    header: nfgenmsg(NFPROTO[family], 0),
    attrs: (out) => {
      out.push(NFTA_TABLE, cstring(TABLE))
      if (name !== undefined) out.push(attributeOfName(type), cstring(name))
      attrs?.(out)
    },
  }
}

const attributeOfName = (type: number): number => (type >= MSG.NEWCHAIN && type <= MSG.DELCHAIN ? NFTA_CHAIN_NAME : NFTA_NAME)

/** The same that creates, or takes what is there for created. */
export const creation = (type: number, family: Family, name: string | undefined, what: string, attrs?: (out: Out) => void, flags = 0): Request => message(type, family, name, what, attrs, NLM_F_CREATE | flags)

/** The attributes of a table, chain or set; undefined if it is not there. */
export function get(netns: Netns, type: number, family: Family, name?: string): Attrs | undefined {
  const answer = netns.nf.get(message(type, family, name, 'nft list'), 'ENOENT')
  return answer && attributes(answer.data.subarray(NFGENMSG))
}

/** Behind struct nlmsghdr. */
export const NFGENMSG = 4

/** Whether a message of the kernel's is about one of podwire's tables, and about which set or chain in it. */
export function aboutTable(type: number, found: Attrs): { name: string | undefined; element: boolean } | undefined {
  const kind = type & 0xff
  if (kind === MSG.NEWGEN || !isOurs(found)) return undefined
  return { name: kind <= MSG.DELTABLE ? undefined : text(found.get(attributeOfName(kind))), element: kind === MSG.NEWSETELEM }
}

const isOurs = (found: Attrs): boolean => text(found.get(NFTA_TABLE)) === TABLE

/** The name of what a message is about. */
export const nameIn = (type: number, found: Attrs): string => text(found.get(attributeOfName(type))) ?? ''

/** What of a kind is in one of podwire's tables; nothing if there is no such table. */
export function listed(netns: Netns, type: number, family: Family): Attrs[] {
  try {
    return netns.nf.dump(message(type, family, undefined, `nft list table ${family} podwire`)).map(({ data }) => attributes(data.subarray(NFGENMSG))).filter(isOurs)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EAFNOSUPPORT', 'EOPNOTSUPP')) return []
    throw error
  }
}

/** Runs a transaction and returns the first refusal, or undefined when all of it is done. */
export function transaction(netns: Netns, requests: Request[], generation?: number): KernelError | undefined {
  if (requests.length === 0) return undefined
  const bound = { what: 'nft transaction', header: nfgenmsg(0, NFNL_SUBSYS_NFTABLES) }
  const begin: Request = { ...bound, type: NFNL_MSG_BATCH_BEGIN, ...(generation !== undefined && { attrs: (out: Out) => be32(out, NFNL_BATCH_GENID, generation) }) }
  const refusals = netns.nf.batch([begin, ...requests, { ...bound, type: NFNL_MSG_BATCH_END, unanswered: true }])
  return refusals.size === 0 ? undefined : refusals.get(Math.min(...refusals.keys()))
}

/** Counts the changes of all nf_tables in the namespace. */
export function generation(netns: Netns): number {
  const answer = netns.nf.get({ what: 'nft generation', type: (NFNL_SUBSYS_NFTABLES << 8) | MSG.GETGEN, header: nfgenmsg(0, 0) })
  return answer ? attributes(answer.data.subarray(NFGENMSG)).get(1)!.readUInt32BE(0) : 0
}

/** struct nfgenmsg */
function nfgenmsg(family: number, resource: number): Buffer {
  return Buffer.from([family, 0, resource >> 8, resource & 0xff])
}

export const cstring = (value: string): Buffer => Buffer.from(`${value}\0`)

export const text = (value: Buffer | undefined): string | undefined => value?.toString('utf8').replace(/\0.*$/s, '')

/** An attribute with a number in network byte order, as all of nf_tables' are. */
export function be32(out: Out, type: number, value: number): void {
  const buffer = Buffer.alloc(4)
  buffer.writeInt32BE(value | 0)
  out.push(type, buffer)
}
