// What an operator can say about an overlay, as options.

import { CniError } from '../cni/error.ts'
import { parseAddress, parseCidr } from '../ip.ts'
import type { Wishes } from '../vxlan/view.ts'

export const WISHES = {
  vni: { type: 'string', default: '1' },
  port: { type: 'string', default: '8472' },
  underlay: { type: 'string' },
  mtu: { type: 'string' },
  'direct-routing': { type: 'boolean', default: false },
  'no-masquerade': { type: 'boolean', default: false },
  'non-masquerade-cidrs': { type: 'string', default: '' },
  'cluster-cidr': { type: 'string', default: '' },
  'checksum-offload': { type: 'string' },
} as const

interface Values {
  vni: string
  port: string
  underlay?: string | undefined
  mtu?: string | undefined
  'direct-routing': boolean
  'no-masquerade': boolean
  'non-masquerade-cidrs': string
  'cluster-cidr': string
  'checksum-offload'?: string | undefined
}

/** Error 4 that names option and value. */
export const wishesOf = (values: Values): Wishes => ({
  vni: number('vni', values.vni, 1, 0xffffff), // RFC 7348 §5: 24 bits
  port: number('port', values.port, 1, 65535),
  underlay: values.underlay,
  mtu: values.mtu === undefined ? undefined : number('mtu', values.mtu, 68, 65535),
  directRouting: values['direct-routing'],
  masquerade: !values['no-masquerade'],
  nonMasqueradeCIDRs: networks('non-masquerade-cidrs', values['non-masquerade-cidrs']),
  clusterCIDRs: networks('cluster-cidr', values['cluster-cidr']),
  checksumOffload: values['checksum-offload'] === undefined ? undefined : onOff('checksum-offload', values['checksum-offload']),
})

function onOff(name: string, text: string): boolean {
  if (text !== 'on' && text !== 'off') throw new CniError(4, `--${name} ${text}: expected on or off`)
  return text === 'on'
}

export function number(name: string, text: string, least: number, most: number): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < least || value > most) throw new CniError(4, `--${name} ${text}: expected a number from ${least} to ${most}`)
  return value
}

/** A list, separated by commas; an address is a network of one. */
const networks = (name: string, list: string): string[] =>
  list.split(',').map((text) => text.trim()).filter(Boolean).map((text) => {
    const cidr = parseCidr(text) ?? (parseAddress(text) ? parseCidr(`${text}/${text.includes(':') ? 128 : 32}`) : undefined)
    if (!cidr) throw new CniError(4, `--${name}: ${text} is no network in CIDR notation`)
    return text.includes('/') ? text : `${text}/${text.includes(':') ? 128 : 32}`
  })
