// What an operator can say about an overlay, as options.

import { CniError } from '../cni/error.ts'
import { parseAddress, parseCidr } from '../ip.ts'
import type { Wishes } from '../vxlan/view.ts'
import { Usage } from './args.ts'

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

/** Errors: 4, that names option and value; Usage. */
export function wishesOf(values: Values): Wishes {
  const needless = values['no-masquerade'] && values['non-masquerade-cidrs'] !== ''
  if (needless) throw new Usage('--non-masquerade-cidrs has no meaning with --no-masquerade')
  return {
    vni: number('vni', values.vni, 1, 0xffffff), // RFC 7348 §5: 24 bits
    port: number('port', values.port, 1, 65535),
    underlay: values.underlay === undefined ? undefined : place(values.underlay),
    mtu: values.mtu === undefined ? undefined : number('mtu', values.mtu, 68, 65535),
    directRouting: values['direct-routing'],
    masquerade: !values['no-masquerade'],
    nonMasqueradeCIDRs: networks('non-masquerade-cidrs', values['non-masquerade-cidrs']),
    clusterCIDRs: networks('cluster-cidr', values['cluster-cidr']),
    checksumOffload: values['checksum-offload'] === undefined ? undefined : onOff('checksum-offload', values['checksum-offload']),
  }
}

function onOff(name: string, text: string): boolean {
  if (text !== 'on' && text !== 'off') throw new CniError(4, `--${name} ${text}: expected on or off`)
  return text === 'on'
}

export function number(name: string, text: string, least: number, most: number): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < least || value > most) throw new CniError(4, `--${name} ${text}: expected a number from ${least} to ${most}`)
  return value
}

/** What may be the name of an interface (IFNAMSIZ, <linux/if.h>), an address or a network. */
function place(text: string): string {
  if (parseAddress(text) || parseCidr(text) || /^[^\s/]{1,15}$/.test(text)) return text
  throw new CniError(4, `--underlay ${text}: expected an interface, a network or an address`)
}

/** A list, separated by commas; an address is a network of one. */
const networks = (name: string, list: string): string[] =>
  (list === '' ? [] : list.split(',')).map((one) => {
    const text = one.trim()
    const cidr = parseCidr(text) ?? (parseAddress(text) ? parseCidr(`${text}/${text.includes(':') ? 128 : 32}`) : undefined)
    if (text === '') throw new CniError(4, `--${name}: one of the networks is empty`)
    if (!cidr) throw new CniError(4, `--${name}: ${text} is no network in CIDR notation`)
    return text.includes('/') ? text : `${text}/${text.includes(':') ? 128 : 32}`
  })
