// A pod with all ports of the node: what is found of it and what is repaired takes no more than its share for each port, and no call
// has as many arguments as the pod has ports.

import { sh } from '../world.ts'
import t from 'tap'
import { check, repair } from '../../src/cli/pods.ts'
import { attach, run, type List } from './library.ts'

const PORTS = 65_535
const ipam = { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]] }
const ALL: List = { name: 'podnet', plugins: [{ type: 'ptp', capabilities: { portMappings: true }, ipam }] }
const portMappings = Array.from({ length: PORTS }, (_, i) => ({ hostPort: i + 1, containerPort: 80, protocol: 'tcp' }))
const about = { capabilityArgs: { portMappings } }

t.test('all of them are lost, said and repaired', async (t) => {
  const result = attach(ALL, about)
  t.match(check([]), { status: 0, stdout: 'c1  ok\n' })
  sh('nft delete table inet podwire')
  const { status, stdout } = check([])
  t.equal(status, 1)
  t.equal(stdout.split('\n').filter((line) => line.includes('repair    nft add element inet podwire hostports_ip ')).length, PORTS)
  const { json } = run('CHECK', ALL, ALL.plugins[0]!, about, result)
  t.match(json, { code: 102, msg: /^nft table inet podwire is missing/ })
  t.match(repair([]), { status: 0, stdout: /^c1 {2}ok\n {2}repaired {2}nft table inet podwire is missing$/m })
  t.equal(sh('nft list map inet podwire hostports_ip | grep -c "podnet/c1/eth0"'), String(PORTS))
})
