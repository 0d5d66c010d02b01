// One netlink socket, synchronous: a request goes out, the kernel answers inside the system call, the answer is read.
// Messages are the netlink package's; the socket is ours because a plugin wants no event loop, no addon to
// unpack, and NETLINK_EXT_ACK, with which an error says in the kernel's own words what was wrong.
// https://docs.kernel.org/userspace-api/netlink/intro.html

import { closeSync } from 'node:fs'
import { formatHeader, parseMessage, type NetlinkMessage } from 'netlink/dist/structs.js'
import { HEADER, walk } from './answer.ts'
import { attributes, Out } from './attributes.ts'
import { KernelError, isErrno } from './errno.ts'
import * as libc from './libc.ts'

export type { NetlinkMessage }

export const NETLINK_ROUTE = 0 // <linux/netlink.h>
export const NETLINK_SOCK_DIAG = 4
export const NETLINK_NETFILTER = 12
export const NETLINK_GENERIC = 16

const NLM_F_REQUEST = 0x01
export const NLM_F_ACK = 0x04
const NLM_F_DUMP_INTR = 0x10
const NLM_F_CAPPED = 0x100
const NLM_F_ACK_TLVS = 0x200
const NLM_F_DUMP = 0x300
export const NLM_F_REPLACE = 0x100
export const NLM_F_EXCL = 0x200
export const NLM_F_CREATE = 0x400
export const NLM_F_APPEND = 0x800

const NLMSG_ERROR = 2
const NLMSG_DONE = 3
const NLMSGERR_ATTR_MSG = 1

const SOL_SOCKET = 1 // <asm-generic/socket.h>
const SO_SNDBUF = 7
const SO_SNDBUFFORCE = 32
const SOL_NETLINK = 270
const NETLINK_CAP_ACK = 10
const NETLINK_EXT_ACK = 11
const NETLINK_GET_STRICT_CHK = 12

/** A request: its type, its flags beside NLM_F_REQUEST, the fixed header of its family, its attributes. */
export interface Request {
  /** What an operator would have typed: begins the error's sentence. */
  what: string
  type: number
  flags?: number
  header: Uint8Array
  attrs?: (out: Out) => void
  /** The kernel does not answer to it: the end of a transaction. */
  unanswered?: true
}

/** Looks at an object where it is in a buffer. */
type Visit = (buffer: Buffer, start: number, end: number) => void

export class Netlink {
  readonly #fd: number
  #sequence = 0
  #sendBuffer = 200 * 1024 // net.core.wmem_default, 212992, less what the kernel wants for itself
  // A dump's datagrams follow the size of the buffer that reads them, up to 32 KiB (af_netlink.c, max_recvmsg_len).
  readonly #buffer = Buffer.allocUnsafeSlow(64 * 1024)

