// libc through node:ffi: the system calls that Node has no name for. The only file that knows FFI.
// The library is opened at the first call and not at import, because a startup snapshot cannot hold it.

import { closeSync, ftruncateSync } from 'node:fs'
import { KernelError } from './errno.ts'

const signatures = {
  socket: { return: 'int32', arguments: ['int32', 'int32', 'int32'] },
  setsockopt: { return: 'int32', arguments: ['int32', 'int32', 'int32', 'buffer', 'uint32'] },
  sendmsg: { return: 'int32', arguments: ['int32', 'uint64', 'int32'] },
  recvmsg: { return: 'int32', arguments: ['int32', 'uint64', 'int32'] },
  poll: { return: 'int32', arguments: ['buffer', 'uint64', 'int32'] },
  bind: { return: 'int32', arguments: ['int32', 'buffer', 'uint32'] },
  connect: { return: 'int32', arguments: ['int32', 'buffer', 'uint32'] },
  fcntl: { return: 'int32', arguments: ['int32', 'int32', 'int32'] },
  setns: { return: 'int32', arguments: ['int32', 'int32'] },
  ioctl: { return: 'int32', arguments: ['int32', 'uint64'] },
  flock: { return: 'int32', arguments: ['int32', 'int32'] },
  madvise: { return: 'int32', arguments: ['uint64', 'uint64', 'int32'] },
  _exit: { return: 'void', arguments: ['int32'] },
  malloc_trim: { return: 'int32', arguments: ['uint64'] },
  memfd_create: { return: 'int32', arguments: ['string', 'uint32'] },
  prctl: { return: 'int32', arguments: ['int32', 'uint64', 'uint64', 'uint64', 'uint64'] },
  waitpid: { return: 'int32', arguments: ['int32', 'uint64', 'int32'] },
  signal: { return: 'uint64', arguments: ['int32', 'uint64'] },
  __errno_location: { return: 'pointer', arguments: [] },
} as const

type Name = keyof typeof signatures
type Argument = number | bigint | string | Uint8Array
type Function = (...args: Argument[]) => number | bigint

let library: { getFunction(name: string, signature: unknown): Function; errno: () => number; pointer: (bytes: Uint8Array) => bigint } | undefined
const functions = new Map<Name, Function>()

function open() {
  const ffi = process.getBuiltinModule('node:ffi')
  const { lib } = ffi.dlopen(null, {})
  const location = lib.getFunction('__errno_location', signatures.__errno_location) as unknown as Function
  return { getFunction: lib.getFunction.bind(lib) as never, errno: () => ffi.getInt32(location() as bigint), pointer: ffi.getRawPointer }
}

/** A function of libc, bound when it is first called: binding one costs a tenth of a millisecond. */
function bind(name: Name): Function {
  library ??= open()
  const bound = library.getFunction(name, signatures[name])
  functions.set(name, bound)
  return bound
}

/** Calls libc; a result of -1 becomes a KernelError that says `what`. */
function call(what: string, name: Name, ...args: Argument[]): number {
  const result = Number((functions.get(name) ?? bind(name))(...args))
  if (result === -1) throw new KernelError(what, library!.errno())
  return result
}

// <bits/socket.h>
const SOCK_RAW = 3
const SOCK_CLOEXEC = 0o2000000
const AF_NETLINK = 16
export const MSG_DONTWAIT = 0x40
export const MSG_TRUNC = 0x20

