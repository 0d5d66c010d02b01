// Fifty requests at once to the executable as it is built: no address twice, none lost, nothing left.

import { full, ip, netns, sh, works } from '../world.ts'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { hostIfname } from '../../src/names.ts'
import { BUILT, builtIsMissing, launch, type Ended } from '../reference.ts'

const PODS = 50
const OWN = 7 // elements in maps: of each family masqueraded, a port, who is masqueraded on the way to it; a port of one address
const ODD = Array.from({ length: PODS / 2 }, (_, i) => 2 * i + 1)
const EVEN = ODD.map((i) => i - 1)
const name = (i: number): string => `pod${i}`

const request = (command: string, i: number): Promise<Ended> => launch(join(BUILT, 'ptp'), command, full(8000 + i), { container: `c${i}`, netns: `/run/netns/${name(i)}` }).ended
const failures = (answers: Ended[]): string[] => answers.filter(({ status, stderr }) => status !== 0 || stderr !== '').map(({ stdout, stderr }) => stdout + stderr)
const addresses = (answers: Ended[], family: number): string[] => answers.map(({ json }) => json.ips[family].address.split('/')[0]).sort()

const leases = (family: number): string[] => readdirSync('/var/lib/cni/networks/podnet').filter((file) => (family === 0 ? /^10\./ : /^fd00:/).test(file)).sort()
const veths = (): number => Number(sh('ip -br link show type veth | wc -l'))
const elements = (): number => Number(sh("nft -j list table inet podwire | jq '[.nftables[].map | select(. != null) | .elem // [] | length] | add'"))

t.test('fifty at once', { skip: builtIsMissing }, async (t) => {
  for (let i = 0; i < PODS; i++) netns(name(i))
  const before = sh('ip -br addr; ip route; ip -6 route')

  const added = await Promise.all([...ODD, ...EVEN].map((i) => request('ADD', i)))
  t.same(failures(added), [], 'fifty ADDs')
  for (const family of [0, 1]) {
    t.equal(new Set(addresses(added, family)).size, PODS, 'no address twice')
    t.same(leases(family), addresses(added, family), 'none lost')
  }
  t.same([veths(), elements()], [PODS, OWN * PODS])
  for (const i of [1, 48]) t.ok(works(`ip netns exec ${name(i)} ping -c1 -W2 10.1.2.1`), `${name(i)} reaches the node`)

  t.same(failures(await Promise.all(EVEN.map((i) => request('DEL', i)))), [], 'half of them go')
  const mixed = await Promise.all([...ODD.map((i) => request('DEL', i)), ...EVEN.map((i) => request('ADD', i))])
  t.same(failures(mixed), [], 'the other half goes while this half comes back')
  const back = mixed.slice(ODD.length)
  for (const family of [0, 1]) t.same(leases(family), [...new Set(addresses(back, family))], 'who came has an address of its own, and nobody else has one')
  t.same([veths(), elements()], [PODS / 2, (OWN * PODS) / 2])
  for (const i of EVEN) t.match(ip(`-br addr show ${hostIfname({ network: 'podnet', containerID: `c${i}`, ifname: 'eth0' })}`), '10.1.2.1/32')

  t.same(failures(await Promise.all(EVEN.flatMap((i) => (i < 10 ? [request('DEL', i), request('DEL', i)] : [request('DEL', i)])))), [], 'DELs at once, some twice')
  t.same([veths(), elements()], [0, 0])
  t.same(readdirSync('/var/lib/cni/networks/podnet').sort(), ['last_reserved_ip.0', 'last_reserved_ip.1', 'lock'])
  t.equal(sh('ip -br addr; ip route; ip -6 route'), before)
})
