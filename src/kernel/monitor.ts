// What the kernel tells unasked: changes of links, addresses, neighbours, routes, forwarding and nf_tables, by multicast.
// The sockets are read when SIGIO says that something is there: libuv, which knows no netlink, would need a thread that
// blocks for each. What was missed because it came too fast (ENOBUFS) is told, too: then everything has to be read again.
// man 7 netlink

import { closeSync } from 'node:fs'
import { parseMessage, type NetlinkMessage } from 'netlink/dist/structs.js'
import * as addr from './addr.ts'
import { isErrno } from './errno.ts'
import * as libc from './libc.ts'
import * as link from './link.ts'
import * as neigh from './neigh.ts'
import { attributes } from './attributes.ts'
import { NETLINK_NETFILTER, NETLINK_ROUTE } from './netlink.ts'
import { aboutTable } from './nft-message.ts'
import * as route from './route.ts'

/** One change; `gone` if the thing was deleted. */
export type News =
  | { about: 'link'; gone: boolean; name: string; index: number; up: boolean; mtu: number }
  | { about: 'addr'; gone: boolean; ifindex: number; address: string }
  | { about: 'neigh'; gone: boolean; message: NetlinkMessage }
  | { about: 'route'; gone: boolean; message: NetlinkMessage }
  /** `name` of the set or chain in podwire's table; undefined for the table itself. `element`: one was added. */
  | { about: 'nft'; name: string | undefined; element: boolean }
  /** Whether what comes in is forwarded, by one interface, or by all (NETCONFA_IFINDEX_ALL, _DEFAULT: below 0). */
  | { about: 'forwarding'; ifindex: number }
  /** A qdisc or filter of an interface. */
  | { about: 'qdisc'; ifindex: number }
  | { about: 'everything' }
  /** The last news of a monitor, which has closed itself. */
  | { about: 'silence'; why: string }

// <linux/rtnetlink.h>, <linux/netfilter/nfnetlink.h>; bit n-1 is group n
const RTMGRP_LINK = 0x1
const RTMGRP_NEIGH = 0x4
const RTMGRP_TC = 0x8
const RTMGRP_IPV4_IFADDR = 0x10
const RTMGRP_IPV4_ROUTE = 0x40
const RTMGRP_IPV6_IFADDR = 0x100
const RTMGRP_IPV6_ROUTE = 0x400
const IPV4_NETCONF = 1 << 23
const IPV6_NETCONF = 1 << 24
const NFTABLES = 1 << 6
const RTM_NEWQDISC = 36
const RTM_DELQDISC = 37
const RTM_NEWTFILTER = 44
const RTM_DELTFILTER = 45
const RTM_NEWNETCONF = 80
const NETCONFA_IFINDEX = 1 // <linux/netconf.h>

const SOL_SOCKET = 1
const SO_RCVBUFFORCE = 33 // CAP_NET_ADMIN in the first user namespace; else the socket stays as it is
const RECEIVE_BUFFER = 8 * 1024 * 1024 // bytes

export class Monitor {
  readonly #sockets: number[] = []
  readonly #buffer = Buffer.allocUnsafeSlow(64 * 1024)
  readonly #hear: (news: News) => void
  readonly #read = () => this.read()

  /** Listens in the network namespace of this thread. */
  constructor(hear: (news: News) => void) {
    this.#hear = hear
    heedSignals()
    try {
      this.#sockets.push(open(NETLINK_ROUTE, RTMGRP_LINK | RTMGRP_NEIGH | RTMGRP_TC | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE | IPV4_NETCONF | IPV6_NETCONF))
      this.#sockets.push(open(NETLINK_NETFILTER, NFTABLES))
    } catch (error) {
      this.close()
      throw error
    }
    process.on('SIGIO', this.#read)
  }

  /** Hears what is there by now. If that cannot be read nothing more will be heard, which is told. */
  read(): void {
    try {
      for (const [index, fd] of this.#sockets.entries()) for (let length = this.#datagram(fd); length > 0; length = this.#datagram(fd)) this.#handle(this.#buffer.subarray(0, length), index === 1)
    } catch (error) {
      this.close()
      this.#hear({ about: 'silence', why: (error as Error).message })
    }
  }

  /** Once: a second time the numbers are somebody else's. */
  close(): void {
    process.off('SIGIO', this.#read)
    for (const fd of this.#sockets.splice(0)) closeSync(fd)
  }

  #handle(datagram: Buffer, firewall: boolean): void {
    for (let rest = datagram; rest.length >= 16; ) {
      const { x: message, consumed } = parseMessage(rest)
      const news = firewall ? aboutFirewall(message) : aboutRoute(message)
      if (news) this.#hear(news)
      rest = rest.subarray((consumed + 3) & ~3)
    }
  }

  #datagram(fd: number): number {
    try {
      return libc.recv(fd, this.#buffer, libc.MSG_DONTWAIT)
    } catch (error) {
      if (isErrno(error, 'EAGAIN')) return 0
      if (!isErrno(error, 'ENOBUFS')) throw error
      this.#hear({ about: 'everything' })
      return this.#datagram(fd)
    }
  }
}

let heeded = false

/**
 * From the first monitor on SIGIO has a handler until the process ends: without one it would end it, and one more may be on
 * its way when the last monitor is closed. man 7 signal
 */
function heedSignals(): void {
  if (!heeded) process.on('SIGIO', () => {})
  heeded = true
}

const open = (protocol: number, groups: number): number =>
  libc.prepared(libc.netlinkSocket(protocol), (fd) => {
    try {
      libc.setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    } catch (error) {
      if (!isErrno(error, 'EPERM')) throw error
    }
    libc.subscribe(fd, groups)
    libc.signalReadable(fd)
  })

function aboutRoute(message: NetlinkMessage): News | undefined {
  switch (message.type) {
    case link.RTM_NEWLINK:
    case link.RTM_DELLINK: {
      const { name, index, up, mtu } = link.parse(message)
      return { about: 'link', gone: message.type === link.RTM_DELLINK, name, index, up, mtu }
    }
    case addr.RTM_NEWADDR:
    case addr.RTM_DELADDR:
      return { about: 'addr', gone: message.type === addr.RTM_DELADDR, ...addr.parse(message) }
    case neigh.RTM_NEWNEIGH:
    case neigh.RTM_DELNEIGH:
      return { about: 'neigh', gone: message.type === neigh.RTM_DELNEIGH, message }
    case route.RTM_NEWROUTE:
    case route.RTM_DELROUTE:
      return { about: 'route', gone: message.type === route.RTM_DELROUTE, message }
    case RTM_NEWNETCONF: // struct netconfmsg is one byte, padded
      return { about: 'forwarding', ifindex: attributes(message.data.subarray(4)).get(NETCONFA_IFINDEX)?.readInt32LE(0) ?? -1 }
    case RTM_NEWQDISC:
    case RTM_DELQDISC:
    case RTM_NEWTFILTER:
    case RTM_DELTFILTER:
      return { about: 'qdisc', ifindex: message.data.readInt32LE(4) } // struct tcmsg
    default:
      return undefined
  }
}

function aboutFirewall(message: NetlinkMessage): News | undefined {
  const about = aboutTable(message.type, attributes(message.data.subarray(4)))
  return about && { about: 'nft', ...about }
}
