// host-local: addresses from ranges of this node, leased in a directory. Serves ptp and bridge in process and other
// plugins as an executable. https://www.cni.dev/plugins/current/ipam/host-local/

import { join } from 'node:path'
import type { Dns } from '../cni/conf.ts'
import { CniError } from '../cni/error.ts'
import { compact, type IP } from '../cni/result.ts'
import { atLeast } from '../cni/version.ts'
import { textOf } from '../file.ts'
import { addressText, cidrText, parseAddress, parseCidr, type Address } from '../ip.ts'
import type { Attachment } from '../names.ts'
import type { Finding } from '../state.ts'
import { ipamRoutes, type ConfWithIpam } from './conf.ts'
import { candidates, capacity, conflicts, isGateway, parseRange, rangeFor, RangeProblem, rangeText, type RangeConf, type RangeSet } from './ranges.ts'
import type { GcRequest, Ipam } from './ipam.ts'
import { nameOf, type Holder } from './lease.ts'
import { isPresent, locked, peek, ready, type Lease, type Store } from './store.ts'

const DATA_DIR = '/var/lib/cni/networks'

export const directory = ({ name, ipam }: ConfWithIpam): string => directoryOf(name, ipam.dataDir)
export const directoryOf = (network: string, dataDir?: string): string => join(dataDir || DATA_DIR, network)

/** The range sets of a configuration in their order. Error 7 names every problem. */
export function rangeSets(conf: ConfWithIpam): RangeSet[] {
  const { ipam } = conf
  const runtime = (conf.runtimeConfig?.ipRanges ?? []) as RangeConf[][]
  const configured: { path: string; ranges: [string, RangeConf][] }[] = [
    ...runtime.map((set, i) => ({ path: `runtimeConfig.ipRanges[${i}]`, ranges: paths(set, `runtimeConfig.ipRanges[${i}]`) })),
    ...(ipam.subnet ? [{ path: 'ipam', ranges: [['ipam', ipam] as [string, RangeConf]] }] : []),
    ...(ipam.ranges ?? []).map((set, i) => ({ path: `ipam.ranges[${i}]`, ranges: paths(set, `ipam.ranges[${i}]`) })),
  ]
  if (configured.length === 0) throw new CniError(7, 'no IP ranges specified: expected ipam.ranges, such as [[{"subnet": "10.1.2.0/24"}]]')
  const problems: string[] = []
  const sets = configured.map(({ path, ranges }) => ({ path, set: ranges.flatMap(([at, range]) => collect(problems, () => parseRange(range, at))) }))
  if (problems.length === 0) problems.push(...conflicts(sets))
  if (problems.length === 0 && !atLeast(conf.cniVersion, '0.3.0'))
    for (const family of [4, 6]) if (sets.filter(({ set }) => set[0]!.subnet.family === family).length > 1) problems.push(`CNI version ${conf.cniVersion} does not support more than 1 address per family`)
  if (problems.length > 0) throw new CniError(7, problems.join('; '))
  return sets.map(({ set }) => set)
}

export const hostLocal: Ipam = {
  add({ conf, attachment, args }) {
    const sets = rangeSets(conf)
    const wanted = requested(conf, args.ip)
    const rest = { interfaces: [], routes: ipamRoutes(conf), dns: dns(conf) } // what can fail comes before the lease
    return { ...rest, ips: locked(directory(conf), (store) => lease(store, sets, wanted, attachment)) }
  },

  preview({ conf, args }) {
    const store = peek(directory(conf))
    return { interfaces: [], ips: choose(store, rangeSets(conf), requested(conf, args.ip)), routes: ipamRoutes(conf), dns: dns(conf) }
  },

  del({ conf, attachment, held }) {
    // Without a directory there is nothing to release. The ranges may have become anything since ADD.
    if (!isPresent(directory(conf))) return
    locked(directory(conf), (store) => {
      const known = store.exactly(attachment, held ?? leased(conf))
      if (known) return store.surrender(attachment, known)
      give(store, held ? held.filter((address) => store.isOf(address, attachment)) : store.of(attachment, leased(conf)))
    })
  },

  check({ conf, attachment }) {
    const { held, lost } = holdings(peek(directory(conf)), conf, attachment)
    if (held.length === 0) return [finding(`host-local: Failed to find address added by container ${attachment.containerID}`)]
    return lost.map((text) => finding(`host-local: ${text} is not leased to container ${attachment.containerID} (${attachment.ifname}) in ${directory(conf)}`))
  },

  restore({ conf, attachment }) {
    if (holdings(peek(directory(conf)), conf, attachment).lost.length === 0) return []
    return locked(directory(conf), (store) => {
      const { held, lost } = holdings(store, conf, attachment)
      const taken = lost.filter((text) => store.has(text))
      const free = lost.filter((text) => !taken.includes(text))
      if (free.length > 0) {
        store.release(held)
        store.forget(attachment)
        store.reserve([...held, ...free], attachment)
      }
      return taken.map((text) => finding(`host-local: ${text} is leased to another by now: ${holderText(store.lease(text))}`))
    })
  },

  gc(request) {
    if (!isPresent(directory(request.conf))) return
    locked(directory(request.conf), (store) => give(store, staleIn(store, request).map(({ address }) => address)))
  },

  stale: (request) => staleIn(peek(directory(request.conf)), request),

  status({ conf }) {
    const store = ready(directory(conf))
    rangeSets(conf).forEach((set, index) => next(store, set, index))
  },

  addresses({ conf, attachment }) {
    const store = peek(directory(conf))
    return store.exactly(attachment, leased(conf)) ?? store.of(attachment, leased(conf))
  },

  holders: ({ conf }) => peek(directory(conf)).leases().filter(isHeld),

  occupied: ({ conf }) => peek(directory(conf)).held.size > 0,
}

