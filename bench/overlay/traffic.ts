// Traffic between two pods: iperf3 for throughput, sockets of our own for latency. Each sample takes some ten
// milliseconds, so that those who are compared have their turns in the same moments, whatever else the machine does.
//
// Sender and receiver have a CPU each, where there are two: a scheduler that moves them is most of the noise. Round trips
// are made on one CPU: waking an idle one takes a virtual machine longer than all the rest.

import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { median } from '../statistics.ts'
import type { Pod } from './pair.ts'
import { close, connect, pin, receive, send, type Protocol } from './socket.ts'

export interface Traffic {
  name: string
  unit: 'Gbit/s' | 'kpps' | 'µs'
  better: 'more' | 'less'
  sample(from: Pod, to: Pod): number
}

const tcp = (streams: number, cpu: boolean): Traffic => ({
  name: streams === 1 ? 'TCP, one stream' : `TCP, ${streams} streams`,
  unit: 'Gbit/s',
  better: 'more',
  sample(from, to) {
    const end = iperf(from, to, ['-n', BULK, '-C', 'reno', '-P', String(streams)])
    return end.sum_received.bits_per_second / 1e9 / (cpu ? used(end) : 1)
  },
})

/** As fast as the sender can; what arrives counts. */
const udp = (cpu: boolean): Traffic => ({
  name: 'UDP, 1400 bytes',
  unit: 'kpps',
  better: 'more',
  sample(from, to) {
    const end = iperf(from, to, ['-n', DATAGRAMS, '-u', '-b', '0', '-l', '1400'])
    const { packets, lost_packets: lost, seconds } = end.sum
    return (packets - lost) / seconds / 1000 / (cpu ? used(end) : 1)
  },
})

const roundTrip = (protocol: Protocol): Traffic => ({
  name: `${protocol.toUpperCase()} round trip`,
  unit: 'µs',
  better: 'less',
  sample({ netns }, { address }) {
    const fd = netns.inside(() => connect(protocol, address))
    pin(RECEIVER)
    const message = Buffer.alloc(MESSAGE)
    const times = Array.from({ length: ROUND_TRIPS }, () => {
      const start = process.hrtime.bigint()
      send(fd, message)
      return receive(fd, message) > 0 ? Number(process.hrtime.bigint() - start) / 1000 : Infinity
    })
    pin(undefined)
    close(fd)
    return median(times)
  },
})

/** All kinds; with `cpu` throughput is not by second but by second of CPU time, the sender's and the receiver's. */
export const traffics = (cpu: boolean): Traffic[] => [tcp(1, cpu), tcp(8, cpu), udp(cpu), roundTrip('tcp'), roundTrip('udp')]

export const MESSAGE = 64 // bytes
const ROUND_TRIPS = 500
const BULK = '80M'
const DATAGRAMS = '8M'
const SENDER = 0
const RECEIVER = Math.min(1, availableParallelism() - 1)

interface Iperf {
  sum: { packets: number; lost_packets: number; seconds: number }
  sum_received: { bits_per_second: number }
  cpu_utilization_percent: { host_total: number; remote_total: number }
}

/** CPUs that both ends kept busy, which is where the kernel carries the packets, too. */
const used = ({ cpu_utilization_percent: { host_total: sender, remote_total: receiver } }: Iperf): number => (sender + receiver) / 100

// Not BBR, where that is the default: it paces.
function iperf({ netns }: Pod, { address }: Pod, args: string[]): Iperf {
  const argv = ['-c', address, '-J', '-A', `${SENDER},${RECEIVER}`, ...args]
  const text = netns.inside(() => execFileSync('iperf3', argv, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }))
  const { end, error } = JSON.parse(text) as { end: Iperf; error?: string }
  if (error) throw new Error(`iperf3 to ${address}: ${error}`)
  return end
}

/** What answers in a pod; to be stopped. */
export class Servers {
  readonly #children: ChildProcess[]

  constructor({ netns }: Pod) {
    const start = (...argv: string[]) => netns.inside(() => spawn('taskset', ['-c', String(RECEIVER), ...argv], { stdio: 'ignore' }))
    const echo = (protocol: Protocol) => start(process.execPath, ...process.execArgv, join(import.meta.dirname, 'echo.ts'), protocol)
    this.#children = [start('iperf3', '-s'), echo('udp'), echo('tcp')]
  }

  stop(): void {
    this.#children.forEach((child) => child.kill('SIGKILL'))
  }
}
