// Tells everybody on a link who has an address from now on, so that what they remember of a former holder is replaced at
// once: a gratuitous ARP request, an unsolicited neighbour advertisement. The kernel's own (arp_notify) goes out when the
// link comes up, before anything is there to carry it. RFC 826, RFC 5227 §3, RFC 4861 §7.2.6

import { closeSync } from 'node:fs'
import { addressBytes, parseCidr } from '../ip.ts'
import type { Announcement } from '../facts.ts'
import { packetSocket, sendTo } from './libc.ts'
import * as link from './link.ts'
import type { Netns } from './netns.ts'

const ETH_P_ARP = 0x0806 // <linux/if_ether.h>
const ETH_P_IPV6 = 0x86dd
const BROADCAST = Buffer.alloc(6, 0xff)
const ALL_NODES = Buffer.from('333300000001', 'hex') // ff02::1, RFC 2464 §7

export function send(netns: Netns, { dev, address, mac }: Announcement): void {
  const cidr = parseCidr(address)!
  const index = link.index(netns, dev)
  const socket = netns.inside(packetSocket)
  try {
    const sender = link.macBytes(mac)
    if (cidr.family === 4) sendTo(socket, index, Buffer.concat([BROADCAST, sender, be16(ETH_P_ARP), arp(sender, addressBytes(cidr))]))
    else sendTo(socket, index, Buffer.concat([ALL_NODES, sender, be16(ETH_P_IPV6), advertisement(sender, addressBytes(cidr))]))
  } finally {
    closeSync(socket)
  }
}

/** Ethernet, IPv4, request; the address is both asked for and asking. */
const arp = (mac: Buffer, address: Buffer): Buffer => Buffer.concat([Buffer.from('0001080006040001', 'hex'), mac, address, Buffer.alloc(6), address])

/** An IPv6 packet to all nodes: type 136, flag Override, option 2 (target link-layer address). */
function advertisement(mac: Buffer, address: Buffer): Buffer {
  const to = Buffer.from('ff020000000000000000000000000001', 'hex')
  const body = Buffer.concat([Buffer.from('8800000020000000', 'hex'), address, Buffer.from([2, 1]), mac])
  body.writeUInt16BE(checksum(Buffer.concat([address, to, Buffer.from([0, 0, 0, body.length, 0, 0, 0, 58]), body])), 2)
  return Buffer.concat([Buffer.from([0x60, 0, 0, 0, 0, body.length, 58, 255]), address, to, body])
}

/** RFC 1071 */
function checksum(bytes: Buffer): number {
  let sum = 0
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}

const be16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff])