/** Frees addresses, and names of ours that are left of others. */
function give(store: Store, addresses: string[]): void {
  try {
    store.release(addresses)
  } finally {
    store.tidy()
  }
}

/** Whether a file says who holds the address; one of the reference's first days names no interface. */
const isHeld = (lease: Lease): lease is Lease & Holder => lease.containerID !== undefined

function staleIn(store: Store, request: GcRequest): Lease[] {
  const isStale = staleness(store, request)
  return store.leases().filter((lease) => isStale(lease) || store.isLeft(lease))
}

/** Which leases nobody needs. Without a list of who lives, those of podwire's that are a minute old or older and provably dead. */
function staleness(store: Store, { conf, valid, dead }: GcRequest): (lease: Lease) => boolean {
  if (valid) return absent(store, valid)
  if (!dead) return () => false
  return ({ address, containerID, ifname }) => {
    if (containerID === undefined || !ifname || store.card(address) === undefined || store.age(address) <= 60) return false
    return dead({ network: conf.name, containerID, ifname })
  }
}

/** Of whom nobody lives. A lease without an interface is of any of the container's; if it is ours, its name says whose it is. */
function absent(store: Store, valid: Holder[]): (lease: Lease) => boolean {
  const living = new Set(valid.map(({ containerID, ifname }) => `${containerID}/${ifname}`))
  const containers = new Set(valid.map(({ containerID }) => containerID))
  let cards: Set<string> | undefined // hashes, which are seldom needed
  return ({ address, containerID, ifname }) => {
    if (ifname) return !living.has(`${containerID}/${ifname}`)
    const card = store.card(address)
    if (card !== undefined) return !(cards ??= new Set(valid.map((one) => nameOf(one)))).has(card)
    return containerID !== undefined && !containers.has(containerID)
  }
}

/** Of the addresses that an attachment was told to have: all that it holds, and those of our ranges that it does not. */
function holdings(store: Store, conf: ConfWithIpam, attachment: Attachment): { held: string[]; lost: string[] } {
  const held = store.exactly(attachment, leased(conf)) ?? store.of(attachment, leased(conf))
  const sets = rangeSets(conf)
  const ours = leased(conf).filter((text) => sets.some((set) => rangeFor(set, parseAddress(text)!)))
  return { held, lost: ours.filter((text) => !held.includes(text)) }
}

/** Leases one address from each set, all or none. */
function lease(store: Store, sets: RangeSet[], wanted: Address[], attachment: Attachment): IP[] {
  if (store.knows(attachment)) {
    const already = store.indexed(attachment)
    if (already.length > 0) throw new CniError(104, `${already.join(', ')} has been allocated to ${attachment.containerID}, duplicate allocation is not allowed`, 'send DEL for this container and interface first')
    store.forget(attachment)
  }
  const ips = choose(store, sets, wanted)
  const texts = ips.map(({ address }) => addressText(parseCidr(address)!))
  store.release(texts.filter((text) => store.has(text))) // chosen although held: torn
  texts.forEach((text, i) => store.setLastReserved(i, text)) // before the leases, because nothing may fail behind them
  store.reserve(texts, attachment)
  return ips
}

/**
 * An address from each set that is free now: a requested one where one belongs to the set, else the next. What a crash
 * left of a lease is free where nothing else is, or where that very address is requested: to find out takes reading.
 */
function choose(store: Store, sets: RangeSet[], wanted: Address[]): IP[] {
  const left = [...wanted]
  const ips = sets.map((set, index) => {
    const i = left.findIndex((address) => rangeFor(set, address))
    return i < 0 ? next(store, set, index) : specific(store, set, left.splice(i, 1)[0]!)
  })
  if (left.length > 0) throw new CniError(105, `failed to allocate all requested IPs: ${left.map(addressText).join(', ')}`, `they are outside ${sets.map(setText).join('; ')}`)
  return ips
}

