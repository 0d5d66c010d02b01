// bandwidth: how fast a pod may receive (ingress) and send (egress). What ADD makes, as facts; pure.
//
//        pod                      node
//   ┌────────────┐         ┌──────────────────────────────────────────────────────────┐
//   │ eth0 ◄─────┼── veth ─┼─ tbf ◄── everything for the pod                          │
//   │      ──────┼─────────┼──► ingress: filter ──► bwp0f3a…, an ifb ──► tbf ──► goes │
//   └────────────┘         │                                                  on as if │
//                          └── it had come in only now ────────────────────────────────┘
//
// Both on the node's side: what is set on the pod's own end, a pod with CAP_NET_ADMIN could take away. Keys are the reference's.
// https://www.cni.dev/plugins/current/meta/bandwidth/

import type { Chained, Pod } from '../chained.ts'
import { COMMON, type NetConf } from '../cni/conf.ts'
import type { Result } from '../cni/result.ts'
import type { Schema } from '../cni/schema.ts'
import type { Fact, Ifb, Plan } from '../facts.ts'
import { hash, mac, owner, type Attachment } from '../names.ts'
import { optional } from '../pod.ts'

interface Rates {
  ingressRate?: number
  ingressBurst?: number
  egressRate?: number
  egressBurst?: number
}

export interface BandwidthConf extends NetConf, Rates {}

const bits = (description: string): Schema => ({ type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER, expected: 'a whole number of bits, 0 for no limit', default: 0, description })

const KEYS: Record<string, Schema> = {
  ingressRate: bits('how fast the pod receives, in bits per second, with the headers of Ethernet and IP; 0: no limit'),
  ingressBurst: bits('how much the pod may receive at once before that holds, in bits; goes together with ingressRate'),
  egressRate: bits('how fast the pod sends, in bits per second'),
  egressBurst: bits('how much the pod may send at once before that holds, in bits; goes together with egressRate'),
}

const RUNTIME: Record<string, Schema> = {
  bandwidth: { type: 'object', expected: 'an object with ingressRate, ingressBurst, egressRate, egressBurst', properties: KEYS, description: 'the same keys from the runtime; where the configuration has one of them itself, these do not count' },
}

export const bandwidth: Chained<BandwidthConf> = {
  schema: { $id: 'bandwidth', type: 'object', properties: { ...COMMON, runtimeConfig: { ...COMMON.runtimeConfig, properties: { ...COMMON.runtimeConfig!.properties, ...RUNTIME } }, ...KEYS } },
  keys: KEYS,
  runtime: RUNTIME,
  problems,
  plan,
  result,
  owns: { maps: () => false, links: { kind: 'ifb', name: ifbName } },
}

/** One direction: bits per second, bits; `said` is where they were said, for sentences. */
interface Limit {
  direction: 'ingress' | 'egress'
  rate: number
  burst: number
  path: string
  /** Who passed the burst meant none. */
  any: boolean
}

/** The directions that are limited, or are half said to be. */
function limits(conf: BandwidthConf): Limit[] {
  const own = (Object.keys(KEYS) as (keyof Rates)[]).some((key) => conf[key] !== undefined)
  const passed = (conf.runtimeConfig as { bandwidth?: Rates } | undefined)?.bandwidth ?? {}
  const rates = own ? conf : passed
  const limit = (direction: Limit['direction']): Limit => {
    const [rate = 0, burst = 0] = [rates[`${direction}Rate`], rates[`${direction}Burst`]]
    return { direction, rate, burst, path: own ? direction : `runtimeConfig.bandwidth.${direction}`, any: !own && ANY.includes(burst) }
  }
  return [limit('ingress'), limit('egress')].filter(({ rate, burst }) => rate !== 0 || burst !== 0)
}

// What runtimes pass for annotations of Kubernetes, which have rates and no bursts: kubelet did 2^31 - 1, containerd does 2^32 - 1,
// CRI-O 2^35 - 9 bits. Taken as said, half a gigabyte goes through before anything is limited (kubernetes#90838, plugins#609).
const ANY = [0x7fffffff, 0xffffffff, 8 * 0xffffffff - 1]

function problems({ attachment, host, absent }: Pod, conf: BandwidthConf): string[] {
  const list = limits(conf)
  return [
    ...list.flatMap(unfit),
    ...(list.length > 0 && host === undefined ? [`bandwidth needs the node's end of a veth pair, and ${attachment.ifname} of the pod is ${absent ? 'missing' : 'none'}`] : []),
  ]
}

