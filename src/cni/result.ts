// Results, in every version of the specification. Inside podwire a result has the shape of 1.1.0; it is converted once
// on its way in (prevResult, an IPAM executable's answer) and once on its way out. CNI 1.1 §5 "Success"; the older
// shapes are in the specification's tags spec-v0.2.0, spec-v0.3.1 and spec-v0.4.0.

import { addressText, cidrText, parseAddress, parseCidr, type Family } from '../ip.ts'
import type { Dns } from './conf.ts'
import { CniError } from './error.ts'
import { excerpt } from './json.ts'
import { atLeast, VERSIONS, type CniVersion } from './version.ts'

export interface Interface {
  name: string
  mac?: string
  mtu?: number
  sandbox?: string
  socketPath?: string
  pciID?: string
}

export interface IP {
  /** CIDR, host bits kept. */
  address: string
  gateway?: string
  /** Index into interfaces; it may name none. */
  interface?: number
}

export interface ResultRoute {
  dst: string
  gw?: string
  mtu?: number
  advmss?: number
  priority?: number
  table?: number
  scope?: number
}

export interface Result {
  interfaces: Interface[]
  ips: IP[]
  routes: ResultRoute[]
  dns: Dns
}

/**
 * The addresses of a container's interface. One whose index names no interface is the container's, for whose would it be: that is
 * how the reference reads it. One of an interface outside of a sandbox is the node's, unless it has the name and nobody else does.
 */
export function addressesOf({ interfaces, ips }: Pick<Result, 'interfaces' | 'ips'>, ifname: string): IP[] {
  const named = interfaces.filter(({ name }) => name === ifname)
  const sandboxed = named.filter(({ sandbox }) => sandbox)
  const own = sandboxed.length > 0 ? sandboxed : named
  return ips.filter(({ interface: index }) => {
    const of = index === undefined ? undefined : interfaces[index]
    return of === undefined || own.includes(of)
  })
}

export const EMPTY: Result = { interfaces: [], ips: [], routes: [], dns: {} }

/** A result as text in the shape of a version. Error 7: 0.1.0 and 0.2.0 cannot say it. */
export function printResult(result: Result, version: CniVersion): string {
  const { interfaces, ips, routes } = result
  const dns = dnsOf(result.dns)
  const body = atLeast(version, '0.3.0')
    ? {
        ...(interfaces.length > 0 && { interfaces: atLeast(version, '1.0.0') ? interfaces : interfaces.map(({ name, mac, sandbox }) => compact({ name, mac, sandbox })) }),
        ...(ips.length > 0 && { ips: atLeast(version, '1.0.0') ? ips : ips.map((ip) => ({ version: String(familyOf(ip.address)), ...ip })) }),
        ...(routes.length > 0 && { routes }),
        ...((!atLeast(version, '1.0.0') || Object.keys(dns).length > 0) && { dns }),
      }
    : oldBody(result)
  return `${JSON.stringify({ cniVersion: version, ...body }, null, 4)}\n`
}

/** A result from outside, of its own version or else of `assumed`. Error 7 names what is wrong with it. */
export function parseResult(value: unknown, assumed: CniVersion, what: string): Result {
  if (!isObject(value)) throw wrong(what, value, 'a result object')
  const version = optional(value.cniVersion, `${what}.cniVersion`) ?? assumed
  if (!(VERSIONS as readonly unknown[]).includes(version)) throw wrong(`${what}.cniVersion`, version, `one of ${VERSIONS.join(', ')}`)
  if (!atLeast(version as CniVersion, '0.3.0')) return parseOld(value, what)
  return {
    interfaces: list(value.interfaces, `${what}.interfaces`).map((item, i) => parseInterface(item, `${what}.interfaces[${i}]`)),
    ips: list(value.ips, `${what}.ips`).map((item, i) => parseIP(item, `${what}.ips[${i}]`)),
    routes: list(value.routes, `${what}.routes`).map((item, i) => parseRoute(item, `${what}.routes[${i}]`)),
    dns: parseDns(value.dns, `${what}.dns`),
  }
}

function oldBody({ ips, routes, dns }: Result) {
  const half = (family: Family) => {
    const ip = ips.find(({ address }) => familyOf(address) === family)
    const own = routes.filter(({ dst }) => familyOf(dst) === family).map(({ dst, gw }) => compact({ dst, gw }))
    return ip && compact({ ip: ip.address, gateway: ip.gateway, ...(own.length > 0 && { routes: own }) })
  }
  const [ip4, ip6] = [half(4), half(6)]
  if (!ip4 && !ip6) throw new CniError(7, 'cannot convert: no valid IP addresses', 'a result of cniVersion 0.1.0 or 0.2.0 has at least one address: raise cniVersion')
  return { ...(ip4 && { ip4 }), ...(ip6 && { ip6 }), dns: dnsOf(dns) }
}