function next(store: Store, set: RangeSet, index: number): IP {
  const last = parseAddress(store.lastReserved(index))
  const find = (is: (text: string) => boolean) => candidates(set, last).find(({ address }) => is(addressText(address)))
  let found = find((text) => !store.has(text))
  if (!found) {
    const torn = new Set(store.torn())
    found = torn.size > 0 ? find((text) => torn.has(text)) : undefined
  }
  if (!found) throw exhausted(set, store.held, index)
  return { address: cidrText(found.address), gateway: addressText(found.range.gateway) }
}

function specific(store: Store, set: RangeSet, address: Address): IP {
  const range = rangeFor(set, address)!
  const text = addressText(address)
  if (isGateway(range, address)) throw new CniError(105, `requested ip ${text} is subnet's gateway`)
  const held = store.has(text) ? store.lease(text) : undefined
  if (held && !store.isLeft(held)) throw new CniError(105, `requested IP address ${text} is not available in range set ${setText(set)}`, holderText(held))
  return { address: `${text}/${range.subnet.prefix}`, gateway: addressText(range.gateway) }
}

const holderText = (held: Lease): string =>
  isHeld(held) ? `it is held by container ${held.containerID} (${held.ifname || 'any interface'})` : 'what has its name among the leases says of no container that it holds it'

/** The reference's sentence first, for which users search; then the figures. */
function exhausted(set: RangeSet, held: Set<string>, index: number): CniError {
  return new CniError(50, `failed to allocate for range ${index}: no IP addresses available in range set: ${setText(set)}`, `${heldIn(set, held)} of ${capacity(set)} addresses are held; podwire gc frees those of dead pods`)
}

function heldIn(set: RangeSet, held: Set<string>): number {
  return [...held].filter((text) => {
    const address = parseAddress(text)
    const range = address && rangeFor(set, address)
    return range && !isGateway(range, address)
  }).length
}

const leased = (conf: ConfWithIpam): string[] => (conf.prevResult?.ips ?? []).map(({ address }) => addressText(parseCidr(address)!))
const dns = ({ ipam }: ConfWithIpam): Dns => (ipam.resolvConf ? readResolvConf(ipam.resolvConf) : {})
const setText = (set: RangeSet): string => set.map(rangeText).join(',')
const paths = (set: RangeConf[], path: string): [string, RangeConf][] => set.map((range, i) => [`${path}[${i}]`, range])
const finding = (sentence: string): Finding => ({ sentence, repair: '' })

/** Requested addresses: the runtime's over the configuration's over CNI_ARGS (CONVENTIONS.md: who knows `args` ignores CNI_ARGS). */
function requested(conf: ConfWithIpam, envIp: string | undefined): Address[] {
  const from = conf.runtimeConfig?.ips?.length ? conf.runtimeConfig.ips : conf.args?.cni?.ips?.length ? conf.args.cni.ips : (envIp?.split(',') ?? [])
  const texts = new Set(from.map((text) => addressText(parseAddress(text.split('/')[0]!)!))) // `podman network reload` names each twice
  return [...texts].map((text) => parseAddress(text)!)
}

function collect<T>(problems: string[], make: () => T): T[] {
  try {
    return [make()]
  } catch (error) {
    if (!(error instanceof RangeProblem)) throw error
    problems.push(error.message)
    return []
  }
}

/** man 5 resolv.conf */
export function readResolvConf(path: string): Dns {
  const text = resolvConf(path)
  const lines = text.split('\n').map((line) => line.replace(/[#;].*/, '').trim().split(/\s+/))
  const all = (keyword: string) => lines.filter(([first, ...rest]) => first === keyword && rest.length > 0).map(([, ...rest]) => rest)
  const nameservers = all('nameserver').map(([server]) => server!)
  const [domain, search, options] = [all('domain').at(-1)?.[0], all('search').at(-1), all('options').flat()]
  return compact({ nameservers: nameservers.length ? nameservers : undefined, domain, search, options: options.length ? options : undefined }) as Dns
}

function resolvConf(path: string): string {
  const problem = (why: string) => new CniError(7, `ipam.resolvConf is ${JSON.stringify(path)}: ${why}`)
  try {
    const text = textOf(path, LARGEST, true)
    if (text !== undefined) return text
  } catch (error) {
    throw problem((error as Error).message)
  }
  throw problem('there is no such file')
}

const LARGEST = 1024 * 1024 // bytes; libc reads three name servers and a few hundred characters more
