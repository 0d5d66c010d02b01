// What the kernel tells unasked.

import { ip, sh } from '../world.ts'
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import t from 'tap'
import { Monitor, type News } from '../../src/kernel/monitor.ts'

t.test('links, addresses, neighbours, routes, forwarding and our table are heard of, other tables are not', async (t) => {
  const heard: News[] = []
  const monitor = new Monitor((news) => heard.push(news))
  ip('link add u0 type veth peer name far && ip link set u0 up && ip addr add 192.0.2.1/24 dev u0')
  ip('neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev u0 nud permanent && ip route add 198.51.100.0/24 via 192.0.2.2')
  sh('sysctl -qw net.ipv4.ip_forward=1; nft add table inet podwire; nft add set inet podwire some "{ type ipv4_addr; }"; nft add table inet other; ip link del u0')
  monitor.read()
  monitor.close()
  for (const about of ['link', 'addr', 'neigh', 'route', 'forwarding', 'nft'] as const) t.ok(heard.some((news) => news.about === about), about)
  t.match(heard.filter((news) => news.about === 'link').slice(-2).map((news) => (news as { name: string }).name).sort(), ["far", "u0"])
  t.same(heard.filter((news) => news.about === 'nft'), [{ about: 'nft', name: undefined, element: false }, { about: 'nft', name: 'some', element: false }])
})

t.test('monitors that come and go while much happens do not end the process', async (t) => {
  writeFileSync('/run/monitors.ts', `
import { Monitor } from '${process.cwd()}/src/kernel/monitor.ts'
import { spawn } from 'node:child_process'
const noise = spawn('bash', ['-c', 'for i in $(seq 40); do echo "link add n0 type veth peer name n1"; echo "link del n0"; done | ip -batch -'])
noise.on('exit', () => { console.log('done'); process.exit() })
setInterval(() => { for (let i = 0; i < 20; i++) new Monitor(() => {}).close() }, 1)
`)
  const { NODE_OPTIONS: _, ...env } = process.env
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', '/run/monitors.ts'], { encoding: 'utf8', env })
  t.same([status, signal, stdout], [0, null, 'done\n'], stderr)
})
