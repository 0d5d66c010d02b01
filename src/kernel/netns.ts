// A network namespace as a place to send requests to: its rtnetlink socket, opened once by stepping inside, and a way to
// run a synchronous function inside (for /proc/sys/net, which shows the namespace of the thread that reads it).
// Nothing asynchronous may start in there: a libuv worker born inside would stay inside. man 7 network_namespaces

import { closeSync, constants, openSync, statfsSync, statSync } from 'node:fs'
import { NETLINK_GENERIC, NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_SOCK_DIAG, Netlink } from './netlink.ts'
import { isNetns, prepared, setns } from './libc.ts'

const NSFS_MAGIC = 0x6e736673 // <linux/magic.h>
const SELF = '/proc/thread-self/ns/net'

export class Netns {
  /** CNI_NETNS as given; undefined for the namespace podwire was started in. */
  readonly path: string | undefined
  readonly #fd: number
  readonly #home: number
  #closed = false
  #rt: Netlink | undefined
  #nf: Netlink | undefined
  #genl: Netlink | undefined
  #diag: Netlink | undefined
  /** Interface indexes by name, as found by kernel/link. */
  readonly indexes = new Map<string, number>()

  constructor(path?: string) {
    this.path = path
    let fd: number | undefined
    this.#home = prepared(openSync(SELF, 'r'), () => {
      if (path !== undefined) fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK) // what has been put there since it was asked for
    })
    this.#fd = fd ?? this.#home
  }

  /** rtnetlink of this namespace. */
  get rt(): Netlink {
    return (this.#rt ??= this.inside(() => new Netlink(NETLINK_ROUTE)))
  }

  /** nfnetlink of this namespace. */
  get nf(): Netlink {
    return (this.#nf ??= this.inside(() => new Netlink(NETLINK_NETFILTER)))
  }

  /** Runs a synchronous function with this thread inside the namespace. */
  inside<T>(run: () => T): T {
    if (this.path === undefined) return run()
    setns(this.#fd)
    try {
      return run()
    } finally {
      setns(this.#home)
    }
  }

  /** generic netlink of this namespace. */
  get genl(): Netlink {
    return (this.#genl ??= this.inside(() => new Netlink(NETLINK_GENERIC)))
  }

  /** sock_diag of this namespace. */
  get diag(): Netlink {
    return (this.#diag ??= this.inside(() => new Netlink(NETLINK_SOCK_DIAG)))
  }

  /** The open file that names the namespace, for IFLA_NET_NS_FD. */
  get fd(): number {
    return this.#fd
  }

  /** Closes what is open of it. Once: a second time the numbers are somebody else's. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    for (const socket of [this.#rt, this.#nf, this.#genl, this.#diag]) socket?.close()
    if (this.#fd !== this.#home) closeSync(this.#fd)
    closeSync(this.#home)
  }
}

/** True if a path is the namespace that podwire was started in. */
export function isOwn(path: string): boolean {
  try {
    const [there, here] = [statSync(path), statSync(SELF)]
    return there.ino === here.ino && there.dev === here.dev
  } catch {
    return false
  }
}

/** What a path is: a network namespace, nothing, or something else. */
export function netnsKind(path: string): 'namespace' | 'missing' | 'other' {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK) // a FIFO would make us wait
  } catch {
    return 'missing'
  }
  try {
    return statfsSync(path).type === NSFS_MAGIC && isNetns(fd) ? 'namespace' : 'other'
  } finally {
    closeSync(fd)
  }
}
