// Waits until the kernel has changed a link, an IPv6 address or an IPv6 route, in one of several namespaces: much of what it
// does about these comes after its answer to the request. It tells by multicast. man 7 netlink

import { closeSync } from 'node:fs'
import { isErrno } from './errno.ts'
import * as libc from './libc.ts'
import { NETLINK_ROUTE } from './netlink.ts'
import type { Netns } from './netns.ts'
import { Patience } from './patience.ts'

const RTMGRP_LINK = 0x1 // <linux/rtnetlink.h>
const RTMGRP_IPV6_IFADDR = 0x100
const RTMGRP_IPV6_ROUTE = 0x400

/**
 * Runs something that looks at the kernel and, when that is not yet as it should be, waits by `changed` to look again. It is
 * listened to before the first look, so nothing is missed. `changed` returns false when the time is up, milliseconds from now.
 */
export function waiting(namespaces: Netns[], patience: number, look: (changed: () => boolean) => void): void {
  const end = new Patience(patience)
  const sockets: number[] = []
  try {
    for (const netns of namespaces) sockets.push(netns.inside(open))
    look(() => {
      const changed = libc.readable(sockets, end.left)
      for (const fd of sockets) drain(fd)
      return changed
    })
  } finally {
    for (const fd of sockets) closeSync(fd)
  }
}

const open = (): number => libc.prepared(libc.netlinkSocket(NETLINK_ROUTE), (fd) => libc.subscribe(fd, RTMGRP_LINK | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE))

const scrap = Buffer.alloc(1) // the rest of a datagram is dropped

/** What is there is read and forgotten. That some was lost (ENOBUFS) is news, too. */
function drain(fd: number): void {
  for (;;) {
    try {
      libc.recv(fd, scrap, libc.MSG_DONTWAIT)
    } catch (error) {
      if (isErrno(error, 'EAGAIN')) return
      if (!isErrno(error, 'ENOBUFS')) throw error
    }
  }
}
