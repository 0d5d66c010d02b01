// A flow of TCP or UDP from one network namespace to another, measured where it arrives.

import { spawn } from 'node:child_process'
import { on, once } from 'node:events'

export interface Flow {
  protocol: 'tcp' | 'udp'
  /** Network namespaces, in each of which the interface is eth0. */
  from: string
  to: string
  /** The receiver's. */
  address: string
  /** Bits per second that are sent by UDP; TCP sends what it can. */
  offered: number
  /**
   * What is counted: `frames` that come in by eth0, or the `payload` of TCP, to which headers are added. Large frames of TCP are cut
   * for the wire only (GSO) and have headers once; what is read comes in jumps where packets get lost.
   */
  count: 'payload' | 'frames'
  /** ms: what comes first does not count; then it is measured. */
  skip: number
  time: number
}

/** Bits per second that arrived, with the headers of Ethernet and IP. */
export async function measure(flow: Flow): Promise<number> {
  // Plain JavaScript by -e, because Node takes 0.1 s longer to start with a file of TypeScript.
  const start = (netns: string, text: string) => spawn('nsenter', [`--net=/run/netns/${netns}`, process.execPath, '-e', `const flow = ${JSON.stringify(flow)}\n${text}`], { stdio: ['ignore', 'pipe', 'inherit'] })
  const sink = start(flow.to, SINK)
  const lines = on(sink.stdout!, 'data')[Symbol.asyncIterator]()
  await lines.next()
  const source = start(flow.from, SOURCE)
  const gone = [sink, source].map((child) => once(child, 'exit'))
  const end = () => (sink.kill(), source.kill())
  process.once('exit', end)
  const bits = await Promise.race([lines.next().then(({ value }) => Number(value)), gone[0]!.then(() => 0)]) // who hears nothing goes
  end()
  process.removeListener('exit', end)
  await Promise.all(gone)
  return bits
}

/** Says when it listens, and at the end what was measured. */
const SINK = `
const { protocol, address, count, skip, time } = flow
setTimeout(() => process.exit(1), skip + time + 60_000).unref()
let payload = 0, began = false
const received = () => Number(/eth0: *(\\d+)/.exec(require('node:fs').readFileSync('/proc/self/net/dev', 'utf8'))[1])
const headers = address.includes(':') ? 86 : 66 // of Ethernet, IP, TCP with timestamps, in a frame of 1514 bytes
const bits = () => 8 * (count === 'payload' ? (payload * 1514) / (1514 - headers) : received())
const arrived = (bytes) => {
  payload += bytes
  if (began) return
  began = true
  setTimeout(() => {
    const [first, at] = [bits(), performance.now()]
    setTimeout(() => console.log((bits() - first) * 1000 / (performance.now() - at)), time)
  }, skip)
}
const ready = () => console.log('ready')
if (protocol === 'tcp') require('node:net').createServer((socket) => socket.on('error', () => {}).on('data', ({ length }) => arrived(length))).listen(5001, '::', ready)
else require('node:dgram').createSocket('udp6').on('message', (_, { size }) => arrived(size)).bind(5001, ready)
`

/** Sends until it is ended. */
const SOURCE = `
const { protocol, address, offered } = flow
setTimeout(() => process.exit(1), 600_000).unref() // nobody waits for one that was forgotten
if (protocol === 'tcp') {
  const chunk = Buffer.alloc(0x40000)
  const socket = require('node:net').connect(5001, address)
  const more = () => { while (socket.write(chunk)); }
  socket.on('connect', more).on('drain', more)
} else {
  const socket = require('node:dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4')
  const datagram = Buffer.alloc(offered < 100_000_000 ? 1400 : 60_000) // many small ones are more than Node can send
  let sent = performance.now()
  const spray = () => { // what the time that has passed allows, at most 10 ms of it
    sent = Math.max(sent, performance.now() - 10)
    for (; sent < performance.now(); sent += datagram.length * 8000 / offered) socket.send(datagram, 5001, address, () => {})
    setTimeout(spray, 1)
  }
  spray()
}
`
