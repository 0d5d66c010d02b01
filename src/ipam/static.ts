// static: addresses from the configuration, no state. https://www.cni.dev/plugins/current/ipam/static/

import { CniError } from '../cni/error.ts'
import type { CniArgs } from '../cni/request.ts'
import type { IP, Result } from '../cni/result.ts'
import { addressText, cidrText, parseAddress, parseCidr } from '../ip.ts'
import type { ConfWithIpam } from './conf.ts'
import type { Ipam, IpamRequest } from './ipam.ts'

/** The addresses: the runtime's or the configuration's `ips` replace `addresses`; CNI_ARGS IP and GATEWAY are appended. */
export function staticAddresses(conf: ConfWithIpam, args: CniArgs): IP[] {
  const ips = conf.runtimeConfig?.ips?.length ? conf.runtimeConfig.ips : conf.args?.cni?.ips
  if (ips?.length) return ips.map((text, i) => ip(text, undefined, `${conf.runtimeConfig?.ips?.length ? 'runtimeConfig' : 'args.cni'}.ips[${i}]`))
  const configured = (conf.ipam.addresses ?? []).map(({ address, gateway }, i) => ip(address, gateway, `ipam.addresses[${i}].address`))
  const gateways = args.gateway?.split(',') ?? []
  const fromArgs = (args.ip?.split(',') ?? []).map((text) => ip(text, gateways.find((gateway) => gateway.includes(':') === text.includes(':')), 'CNI_ARGS IP'))
  return [...configured, ...fromArgs]
}

export const staticIpam: Ipam = {
  add: result,

  preview: result,

  del() {},

  check({ conf, args }) {
    const there = (conf.prevResult?.ips ?? []).map(({ address }) => address)
    return staticAddresses(conf, args)
      .filter(({ address }) => !there.includes(address))
      .map(({ address }) => ({ sentence: `static: ${address} is not among the addresses of prevResult (${there.join(', ') || 'none'})`, repair: '' }))
  },

  gc() {},

  status() {},
}

function result({ conf, args }: IpamRequest): Result {
  const ips = staticAddresses(conf, args)
  if (ips.length === 0) throw new CniError(7, 'ipam.addresses is missing: expected a list of addresses such as [{"address": "10.1.2.3/24"}]')
  return { interfaces: [], ips, routes: conf.ipam.routes ?? [], dns: conf.ipam.dns ?? {} }
}

function ip(text: string, gateway: string | undefined, what: string): IP {
  const address = parseCidr(text)
  if (!address) throw new CniError(what.startsWith('CNI_ARGS') ? 4 : 7, `${what} is ${JSON.stringify(text)}: expected an address with prefix length such as "10.1.2.3/24"`)
  const via = gateway ? parseAddress(gateway) : undefined
  if (gateway && !via) throw new CniError(4, `CNI_ARGS GATEWAY is ${JSON.stringify(gateway)}: expected an IP address`)
  return { address: cidrText(address), ...(via && { gateway: addressText(via) }) }
}
