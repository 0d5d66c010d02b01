// Rules: which routing table is asked about a packet. <linux/fib_rules.h>, man 8 ip-rule

import { addressBytes, bytesText, parseAddress } from '../ip.ts'
import type { Rule } from '../facts.ts'
import { missing, type Difference } from './difference.ts'
import { isErrno } from './errno.ts'
import { u32 } from './link.ts'
import { attributes } from './attributes.ts'
import { NLM_F_CREATE, NLM_F_EXCL, type NetlinkMessage, type Request } from './netlink.ts'
import type { Netns } from './netns.ts'

const RTM_NEWRULE = 32
const RTM_DELRULE = 33
const RTM_GETRULE = 34
const FRA_SRC = 2
const FRA_PRIORITY = 6
const FRA_SUPPRESS_PREFIXLEN = 14
const FRA_TABLE = 15
const FRA_PROTOCOL = 21
const FR_ACT_TO_TBL = 1
const FIB_RULE_INVERT = 2
const AF_INET = 2
const AF_INET6 = 10

/** What the kernel tells of a rule. */
export interface RuleState {
  family: 4 | 6
  table: number
  /** The address, of a rule that asks for nothing else. */
  from: string | undefined
}

/** Adds a rule, before those that there are; the kernel chooses its priority. */
export const add = (netns: Netns, rule: Rule, what: string): void => netns.rt.change({ what, flags: NLM_F_CREATE | NLM_F_EXCL, ...encode(RTM_NEWRULE, rule) })

/** Deletes a rule; one that is gone is success. */
export function del(netns: Netns, rule: Rule): void {
  try {
    netns.rt.change({ what: `ip rule del from ${rule.from} table ${rule.table}`, ...encode(RTM_DELRULE, rule) })
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
  }
}

/** The rules of both families, in their order. */
export const list = (netns: Netns): RuleState[] => [AF_INET, AF_INET6].flatMap((family) => netns.rt.dump({ what: 'ip rule show', type: RTM_GETRULE, header: header({ family }) }).map(parse))

export function check(netns: Netns, { from, table }: Rule): Difference | undefined {
  return list(netns).some((rule) => rule.from === from && rule.table === table) ? undefined : missing(`rule from ${from} table ${table} is missing`)
}

function encode(type: number, { from, table }: Rule): Omit<Request, 'what'> {
  const address = parseAddress(from)!
  const bytes = addressBytes(address)
  return {
    type,
    header: header({ family: address.family === 4 ? AF_INET : AF_INET6, length: bytes.length * 8, action: FR_ACT_TO_TBL }),
    attrs: (out) => (out.push(FRA_SRC, bytes), out.push(FRA_TABLE, u32(table))),
  }
}

const HARMLESS = [FRA_SRC, FRA_PRIORITY, FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_PROTOCOL]

function parse({ data }: NetlinkMessage): RuleState {
  const found = attributes(data.subarray(12))
  const src = found.get(FRA_SRC)
  const [family, tos, flags] = [data[0] === AF_INET ? 4 : 6, data[3], data.readUInt32LE(8)] as const
  const whole = src !== undefined && data[2] === src.length * 8 // fib_rule_hdr.src_len
  const alone = data[7] === FR_ACT_TO_TBL && tos === 0 && (flags & FIB_RULE_INVERT) === 0 && [...found.keys()].every((key) => HARMLESS.includes(key))
  return { family, table: found.get(FRA_TABLE)?.readUInt32LE(0) ?? data[4]!, from: whole && alone ? bytesText(src) : undefined }
}

/** struct fib_rule_hdr */
const header = ({ family, length = 0, action = 0 }: { family: number; length?: number; action?: number }): Buffer => Buffer.from([family, 0, length, 0, 0, 0, 0, action, 0, 0, 0, 0])
