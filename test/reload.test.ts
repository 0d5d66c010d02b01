// A pod that runs gets its network anew: `podman network reload`, which is DEL and ADD in the same namespace with the same
// address. What was under way by TCP goes on.
//
//   far 192.0.2.2 ── u0 192.0.2.1 (node) ── pod 10.1.2.9, which sends a line every few milliseconds

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import { call, netns, sh } from './world.ts'
import t from 'tap'

const LINES = 100
const SLOW = `require('node:net').createServer((socket) => { let i = 0; const timer = setInterval(() => (socket.write(++i + '\\n'), i === ${LINES} && (clearInterval(timer), socket.end())), 10); socket.on('error', () => clearInterval(timer)) }).listen(80, '::', () => console.log('ready'))`
const ipam = { type: 'host-local', subnet: '10.1.2.0/24', routes: [{ dst: '0.0.0.0/0' }] }
const conf = { cniVersion: '1.0.0', name: 'podnet', type: 'ptp', ipMasq: true, ipam }
const ports = { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] }
const ips = { ips: ['10.1.2.9'] }

/** By one entry, and by a list: how a runtime adds a pod and deletes it. */
const WAYS: Record<string, { add(): void; del(): void }> = {
  'one entry': {
    add: () => call('ptp', 'ADD', { ...conf, runtimeConfig: { ...ports, ...ips } }),
    del: () => call('ptp', 'DEL', { ...conf, runtimeConfig: ports }),
  },
  'a list': {
    add: () => call('portmap', 'ADD', { ...conf, type: 'portmap', runtimeConfig: ports, prevResult: call('ptp', 'ADD', { ...conf, runtimeConfig: ips }).json }),
    del: () => ['portmap', 'ptp'].forEach((type) => call(type, 'DEL', { ...conf, type, runtimeConfig: ports })),
  },
}

for (const name of ['far', 'pod']) netns(name)
sh(`ip link add u0 type veth peer name eth0 netns far && ip link set u0 up && ip addr add 192.0.2.1/24 dev u0
ip -n far link set eth0 up && ip -n far addr add 192.0.2.2/24 dev eth0 && ip -n pod link set lo up
sysctl -qw net.ipv4.ip_forward=1`)

for (const [way, { add, del }] of Object.entries(WAYS))
  t.test(`${way}: a download through a host port goes on`, async (t) => {
    const server = spawn('nsenter', ['--net=/run/netns/pod', process.execPath, '-e', SLOW], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(server.stdout, 'data')
    add()
    const client = spawn('nsenter', ['--net=/run/netns/far', 'timeout', '60', 'bash', '-c', 'cat </dev/tcp/192.0.2.1/8080'], { stdio: ['ignore', 'pipe', 'inherit'] })
    let heard = ''
    client.stdout.on('data', (data) => (heard += data))
    await once(client.stdout, 'data')
    del()
    await setTimeout(20) // the pod has something to send before it can
    add()
    await once(client, 'close')
    t.equal(heard.trim().split('\n').length, LINES)

    const tracked = () => sh('conntrack -L -p tcp --dport 8080 2>/dev/null')
    t.match(tracked(), 'TIME_WAIT')
    del()
    t.equal(tracked(), '', 'what has ended is not tracked any more')
    add()
    const last = spawn('nsenter', ['--net=/run/netns/far', 'timeout', '60', 'bash', '-c', 'cat </dev/tcp/192.0.2.1/8080'], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(last.stdout, 'data')
    t.match(tracked(), 'ESTABLISHED')
    server.kill('SIGKILL')
    await once(server, 'close')
    del()
    t.equal(tracked(), '', 'nor what a pod began that has ended')
    last.kill()
  })
