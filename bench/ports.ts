// What published ports do to packets: connections and throughput, from the world through a port of the node to a pod, among as
// many other ports as there are pods.
//
//   world ──── node, port 8080 ──── pod

import { spawn, type ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { containerID, Refused, type Implementation, type Rate, type Sample } from './implementation.ts'
import { add, del, type Entry, type Pod } from './lists.ts'
import { close, connect, finish, pin, PORT, receive, send } from './overlay/socket.ts'
import { MESSAGE } from './overlay/traffic.ts'
import type { Scenario } from './scenarios.ts'
import { inside, NODE, sleep } from './world.ts'

interface Traffic {
  work: string
  unit: Rate
  /** What answers in the pod: a program, and its port. */
  server: string
  port: number
  /** On which CPU the client is. The server is on the last one. */
  cpu: number
  /** How much passes in one sample, in what the unit counts. */
  amount: number
  run(): void
}

const HOST_PORT = 8080
export const SINK = 7003
export const CHUNK = 128 * 1024 // bytes
const BULK = 48 * 1024 * 1024
const CONNECTIONS = 200
const LAST = Math.min(1, availableParallelism() - 1)

/** One after the other, on one CPU: waking an idle one takes a virtual machine longer than all the rest. */
const connections: Traffic = {
  work: 'connections through a port',
  unit: 'a second',
  server: 'overlay/echo.ts tcp',
  port: PORT.tcp,
  cpu: LAST,
  amount: CONNECTIONS,
  run() {
    const message = Buffer.alloc(MESSAGE)
    for (let i = 0; i < CONNECTIONS; i++) {
      const fd = connect('tcp', NODE, HOST_PORT)
      send(fd, message)
      expect(receive(fd, message) === MESSAGE)
      close(fd)
    }
  },
}

const throughput: Traffic = {
  work: 'throughput through a port',
  unit: 'Gbit/s',
  server: 'sink.ts',
  port: SINK,
  cpu: 0,
  amount: (BULK * 8) / 1e9,
  run() {
    const chunk = Buffer.alloc(CHUNK)
    const fd = connect('tcp', NODE, HOST_PORT)
    for (let sent = 0; sent < BULK; ) {
      const now = send(fd, chunk.subarray(0, BULK - sent))
      expect(now > 0)
      sent += now
    }
    finish(fd)
    expect(receive(fd, chunk) === 1)
    close(fd)
  },
}

function expect(met: boolean): void {
  if (!met) throw new Error('a connection through a published port broke off')
}

/** A pod of that list with a published port, and traffic through it. */
export const through = (list: (someone: Implementation) => Entry[]): Scenario[] => [connections, throughput].map((traffic) => scenario(traffic, list))

function scenario({ work, unit, server, port, cpu, amount, run }: Traffic, list: (someone: Implementation) => Entry[]): Scenario {
  const there = new Map<string, { pod: Pod; result: object; child: ChildProcess }>()
  return {
    unit,
    works: [work],
    setUp(someone) {
      const pod = podOf(someone, port)
      const { result } = add(someone, list(someone), pod)
      const [file, ...args] = server.split(' ')
      const argv = ['-c', String(LAST), process.execPath, ...process.execArgv, join(import.meta.dirname, file!), ...args]
      const child = inside(pod.netns, () => spawn('taskset', argv, { stdio: ['ignore', 'ignore', 'inherit'] }))
      there.set(someone.name, { pod, result, child })
      someone.machine.world.inside(answering)
    },
    tearDown(someone) {
      if (!there.has(someone.name)) return
      const { pod, result, child } = there.get(someone.name)!
      child.kill('SIGKILL')
      del(someone, list(someone), pod, result)
      there.delete(someone.name)
    },
    round(someone) {
      const { child } = there.get(someone.name)!
      const before = busy(child)
      pin(cpu)
      const start = performance.now()
      someone.machine.world.inside(run)
      const seconds = (performance.now() - start) / 1000
      pin(undefined)
      return { [work]: { value: amount / seconds, cpu: amount / (busy(child) - before) } satisfies Sample }
    },
  }
}

const NUMBER = 100_000 // of the pod: not one of those that stay, nor one that another scenario makes

function podOf({ machine }: Implementation, port: number): Pod {
  return { container: containerID(), netns: machine.pod(NUMBER), runtime: { portMappings: [{ hostPort: HOST_PORT, containerPort: port, protocol: 'tcp' }] } }
}

const PATIENCE = 5000 // ms

/** Waits until somebody answers at the port. */
function answering(): void {
  for (const start = performance.now(); ; sleep(5)) {
    try {
      return void close(connect('tcp', NODE, HOST_PORT))
    } catch (error) {
      if (performance.now() - start > PATIENCE) throw new Refused(`nobody answers at the published port: ${(error as Error).message}`)
    }
  }
}

/** CPU time of this thread and of a child, s. The kernel's work for packets is in it, since it is done where they are sent. */
function busy({ pid }: ChildProcess): number {
  const [ours, theirs] = ['thread-self', pid].map((who) => Number(readFileSync(`/proc/${who}/schedstat`, 'utf8').split(' ')[0])) as [number, number]
  return (ours + theirs) / 1e9
}
