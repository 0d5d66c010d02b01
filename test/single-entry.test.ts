// One entry that asks for everything, and the classical list of entries: the kernel is the same after either, after DEL of either, and
// what one has made the other takes away.

import { call, full, netns, podnet, sh } from './world.ts'
import t from 'tap'
import { EXTRAS } from '../src/extras.ts'

/** What the entries behind the first say, by plugin; the same keys stand in the one entry under the plugin's name. */
const KEYS: Record<string, object> = {
  portmap: { snat: true },
  bandwidth: { ingressRate: 8_000_000, ingressBurst: 800_000, egressRate: 16_000_000, egressBurst: 1_600_000 },
  firewall: { ingressPolicy: 'open' },
  tuning: { sysctl: { 'net.core.somaxconn': '500' }, mtu: 1400 },
}
const { cniVersion, name, runtimeConfig } = full()
const behind = Object.keys(EXTRAS).filter((type) => type in KEYS)

netns('pod')
sh('sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1')

/** Links, addresses, routes, rules, shaping and settings, without what counts up: indexes, and what is random of the kernel's. */
const kernel = (): string =>
  ['ip -d addr', 'ip -n pod -d addr', 'ip route show table all', 'ip -6 route show table all', 'ip -n pod route show table all', 'ip -n pod -6 route show table all', 'ip -n pod rule', 'nft list ruleset', 'tc qdisc show', 'bridge -d link', 'ip netns exec pod sysctl net.core.somaxconn', 'cd /proc/sys/net/ipv4/conf && grep -H . veth*/route_localnet cni0/route_localnet 2>/dev/null || true']
    .map((line) => sh(line))
    .join('\n')
    .replace(/^\d+: |<.*?>| state \w+| linkdown/gm, '').replace(/@if\d+|link-netns\S* \S+|valid_lft.*|tentative/g, '').replace(/qdisc (\w+) [0-9a-f]+:/g, 'qdisc $1').replace(/\.\w+ .*(?:bridge_id|timer).*$/gm, '').replace(/\d+\.\d\d\b/g, '').replace(/ +$/gm, '')

for (const main of [podnet, { ...podnet, type: 'bridge', bridge: 'cni0', isDefaultGateway: true }]) {
  const single = { ...main, runtimeConfig, ...Object.fromEntries(behind.map((type) => [type, KEYS[type]])) }
  const entries = [main, ...behind.map((type) => ({ cniVersion, name, type, ...KEYS[type], ...(type === 'portmap' && { runtimeConfig }) }))]

  const addOne = () => call(main.type, 'ADD', single).json
  const addAll = () => entries.reduce((prevResult, entry) => call(entry.type, 'ADD', { ...entry, ...(prevResult && { prevResult }) }).json, undefined as any)
  const delOne = (prevResult: object) => [call(main.type, 'DEL', { ...single, prevResult })]
  const delAll = (prevResult: object) => entries.toReversed().map((entry) => call(entry.type, 'DEL', { ...entry, prevResult }))
  const checkOne = (prevResult: object) => [call(main.type, 'CHECK', { ...single, prevResult })]
  const checkAll = (prevResult: object) => entries.map((entry) => call(entry.type, 'CHECK', { ...entry, prevResult }))

  t.test(`${main.type} with ${behind.join(', ')}: in one entry and in ${entries.length}`, async (t) => {
    call(main.type, 'DEL', { ...single, prevResult: addOne() }) // what is shared stays from now on
    const fresh = () => sh('rm -rf /var/lib/cni')
    fresh()
    const before = kernel()
    const runs = [addOne, addAll].map((add) => {
      const result = add()
      t.ok(result.ips, JSON.stringify(result))
      const there = kernel()
      for (const { stdout } of [...checkOne(result), ...checkAll(result)]) t.equal(stdout, '', 'CHECK of either way')
      for (const { stdout } of (add === addOne ? delAll : delOne)(result)) t.equal(stdout, '', 'DEL of the other way')
      t.equal(kernel(), before, 'leaves nothing')
      fresh()
      return { result, there }
    })
    t.not(runs[0]!.there, before)
    t.equal(runs[1]!.there, runs[0]!.there, 'the kernel')
    t.same(runs[1]!.result, runs[0]!.result, 'the result')
    for (const [add, del] of [[addOne, delOne], [addAll, delAll]] as const) {
      for (const { stdout } of del(add())) t.equal(stdout, '')
      t.equal(kernel(), before)
      fresh()
    }
  })
}
