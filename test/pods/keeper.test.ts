// An agent keeps what podwire has made for the pods of its node: whatever is typed there is repaired within a second, and what is in a
// pod's namespace is left to the pod. What the kernel has is asked of ip, tc and nft.
//
//   a (agent) ── u0 ── lan          pods one (agent's network), two (bridge and a chain), each in a namespace of its own

import { ip } from '../world.ts'
import { mkdirSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { LIBRARY } from '../../src/pods/library.ts'
import { Agent, inside, node, on, peers, segment, until } from '../vxlan/nodes.ts'
import { attach, detach, type List } from './library.ts'

const RATES = { ingressRate: 8_000_000, ingressBurst: 800_000, egressRate: 16_000_000, egressBurst: 1_600_000 }
const asked = (hostPort: number) => ({ portMappings: [{ hostPort, containerPort: 80, protocol: 'tcp' }], bandwidth: RATES })
const ONE: List = { name: 'podwire', plugins: [{ type: 'podwire', capabilities: { portMappings: true, bandwidth: true }, overlay: '/run/a/state', ipam: { type: 'host-local', ranges: [[{ subnet: '10.244.1.0/24' }], [{ subnet: 'fd00:10:244:1::/64' }]], routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] } }] }
const TWO: List = { name: 'other', plugins: [{ type: 'bridge', bridge: 'cni0', isGateway: true, ipMasq: true, ipam: { type: 'host-local', subnet: '10.9.0.0/24', routes: [{ dst: '0.0.0.0/0' }] } }, { type: 'portmap', capabilities: { portMappings: true } }, { type: 'firewall' }] }

segment('a')
peers(node('a', 1), node('b', 2))
mkdirSync(LIBRARY, { recursive: true })
const agent = await Agent.ready('a')
t.teardown(() => agent.stop())
const results = inside('a', () => [attach(ONE, { container: 'one', capabilityArgs: asked(8080), args: [['K8S_POD_NAMESPACE', 'default'], ['K8S_POD_NAME', 'web']] }), attach(TWO, { container: 'two', capabilityArgs: asked(8081) })])
const [one, two] = results.map(({ interfaces }) => interfaces.find(({ name, sandbox }: { name: string; sandbox?: string }) => !sandbox && name.startsWith('veth')).name) as [string, string]

const DAMAGES = `
nft delete table inet podwire
nft flush ruleset
nft flush chain inet podwire hostports
nft delete element inet podwire hostports_ip '{ tcp . 8080 }'
nft delete element inet podwire hostports_ip '{ tcp . 8081 }'
nft delete element inet podwire masquerade_ip '{ 10.9.0.2 }'
nft delete element inet podwire firewall_ip '{ 10.9.0.2 }'
ip route del 10.244.1.2
ip -6 route flush dev ${one} proto boot
ip addr flush dev ${one}
ip link set ${one} down
ip link set ${one} address 02:00:00:00:00:01
ip link set ${one} alias mine
tc qdisc del dev ${one} root
tc qdisc del dev ${one} ingress
tc filter del dev ${one} parent ffff:
ip link del $(ip -br link show type ifb | cut -d' ' -f1)
ip link set ${two} nomaster
ip link del cni0
ip link set cni0 down
sysctl -qw net.ipv4.conf.${one}.forwarding=0
ip link del ${one}
ip link del ${two}
`

/** What the kernel of the node has, sorted and without what is another each time that it is made. */
function kernel(): string {
  const timeless = (line: string) => line.replace(/ fe80:\S+|@[\w.]+|^\d+: | proto kernel\b| (linkdown|tentative|expires \S+)\b/g, '').replace(/\s(index|ref) \S+/g, '').replace(/ +/g, ' ').trim()
  const asks = ['ip -br addr', 'ip route show table all', 'ip -6 route show table all', 'tc qdisc show', `tc filter show dev ${one} parent ffff:`, 'nft -s list ruleset', 'bridge link', `for dev in ${one} ${two}; do sysctl net.ipv4.conf.$dev.forwarding; done`, `ip -n one -br addr`, `ip -n one route`, 'ip -n one neigh show nud permanent', 'ip -n two route']
  const links = /^(\S+ )*(fe80|ff00|ff02)\S*( \S+)* dev |^local fe80/ // they come by themselves
  return on('a', asks.map((ask) => `echo; { ${ask}; } 2>/dev/null`).join('; ') + '; true').split('\n').filter((line) => !links.test(line)).map(timeless).sort().join('\n')
}

