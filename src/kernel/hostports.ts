// Ports of the node that the reference's portmap has led to pods: in iptables' table nat, as iptables-nft keeps it in nf_tables
// (one rule of a chain for all pods leads fifteen ports to the chain of one pod), and in a table of its own, since 1.6.
// Those of iptables-legacy are not nf_tables', and not reached. plugins/meta/portmap of containernetworking/plugins

import type { Family } from '../ip.ts'
import { attributes, type Out } from './attributes.ts'
import { commentIn, tables } from './former.ts'
import { readPortRule, type PortRule } from './hostport-rule.ts'
import type { Request } from './netlink.ts'
import type { Netns } from './netns.ts'
import { cstring, MSG, NFGENMSG, text } from './nft-message.ts'
import { expressions } from './nft-rule.ts'

/** A port that leads to a pod of another program's. */
export interface LedPort {
  family: Family
  /** `tcp . 8080` */
  port: string
  /** Of the node; absent: all of the family. */
  address?: string
  /** The pod's address. */
  to?: string
  /** In its program's words; nft's rules do not tell the network. */
  network?: string
  container: string
  /** Of iptables: that of the pod. */
  chain?: string
}

const NFNL_SUBSYS_NFTABLES = 10
const NFPROTO = { 4: 2, 6: 10 } as const // <linux/netfilter.h>
const TABLES = { 4: 'ip', 6: 'ip6' } as const
const NFTA_RULE_TABLE = 1
const NFTA_RULE_CHAIN = 2
const NFTA_RULE_EXPRESSIONS = 4
const NFTA_RULE_USERDATA = 7

/** Of ports such as `tcp . 8080`, those that lead somewhere. Where there are no such tables one request tells. */
export function ledPorts(netns: Netns, wanted: Record<Family, Set<string>>): LedPort[] {
  const there = tables(netns)
  return ([4, 6] as const).flatMap((family) => {
    if (wanted[family].size === 0) return []
    const has = (table: string) => there.has(`${TABLES[family]} ${table}`)
    const iptables = has('nat') ? ofIptables(netns, family, wanted[family]) : []
    return has('cni_hostport') ? [...iptables, ...ofNft(netns, family, wanted[family])] : iptables
  })
}

function ofIptables(netns: Netns, family: Family, wanted: Set<string>): LedPort[] {
  const about = ({ protocol, ports }: PortRule) => ports.map((port) => `${protocol} . ${port}`).filter((port) => wanted.has(port))
  const entries = rulesOf(netns, family, wanted, 'nat', 'CNI-HOSTPORT-DNAT').flatMap(({ conditional, chain, comment, ...rule }) => {
    const [, network, container] = /name: "([^"]*)" id: "([^"]*)/.exec(comment ?? '') ?? []
    const ports = about(rule)
    if (conditional || chain === undefined || container === undefined || ports.length === 0) return []
    return [{ ports, chain, container, network: network! }]
  })
  const chains = new Map(entries.map(({ chain }) => [chain, rulesOf(netns, family, wanted, 'nat', chain)]))
  return entries.flatMap(({ ports, chain, container, network }) =>
    ports.flatMap((port) => {
      const led = { family, port, network, container, chain }
      const rules = chains.get(chain)!.filter((rule) => rule.to !== undefined && about(rule).includes(port))
      return rules.map(({ address, to }): LedPort => ({ ...led, to: to!, ...(address !== undefined && { address }) }))
    }),
  )
}

const ofNft = (netns: Netns, family: Family, wanted: Set<string>): LedPort[] =>
  rulesOf(netns, family, wanted, 'cni_hostport').flatMap(({ conditional, protocol, ports, address, to, comment: container }) => {
    const port = `${protocol} . ${ports[0]}`
    if (conditional || to === undefined || container === undefined || !wanted.has(port)) return []
    return [{ family, port, to, container, ...(address !== undefined && { address }) }]
  })

/** The rules of a table, or of one of its chains, which may have thousands: only those are read in which the bytes of a port are. */
function rulesOf(netns: Netns, family: Family, wanted: Set<string>, table: string, chain?: string): PortRule[] {
  const about: Request = {
    what: `nft list table ${TABLES[family]} ${table}`,
    type: (NFNL_SUBSYS_NFTABLES << 8) | MSG.GETRULE,
    header: Buffer.from([NFPROTO[family], 0, 0, 0]),
    attrs: (out: Out) => {
      out.push(NFTA_RULE_TABLE, cstring(table))
      if (chain !== undefined) out.push(NFTA_RULE_CHAIN, cstring(chain))
    },
  }
  const bytes = wanted.size > MANY ? undefined : [...wanted].flatMap(portBytes)
  const found: PortRule[] = []
  netns.nf.scanWhole(about, () => {
    found.length = 0
    return (buffer, start, end) => {
      const data = buffer.subarray(start, end)
      if (!bytes || bytes.some((port) => data.includes(port))) found.push(...read(data, family, table, chain))
    }
  }, 'ENOENT', 'EAFNOSUPPORT', 'EOPNOTSUPP')
  return found
}

const MANY = 20 // ports, for which each rule may as well be read

/** A port in either order: a header's, and the machine's in which xtables' structures have it. */
function portBytes(key: string): Buffer[] {
  const port = Number(key.split(' . ')[1])
  return [Buffer.from([port >> 8, port & 0xff]), Buffer.from([port & 0xff, port >> 8])]
}

/** A rule, if it is of the table and chain: not every kernel lists no others. */
function read(data: Buffer, family: Family, table: string, chain: string | undefined): PortRule[] {
  const found = attributes(Buffer.from(data.subarray(NFGENMSG)))
  const isOf = (type: number, name: string) => text(found.get(type)) === name
  if (!isOf(NFTA_RULE_TABLE, table) || (chain !== undefined && !isOf(NFTA_RULE_CHAIN, chain))) return []
  const comment = commentIn(found.get(NFTA_RULE_USERDATA))
  const rule = readPortRule(expressions(found.get(NFTA_RULE_EXPRESSIONS) ?? Buffer.alloc(0)), family)
  return [{ ...rule, ...(rule.comment === undefined && comment !== undefined && { comment }) }]
}