  /** Opens a socket in the network namespace in which the thread is now. */
  constructor(protocol: number) {
    this.#fd = libc.prepared(libc.netlinkSocket(protocol), (fd) => {
      libc.hearKernelOnly(fd)
      libc.setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, 1)
      libc.setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, 1) // a refusal does not repeat what it refuses. Linux 4.3
      // Without it rtnetlink ignores the filters of a dump request. Linux 4.20.
      if (protocol === NETLINK_ROUTE) libc.setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
    })
  }

  close(): void {
    closeSync(this.#fd)
  }

  /** Makes one change. Throws a KernelError that begins with `what`. */
  change(request: Request): void {
    const first = this.#send([{ ...request, flags: (request.flags ?? 0) | NLM_F_ACK }])
    this.#receive(request.what, first, (message) => {
      const error = refusal(message, request.what)
      if (error) throw error
      return message.type === NLMSG_ERROR // with no error in it: the acknowledgement
    })
  }

  /**
   * Asks for one object: undefined when the kernel answers with one of the codes in `absent`. About what may not be there it can say
   * nothing at all; who asks for that adds NLM_F_ACK.
   */
  get(request: Request, ...absent: string[]): NetlinkMessage | undefined {
    const first = this.#send([request])
    let answer: NetlinkMessage | undefined
    this.#receive(request.what, first, (message) => {
      const error = refusal(message, request.what)
      if (error && !absent.includes(error.code)) throw error
      if (!error && message.type !== NLMSG_ERROR) answer = { ...message, data: Buffer.from(message.data) } // the next answer overwrites the buffer
      return true
    })
    return answer
  }

  /** Asks for all objects. */
  dump(request: Request): NetlinkMessage[] {
    return this.collect(request, (message) => ({ ...message, data: Buffer.from(message.data) }))
  }

  /**
   * The same, of each message what `take` makes of it while it is in the receive buffer. A list that changed while it was
   * read (NLM_F_DUMP_INTR, ENOBUFS) is read anew.
   */
  collect<T>(request: Request, take: (message: NetlinkMessage) => T): T[] {
    return untilWhole(request.what, () => this.#collectOnce(request, take))
  }

  /**
   * Sends messages as one datagram, as nf_tables wants its transactions, and returns the refusals by message index.
   * The kernel has handled the whole datagram when send(2) returns, so what it answered is there to be read: refusals, the first of them
   * should there be more than the socket has room for, and what became of the last message, with which the answer ends.
   */
  batch(requests: Request[]): Map<number, KernelError> {
    const last = requests.findLastIndex(({ unanswered }) => !unanswered)
    const first = this.#send(requests.map((request, i) => (i === last ? { ...request, flags: (request.flags ?? 0) | NLM_F_ACK } : request)))
    const refusals = new Map<number, KernelError>()
    const read = () =>
      this.#receive(requests[last]!.what, first, (message) => {
        const index = (message.seq - first) | 0
        const error = refusal(message, requests[index]?.what ?? 'netlink')
        if (error && !refusals.has(index)) refusals.set(index, error)
        return index === last
      })
    try {
      orAgain(read, 'ENOBUFS') // that some were lost is told before what is there
    } catch (error) {
      if (refusals.size === 0 || !isErrno(error, 'EBADMSG')) throw error // of what was refused the end may be lost, or never have been
    }
    return refusals
  }

  /**
   * Makes many changes, each by itself, and returns the refusals by index. In datagrams of at most so many messages that
   * the answers, should all be refused, have room in the socket.
   */
  changes(requests: Request[]): Map<number, KernelError> {
    const AT_ONCE = 128
    const refusals = new Map<number, KernelError>()
    for (let start = 0; start < requests.length; start += AT_ONCE)
      for (const [index, error] of this.batch(requests.slice(start, start + AT_ONCE))) refusals.set(start + index, error)
    return refusals
  }

  /**
   * Hands over all objects as they are in the receive buffer, behind struct nlmsghdr, and makes nothing of them: for who
   * reads thousands every minute. False if the list changed while it was read, or the kernel has none.
   */
  scan(request: Request, visit: Visit): boolean {
    return this.#scanOnce(request, visit) === 'whole'
  }

  /**
   * The same until the list is whole: `begin` makes what visits it, for each attempt. There is nothing in it when the kernel answers with
   * one of the codes in `absent`; other refusals are thrown.
   */
  scanWhole(request: Request, begin: () => Visit, ...absent: string[]): void {
    untilWhole(request.what, () => {
      const ended = this.#scanOnce(request, begin())
      if (ended instanceof KernelError && !absent.includes(ended.code)) throw ended
      return ended === 'changed' ? undefined : true
    })
  }

  #scanOnce(request: Request, visit: Visit): 'whole' | 'changed' | KernelError {
    const first = this.#send([{ ...request, flags: (request.flags ?? 0) | NLM_F_DUMP }])
    let changed = false
    let refused: KernelError | undefined
    this.#walk(request.what, first, (start, end) => {
      const [type, flags] = [this.#buffer.readUInt16LE(start + 4), this.#buffer.readUInt16LE(start + 6)]
      changed ||= (flags & NLM_F_DUMP_INTR) !== 0
      if (type !== NLMSG_DONE && type !== NLMSG_ERROR) return visit(this.#buffer, start + HEADER, end), false
      refused = refusal(parseMessage(this.#buffer.subarray(start, end)).x, request.what)
      return true
    })
    return refused ?? (changed ? 'changed' : 'whole')
  }

  #collectOnce<T>(request: Request, take: (message: NetlinkMessage) => T): T[] | undefined {
    const first = this.#send([{ ...request, flags: (request.flags ?? 0) | NLM_F_DUMP }])
    const list: T[] = []
    let interrupted = false
    try {
      this.#receive(request.what, first, (message) => {
        const error = refusal(message, request.what)
        if (error) throw error
        interrupted ||= (message.flags & NLM_F_DUMP_INTR) !== 0
        if (message.type === NLMSG_DONE) return true
        list.push(take(message))
        return false
      })
    } catch (error) {
      if (!isErrno(error, 'ENOBUFS')) throw error
      interrupted = true
    }
    return interrupted ? undefined : list
  }

  /** Sends messages in one datagram and returns the sequence number of the first. */
  #send(requests: Request[]): number {
    const first = this.#sequence + 1
    const out = new Out()
    for (const { type, flags = 0, header, attrs } of requests) {
      out.pad()
      const start = out.length
      out.emit(formatHeader({ length: 0, type, flags: flags | NLM_F_REQUEST, seq: ++this.#sequence, port: 0 }))
      out.emit(header)
      attrs?.(out)
      out.u32(start, out.length - start)
    }
    out.pad()
    this.#room(out.length)
    libc.send(this.#fd, out.bytes)
    return first
  }

  /** Widens the send buffer, which a datagram has to fit into as a whole: a set of thousands of networks is one. */
  #room(length: number): void {
    if (length + 32 <= this.#sendBuffer) return
    try {
      libc.setsockopt(this.#fd, SOL_SOCKET, SO_SNDBUFFORCE, length * 2)
    } catch (error) {
      if (!isErrno(error, 'EPERM')) throw error
      libc.setsockopt(this.#fd, SOL_SOCKET, SO_SNDBUF, length * 2) // as far as net.core.wmem_max allows
    }
    this.#sendBuffer = length
  }

  /** Hands over the messages of an answer until `done` returns true, as it has to when the answer ends. */
  #receive(what: string, first: number, done: (message: NetlinkMessage) => boolean): void {
    this.#walk(what, first, (start, end) => done(parseMessage(this.#buffer.subarray(start, end)).x))
  }

  /** The same, by where they are in the buffer. */
  #walk(what: string, first: number, done: (start: number, end: number) => boolean): void {
    walk(what, this.#buffer, () => this.#datagram(), first, done)
  }

  #datagram(): number | undefined {
    try {
      return libc.recv(this.#fd, this.#buffer, libc.MSG_DONTWAIT | libc.MSG_TRUNC)
    } catch (error) {
      if (isErrno(error, 'EAGAIN')) return undefined
      throw error
    }
  }
}

/** Does something, and once more if it fails with that code. */
function orAgain(work: () => void, code: string): void {
  try {
    work()
  } catch (error) {
    if (!isErrno(error, code)) throw error
    work()
  }
}

/** What an attempt to read a list made of it, as soon as one was not interrupted (undefined). */
function untilWhole<T>(what: string, attempt: () => T | undefined): T {
  const ATTEMPTS = 10
  for (let i = 0; i < ATTEMPTS; i++) {
    const made = attempt()
    if (made !== undefined) return made
  }
  throw new KernelError(what, 4, `the list changed under way ${ATTEMPTS} times`)
}

/** The error in an NLMSG_ERROR or NLMSG_DONE message, or undefined for an acknowledgement. */
function refusal({ type, flags, data }: NetlinkMessage, what: string): KernelError | undefined {
  if (type !== NLMSG_ERROR && type !== NLMSG_DONE) return undefined
  const errno = data.length >= 4 ? -data.readInt32LE(0) : 0
  if (errno <= 0) return undefined
  return new KernelError(what, errno, type === NLMSG_ERROR && flags & NLM_F_ACK_TLVS ? words(data, flags) : undefined)
}

/** NLMSGERR_ATTR_MSG: it stands behind the error number and the request's header (the whole request if not capped). */
function words(data: Buffer, flags: number): string | undefined {
  const request = flags & NLM_F_CAPPED ? HEADER : data.readUInt32LE(4)
  const text = attributes(data.subarray(4 + ((request + 3) & ~3))).get(NLMSGERR_ATTR_MSG)
  return text?.toString('utf8', 0, text.length - 1)
}
