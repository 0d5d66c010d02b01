// Blocking sockets, through node:ffi: a round trip is two system calls and nothing else.

import { dlopen, getInt32 } from 'node:ffi'
import { addressBytes, parseAddress } from '../../src/ip.ts'
import { KernelError } from '../../src/kernel/errno.ts'

const { functions: libc } = dlopen(null, {
  socket: { return: 'int32', arguments: ['int32', 'int32', 'int32'] },
  setsockopt: { return: 'int32', arguments: ['int32', 'int32', 'int32', 'buffer', 'uint32'] },
  bind: { return: 'int32', arguments: ['int32', 'buffer', 'uint32'] },
  listen: { return: 'int32', arguments: ['int32', 'int32'] },
  accept: { return: 'int32', arguments: ['int32', 'pointer', 'pointer'] },
  connect: { return: 'int32', arguments: ['int32', 'buffer', 'uint32'] },
  close: { return: 'int32', arguments: ['int32'] },
  shutdown: { return: 'int32', arguments: ['int32', 'int32'] },
  recv: { return: 'int64', arguments: ['int32', 'buffer', 'uint64', 'int32'] },
  send: { return: 'int64', arguments: ['int32', 'buffer', 'uint64', 'int32'] },
  recvfrom: { return: 'int64', arguments: ['int32', 'buffer', 'uint64', 'int32', 'buffer', 'buffer'] },
  sendto: { return: 'int64', arguments: ['int32', 'buffer', 'uint64', 'int32', 'buffer', 'uint32'] },
  sched_setaffinity: { return: 'int32', arguments: ['int32', 'uint64', 'buffer'] },
  __errno_location: { return: 'pointer', arguments: [] },
})

export type Protocol = 'udp' | 'tcp'

// <bits/socket.h>, <netinet/tcp.h>
const AF_INET = 2
const AF_INET6 = 10
const SOCK: Record<Protocol, number> = { tcp: 1, udp: 2 }
const SOL_TCP = 6
const TCP_NODELAY = 1
const SOL_SOCKET = 1
const SO_RCVTIMEO = 20
const SHUT_WR = 1
const PATIENCE = 1n // s; a datagram that is lost is not waited for longer

export const PORT: Record<Protocol, number> = { udp: 7001, tcp: 7002 }

/** A socket that is connected, `from` a port where one is given. */
export function connect(protocol: Protocol, address: string, port = PORT[protocol], from?: number): number {
  const fd = check('socket', libc.socket(address.includes(':') ? AF_INET6 : AF_INET, SOCK[protocol], 0))
  try {
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, Buffer.from(BigInt64Array.of(PATIENCE, 0n).buffer))
    if (protocol === 'tcp') setsockopt(fd, SOL_TCP, TCP_NODELAY, word(1))
    const to = sockaddr(address, port)
    const own = from === undefined ? undefined : sockaddr(address.includes(':') ? '::' : '0.0.0.0', from)
    if (own) check(`bind ${from}`, libc.bind(fd, own, own.length))
    check(`connect ${address}`, libc.connect(fd, to, to.length))
    return fd
  } catch (error) {
    close(fd)
    throw error
  }
}

/** A socket that listens, or receives datagrams, at every address of both families. */
export function listen(protocol: Protocol, port = PORT[protocol]): number {
  const fd = check('socket', libc.socket(AF_INET6, SOCK[protocol], 0))
  const any = sockaddr('::', port)
  check('bind', libc.bind(fd, any, any.length))
  if (protocol === 'tcp') check('listen', libc.listen(fd, 8))
  return fd
}

export function accept(fd: number): number {
  const connection = check('accept', libc.accept(fd, 0n, 0n))
  setsockopt(connection, SOL_TCP, TCP_NODELAY, word(1))
  return connection
}

/** How many bytes; 0 at the end of a connection, less if nothing came. */
export const receive = (fd: number, into: Buffer): number => Number(libc.recv(fd, into, BigInt(into.length), 0))
export const send = (fd: number, bytes: Buffer): number => Number(libc.send(fd, bytes, BigInt(bytes.length), 0))
export const close = (fd: number): number => libc.close(fd)
/** Nothing more is sent. */
export const finish = (fd: number): number => libc.shutdown(fd, SHUT_WR)

/** Waits for a datagram and sends it back. */
export function echo(fd: number, message: Buffer): void {
  const [peer, size] = [Buffer.alloc(28), word(28)] // struct sockaddr_in6
  const length = libc.recvfrom(fd, message, BigInt(message.length), 0, peer, size)
  if (length > 0n) libc.sendto(fd, message, length, 0, peer, size.readUInt32LE())
}

/** Keeps this thread on one CPU, or lets it go on any. */
export function pin(cpu: number | undefined): void {
  const set = Buffer.alloc(128, cpu === undefined ? 0xff : 0) // cpu_set_t
  if (cpu !== undefined) set[cpu >> 3] = 1 << (cpu & 7)
  check('sched_setaffinity', libc.sched_setaffinity(0, BigInt(set.length), set))
}

/** struct sockaddr_in, struct sockaddr_in6 */
function sockaddr(text: string, port: number): Buffer {
  const address = addressBytes(parseAddress(text)!)
  const [family, flowinfo, size] = address.length === 4 ? [AF_INET, 0, 16] : [AF_INET6, 4, 28]
  return Buffer.concat([Buffer.from([family, 0, port >> 8, port & 255]), Buffer.alloc(flowinfo), address], size)
}

const word = (value: number): Buffer => Buffer.from(Uint32Array.of(value).buffer)
const setsockopt = (fd: number, level: number, name: number, value: Buffer): number => check('setsockopt', libc.setsockopt(fd, level, name, value, value.length))

function check(what: string, result: number): number {
  if (result === -1) throw new KernelError(what, getInt32(libc.__errno_location() as bigint))
  return result
}