await until('they are known', () => agent.metric('podwire_pods{state="ok"}') === 2)
await sleep(1000)
const whole = kernel()

t.test('what others take away of pods comes back within a second', async (t) => {
  for (const line of DAMAGES.trim().split('\n'))
    await t.test(line, async (t) => {
      const [before, logged] = [agent.metric('podwire_repairs_total{kind="pod"}'), agent.log.length]
      on('a', line)
      await until('all is as before', () => kernel() === whole).then((took) => t.comment(`${Math.round(took)} ms`), () => t.equal(kernel(), whole))
      await until('it is told', () => /level=warn msg=repaired pod=/.test(agent.log.slice(logged)))
      t.ok(agent.metric('podwire_repairs_total{kind="pod"}') > before, 'and counted')
      await until('and well', () => agent.metric('podwire_pods{state="ok"}') === 2)
    })
})

t.test("what is in a pod's namespace is the pod's", async (t) => {
  const repairs = () => agent.get('/metrics').body.split('\n').filter((line) => line.startsWith('podwire_repairs_total'))
  await sleep(1000) // until the last repair is looked at once more
  const before = repairs()
  ip('-n one route replace default via 10.244.1.1 dev eth0 metric 5')
  ip('-n one route del default metric 0')
  on('a', `ip link set ${one} txqueuelen 999 && ip route add 198.51.100.0/24 dev u0 && ip route del 198.51.100.0/24`)
  await sleep(1500)
  t.notMatch(ip('-n one route'), /default(?!.*metric 5)/)
  t.same(repairs(), before, 'nothing was repaired')
})

t.test('what cannot be repaired is said once, and tried again ever later', async (t) => {
  const logged = agent.log.length
  const THEIRS = 'comment "other/pod/eth0"'
  const taken = ['delete element inet podwire hostports_ip { tcp . 8080 }', `add element inet podwire hostports_ip { tcp . 8080 ${THEIRS} : 10.9.0.2 . 80 }`, `add element inet podwire hostports_dev { "u0" ${THEIRS} }`]
  on('a', `nft '${taken.join('; ')}'`)
  await until('it is said', () => agent.log.slice(logged).includes('msg="a pod is not as it was made" pod=default/web'))
  await sleep(1500)
  t.equal(agent.log.slice(logged).split('a pod is not as it was made').length - 1, 1, agent.log.slice(logged))
  t.equal(agent.metric('podwire_pods{state="wrong"}'), 1)
  on('a', "nft delete element inet podwire hostports_ip '{ tcp . 8080 }'; nft delete element inet podwire hostports_dev '{ \"u0\" }'")
  await until('it is well again', () => agent.metric('podwire_pods{state="ok"}') === 2)
})

t.test('a DEL while the agent repairs leaves nothing', async (t) => {
  for (let i = 0; i < 3; i++) {
    on('a', `nft delete element inet podwire hostports_ip '{ tcp . 8080 }'`)
    await sleep(200 + 40 * i)
    inside('a', () => detach(ONE, { container: 'one', capabilityArgs: asked(8080) }, results[0]))
    await sleep(1000)
    t.notMatch(on('a', 'ip link; nft list ruleset; ip route'), new RegExp(`${one}|10\\.244\\.1\\.2[^0-9]|8080`))
    inside('a', () => attach(ONE, { container: 'one', capabilityArgs: asked(8080) }))
  }
  inside('a', () => (detach(ONE, { container: 'one', capabilityArgs: asked(8080) }, results[0]), detach(TWO, { container: 'two', capabilityArgs: asked(8081) }, results[1])))
  await until('nobody is left', () => agent.metric('podwire_pods{state="ok"}') === 0)
  t.notMatch(on('a', 'ip -br link'), /veth|bwp/)
  rmSync(LIBRARY, { recursive: true })
})