function parseOld(value: Record<string, unknown>, what: string): Result {
  const halves = (['ip4', 'ip6'] as const).filter((key) => value[key] !== undefined && value[key] !== null)
  const half = (key: string) => {
    const one = value[key]
    if (!isObject(one)) throw wrong(`${what}.${key}`, one, 'an object')
    return one
  }
  return {
    interfaces: [],
    ips: halves.map((key) => parseIP({ address: half(key).ip, gateway: half(key).gateway }, `${what}.${key}`)),
    routes: halves.flatMap((key) => list(half(key).routes, `${what}.${key}.routes`).map((item, i) => parseRoute(item, `${what}.${key}.routes[${i}]`))),
    dns: parseDns(value.dns, `${what}.dns`),
  }
}

function parseInterface(value: unknown, what: string): Interface {
  if (!isObject(value)) throw wrong(what, value, 'an object')
  const { name, mac, mtu, sandbox, socketPath, pciID } = value
  if (typeof name !== 'string') throw wrong(`${what}.name`, name, 'the name of an interface')
  return compact({ name, mac: optional(mac, `${what}.mac`), mtu: whole(mtu, `${what}.mtu`) || undefined, sandbox: optional(sandbox, `${what}.sandbox`), socketPath: optional(socketPath, `${what}.socketPath`), pciID: optional(pciID, `${what}.pciID`) })
}

function parseIP(value: unknown, what: string): IP {
  if (!isObject(value)) throw wrong(what, value, 'an object')
  const address = typeof value.address === 'string' ? parseCidr(value.address) : undefined
  if (!address) throw wrong(`${what}.address`, value.address, 'an address with prefix length such as "10.1.2.3/24"')
  return compact({ address: cidrText(address), gateway: gateway(value.gateway, `${what}.gateway`), interface: index(value.interface, `${what}.interface`) })
}

/** libcni before 0.6 says -1 where there is none. */
const index = (value: unknown, what: string): number | undefined => (Number.isInteger(value) && (value as number) < 0 ? undefined : whole(value, what))

/** A route of a result or of an IPAM configuration. */
export function parseRoute(value: unknown, what: string): ResultRoute {
  if (!isObject(value)) throw wrong(what, value, 'an object')
  const dst = typeof value.dst === 'string' ? parseCidr(value.dst) : undefined
  if (!dst) throw wrong(`${what}.dst`, value.dst, 'a destination in CIDR notation such as "0.0.0.0/0"')
  const number = (key: string) => whole(value[key], `${what}.${key}`)
  return compact({ dst: cidrText(dst), gw: gateway(value.gw, `${what}.gw`), mtu: number('mtu') || undefined, advmss: number('advmss') || undefined, priority: number('priority') || undefined, table: number('table'), scope: number('scope') })
}

function parseDns(value: unknown, what: string): Dns {
  if (value === undefined || value === null) return {}
  if (!isObject(value)) throw wrong(what, value, 'an object')
  const strings = (key: string) => (value[key] === undefined || value[key] === null ? undefined : list(value[key], `${what}.${key}`).map((item, i) => optional(item, `${what}.${key}[${i}]`) ?? ''))
  return dnsOf(compact({ nameservers: strings('nameservers'), domain: optional(value.domain, `${what}.domain`), search: strings('search'), options: strings('options') }))
}

/** Without what is empty, which Go omits. */
export const dnsOf = (dns: Dns = {}): Dns => Object.fromEntries(Object.entries(dns).filter(([, value]) => value?.length > 0))

function gateway(value: unknown, what: string): string | undefined {
  if (value === undefined || value === null || value === '') return undefined
  const address = typeof value === 'string' ? parseAddress(value) : undefined
  if (!address) throw wrong(what, value, 'an IP address')
  return addressText(address)
}

function optional(value: unknown, what: string): string | undefined {
  if (value === undefined || value === null || value === '') return undefined
  if (typeof value !== 'string') throw wrong(what, value, 'a string')
  return value
}

function whole(value: unknown, what: string): number | undefined {
  if (value === undefined || value === null) return undefined
  if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > 0xffffffff) throw wrong(what, value, 'a whole number from 0 to 4294967295')
  return value as number
}

function list(value: unknown, what: string): unknown[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) throw wrong(what, value, 'a list')
  return value
}

/** An object without its undefined values. */
export function compact<T extends Record<string, unknown>>(object: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as never
}

const familyOf = (cidr: string): Family => parseCidr(cidr)!.family
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)
const wrong = (what: string, value: unknown, expected: string): CniError => new CniError(7, `${what} is ${excerpt(value)}: expected ${expected}`)
