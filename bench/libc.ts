// libc for the benchmark, through node:ffi: network namespaces, and children that are started and waited for with as
// little as possible of our own in the time between. Node's spawn takes some milliseconds of its own.

import { dlopen, getInt32, getRawPointer } from 'node:ffi'
import { KernelError } from '../src/kernel/errno.ts'

const { functions: libc } = dlopen(null, {
  setns: { return: 'int32', arguments: ['int32', 'int32'] },
  unshare: { return: 'int32', arguments: ['int32'] },
  umount2: { return: 'int32', arguments: ['string', 'int32'] },
  mount: { return: 'int32', arguments: ['string', 'string', 'string', 'uint64', 'pointer'] },
  posix_spawn: { return: 'int32', arguments: ['buffer', 'string', 'buffer', 'pointer', 'buffer', 'buffer'] },
  posix_spawn_file_actions_init: { return: 'int32', arguments: ['buffer'] },
  posix_spawn_file_actions_addopen: { return: 'int32', arguments: ['buffer', 'int32', 'string', 'int32', 'uint32'] },
  posix_spawn_file_actions_destroy: { return: 'int32', arguments: ['buffer'] },
  wait4: { return: 'int32', arguments: ['int32', 'buffer', 'int32', 'buffer'] },
  __errno_location: { return: 'pointer', arguments: [] },
})

const CLONE_NEWNET = 0x40000000 // <sched.h>
const MS_BIND = 4096n // <sys/mount.h>
const MNT_DETACH = 2

/** Moves this thread into the network namespace that `fd` names. Children are born where this thread is. */
export const setns = (fd: number): void => check('setns', libc.setns(fd, CLONE_NEWNET))

/** Moves this thread into a network namespace that is new. */
export const unshare = (): void => check('unshare', libc.unshare(CLONE_NEWNET))

export const bindMount = (source: string, target: string): void => check('mount', libc.mount(source, target, 'none', MS_BIND, 0n))
export const unmount = (target: string): void => check('umount', libc.umount2(target, MNT_DETACH))

// <fcntl.h>, <spawn.h>, <bits/types/struct_rusage.h>
const O_RDONLY = 0
const O_WRONLY_CREAT_TRUNC = 0o1 | 0o100 | 0o1000
const SIZEOF_FILE_ACTIONS = 128 // 80 in glibc
const SIZEOF_RUSAGE = 256 // 144 in glibc

/** Starts a program, its standard input and its outputs being files; its process ID. argv[0] is the program's path. */
export function spawn(argv: string[], env: Record<string, string>, files: { stdin: string; stdout: string; stderr: string }): number {
  const pid = Buffer.alloc(4)
  const actions = Buffer.alloc(SIZEOF_FILE_ACTIONS)
  libc.posix_spawn_file_actions_init(actions)
  try {
    libc.posix_spawn_file_actions_addopen(actions, 0, files.stdin, O_RDONLY, 0)
    libc.posix_spawn_file_actions_addopen(actions, 1, files.stdout, O_WRONLY_CREAT_TRUNC, 0o600)
    libc.posix_spawn_file_actions_addopen(actions, 2, files.stderr, O_WRONLY_CREAT_TRUNC, 0o600)
    const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`)
    const errno = libc.posix_spawn(pid, argv[0]!, actions, 0n, strings(argv), strings(variables))
    if (errno !== 0) throw new KernelError(argv[0]!, errno)
  } finally {
    libc.posix_spawn_file_actions_destroy(actions)
  }
  return pid.readInt32LE()
}

/** Waits for a child: its exit status (128 and the signal's number if one ended it), and its CPU time, its own children's included, in ms. */
export function wait(pid: number): { status: number; cpu: number } {
  const status = Buffer.alloc(4)
  const rusage = Buffer.alloc(SIZEOF_RUSAGE)
  check('wait4', libc.wait4(pid, status, 0, rusage))
  const time = (at: number) => Number(rusage.readBigInt64LE(at)) * 1000 + Number(rusage.readBigInt64LE(at + 8)) / 1000
  const word = status.readInt32LE()
  return { status: word & 0x7f ? 128 + (word & 0x7f) : (word >> 8) & 0xff, cpu: time(0) + time(16) }
}

/** A char *[]: pointers, a null, and behind them the strings themselves. */
function strings(list: string[]): Buffer {
  const texts = list.map((text) => Buffer.from(`${text}\0`))
  const head = (list.length + 1) * 8
  const buffer = Buffer.concat([Buffer.alloc(head), ...texts])
  let at = getRawPointer(buffer) + BigInt(head)
  texts.forEach((text, i) => {
    buffer.writeBigUInt64LE(at, i * 8)
    at += BigInt(text.length)
  })
  return buffer
}

function check(what: string, result: number): void {
  if (result === -1) throw new KernelError(what, getInt32(libc.__errno_location() as bigint))
}
