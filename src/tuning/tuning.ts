// tuning: sysctls of the pod's network namespace, and what its interface has that can be set. What ADD makes, as facts; pure.
// Keys are the reference's. https://www.cni.dev/plugins/current/meta/tuning/

import type { Chained, Pod } from '../chained.ts'
import { COMMON, type NetConf } from '../cni/conf.ts'
import { formats } from '../cni/formats.ts'
import { excerpt } from '../cni/json.ts'
import type { Result } from '../cni/result.ts'
import type { Schema } from '../cni/schema.ts'
import type { Fact, LinkSettings, Plan } from '../facts.ts'
import { kept, optional } from '../pod.ts'

/** What there is to tune. */
interface Wishes {
  sysctl?: Record<string, string>
  mac?: string
  promisc?: boolean
  mtu?: number
  allmulti?: boolean
  txQLen?: number
}

export interface TuningConf extends NetConf, Wishes {
  dataDir?: string
}

const TUNED: Record<keyof Wishes, Schema> = {
  sysctl: { type: 'object', expected: 'an object such as {"net.core.somaxconn": "500"}', additionalProperties: { type: 'string', expected: 'a string, as in a file below /proc/sys' }, description: "sysctls of the pod's network namespace, all below `net`; `IFNAME` in a key is the pod's interface" },
  mac: { type: 'string', format: 'mac', expected: 'a MAC address such as "0a:58:0a:01:02:03"', description: "MAC address of the pod's interface" },
  promisc: { type: 'boolean', expected: 'true or false', default: false, description: "the pod's interface receives all frames" },
  mtu: { type: 'integer', minimum: 0, maximum: 65535, expected: 'an MTU in bytes from 68 to 65535 (1280 or more with IPv6), or 0 for that of the plugin before', default: 0, description: "bytes, both ends of the pod's veth pair; 0: as it is" },
  allmulti: { type: 'boolean', expected: 'true or false', description: "the pod's interface receives all multicast; without the key it stays as it is" },
  txQLen: { type: 'integer', minimum: 0, maximum: 4294967295, expected: 'a number of packets from 0 to 4294967295', description: "packets that wait at the pod's interface to be sent, at most" },
}

const KEYS: Record<string, Schema> = {
  ...TUNED,
  dataDir: { type: 'string', pattern: '^/[^\\0]*$', expected: 'an absolute path', default: '/run/cni/tuning', description: 'where an entry of its own writes down what it replaces, for DEL' },
}

export const tuning: Chained<TuningConf> = {
  schema: { $id: 'tuning', type: 'object', properties: { ...COMMON, ...KEYS } },
  keys: KEYS,
  runtime: {}, // a requested MAC address is the business of who makes the interface
  problems,
  plan,
  settings,
  result,
  owns: { maps: () => false },
}

/** The facts of a pod that is tuned. */
function plan(pod: Pod, conf: TuningConf): Plan {
  const { mtu, ...others } = settings(pod, conf)
  const dev = pod.attachment.ifname
  const link = { ...others, ...(mtu !== undefined && { mtu }) }
  return [
    ...sysctls(pod, conf).map(({ key, value }): Fact => ({ fact: 'sysctl', in: 'pod', key, value, before: true })),
    ...(Object.keys(link).length > 0 ? [{ fact: 'link set', in: 'pod', dev, ...link, before: true } as const] : []),
    // One end that takes larger packets than the other loses them (containernetworking/plugins#352).
    ...(mtu !== undefined && pod.host !== undefined ? [{ fact: 'link set', dev: pod.host, mtu, before: true } as const] : []),
    ...(mtu !== undefined && mtu >= IPV6_MTU && pod.mtu !== undefined && pod.mtu < IPV6_MTU ? hardening(pod) : []),
  ]
}

const IPV6_MTU = 1280 // RFC 8200 §5

/** With an MTU that is large enough the node's interfaces get IPv6 anew, and with it ears for routers (CVE-2020-10749). */
const hardening = ({ host, bridge }: Pod): Fact[] =>
  [host, bridge?.name].flatMap((dev) => (dev === undefined ? [] : [kept(optional(`net/ipv6/conf/${dev}/accept_ra`, '0'))]))

/** What is to be set of the pod's interface; as in the reference, neither promisc false nor mtu 0 asks for anything. */
export function settings(pod: Pod, conf: TuningConf): LinkSettings {
  const { mac, promisc, mtu, allmulti, txQLen } = wishes(pod, conf)
  return { ...(mac && { mac: mac.toLowerCase().replaceAll('-', ':') }), ...(promisc && { promisc }), ...(mtu && { mtu }), ...(allmulti !== undefined && { allmulti }), ...(txQLen !== undefined && { txqlen: txQLen }) }
}

/** The keys, and before them what a runtime asks for; of MAC addresses that of args, of runtimeConfig, of CNI_ARGS, as in the reference. */
function wishes(pod: Pod, conf: TuningConf): Wishes {
  const { sysctl, mac, ...asked } = argsOf(conf)
  const requested = mac ?? conf.runtimeConfig?.mac ?? pod.mac ?? conf.mac
  return { ...conf, ...asked, ...(requested && { mac: requested }), sysctl: { ...conf.sysctl, ...sysctl } }
}

