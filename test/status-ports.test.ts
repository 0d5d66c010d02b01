// `podwire status` tells which ports of the node lead to which pods.

import { call, ip, netns, podnet, sh } from './world.ts'
import t from 'tap'
import { cli } from '../src/cli/cli.ts'
import { ports, portTable, type Port } from '../src/cli/ports.ts'
import { Netns } from '../src/kernel/netns.ts'
import { hostIfname } from '../src/names.ts'

const page = (pods: string, unseen = '') => `overlay   none (no agent has run here). Networks and pods: ${pods}\n${unseen}help      podwire help\n`
const publish = (container: string, portMappings: object[], portmap: object = {}) => {
  netns(container)
  return call('ptp', 'ADD', { ...podnet, portmap, runtimeConfig: { portMappings } }, { container, netns: `/run/netns/${container}` })
}
const status = (...args: string[]) => cli(['status', ...args])

t.test('nobody has a port', async (t) => {
  t.same(status(), { status: 0, stdout: page('none'), stderr: '' })
  t.same(status('--json').stdout, '{\n  "well": true,\n  "findings": [],\n  "unseen": [],\n  "pods": [],\n  "ports": []\n}\n')
})

t.test('a table, aligned: families share a line, and so do ports in a row', async (t) => {
  publish('web', [{ hostPort: 8080, containerPort: 80 }, { hostPort: 8080, containerPort: 53, protocol: 'UDP' }])
  publish('many', [8000, 8001, 8002, 8005].map((port) => ({ hostPort: port, containerPort: port - 1000 })))
  publish('fixed', [{ hostPort: 443, containerPort: 443, hostIP: '192.0.2.1' }, { hostPort: 443, containerPort: 443, hostIP: '::1' }])
  publish('guarded', [{ hostPort: 9000, containerPort: 80 }], { conditionsV4: ['ip', 'saddr', '192.0.2.0/24'] })
  t.same(status().stdout, `${page('podnet 4')}
port               to                                            pod
192.0.2.1:443/tcp  10.1.2.4:443                                  podnet/fixed/eth0
[::1]:443/tcp      [fd00:1::4]:443                               podnet/fixed/eth0
8000-8002/tcp      10.1.2.3:7000-7002 [fd00:1::3]:7000-7002      podnet/many/eth0
8005/tcp           10.1.2.3:7005 [fd00:1::3]:7005                podnet/many/eth0
8080/tcp           10.1.2.2:80 [fd00:1::2]:80                    podnet/web/eth0
8080/udp           10.1.2.2:53 [fd00:1::2]:53                    podnet/web/eth0
9000/tcp           10.1.2.5:80 [fd00:1::5]:80, under conditions  podnet/guarded/eth0
`)
  t.same(JSON.parse(status('--json').stdout).ports[0], { protocol: 'tcp', port: 443, address: '192.0.2.1', to: { address: '10.1.2.4', port: 443 }, network: 'podnet', container: 'fixed', ifname: 'eth0' })
})

t.test('a pod that is gone, and was not deleted', async (t) => {
  ip(`link del ${hostIfname({ network: 'podnet', containerID: 'web', ifname: 'eth0' })}`)
  t.match(status().stdout, /^8080\/udp .* podnet\/web\/eth0 +is gone: podwire gc takes it back$/m)
  t.equal(JSON.parse(status('--json').stdout).ports.filter(({ gone }: Port) => gone).length, 4)
  call('ptp', 'DEL', podnet, { container: 'web' })
  t.notMatch(status().stdout, 'web')
})

t.test('without privileges the kernel does not tell', async (t) => {
  const line = "import('./src/cli/cli.ts').then(({ cli }) => process.stdout.write(cli(['status']).stdout))"
  const unseen = 'unseen    what nf_tables holds (masquerading, ports of pods): root alone can look at it\n'
  t.equal(sh(`setpriv --bounding-set=-all --inh-caps=-all ${process.execPath} -e "${line}"`), page('podnet 3', unseen).trim())
})

t.test('a thousand ports are told at once', async (t) => {
  const own = new Netns()
  t.teardown(() => own.close())
  const one = ports(own)!.at(-1)!
  const list = Array.from({ length: 1000 }, (_, i) => ({ ...one, port: 2 * i + 1 }))
  t.equal(portTable(list).split('\n').length, 1003)
})
