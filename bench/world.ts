// Where the benchmark runs: a user, network and mount namespace with a fresh /run and /var/lib, so that it needs no root,
// leaves nothing behind however it ends, and leases on tmpfs whoever leases. In it each implementation has a machine of
// its own, which is one more network namespace, and pods, which are others, and so is the world that it has its uplink to.

import { execFileSync, spawnSync } from 'node:child_process'
import { closeSync, existsSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { bindMount, setns, unmount, unshare } from './libc.ts'

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

/** Runs a synchronous function with this thread in a network namespace; children that it starts are there. */
export function inside<T>(path: string, run: () => T): T {
  const netns = openSync(path, 'r')
  setns(netns)
  closeSync(netns)
  try {
    return run()
  } finally {
    setns(home)
  }
}

/** A network namespace, as `ip netns add` makes it. */
export class Namespace {
  readonly name: string
  readonly path: string

  constructor(name: string) {
    this.name = name
    this.path = netns(name)
  }

  inside<T>(run: () => T): T {
    return inside(this.path, run)
  }

  /** Its name goes; what is in it goes with the last process in it. */
  delete(): void {
    forget(this.path)
  }

  /** Runs lines of ip(8) here. */
  ip(lines: string): void {
    this.inside(() => execFileSync('ip', ['-batch', '-'], { input: lines }))
  }
}

// kind's, and no network of documentation: podwire asks for the route to one of those to see where the default route is.
export const NODE = '172.18.0.2'
const [WORLD, NODE_6, WORLD_6] = ['172.18.0.1', 'fc00:f853:ccd:e793::2', 'fc00:f853:ccd:e793::1']

export class Machine extends Namespace {
  /** What its uplink leads to. */
  readonly world: Namespace
  readonly #pods: string[] = []
  /** How many pods are there to stay. */
  residents = 0

  /** It has an uplink that carries the default routes, as nodes have. */
  constructor(name: string) {
    super(name)
    this.world = new Namespace(`${name}-world`)
    this.ip(`
link set lo up
link add uplink type veth peer name eth0 netns ${this.world.path}
addr add ${NODE}/16 dev uplink
addr add ${NODE_6}/64 dev uplink nodad
link set uplink up
route add default via ${WORLD}
route add default via ${WORLD_6}`)
    this.world.ip(`
link set lo up
addr add ${WORLD}/16 dev eth0
addr add ${WORLD_6}/64 dev eth0 nodad
link set eth0 up`)
  }

  /** The network namespace of a pod, made when it is first asked for. */
  pod(number: number): string {
    return (this.#pods[number] ??= netns(`${this.name}-pod${number}`))
  }

  override delete(): void {
    this.#pods.forEach(forget)
    this.world.delete()
    super.delete()
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

function forget(path: string): void {
  unmount(path)
  rmSync(path)
}

const BARRIER = 'barrier'
const PATIENCE = 300_000 // ms

/**
 * Waits until the kernel has taken down what was in namespaces that were deleted, which it does one after the other: until
 * it has come to one that is deleted now, whose link is gone then.
 */
export function settle(): void {
  const last = new Namespace(BARRIER)
  execFileSync('ip', ['link', 'add', BARRIER, 'type', 'veth', 'peer', 'name', BARRIER, 'netns', last.path])
  last.delete()
  const start = performance.now()
  while (existsSync(`/proc/sys/net/ipv4/conf/${BARRIER}`)) {
    if (performance.now() - start > PATIENCE) throw new Error('the kernel does not take down namespaces that were deleted')
    sleep(10)
  }
}

export const sleep = (ms: number): unknown => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
