// Pods whose networks are a part of the underlay's, as where nodes are in 10.0.0.0/8 and pods in 10.244.0.0/16: the longest prefix
// leads to them. And one that lies about its address takes nobody off the cluster.
//
//   p (pod) 192.0.2.66 ── a 192.0.2.1 ── bridge lan 192.0.2.0/24 ── b 192.0.2.2 ── q (pod) 192.0.2.98

import { ip, works } from '../world.ts'
import t from 'tap'
import { Agent, node, on, peers, pod, segment, until, wire } from './nodes.ts'

const A = node('a', 1, { podCIDRs: ['192.0.2.64/27', '2001:db8::1:0/112'] })
const B = node('b', 2, { podCIDRs: ['192.0.2.96/27', '2001:db8::2:0/112'] })
segment('a', 'b')

t.test('pods inside of the underlay\'s network', async (t) => {
  peers(A, B)
  const agents = await Promise.all([Agent.ready('a'), Agent.ready('b')])
  const [p, q] = agents.map((agent, i) => pod(agent, 'pq'[i]!))
  t.match([p, q], [[/^192\.0\.2\.6/, /^2001:db8::1:/], [/^192\.0\.2\.9/, /^2001:db8::2:/]])
  for (const address of q!) await until(`the way to ${address}`, () => works(`ip netns exec p ping -c1 -W1 ${address}`), 5_000)
  t.match(agents[0]!.podwireStatus(), { status: 0 })
  for (const beside of ['192.0.2.2', '192.0.2.254']) t.ok(works(`ip netns exec a ping -c1 -W2 ${beside}`), `${beside} is where it was`)

  await t.test('a node that says an address inside the network of another, beside its own: the way to that one stays', async (t) => {
    const before = on('a', 'ip route show 192.0.2.96/27')
    peers(A, B, node('0', 7, { addresses: ['192.0.2.7', '192.0.2.98'], podCIDRs: ['10.244.7.0/24'] }))
    await until('the liar is known', () => agents[0]!.said().problems.length > 0, 5_000)
    t.match(agents[0]!.said().problems, [{ node: '0', sentence: 'its address 192.0.2.98 is inside 192.0.2.96/27 of node b' }])
    t.equal(on('a', 'ip route show 192.0.2.96/27'), before)
    t.match(before, 'via 192.0.2.96 dev podwire.1')
    for (const address of q!) t.ok(works(`ip netns exec p ping -c1 -W2 ${address}`), address)
  })
  for (const [i, agent] of agents.entries()) {
    wire(agent, 'DEL', 'pq'[i]!)
    await agent.stop()
  }
  ip('netns del p && ip netns del q')
})
