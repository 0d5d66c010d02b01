// The messages of one answer of the kernel's, in datagrams. An answer has an end, a DONE or an ACK, by which whoever asked knows that
// it is whole: one that stops before it says nothing about what is not in it. Pure.
// https://docs.kernel.org/userspace-api/netlink/intro.html

import { KernelError } from './errno.ts'

const NLMSG_NOOP = 1 // <linux/netlink.h>
const NLMSG_OVERRUN = 4
export const HEADER = 16 // struct nlmsghdr

const EBADMSG = 74
const ENOBUFS = 105

/** The next datagram: how many bytes of the buffer it has, more than that if it was cut; undefined if none is there. */
export type Next = () => number | undefined

/**
 * Hands over the messages of the answer to a request, or to several, of which `first` is the first one's sequence number, by where they
 * are in the buffer; until `done` returns true, which it has to when the answer ends. Errors begin with `what`.
 */
export function walk(what: string, buffer: Buffer, next: Next, first: number, done: (start: number, end: number) => boolean): void {
  for (let length = next(); length !== undefined; length = next()) {
    if (length > buffer.length) throw new KernelError(what, EBADMSG, `a datagram of ${length} bytes, of which ${buffer.length} were read`)
    for (let at = 0; at < length; ) {
      const end = endOf(what, buffer, at, length)
      const type = buffer.readUInt16LE(at + 4)
      if (type === NLMSG_OVERRUN) throw new KernelError(what, ENOBUFS, 'messages were lost')
      const stale = ((buffer.readUInt32LE(at + 8) - first) | 0) < 0 // of a request whose answer was not read to its end
      if (!stale && type !== NLMSG_NOOP && done(at, end)) return
      at = (end + 3) & ~3
    }
  }
  throw new KernelError(what, EBADMSG, "the kernel's answer stopped before its end")
}

function endOf(what: string, buffer: Buffer, at: number, length: number): number {
  const size = at + HEADER <= length ? buffer.readUInt32LE(at) : 0
  if (size >= HEADER && at + size <= length) return at + size
  throw new KernelError(what, EBADMSG, `half a message in the kernel's answer, ${length - at} bytes`)
}