/** args.cni, of which a schema says only what all plugins share. */
const argsOf = ({ args }: TuningConf): Wishes => Object.fromEntries(Object.keys(TUNED).flatMap((key) => (args?.cni && (args.cni as Wishes)[key as keyof Wishes] != null ? [[key, (args.cni as Wishes)[key as keyof Wishes]]] : [])))

interface Setting {
  /** As it is written in the configuration. */
  given: string
  /** Below /proc/sys. */
  key: string
  value: string
}

/** The sysctls that are asked for, from the configuration and args. */
export const sysctls = (pod: Pod, conf: TuningConf): Setting[] =>
  Object.entries(wishes(pod, conf).sysctl!).map(([given, value]) => ({ given, key: path(given).replace('IFNAME', () => pod.attachment.ifname), value }))

/** `net/ipv4/ip_forward` of `net.ipv4.ip_forward` too; whichever comes first separates, the other may be in a name. man 8 sysctl */
function path(key: string): string {
  const first = /[./]/.exec(key)?.[0]
  return first === '.' ? key.replace(/[./]/g, (char) => (char === '.' ? '/' : '.')) : key
}

/** Sentences about keys that cannot be; none if the plan can be made. */
function problems(pod: Pod, conf: TuningConf): string[] {
  const args = Object.entries(argsOf(conf)).flatMap(([key, value]) => (fits(TUNED[key as keyof Wishes], value) ? [] : [`args.cni.${key} is ${excerpt(value)}: expected ${TUNED[key as keyof Wishes].expected}`]))
  if (args.length > 0) return args
  const { mac, mtu, ...others } = settings(pod, conf)
  const set = Object.keys({ ...(mac && { mac }), ...(mtu && { mtu }), ...others })
  const list = sysctls(pod, conf)
  const first = new Map(list.map(({ given, key }) => [key, given] as const).reverse())
  const least = pod.ips.some(({ address }) => address.includes(':')) ? IPV6_MTU : 68 // RFC 791
  return [
    ...list.flatMap(({ given, key }) => (/^net(\/(?!\.\.?(\/|$))[^/\0]+)+$/.test(key) ? [] : [`sysctl ${excerpt(given)} is none of the network's: expected a key below net, such as "net.core.somaxconn"`])),
    ...list.flatMap(({ given, value }) => (/[\n\0]/.test(value) ? [`sysctl ${excerpt(given)} is ${excerpt(value)}: expected one line`] : [])),
    ...list.flatMap(({ given, key }) => (first.get(key) === given ? [] : [twice(first.get(key)!, given)])),
    ...(pod.absent && set.length > 0 ? [`${set.join(', ')} cannot be set: the pod's network namespace has no interface ${pod.attachment.ifname}`] : []),
    ...(mac && (parseInt(mac.slice(0, 2), 16) & 1) === 1 ? [`mac is "${mac}": expected the address of one interface, not of a group`] : []), // IEEE 802 §8.2
    ...(mac === '00:00:00:00:00:00' ? [`mac is "${mac}": expected an address`] : []),
    ...list.flatMap(({ given, key }) => {
      const lost = mtu !== undefined && mtu < IPV6_MTU && key.startsWith(`net/ipv6/conf/${pod.attachment.ifname}/`)
      return lost ? [`mtu is ${mtu} and sysctl has ${excerpt(given)}: an interface below ${IPV6_MTU} has no IPv6`] : []
    }),
    ...(mtu !== undefined && mtu < least ? [`mtu is ${mtu}: expected at least ${least}${least === IPV6_MTU ? ', because the pod has an IPv6 address' : ''}`] : []),
  ]
}

const twice = (one: string, other: string): string =>
  `sysctl has ${excerpt(one)} and ${excerpt(other)}, which are the same: duplicated sysctl keys are not allowed`

/** Whether a value is as the schema of a key of ours says. */
function fits({ type, format, minimum = -Infinity, maximum = Infinity, additionalProperties }: Schema, value: unknown): boolean {
  if (additionalProperties) return typeof value === 'object' && !Array.isArray(value) && Object.values(value!).every((inner) => fits(additionalProperties, inner))
  if (type === 'integer') return Number.isInteger(value) && (value as number) >= minimum && (value as number) <= maximum
  return typeof value === type && (format !== 'mac' || formats.mac(value as string))
}

/** The result with what the interface has now; the reference leaves an MTU as it was. */
function result(before: Result, pod: Pod, conf: TuningConf): Result {
  const { mac, mtu } = settings(pod, conf)
  const size = mtu !== undefined && { mtu }
  return {
    ...before,
    interfaces: before.interfaces.map((one) => {
      if (one.sandbox) return one.name === pod.attachment.ifname ? { ...one, ...(mac && { mac }), ...size } : one
      return one.name === pod.host ? { ...one, ...size } : one
    }),
  }
}