/** A descriptor, once `prepare` has made it ready; if that fails it is closed. */
export function prepared(fd: number, prepare: (fd: number) => void): number {
  try {
    prepare(fd)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** A netlink socket of this thread's network namespace; it stays in that namespace wherever the thread goes. */
export const netlinkSocket = (protocol: number): number =>
  call('socket(AF_NETLINK)', 'socket', AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)

/** Sets an integer socket option. */
export function setsockopt(fd: number, level: number, option: number, value: number): void {
  const buffer = Buffer.alloc(4)
  buffer.writeInt32LE(value)
  call(`setsockopt(${option})`, 'setsockopt', fd, level, option, buffer, 4)
}

/** Subscribes a netlink socket to multicast groups, a bit mask. struct sockaddr_nl */
export function subscribe(fd: number, groups: number): void {
  const address = Buffer.alloc(12)
  address.writeUInt16LE(AF_NETLINK, 0)
  address.writeUInt32LE(groups, 8)
  call('bind(netlink)', 'bind', fd, address, address.length)
}

/**
 * From now on the socket takes messages from the kernel alone: whoever has CAP_NET_ADMIN in its namespace, a pod's process in the
 * pod's, could otherwise send it answers of their own. net/netlink/af_netlink.c, netlink_getsockbyportid
 */
export function hearKernelOnly(fd: number): void {
  const address = Buffer.alloc(12) // struct sockaddr_nl; the kernel is port 0
  address.writeUInt16LE(AF_NETLINK, 0)
  call('connect(netlink)', 'connect', fd, address, address.length)
}

const SOCK_DGRAM = 2
const SOCKADDR_IN = 16 // bytes; <netinet/in.h>
const SOCKADDR_IN6 = 28

/**
 * A UDP socket at an address, 4 or 16 bytes, and a port, whose packets are never fragmented, whatever is known of the way (PMTUDISC_PROBE).
 * man 7 ip, man 7 ipv6
 */
export function udpSocket(address: Uint8Array, port: number): number {
  const [family, length, at] = address.length === 4 ? [AF_INET, SOCKADDR_IN, 4] : [AF_INET6, SOCKADDR_IN6, 8]
  return prepared(call('socket(UDP)', 'socket', family, SOCK_DGRAM | SOCK_CLOEXEC, 0), (fd) => {
    if (family === AF_INET) setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE)
    else setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)
    const name = Buffer.alloc(length)
    name.writeUInt16LE(family, 0)
    name.writeUInt16BE(port, 2)
    name.set(address, at)
    call('bind(UDP)', 'bind', fd, name, length)
  })
}

const [AF_INET, AF_INET6] = [2, 10]
const IPPROTO_IP = 0 // <linux/in.h>
const IP_MTU_DISCOVER = 10
const IPPROTO_IPV6 = 41 // <linux/in6.h>
const IPV6_MTU_DISCOVER = 23
const PMTUDISC_PROBE = 3

const AF_UNIX = 1
const SOCK_STREAM = 1

const SOL_SOCKET = 1 // <asm-generic/socket.h>
const SO_SNDTIMEO = 21

/**
 * A stream to whom listens on a path, or on an abstract name, which begins with a NUL. Who does not accept it, or does not read, is
 * waited for as long as `patience` says, milliseconds: then it is EAGAIN. struct sockaddr_un, man 7 socket
 */
export function connectUnix(path: string, patience: number): number {
  return prepared(call('socket(AF_UNIX)', 'socket', AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), (fd) => {
    const timeval = Buffer.alloc(16)
    timeval.writeBigInt64LE(BigInt(Math.floor(patience / 1000)), 0)
    timeval.writeBigInt64LE(BigInt((patience % 1000) * 1000), 8)
    call('setsockopt(SO_SNDTIMEO)', 'setsockopt', fd, SOL_SOCKET, SO_SNDTIMEO, timeval, timeval.length)
    const address = Buffer.from(path.startsWith('\0') ? `..${path}` : `..${path}\0`)
    address.writeUInt16LE(AF_UNIX, 0)
    call(`connect(${path.replace('\0', '@')})`, 'connect', fd, address, address.length)
  })
}

const F_SETFL = 4 // <asm-generic/fcntl.h>
const F_SETOWN = 8
const O_NONBLOCK = 0o4000
const O_ASYNC = 0o20000

/** From now on this process gets SIGIO when something can be read from the socket. man 7 socket, "Signals" */
export function signalReadable(fd: number): void {
  call('fcntl(F_SETOWN)', 'fcntl', fd, F_SETOWN, process.pid)
  call('fcntl(F_SETFL)', 'fcntl', fd, F_SETFL, O_ASYNC | O_NONBLOCK)
}

export const send = (fd: number, datagram: Uint8Array): number => call('send(netlink)', 'sendmsg', fd, naming(datagram), 0)

/** Receives one datagram and returns its length, with MSG_TRUNC also when it was longer than the buffer. */
export const recv = (fd: number, buffer: Uint8Array, flags: number): number => call('recv(netlink)', 'recvmsg', fd, naming(buffer), flags)

const [MSGHDR, IOVEC] = [56, 16] // sizes of structs. <bits/types/struct_msghdr.h>, <bits/types/struct_iovec.h>
const [MSG_IOV, MSG_IOVLEN] = [16, 24]
let header: Buffer | undefined

/** The address of a struct msghdr that names these bytes. With it a call has three arguments: of four node:ffi makes a list each time. */
function naming(bytes: Uint8Array): bigint {
  library ??= open()
  header ??= Buffer.allocUnsafeSlow(MSGHDR + IOVEC).fill(0)
  const address = library.pointer(header)
  header.writeBigUInt64LE(address + BigInt(MSGHDR), MSG_IOV)
  header.writeBigUInt64LE(1n, MSG_IOVLEN)
  header.writeBigUInt64LE(library.pointer(bytes), MSGHDR)
  header.writeBigUInt64LE(BigInt(bytes.length), MSGHDR + 8)
  return address
}

