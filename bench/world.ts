// Where the benchmark runs: a user, network and mount namespace with a fresh /run and /var/lib, so that it needs no root,
// leaves nothing behind however it ends, and leases on tmpfs whoever leases. In it each implementation has a machine of
// its own, which is one more network namespace, and pods, which are others.

import { execFileSync, spawnSync } from 'node:child_process'
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { bindMount, setns, unshare } from './libc.ts'

export const inWorld = process.env.PODWIRE_WORLD !== undefined

/** Starts this program again inside, and ends with it. Returns if this is inside. */
export function enterWorld(argv: string[]): void {
  if (inWorld) {
    execFileSync('sh', ['-c', 'mount -t tmpfs run /run && mkdir /run/netns && mount -t tmpfs lib /var/lib'])
    return
  }
  const namespaces = ['-rnm', '-nm'].find((flags) => spawnSync('unshare', [flags, 'true']).status === 0)
  if (!namespaces) throw new Error('this user may not make namespaces: allow it, or run the benchmark as root')
  const node = [process.execPath, ...process.execArgv, process.argv[1]!]
  const env = { ...process.env, PODWIRE_WORLD: '1' }
  const { status } = spawnSync('unshare', [namespaces, '--propagation', 'private', ...node, ...argv], { stdio: 'inherit', env })
  process.exit(status ?? 1)
}

const SELF = '/proc/thread-self/ns/net'
const home = openSync(SELF, 'r')

const UPLINK = `
link set lo up
link add uplink type veth peer name world
addr add 192.0.2.1/24 dev uplink
addr add 2001:db8::1/64 dev uplink nodad
link set uplink up
link set world up
route add default via 192.0.2.2
route add default via 2001:db8::2
`

/** A network namespace, as `ip netns add` makes it. */
export class Namespace {
  readonly name: string
  readonly path: string
  readonly #netns: number

  constructor(name: string) {
    this.name = name
    this.path = netns(name)
    this.#netns = openSync(this.path, 'r')
  }

  /** Runs a synchronous function with this thread in the namespace; children that it starts are there. */
  inside<T>(run: () => T): T {
    setns(this.#netns)
    try {
      return run()
    } finally {
      setns(home)
    }
  }

  /** Its name goes; what is in it goes with the last process in it. */
  delete(): void {
    closeSync(this.#netns)
    execFileSync('ip', ['netns', 'delete', this.name])
  }

  /** Runs lines of ip(8) here. */
  ip(lines: string): void {
    this.inside(() => execFileSync('ip', ['-batch', '-'], { input: lines }))
  }
}

export class Machine extends Namespace {
  readonly #pods: string[] = []
  /** How many pods are there to stay. */
  residents = 0

  /** It has an uplink that carries the default routes, as nodes have. */
  constructor(name: string) {
    super(name)
    this.ip(UPLINK)
  }

  /** The network namespace of a pod, made when it is first asked for. */
  pod(number: number): string {
    return (this.#pods[number] ??= netns(`${this.name}-pod${number}`))
  }
}

/** A network namespace of that name, as `ip netns add` makes it; its path. */
function netns(name: string): string {
  const path = `/run/netns/${name}`
  writeFileSync(path, '')
  unshare()
  try {
    bindMount(SELF, path)
  } finally {
    setns(home)
  }
  return path
}
