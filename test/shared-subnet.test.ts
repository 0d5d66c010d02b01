// Two networks that share a subnet: the second pod with an address is refused, and the sentence names who has it.

import { call, ip, netns, podnet, sh } from './world.ts'
import t from 'tap'

const network = (name: string, subnet: string) => ({ ...podnet, name, ipMasq: false, ipam: { type: 'host-local', subnet, dataDir: `/run/${name}` } })

for (const [subnet, address] of [['10.8.0.0/24', '10.8.0.2'], ['fd00:8::/64', 'fd00:8::2']] as const)
  t.test(subnet, async (t) => {
    for (const name of ['a', 'b']) netns(name)
    const [first, second] = [{ container: 'c1', netns: '/run/netns/a' }, { container: 'c2', netns: '/run/netns/b' }]
    const added = call('ptp', 'ADD', network('red', subnet), first)
    t.equal(added.status, 0, added.stdout)
    const before = sh('ip -br link; ip route; ip -6 route; ls /run')
    const { json } = call('ptp', 'ADD', network('blue', subnet), second)
    t.match(json, { code: 100, details: 'what had been done was taken back' })
    t.equal(json.msg.split(' (ip ')[0], `${address} has a route already, to ${added.json.interfaces[0].name} (red/c1/eth0): two networks share a subnet`)
    t.match(json.msg, /\(ip (?:-6 )?route add \S+ dev veth\w+(?: scope host)?: EEXIST[^)]*\)$/, 'with the line, and the word of the kernel')
    t.equal(sh('ip -br link; ip route; ip -6 route; ls /run | grep -v blue'), before, 'nothing is left')
    t.equal(call('ptp', 'DEL', network('red', subnet), first).status, 0)
    for (const name of ['a', 'b']) ip(`netns del ${name}`)
    sh('rm -rf /run/red /run/blue')
  })
