// firewall beside iptables whose chain FORWARD drops what no rule accepts, as Docker and ufw leave it.
//
//   pod, other ── this namespace (the node) ── far 192.0.2.2, 2001:db8::2
//   10.1.1.0/24, fd00:1::/64; far has routes to the pods

import { call, nft, sh, works } from './world.ts'
import t, { type Test } from 'tap'
import { execute, REFERENCE, referenceIsMissing } from './reference.ts'
import { ask, server, silent } from './traffic.ts'

const ptp = { cniVersion: '1.1.0', name: 'podnet', type: 'ptp', ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.1.0/24' }], [{ subnet: 'fd00:1::/64' }]], routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] } }
const firewall = (prevResult?: object, keys = {}) => ({ cniVersion: '1.1.0', name: 'podnet', type: 'firewall', ...keys, ...(prevResult && { prevResult }) })
const other = { container: 'c2', netns: '/run/netns/other' }
const both = (command: string): string => sh(`iptables ${command} && ip6tables ${command}`)

for (const name of ['far', 'pod', 'other']) sh(`ip netns add ${name} && ip -n ${name} link set lo up`)
sh(`ip link add u0 up type veth peer name eth0 netns far && ip link set u0 addrgenmode none && ip addr add 192.0.2.1/24 dev u0 && ip addr add 2001:db8::1/64 dev u0 nodad && ip addr add fe80::1/64 dev u0 nodad
ip -n far link set eth0 up && ip -n far addr add 192.0.2.2/24 dev eth0 && ip -n far addr add 2001:db8::2/64 dev eth0 nodad
ip -n far route add default via 192.0.2.1 && ip -n far -6 route add default via 2001:db8::1
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1`)
t.afterEach(() => sh('nft flush ruleset; rm -rf /var/lib/cni'))

const FAR = ['192.0.2.2', '2001:db8::2']
const pings = (from: string, addresses: string[], seconds = 2) => addresses.map((address) => works(`ip netns exec ${from} ping -c1 -W${seconds} ${address}`))
const addressesOf = (result: any): string[] => result.ips.map(({ address }: { address: string }) => address.replace(/\/.*/, ''))

function wired(t: Test, who = {}) {
  const added = call('ptp', 'ADD', ptp, who)
  t.equal(added.status, 0, added.stdout)
  return added.json
}

t.test('pods are forwarded though FORWARD drops, as the reference would have it', async (t) => {
  both('-P FORWARD DROP')
  const pod = wired(t)
  t.same(pings('pod', FAR, 0.3), [false, false], 'without firewall')
  const added = call('firewall', 'ADD', firewall(pod))
  t.same(added.json, pod, added.stdout)
  t.same(pings('pod', FAR), [true, true], 'with it')
  t.same(pings('far', addressesOf(pod), 0.3), [false, false], 'nobody from outside')
  t.equal(call('firewall', 'CHECK', firewall(pod)).stdout, '')

  const rules = sh('iptables-save -t filter; ip6tables-save -t filter')
  t.equal(rules.match(/^-A .*$/gm)!.slice(0, 3).join('\n'), `-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
-A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN
-A CNI-FORWARD -m comment --comment "podwire: of pods" -m mark --mark 0x80000000/0x80000000 -j ACCEPT`)
  const second = wired(t, other)
  t.equal(call('firewall', 'ADD', firewall(second), other).status, 0)
  t.equal(sh('iptables-save -t filter; ip6tables-save -t filter').replace(/^#.*$/gm, ''), rules.replace(/^#.*$/gm, ''), 'a second pod adds no rule')
  t.same(pings('other', [...FAR, ...addressesOf(pod)]), [true, true, true, true])

  both('-A CNI-ADMIN -m comment --comment "mine" -j DROP')
  t.same(pings('pod', FAR, 0.3), [false, false], "the operator's chain comes first")
  both('-F CNI-ADMIN')
  t.same(pings('pod', FAR), [true, true])
  t.equal(call('firewall', 'DEL', firewall()).stdout, '')
  t.same(pings('pod', FAR, 0.3), [false, false], 'after DEL')
  t.same(pings('other', FAR), [true, true], 'the other')
  t.notMatch(sh('iptables-save; ip6tables-save; nft list ruleset'), /10\.1\.1\.2|fd00:1::2/, 'nothing of it is left')
  call('firewall', 'DEL', firewall(), { ...other, netns: '' })
  call('ptp', 'DEL', ptp)
  call('ptp', 'DEL', ptp, other)
})

t.test('iptables lists and deletes the rules, and restores what it has saved', async (t) => {
  both('-P FORWARD DROP')
  const pod = wired(t)
  t.equal(call('firewall', 'ADD', firewall(pod)).status, 0)
  sh('iptables-save | iptables-restore && ip6tables-save | ip6tables-restore')
  t.same(pings('pod', FAR), [true, true], 'restored')
  t.equal(call('firewall', 'CHECK', firewall(pod)).stdout, '', 'in the words of iptables they are the same rules')
  for (const rule of sh('iptables -S CNI-FORWARD').match(/^-A .*$/gm)!) t.ok(works(`iptables -C ${rule.slice(3)} && iptables -D ${rule.slice(3)}`), rule)
  sh('iptables -D FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD && iptables -X CNI-FORWARD && iptables -X CNI-ADMIN')
  const { json: error } = call('firewall', 'CHECK', firewall(pod))
  t.match(error, { code: 102, msg: /^iptables chain CNI-FORWARD is missing; iptables chain CNI-ADMIN is missing; iptables chain FORWARD lacks the rule "[^;]+"$/ })
  sh(error.details)
  t.equal(call('firewall', 'CHECK', firewall(pod)).stdout, '', 'typed')
  t.same(pings('pod', FAR), [true, true])
  call('firewall', 'DEL', firewall())
  call('ptp', 'DEL', ptp)
})

t.test('a chain that ends in REJECT drops as well; one that does not is left alone', async (t) => {
  const pod = wired(t)
  both('-A FORWARD -i u0 -j REJECT')
  t.equal(call('firewall', 'ADD', firewall(pod)).status, 0)
  t.notMatch(sh('iptables -S; ip6tables -S'), 'CNI-', 'a rule with a condition is none of our business')
  call('firewall', 'DEL', firewall())
  both('-F FORWARD && iptables -A FORWARD -s 10.9.0.0/16 -j ACCEPT')
  both('-A FORWARD -m comment --comment "the rest" -j REJECT')
  t.same(pings('pod', FAR, 0.3), [false, false])
  t.equal(call('firewall', 'ADD', firewall(pod)).status, 0)
  t.same(pings('pod', FAR), [true, true])
  call('firewall', 'DEL', firewall())
  call('ptp', 'DEL', ptp)
})

t.test('only the families that the pod has, and only those that drop', async (t) => {
  both('-P FORWARD ACCEPT')
  sh('ip6tables -P FORWARD DROP')
  const pod = wired(t)
  t.equal(call('firewall', 'ADD', firewall(pod)).status, 0)
  t.same([sh('iptables -S').includes('CNI-'), sh('ip6tables -S').includes('CNI-')], [false, true])
  t.same(pings('pod', FAR), [true, true])
  call('firewall', 'DEL', firewall())
  call('ptp', 'DEL', ptp)
})

t.test("where the operator has a chain of that name in iptables, it is asked, whatever FORWARD's policy", async (t) => {
  sh('iptables -N MINE && iptables -A MINE -d 192.0.2.2 -j DROP')
  const pod = wired(t)
  t.equal(call('firewall', 'ADD', firewall(pod, { iptablesAdminChainName: 'MINE' })).status, 0)
  t.same(pings('pod', FAR, 0.5), [false, true])
  t.notMatch(sh('iptables -S'), 'mark')
  call('firewall', 'DEL', firewall())
  call('ptp', 'DEL', ptp)
})

t.test('published ports: from the node, and from outside if the operator says so', async (t) => {
  both('-P FORWARD DROP')
  const web = await server('pod', 'pod', 80)
  const conf = { ...ptp, firewall: {}, runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] } }
  const added = call('ptp', 'ADD', conf)
  t.equal(added.status, 0, added.stdout)
  for (const address of ['192.0.2.1', '2001:db8::1']) {
    t.match(ask(undefined, address, 8080), 'pod sees')
    t.ok(silent('far', address, 8080))
  }
  both('-A CNI-ADMIN -m conntrack --ctstate DNAT -j ACCEPT')
  for (const address of ['192.0.2.1', '2001:db8::1']) t.match(ask('far', address, 8080), 'pod sees')
  web.kill()
  call('ptp', 'DEL', conf)
})

t.test('the mark is gone when iptables has decided', async (t) => {
  both('-P FORWARD DROP')
  nft(`-f - <<< 'table inet seen { chain late { type filter hook postrouting priority 0; meta mark & 0x80000000 != 0 counter comment "marked"\n ip saddr 10.1.1.0/24 counter comment "seen"; }; chain early { type filter hook forward priority -1; meta mark & 0x80000000 != 0 counter comment "while"; }; }'`)
  const pod = wired(t)
  call('firewall', 'ADD', firewall(pod))
  t.same(pings('pod', FAR), [true, true])
  const packets = Object.fromEntries([...nft('list table inet seen').matchAll(/packets (\d+) bytes \d+ comment "(\w+)"/g)].map(([, count, comment]) => [comment, Number(count)]))
  t.match(packets, { marked: 0, seen: 1, while: 4 }, 'of request and answer, both families')
  call('firewall', 'DEL', firewall())
  call('ptp', 'DEL', ptp)
})

t.test("the reference's plugin and podwire's take over from each other", { skip: referenceIsMissing }, async (t) => {
  both('-P FORWARD DROP')
  const conf = { cniVersion: '1.0.0', name: 'podnet', type: 'firewall', backend: 'iptables' }
  const its = (command: string, prevResult: object, who = {}) => execute(`${REFERENCE}/firewall`, command, { ...conf, prevResult: { ...prevResult, cniVersion: '1.0.0' } }, who)
  const rules = () => sh('iptables-save -t filter; ip6tables-save -t filter').match(/^-A .*$/gm)!

  const pod = wired(t)
  t.equal(its('ADD', pod).status, 0)
  t.match(rules().join('\n'), '-A CNI-FORWARD -s 10.1.1.2/32 -j ACCEPT')
  const second = wired(t, other)
  t.equal(call('firewall', 'ADD', firewall(second), other).status, 0)
  t.same(pings('other', FAR), [true, true])
  t.equal(rules().filter((rule) => /FORWARD.*CNI-FORWARD$|CNI-ADMIN$/.test(rule)).length, 4, 'the jumps are there once')
  t.equal(call('firewall', 'DEL', firewall(pod)).stdout, '')
  t.notMatch(rules().join('\n'), /10\.1\.1\.2|fd00:1::2/, 'what the reference made goes with our DEL')
  t.same(pings('other', FAR), [true, true])

  t.equal(its('ADD', pod).status, 0)
  t.equal(rules().filter((rule) => /FORWARD.*CNI-FORWARD$|CNI-ADMIN$/.test(rule)).length, 4, 'and it takes ours for its own')
  t.same(pings('pod', FAR), [true, true])
  t.equal(its('DEL', pod).status, 0)
  t.equal(call('firewall', 'CHECK', firewall(second), other).stdout, '')
  t.same(pings('other', FAR), [true, true])
  call('firewall', 'DEL', firewall(second), other)
  for (const who of [{}, other]) call('ptp', 'DEL', ptp, who)
})

t.test('STATUS tells when pods that run are cut off; who is not there hurts nobody', async (t) => {
  both('-P FORWARD DROP')
  const status = () => call('firewall', 'STATUS', firewall())
  const within = () => call('ptp', 'STATUS', { ...ptp, firewall: {} })
  t.same([status().stdout, within().stdout], ['', ''])
  const pod = wired(t)
  call('firewall', 'ADD', firewall(pod))
  t.same([status().stdout, within().stdout], ['', ''])
  for (const damage of ['iptables -F FORWARD', 'iptables -F CNI-FORWARD', 'nft flush chain inet podwire firewall_mark']) {
    sh(damage)
    for (const { json } of [status(), within()]) t.match(json, { code: 51, msg: /pods that run are not forwarded/ }, damage)
    sh(status().json.details)
    t.same([status().stdout, within().stdout], ['', ''])
  }
  sh('iptables -F FORWARD')
  t.equal(call('firewall', 'ADD', firewall(wired(t, other)), other).status, 0)
  t.equal(status().stdout, '', 'the next ADD repairs it for all')
  t.same(pings('pod', FAR), [true, true])
  for (const who of [{}, other]) call('firewall', 'DEL', firewall(), who)
  sh('iptables -F FORWARD')
  t.equal(status().stdout, '')
  for (const who of [{}, other]) call('ptp', 'DEL', ptp, who)
})

t.test('CHECK names a chain of somebody else that lets nothing pass, and no other', async (t) => {
  const pod = wired(t)
  t.equal(call('firewall', 'ADD', firewall(pod)).status, 0)
  const CHAINS: [rules: string, breaks: boolean][] = [
    ['', true],
    ['ct state established,related accept; ct state invalid drop', true],
    ['counter; ip daddr 192.0.2.99 drop', true],
    ['ip saddr 10.1.1.0/24 accept', false],
    ['ct state vmap { established : accept, new : accept }', false],
    ['ct state new,established accept', false],
    ['jump other', false],
  ]
  for (const [rules, breaks] of CHAINS) {
    nft(`-f - <<< 'table inet custom { chain other { }; chain forward { type filter hook forward priority 0; policy drop; ${rules.replace('; ', ';\n')}; }; }'`)
    const { json } = call('firewall', 'CHECK', firewall(pod))
    if (breaks) t.match(json, { code: 102, msg: /^nft chain inet custom forward drops all that is forwarded/ }, rules)
    else t.equal(json, undefined, rules)
    t.equal(call('firewall', 'ADD', firewall(pod)).stderr.includes('inet custom forward'), breaks, 'ADD says so on standard error')
    nft('delete table inet custom')
  }
  nft(`-f - <<< 'table ip custom { chain input { type filter hook input priority 0; policy drop; }; }'`)
  t.equal(call('firewall', 'CHECK', firewall(pod)).stdout, '', 'another hook')
  call('firewall', 'DEL', firewall())
  call('ptp', 'DEL', ptp)
})

t.test('iptables-legacy is not reached, which is said', { skip: works('iptables-legacy -L && grep -q filter /proc/thread-self/net/ip_tables_names') ? false : 'this kernel has no ip_tables' }, async (t) => {
  const pod = wired(t)
  t.match(call('firewall', 'ADD', firewall(pod)).stderr, 'podwire: iptables-legacy has a table filter here, which podwire does not reach')
  call('firewall', 'DEL', firewall())
  call('ptp', 'DEL', ptp)
})
