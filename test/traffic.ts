// Packets for tests: a server in a namespace that says who it is and whom it sees, and somebody who asks it.

import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'

const SERVER = `
const [name, ...ports] = process.argv.slice(1)
const plain = (address) => address.replace(/^::ffff:/, '')
let waiting = 2 * ports.length
const ready = () => --waiting || console.log('ready')
for (const port of ports) {
  require('node:net').createServer((socket) => socket.on('error', () => {}).end(name + ' sees ' + plain(socket.remoteAddress) + '\\n')).listen(Number(port), '::', ready)
  const udp = require('node:dgram').createSocket('udp6')
  udp.on('message', (_, { address, port }) => udp.send(name + ' sees ' + plain(address) + '\\n', port, address)).bind(Number(port), ready)
}
setTimeout(() => process.exit(1), 600_000) // nobody waits for a server that was forgotten
`
const servers: ChildProcess[] = []
process.on('exit', () => servers.forEach((server) => server.kill('SIGKILL')))

/** Answers on ports, TCP and UDP, both families, in a namespace (undefined: this one) with `NAME sees ADDRESS`. */
export async function server(netns: string | undefined, name: string, ...ports: number[]): Promise<ChildProcess> {
  const command = [...(netns === undefined ? [] : ['nsenter', `--net=/run/netns/${netns}`]), process.execPath, '-e', SERVER, name, ...ports.map(String)]
  const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] })
  servers.push(child)
  await Promise.race([once(child.stdout!, 'data'), once(child, 'exit').then(() => Promise.reject(new Error(`the server ${name} has ended`)))])
  child.unref()
  ;(child.stdout as import('node:net').Socket).unref()
  return child
}

/** What a server says to somebody in a namespace (undefined: this one), or `no answer` after so many seconds. */
export function ask(netns: string | undefined, address: string, port: number, protocol: 'tcp' | 'udp' = 'tcp', patience = 60): string {
  const line = `exec 3<>/dev/${protocol}/${address}/${port} && ${protocol === 'udp' ? 'echo hello >&3 && ' : ''}head -n1 <&3`
  const command = [...(netns === undefined ? [] : ['nsenter', `--net=/run/netns/${netns}`]), 'timeout', String(patience), 'bash', '-c', line]
  const { status, stdout } = spawnSync(command[0]!, command.slice(1), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  return status === 0 && stdout !== '' ? stdout.trim() : 'no answer'
}

/** True if nobody answers: asked briefly, because who is not there takes no time. */
export const silent = (netns: string | undefined, address: string, port: number, protocol: 'tcp' | 'udp' = 'tcp'): boolean => ask(netns, address, port, protocol, 0.3) === 'no answer'
