// The system's message bus with firewalld on it, as a test needs it: a socket that answers in the bytes of the real ones. They
// were recorded between podwire and dbus-daemon 1.14 with firewalld 1.3; what is asked otherwise is not answered.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync } from 'node:fs'
import { directory } from './world.ts'

const SOCKET = '/run/dbus/system_bus_socket'

/** By what is asked: the request, and the answers by what the world is like. */
export const RECORDED: Record<string, { request: string; answers: Record<string, string> }> = JSON.parse(readFileSync('test/firewalld.json', 'utf8'))

const BUS = `
const RECORDED = JSON.parse(require('node:fs').readFileSync('test/firewalld.json', 'utf8'))
let running = process.argv[1] === 'running'
const sources = new Set()
process.on('SIGUSR1', () => sources.clear()) // as firewall-cmd --reload does
process.on('SIGUSR2', () => console.log('so far')) // all that was asked has been said
const SERIAL = /^(.{16})(.{8})/ // of a request; in answers it is field 5, a variant u

/** What becomes of a request, and which answer tells it. */
function state(asked) {
  const [member, zone, address = zone] = asked.split(' ')
  if (member === 'NameHasOwner') return running ? 'yes' : 'no'
  if (asked === 'AUTH' || asked === 'Hello') return 'done'
  if (!running) return 'nobody'
  if (member === 'getSources') return zone === 'trusted' ? { 0: 'none', 2: 'two', 4: 'four' }[sources.size] : 'done'
  if (member === 'getZoneOfSource') return sources.has(address) ? 'trusted' : 'none'
  if (member === 'changeZoneOfSource' && zone === 'trusted') sources.add(address)
  if (member === 'removeSource') sources.delete(address)
  return 'done'
}

require('node:net').createServer((socket) => {
  let read = ''
  const answer = (length, serial) => {
    const request = read.slice(0, length)
    read = read.slice(length)
    const [asked, { answers } = {}] = Object.entries(RECORDED).find(([, { request: one }]) => one.replace(SERIAL, '$1') === request.replace(SERIAL, '$1')) ?? []
    if (!answers) return void (console.log('not understood: ' + Buffer.from(request, 'hex').toString('latin1').replace(/[^ -~]+/g, ' ')), socket.destroy())
    console.log(asked)
    socket.write(Buffer.from(serial ? answers[state(asked)].replace('0501750002000000', '05017500' + serial) : answers[state(asked)], 'hex'))
  }
  socket.on('error', () => {}).on('data', (data) => {
    read += data.toString('hex')
    for (;;) {
      if (read.startsWith('00415554')) { if (!read.includes('0d0a')) return; answer(read.indexOf('0d0a') + 4); continue }
      if (read.startsWith('424547494e0d0a')) { read = read.slice(14); continue }
      const bytes = Buffer.from(read, 'hex')
      if (bytes.length < 16) return
      const length = ((16 + bytes.readUInt32LE(12) + 7) & ~7) + bytes.readUInt32LE(4)
      if (bytes.length < length) return
      answer(2 * length, read.slice(16, 24))
    }
  })
}).listen(process.argv[2].replace('@', '\\0'), () => console.log('ready'))
setTimeout(() => process.exit(1), 600_000) // nobody waits for a bus that was forgotten
`

export interface FakeBus {
  /** What was asked since the last time. */
  asked(): Promise<string[]>
  /** Forgets all sources, as a reload does. */
  reload(): void
  stop(): Promise<void>
}

/** `socket` is a path, or an abstract name after an @. */
export async function bus(firewalld: 'running' | 'absent', socket = SOCKET): Promise<FakeBus> {
  directory('/run/dbus')
  const child = spawn(process.execPath, ['-e', BUS, firewalld, socket], { stdio: ['ignore', 'pipe', 'inherit'] })
  let printed = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (printed += text))
  await once(child.stdout, 'data')
  printed = ''
  const kill = () => void child.kill('SIGKILL')
  process.on('exit', kill)
  return {
    async asked() {
      child.kill('SIGUSR2')
      while (!printed.includes('so far\n')) await once(child.stdout, 'data')
      const lines = printed.split('\n').filter((line) => !['', 'AUTH', 'Hello', 'so far'].includes(line))
      printed = ''
      return lines
    },
    reload: () => void child.kill('SIGUSR1'),
    async stop() {
      process.off('exit', kill)
      kill()
      await once(child, 'exit')
      rmSync(socket, { force: true })
    },
  }
}