const POLLIN = 1 // <asm-generic/poll.h>

/** Waits until something can be read from one of the sockets. False: the time is up, milliseconds. man 2 poll */
export function readable(fds: number[], timeout: number): boolean {
  const polled = Buffer.alloc(8 * fds.length) // struct pollfd
  for (const [i, fd] of fds.entries()) {
    polled.writeInt32LE(fd, 8 * i)
    polled.writeUInt16LE(POLLIN, 8 * i + 4)
  }
  return call('poll', 'poll', polled, BigInt(fds.length), timeout) > 0
}

const CLONE_NEWNET = 0x40000000 // <sched.h>

/** Moves this thread into the network namespace that `fd` names. */
export const setns = (fd: number): void => void call('setns(CLONE_NEWNET)', 'setns', fd, CLONE_NEWNET)

const NS_GET_NSTYPE = 0xb703n // <linux/nsfs.h>

/** True if an open file of nsfs is a network namespace, and not one of another kind. */
export const isNetns = (fd: number): boolean => call('ioctl(NS_GET_NSTYPE)', 'ioctl', fd, NS_GET_NSTYPE) === CLONE_NEWNET

const LOCK_NB = 4 // <sys/file.h>
const LOCKS = { shared: 1, exclusive: 2 }

/** Takes a lock on an open file without waiting. False: somebody else holds one that does not go with it. */
export function tryLock(fd: number, how: keyof typeof LOCKS = 'exclusive'): boolean {
  try {
    call('flock', 'flock', fd, LOCKS[how] | LOCK_NB)
    return true
  } catch (error) {
    if (error instanceof KernelError && error.code === 'EAGAIN') return false
    throw error
  }
}

const MFD_CLOEXEC = 1 // <linux/memfd.h>
const MFD_ALLOW_SEALING = 2
const F_ADD_SEALS = 1033 // <linux/fcntl.h>
const F_SEAL_GROW = 4

/** A file in memory that no path names. Its size in bytes is given, and stays: what would go beyond it is refused (EPERM). */
export function memfd(name: string, size: number): number {
  const fd = call('memfd_create', 'memfd_create', name, MFD_CLOEXEC | MFD_ALLOW_SEALING)
  try {
    ftruncateSync(fd, size)
    call('fcntl(F_ADD_SEALS)', 'fcntl', fd, F_ADD_SEALS, F_SEAL_GROW)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

const PR_SET_NAME = 15 // <linux/prctl.h>

/** Names the process as ps, top and /proc/PID/comm have it, if this is its first thread. At most 15 bytes. man 2 PR_SET_NAME */
export function nameProcess(name: string): void {
  const text = Buffer.from(`${name}\0`)
  library ??= open()
  call('prctl(PR_SET_NAME)', 'prctl', PR_SET_NAME, library.pointer(text), 0n, 0n, 0n)
}

const PR_SET_CHILD_SUBREAPER = 36

/** Whether descendants whose parent has ended become children of this process, and not of init. man 2 PR_SET_CHILD_SUBREAPER */
export const adoptOrphans = (wanted: boolean): void =>
  void call('prctl(PR_SET_CHILD_SUBREAPER)', 'prctl', PR_SET_CHILD_SUBREAPER, wanted ? 1n : 0n, 0n, 0n, 0n)

const WNOHANG = 1 // <bits/waitflags.h>

/** Takes note of the end of a child, if it has ended; of a process that is no child, nothing. man 2 waitpid */
export function reap(pid: number): void {
  try {
    call('waitpid', 'waitpid', pid, 0n, WNOHANG)
  } catch (error) {
    if (!(error instanceof KernelError) || error.code !== 'ECHILD') throw error
  }
}

const SIG_IGN = 1n // <bits/signum-generic.h>

/** From now on this process does not notice the signal of that number. */
export const ignoreSignal = (signal: number): void => void call('signal', 'signal', signal, SIG_IGN)

const MADV_DONTNEED = 4 // <asm-generic/mman-common.h>

/** Drops the pages of a mapped file from this process's memory; addresses. */
export const dontNeed = (from: bigint, to: bigint): void => void call('madvise(MADV_DONTNEED)', 'madvise', from, to - from, MADV_DONTNEED)

/** Gives free memory of malloc's back. glibc */
export const trimHeap = (): void => void call('malloc_trim', 'malloc_trim', 0n)

/** Ends this process at once, if libc was of use before: to open it for that alone would take longer than Node's own way. man 2 _exit */
export function leave(status: number): void {
  if (library) call('_exit', '_exit', status)
}

/** Waits. Only for the few places that poll, where the caller is synchronous. Milliseconds. */
export function sleep(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds)
}
