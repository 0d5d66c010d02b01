// The pure parts of the overlay's benchmark: the nodes that it generates, and the plot that it draws.

import t from 'tap'
import { node, nodeObject, nodes } from '../bench/overlay/nodes.ts'
import { svg } from '../bench/overlay/plot.ts'
import { peersOf } from '../src/vxlan/peers.ts'

t.test('15 000 generated nodes are peers of each other, with nothing wrong', async (t) => {
  const all = nodes(15_000)
  const { peers, problems } = peersOf(all[0]!, new Map(all.map((one) => [one.name, one])), { local: all[0]!.addresses[0]!, dev: 'eth0', mtu: 1500, onLink: ['198.18.0.0/15', 'fd00:20::/64'] })
  t.equal(peers.length, 14_999)
  t.same(problems, [])
  t.match(all.at(-1), { addresses: ['198.18.58.152', 'fd00:20::3a98'], podCIDRs: ['10.58.152.0/24', 'fd00:10:0:3a98::/64'] })
})

t.test('as an object of Kubernetes a node says the same, in 10 to 20 KB', async (t) => {
  const { name, addresses, podCIDRs } = node(7)
  const object = nodeObject(7) as { metadata: { name: string }; spec: { podCIDRs: string[] }; status: { addresses: { type: string; address: string }[] } }
  t.equal(object.metadata.name, name)
  t.same(object.spec.podCIDRs, podCIDRs)
  t.same(object.status.addresses.flatMap(({ type, address }) => (type === 'InternalIP' ? [address] : [])), addresses)
  const { length } = JSON.stringify(object)
  t.ok(length > 10_000 && length < 20_000, `${length} bytes`)
})

t.test('a plot has its points where they belong on logarithmic axes', async (t) => {
  const text = svg({ title: 'A & B', x: 'nodes', y: 'ms', series: [{ name: 'a < b', points: [[10, 1], [100, 10], [1000, 100]] }] })
  const [, points] = /<polyline[^>]* points="([^"]+)"/.exec(text)!
  const [first, middle, last] = points!.split(' ').map((point) => point.split(',').map(Number)) as [[number, number], [number, number], [number, number]]
  t.same(middle, [(first[0] + last[0]) / 2, (first[1] + last[1]) / 2], 'ten times as much is as far each time')
  t.ok(first[0] < last[0] && first[1] > last[1], 'more is to the right, and up')
  for (const label of ['A &amp; B', 'a &lt; b', '>nodes<', '>ms<', '>1 000<', '>10<', '>100<']) t.match(text, label)
})

t.test('labels of lines that end close to each other stand apart', async (t) => {
  const series = [5, 5.01, 5.02, 900].map((end, i) => ({ name: `line ${i}`, points: [[1, 1], [10, end]] as [number, number][] }))
  const text = svg({ title: 't', x: 'x', y: 'y', series })
  const heights = series.map(({ name }) => Number(new RegExp(`y="([\\d.-]+)"[^>]*>${name}<`).exec(text)![1])).sort((a, b) => a - b)
  for (const [i, height] of heights.entries()) if (i > 0) t.ok(height - heights[i - 1]! >= 15 - 0.1, `${height} is below ${heights[i - 1]}`)
})