function unfit({ rate, burst, path }: Limit): string[] {
  if (burst === 0) return [`${path}Rate is ${rate} and ${path}Burst is 0: if rate is set, burst must also be set`]
  if (rate === 0) return [`${path}Burst is ${burst} and ${path}Rate is 0: if burst is set, rate must also be set`]
  return [
    ...(rate < 8 ? [`${path}Rate is ${rate}: expected at least 8, a byte per second`] : []),
    ...(Math.floor(burst / 8) >= 0xffffffff ? [`${path}Burst is ${burst}: burst cannot be more than 4GB`] : []), // 32 bits of bytes in TCA_TBF_BURST
  ]
}

/** What an operator should know: bursts that were too small to be what is done. */
export const remarks = (pod: Pod, conf: NetConf): string[] =>
  limits(conf as BandwidthConf).flatMap((limit) => {
    const { burst } = bucket(limit, pod.mtu)
    return limit.any || burst <= limit.burst / 8 ? [] : [`${limit.path}Burst is ${limit.burst}: raised to ${burst * 8}, with less ${limit.path}Rate ${limit.rate} would not be reached`]
  })

/** The facts of a pod's limits; none if it has none. */
function plan(pod: Pod, conf: BandwidthConf): Plan {
  const dev = pod.host
  if (dev === undefined) return []
  return limits(conf).flatMap((limit): Fact[] => {
    const shape = (of: string): Fact => ({ fact: 'qdisc', dev: of, kind: 'tbf', ...bucket(limit, pod.mtu), ...others(limit, pod) })
    if (limit.direction === 'ingress') return [shape(dev)]
    const ifb = ifbOf(pod)
    // Nothing but queues there: it has no use for addresses, nor for advertisements of routers.
    return [ifb, optional(`net/ipv6/conf/${ifb.name}/disable_ipv6`, '1'), { fact: 'link set', dev: ifb.name, up: true }, shape(ifb.name), { fact: 'qdisc', dev, kind: 'ingress' }, { fact: 'filter', dev, redirect: ifb.name }]
  })
}

/** The result, and the ifb at the end of its interfaces, unless an entry before has put it there. */
function result(before: Result, pod: Pod, conf: BandwidthConf): Result {
  const { name, mac } = ifbOf(pod)
  const missing = limits(conf).some(({ direction }) => direction === 'egress') && !before.interfaces.some((one) => one.name === name && !one.sandbox)
  return missing ? { ...before, interfaces: [...before.interfaces, { name, mac }] } : before
}

const ifbOf = ({ attachment, mtu }: Pod): Ifb => ({ fact: 'ifb', name: ifbName(attachment), mac: mac(attachment, 'ifb'), ...(mtu !== undefined && { mtu }), alias: owner(attachment) })

/** By container and interface: the reference forgets the interface, and a container's second one cannot be made. */
function ifbName({ containerID, ifname }: Attachment): string {
  return `bwp${hash(12, containerID, ifname)}`
}

const ETH_HLEN = 14 // <linux/if_ether.h>
const ETH_DATA_LEN = 1500

/**
 * The bucket of tokens, in bytes. What fits in it goes at once; the rest waits until tokens have come in, up to `limit`.
 *
 * A bucket that is smaller than a packet lets none through; one that is full after less than 2 ms loses what comes in while the
 * timer that empties it is late, a tenth of 1 Gbit/s at 1 ms. What waits is 25 ms of the rate, as with the reference, or the five
 * packets that TCP needs to find its pace at 1 Mbit/s (with three it has a fifth less). A burst is added to that as tc does, but
 * not beyond the largest packet, 64 KiB before it is cut for the wire (GSO): a queue as long as a large burst is one in which
 * everything waits for seconds.
 */
function bucket({ rate: bitrate, burst: asked, any }: Limit, mtu = ETH_DATA_LEN): { rate: number; burst: number; limit: number } {
  const rate = Math.floor(bitrate / 8)
  const packet = mtu + ETH_HLEN
  const during = (ms: number) => Math.ceil((rate * ms) / 1000)
  const burst = any ? Math.max(2 * packet, during(25)) : Math.max(packet, during(2), Math.floor(asked / 8))
  const limit = Math.max(5 * packet, during(25)) + Math.min(burst, GSO)
  return { rate, burst: Math.min(burst, U32), limit: Math.min(limit, U32) }
}

/** Buckets that do as well: the MTU that the pod had when they were made, tuning may have changed since. */
function others(limit: Limit, { mtu, chosen }: Pod): { or?: { burst: number; limit: number }[] } {
  const own = bucket(limit, mtu)
  const or = [chosen, ETH_DATA_LEN, 9000, 65535].map((usual) => bucket(limit, usual)).filter((other) => other.burst !== own.burst || other.limit !== own.limit)
  return or.length > 0 ? { or: or.map(({ burst, limit: most }) => ({ burst, limit: most })) } : {}
}

const GSO = 0x10000
const U32 = 0xffffffff
