// static: addresses from the configuration, no state. https://www.cni.dev/plugins/current/ipam/static/

import { CniError } from '../cni/error.ts'
import type { CniArgs } from '../cni/request.ts'
import { dnsOf, type IP, type Result } from '../cni/result.ts'
import { atLeast } from '../cni/version.ts'
import { addressText, cidrText, contains, parseAddress, parseCidr } from '../ip.ts'
import { ipamRoutes, type ConfWithIpam } from './conf.ts'
import type { Ipam, IpamRequest } from './ipam.ts'

/**
 * The addresses: the runtime's or the configuration's `ips` replace `addresses`; those of CNI_ARGS IP are appended, with
 * the one of CNI_ARGS GATEWAY that is in their subnet.
 */
export function staticAddresses(conf: ConfWithIpam, args: CniArgs): IP[] {
  const ips = conf.runtimeConfig?.ips?.length ? conf.runtimeConfig.ips : conf.args?.cni?.ips
  if (ips?.length) return ips.map((text, i) => ip(text, undefined, `${conf.runtimeConfig?.ips?.length ? 'runtimeConfig' : 'args.cni'}.ips[${i}]`))
  const configured = (conf.ipam.addresses ?? []).map(({ address, gateway }, i) => ip(address, gateway, `ipam.addresses[${i}].address`))
  const gateways = (args.gateway?.split(',') ?? []).map((text) => parseAddress(text)!)
  const fromArgs = (args.ip?.split(',') ?? []).map((text) => {
    const { address } = ip(text, undefined, 'CNI_ARGS IP')
    const gateway = gateways.find((one) => contains(parseCidr(address)!, one))
    return { address, ...(gateway && { gateway: addressText(gateway) }) }
  })
  return [...configured, ...fromArgs]
}

export const staticIpam: Ipam = {
  add: result,

  preview: result,

  del() {},

  check({ conf, args }) {
    const there = conf.prevResult?.ips ?? []
    return staticAddresses(conf, args)
      .filter(({ address, gateway }) => !there.some((ip) => ip.address === address && (gateway === undefined || ip.gateway === gateway)))
      .map((ip) => ({ sentence: `static: ${inWords(ip)} is not among the addresses of prevResult (${there.map(inWords).join(', ') || 'none'})`, repair: '' }))
  },

  gc() {},

  status() {},
}

function result({ conf, args }: IpamRequest): Result {
  const ips = staticAddresses(conf, args)
  if (ips.length === 0) throw new CniError(7, 'ipam.addresses is missing: expected a list of addresses such as [{"address": "10.1.2.3/24"}]')
  if (!atLeast(conf.cniVersion, '0.3.0') && [4, 6].some((family) => ips.filter(({ address }) => parseCidr(address)!.family === family).length > 1))
    throw new CniError(7, `CNI version ${conf.cniVersion} does not support more than 1 address per family`)
  return { interfaces: [], ips, routes: ipamRoutes(conf), dns: dnsOf(conf.ipam.dns) }
}

const inWords = ({ address, gateway }: IP): string => (gateway ? `${address} with gateway ${gateway}` : address)

function ip(text: string, gateway: string | undefined, what: string): IP {
  const address = parseCidr(text)
  if (!address) throw new CniError(what.startsWith('CNI_ARGS') ? 4 : 7, `${what} is ${JSON.stringify(text)}: expected an address with prefix length such as "10.1.2.3/24"`)
  return { address: cidrText(address), ...(gateway && { gateway: addressText(parseAddress(gateway)!) }) }
}
