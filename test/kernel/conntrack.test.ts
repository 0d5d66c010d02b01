// Connections that are forgotten for many pods at once (GC), by the tables of conntrack(8): each of both families that a pod began or
// answers, those that were led to it from a port of the node, and no others.

import { sh, works } from '../world.ts'
import t from 'tap'
import type { Flows, PortFlows } from '../../src/facts.ts'
import { forget, redirect } from '../../src/kernel/conntrack.ts'
import { Netns } from '../../src/kernel/netns.ts'
import * as state from '../../src/state.ts'

const host = new Netns()
t.teardown(() => host.close())
sh("ip addr add 192.0.2.1/32 dev lo && ip addr add 2001:db8::1/128 dev lo nodad && nft add table ip nat && nft 'add chain ip nat post { type nat hook postrouting priority 100; }' && nft add rule ip nat post ct state new")
const skip = !works('conntrack -C') && 'conntrack, of the package of that name, is missing'

const PODS = Array.from({ length: 20 }, (_, i) => i + 2)
const address = (pod: number, family: 4 | 6) => (family === 4 ? `10.1.2.${pod}` : `fd00:1::${pod}`)
const outside = { 4: '198.51.100.7', 6: '2001:db8:7::7' }
const node = { 4: '192.0.2.1', 6: '2001:db8::1' }

/** A connection as the kernel tracks it: who began it with whom, by which port, and who answers. */
const track = (from: string, to: string, port: number, answers = to, protocol = 'udp') =>
  `-I -p ${protocol} -s ${from} -d ${to} --sport 1000 --dport ${port} -r ${answers} -q ${from} --reply-port-src ${port} --reply-port-dst 1000 -t 3000${protocol === 'tcp' ? ' --state ESTABLISHED' : ''}`
const load = (lines: string[]) => sh(`conntrack -F 2>/dev/null; conntrack --load-file - >/dev/null <<'EOF'\n${lines.join('\n')}\nEOF`)
const tracked = () => sh('conntrack -L -f ipv4 2>/dev/null; conntrack -L -f ipv6 2>/dev/null').split('\n').map((line) => /src=(\S+) dst=(\S+) .*?dport=(\d+)/.exec(line)!.slice(1).join(' ')).sort()

t.test('what pods began and answer, of both families, and nobody else', { skip }, async (t) => {
  const both = (pod: number) => ([4, 6] as const).flatMap((family) => [track(address(pod, family), outside[family], 443), track(outside[family], address(pod, family), 80), track(outside[family], node[family], 8000 + pod, address(pod, family), 'tcp')])
  load(PODS.flatMap(both))
  t.equal(tracked().length, PODS.length * 6)
  const gone = PODS.filter((pod) => pod % 4 !== 0)
  forget(host, gone.flatMap((pod): Flows[] => [4, 6].map((family) => ({ fact: 'flows', address: address(pod, family as 4 | 6) }))))
  const left = tracked()
  load(PODS.filter((pod) => !gone.includes(pod)).flatMap(both))
  t.same(left, tracked())
})

t.test('what was led to pods from ports of the node, among thousands of ports', { skip }, async (t) => {
  const ports = (family: 4 | 6): PortFlows['ports'] => Array.from({ length: 2000 }, (_, i) => ({ protocol: 'udp', port: 8000 + i, to: address(2, family) }))
  const led = ([4, 6] as const).flatMap((family) => [8000, 9999].map((port) => track(outside[family], node[family], port, address(2, family))))
  const others = ([4, 6] as const).flatMap((family) => [
    track(outside[family], node[family], 8001, address(3, family)), // another pod's
    track(outside[family], node[family], 10_000, address(2, family)),
    track(outside[family], node[family], 8002, address(2, family), 'tcp'),
    track(address(2, family), outside[family], 443),
  ])
  load([...led, ...others])
  t.equal(tracked().length, 12)
  t.same(state.del({ host }, ([4, 6] as const).map((family) => ({ fact: 'port flows', ports: ports(family) }))), [])
  const left = tracked()
  load(others)
  t.same(left, tracked())
})

t.test('what goes elsewhere than thousands of ports lead to now', { skip }, async (t) => {
  const ports = ([4, 6] as const).flatMap((family) => Array.from({ length: 2000 }, (_, i) => ({ protocol: 'udp', port: 8000 + i, to: address(2, family) })))
  const stale = ([4, 6] as const).flatMap((family) => [track(outside[family], node[family], 8000), track(outside[family], node[family], 9999, address(3, family))])
  const fine = ([4, 6] as const).flatMap((family) => [track(outside[family], node[family], 8001, address(2, family)), track(outside[family], node[family], 53), track(outside[family], address(9, family), 8000)])
  load([...stale, ...fine])
  redirect(host, ports)
  const left = tracked()
  load(fine)
  t.same(left, tracked())
})
