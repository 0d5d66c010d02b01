// Queueing disciplines: how packets leave an interface, or that filters see those that come in. <linux/pkt_sched.h>,
// <linux/rtnetlink.h>, net/sched/sch_tbf.c, man 8 tc-tbf

import type { Qdisc } from '../facts.ts'
import { differs, missing, type Difference } from './difference.ts'
import { isErrno } from './errno.ts'
import * as link from './link.ts'
import { attributeAt, attributes, type Out } from './attributes.ts'
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, type Request } from './netlink.ts'
import type { Netns } from './netns.ts'

const RTM_NEWQDISC = 36
const RTM_DELQDISC = 37
const RTM_GETQDISC = 38
const NLM_F_ECHO = 0x08 // <linux/netlink.h>

export const TCA_KIND = 1
export const TCA_OPTIONS = 2
const TCA_STATS = 3
const TCA_STATS2 = 7
const TCA_TBF_PARMS = 1
const TCA_TBF_RATE64 = 4
const TCA_TBF_BURST = 6
const TC_LINKLAYER_ETHERNET = 1

/** Where a qdisc is, and its number: major in the upper half. */
const PLACES = { tbf: { parent: 0xffffffff, handle: 0x10000 }, ingress: { parent: 0xfffffff1, handle: 0xffff0000 } } as const // TC_H_ROOT, TC_H_INGRESS
export const INGRESS = PLACES.ingress.handle

/** Adds the qdisc. Where another was put there is an error; the one that every interface begins with is not another. */
export const add = (netns: Netns, fact: Qdisc, what: string): void => make(netns, fact, what, NLM_F_CREATE | NLM_F_EXCL)

/** Adds the qdisc in the place of another one, of whatever kind. */
export const replace = (netns: Netns, fact: Qdisc, what: string): void => make(netns, fact, what, NLM_F_CREATE | NLM_F_REPLACE)

function make(netns: Netns, fact: Qdisc, what: string, flags: number): void {
  netns.rt.change({
    ...message(netns, fact, RTM_NEWQDISC, what),
    flags,
    attrs: (out) => {
      out.push(TCA_KIND, cstring(fact.kind))
      if (fact.kind === 'tbf') out.push(TCA_OPTIONS, (options) => tbf(options, fact))
    },
  })
}

/** Deletes the qdisc, unless another has its place by now. */
export function del(netns: Netns, fact: Qdisc): void {
  try {
    netns.rt.change({ ...message(netns, fact, RTM_DELQDISC, `tc qdisc del dev ${fact.dev} ${fact.kind === 'tbf' ? 'root' : 'ingress'}`), attrs: (out) => out.push(TCA_KIND, cstring(fact.kind)) })
  } catch (error) {
    if (!isErrno(error, 'ENODEV', 'ENOENT', 'EINVAL')) throw error // EINVAL: its handle or kind is another
  }
}

export function check(netns: Netns, fact: Qdisc): Difference | undefined {
  const { dev, kind } = fact
  const there = get(netns, fact)
  if (!there) return missing(`interface ${dev} has no qdisc ${kind}`)
  if (there.kind !== kind) return differs(`interface ${dev} has qdisc ${there.kind}, not ${kind}`)
  if (fact.kind !== 'tbf') return undefined
  const is = parseTbf(there.options)
  if (is.rate !== fact.rate) return differs(`qdisc tbf of ${dev} has rate ${is.rate * 8}bit, not ${fact.rate * 8}bit`)
  if ((fact.or ?? []).some((other) => isBurst(is.ticks, { ...fact, ...other }) && is.limit === other.limit)) return undefined
  if (!isBurst(is.ticks, fact)) return differs(`qdisc tbf of ${dev} has burst ${Math.round((is.ticks * TICK * is.rate) / 1e9)}b, not ${fact.burst}b`)
  return is.limit === fact.limit ? undefined : differs(`qdisc tbf of ${dev} has limit ${is.limit}b, not ${fact.limit}b`)
}

