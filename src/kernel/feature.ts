// What an interface leaves to its hardware, by ethtool's netlink. <linux/ethtool_netlink.h>, man 8 ethtool

import type { Feature } from '../facts.ts'
import { differs, type Difference } from './difference.ts'
import { attributes, items, nest, type Out } from './attributes.ts'
import type { Request } from './netlink.ts'
import type { Netns } from './netns.ts'

const GENL_ID_CTRL = 0x10 // <linux/genetlink.h>
const CTRL_CMD_GETFAMILY = 3
const CTRL_ATTR_FAMILY_ID = 1
const CTRL_ATTR_FAMILY_NAME = 2

const ETHTOOL_MSG_FEATURES_GET = 11
const ETHTOOL_MSG_FEATURES_SET = 12
const ETHTOOL_A_FEATURES_HEADER = 1
const ETHTOOL_A_FEATURES_WANTED = 3
const ETHTOOL_A_FEATURES_ACTIVE = 4
const ETHTOOL_A_HEADER_DEV_NAME = 2
const ETHTOOL_A_BITSET_BITS = 3
const ETHTOOL_A_BITSET_BITS_BIT = 1
const ETHTOOL_A_BITSET_BIT_NAME = 2
const ETHTOOL_A_BITSET_BIT_VALUE = 3

export function set(netns: Netns, { dev, name, value }: Feature, what: string): void {
  netns.genl.change({
    ...message(netns, what, ETHTOOL_MSG_FEATURES_SET),
    attrs: (out) => {
      header(out, dev)
      nest(out, ETHTOOL_A_FEATURES_WANTED, (wanted) => nest(wanted, ETHTOOL_A_BITSET_BITS, (bits) => nest(bits, ETHTOOL_A_BITSET_BITS_BIT, (bit) => (bit.push(ETHTOOL_A_BITSET_BIT_NAME, cstring(name)), value === 'on' && bit.push(ETHTOOL_A_BITSET_BIT_VALUE, Buffer.alloc(0))))))
    },
  })
}

export function check(netns: Netns, { dev, name, value }: Feature): Difference | undefined {
  const there = active(netns, dev).has(name) ? 'on' : 'off'
  return there === value ? undefined : differs(`interface ${dev} has ${name} ${there}, not ${value}`)
}

/** The features of an interface that are on. */
function active(netns: Netns, dev: string): Set<string> {
  const answer = netns.genl.get({ ...message(netns, `ethtool -k ${dev}`, ETHTOOL_MSG_FEATURES_GET), attrs: (out) => header(out, dev) })
  const bitset = answer && attributes(answer.data.subarray(4)).get(ETHTOOL_A_FEATURES_ACTIVE)
  const bits = items(bitset && attributes(bitset).get(ETHTOOL_A_BITSET_BITS)).map(attributes)
  return new Set(bits.flatMap((bit) => bit.get(ETHTOOL_A_BITSET_BIT_NAME)?.toString('utf8').replace(/\0.*$/s, '') ?? []))
}

const message = (netns: Netns, what: string, command: number): Request => ({ what, type: family(netns), header: genlmsghdr(command) })

const header = (out: Out, dev: string): void => nest(out, ETHTOOL_A_FEATURES_HEADER, (inner) => inner.push(ETHTOOL_A_HEADER_DEV_NAME, cstring(dev)))

/** The number that the kernel gave to ethtool's family. */
function family(netns: Netns): number {
  const answer = netns.genl.get({ what: 'genl ctrl get name ethtool', type: GENL_ID_CTRL, header: genlmsghdr(CTRL_CMD_GETFAMILY), attrs: (out) => out.push(CTRL_ATTR_FAMILY_NAME, cstring('ethtool')) })
  return attributes(answer!.data.subarray(4)).get(CTRL_ATTR_FAMILY_ID)!.readUInt16LE(0)
}

/** struct genlmsghdr */
const genlmsghdr = (command: number): Buffer => Buffer.from([command, 1, 0, 0])
const cstring = (text: string): Buffer => Buffer.from(`${text}\0`)