/** What stands in the place of a qdisc; undefined for none, and for one that nobody has put there. */
function get(netns: Netns, fact: Qdisc): { kind: string; options: Buffer } | undefined {
  // Without NLM_F_ECHO kernels before 6.8 tell everybody who listens, but not who asks. Of a default one they tell nobody.
  const { header, ...request } = message(netns, fact, RTM_GETQDISC, `tc qdisc show dev ${fact.dev}`)
  header.writeUInt32LE(0, 8) // of any handle
  const answer = netns.rt.get({ ...request, header, flags: NLM_F_ECHO | NLM_F_ACK }, 'ENOENT', 'EINVAL')
  if (!answer || answer.data.readUInt32LE(8) === 0) return undefined
  const found = attributes(answer.data.subarray(20))
  return { kind: found.get(TCA_KIND)?.toString('utf8').replace(/\0.*$/s, '') ?? '', options: found.get(TCA_OPTIONS) ?? Buffer.alloc(0) }
}

/** Hands over kind and options of each interface's qdiscs, without counters. False if that changed while it was read. */
export const scan = (netns: Netns, take: (index: number, buffer: Buffer, start: number, end: number) => void): boolean =>
  netns.rt.scan({ what: 'tc qdisc show', type: RTM_GETQDISC, header: Buffer.alloc(20) }, (buffer, start, end) => {
    take(buffer.readInt32LE(start + 4), buffer, start, attributeAt(buffer, start + 20, end, TCA_STATS, TCA_STATS2))
  })

type Tbf = Extract<Qdisc, { kind: 'tbf' }>

/** struct tc_tbf_qopt: rate, peak rate, limit, buffer, mtu. From the burst in bytes the kernel reckons the buffer itself. */
function tbf(options: Out, { rate, burst, limit }: Tbf): void {
  const parameters = Buffer.alloc(36)
  parameters[1] = TC_LINKLAYER_ETHERNET
  parameters.writeInt16LE(-1, 4) // cell_align, as tc has it
  parameters.writeUInt32LE(Math.min(rate, U32), 8)
  parameters.writeUInt32LE(limit, 24)
  options.push(TCA_TBF_PARMS, parameters)
  options.push(TCA_TBF_BURST, link.u32(burst))
  if (rate > U32) options.push(TCA_TBF_RATE64, u64(rate))
}

function parseTbf(options: Buffer): { rate: number; limit: number; ticks: number } {
  const found = attributes(options)
  const parameters = found.get(TCA_TBF_PARMS) ?? Buffer.alloc(36)
  const rate64 = found.get(TCA_TBF_RATE64)
  return { rate: rate64 ? Number(rate64.readBigUInt64LE()) : parameters.readUInt32LE(8), limit: parameters.readUInt32LE(24), ticks: parameters.readUInt32LE(28) }
}

const TICK = 64 // ns, PSCHED_SHIFT in <net/pkt_sched.h>
const U32 = 0xffffffff

/** The kernel keeps a burst as the time it takes at the rate, reckoned with 32 bits, and tells it in ticks, modulo 2^32. */
function isBurst(told: number, { rate, burst }: Tbf): boolean {
  const exact = (burst * 1e9) / rate / TICK
  const off = Math.abs(told - (exact % (U32 + 1)))
  return Math.min(off, U32 + 1 - off) <= 1 + exact / 2 ** 31
}

/** A message about a qdisc, without attributes: struct tcmsg. */
function message(netns: Netns, { dev, kind }: Qdisc, type: number, what: string): Omit<Request, 'header'> & { header: Buffer } {
  const { parent, handle } = PLACES[kind]
  return { what, type, header: tcmsg(link.index(netns, dev), handle, parent) }
}

/** struct tcmsg */
export function tcmsg(index: number, handle: number, parent: number, info = 0): Buffer {
  const header = Buffer.alloc(20)
  header.writeInt32LE(index, 4)
  header.writeUInt32LE(handle, 8)
  header.writeUInt32LE(parent, 12)
  header.writeUInt32LE(info, 16)
  return header
}

export const cstring = (text: string): Buffer => Buffer.from(`${text}\0`)

function u64(value: number): Buffer {
  const buffer = Buffer.alloc(8)
  buffer.writeBigUInt64LE(BigInt(value))
  return buffer
}
