// Any configuration: what ADD takes, CHECK right after it has nothing to say about, and DEL leaves nothing of. Values are written in
// all the ways in which they can be, because the kernel tells them in its own.

import { call, netns, sh } from './world.ts'
import fc from 'fast-check'
import t from 'tap'
import { parseAddress, parseCidr } from '../src/ip.ts'

/** RUNS=1000 tries more; a failure prints seed and path, with which it is run again: SEED=… */
const [numRuns, seed] = [Number(process.env.RUNS ?? 40), process.env.SEED]

const PATIENCE = 60_000 // ms, in which a smaller example of a failure is looked for

const pick = <T>(...values: T[]) => fc.constantFrom(...values)
/** Keys of which each is there or not. */
const some = (keys: Record<string, fc.Arbitrary<unknown>>) => fc.record(keys, { requiredKeys: [] })
const few = <T>(one: fc.Arbitrary<T>, maxLength = 3) => fc.array(one, { maxLength })

const MAC = pick('', '0a:58:0a:01:02:03', '0A-58-0a-01-02-0F', '0a:58:0A:01:02:AB')
/** Mostly such as does for a pod with IPv6, too. */
const MTU = fc.oneof({ weight: 15, arbitrary: pick(0, 1280, 1400, 1500, 9000, 65535) }, { weight: 1, arbitrary: pick(68, 1000, 1279) })
const U32 = pick(0, 1, 99, 1024, 65535, 4294967295)
const FOUR = pick('10.1.2.0/24', '::ffff:10.1.2.0/120', '10.1.2.0/28')
const SIX = pick('fd00:1::/64', 'FD00:0001:0:0::/64', 'fd00:1:0::0.0.0.0/112')
const DST = pick('0.0.0.0/0', '::/0', '10.9.8.7/8', '10.1.2.0/24', '10.1.2.9/24', '::ffff:192.0.2.1/120', 'FD00:2::1/64', 'fd00:1::/64', '192.0.2.1/32', '2001:DB8::0.0.0.1/128', '10.1.2.1/32', '224.0.0.0/4')
const GW = pick(undefined, '', '10.1.2.1', '::ffff:10.1.2.7', '10.1.2.77', 'FD00:1:0::7', 'fd00:1::1')

const route = fc.tuple(DST, GW, some({ mtu: MTU, advmss: pick(0, 500, 1360, 65535), priority: U32, table: pick(0, 100, 253, 254, 255, 256, 4294967295), scope: pick(0, 200, 253, 254) }))
  .map(([dst, gw, rest]) => ({ dst, ...(gw !== undefined && { gw }), ...rest }))
  .filter(({ dst, gw }) => !gw || parseAddress(gw)!.family === parseCidr(dst)!.family)
const plainRoute = DST.map((dst) => ({ dst }))
const routes = few(fc.oneof({ weight: 2, arbitrary: plainRoute }, { weight: 1, arbitrary: route }))

const hostLocal = fc.record({ type: fc.constant('host-local'), ranges: fc.oneof(FOUR.map((subnet) => [[{ subnet }]]), SIX.map((subnet) => [[{ subnet }]]), fc.tuple(FOUR, SIX).map((both) => both.map((subnet) => [{ subnet }]))), routes })
const own = pick({ address: '10.1.2.3/24', gateway: '10.1.2.1' }, { address: '::ffff:10.1.2.3/120', gateway: '::ffff:10.1.2.1' }, { address: '10.1.2.3/32', gateway: '10.1.2.1' }, { address: 'FD00:1:0::A/64', gateway: 'FD00:1::0001' }, { address: 'fd00:1::b/128', gateway: 'fd00:1::1' })
const staticIpam = fc.record({ type: fc.constant('static'), addresses: fc.uniqueArray(own, { minLength: 1, maxLength: 3, selector: ({ address }) => address.replace(/^::ffff:|\/.*/gi, '').toLowerCase() }), routes })

const RATE = pick(8, 12, 1000, 64_000, 1_000_000, 10_000_001, 8_000_000_000, 34_359_738_360, 1_000_000_000_000, Number.MAX_SAFE_INTEGER)
const BURST = pick(8, 1000, 8_000_000, 2_147_483_647, 4_294_967_295, 34_359_738_351)
const pair = (direction: string) => fc.oneof(fc.constant({}), pick(0).map((zero) => ({ [`${direction}Rate`]: zero, [`${direction}Burst`]: zero })), fc.tuple(RATE, BURST).map(([rate, burst]) => ({ [`${direction}Rate`]: rate, [`${direction}Burst`]: burst })))
const rates = fc.tuple(pair('ingress'), pair('egress')).map(([ingress, egress]) => ({ ...ingress, ...egress }))
const port = fc.tuple(pick(1, 80, 8080, 65535), pick(1, 80, 65535), some({ protocol: pick('', 'tcp', 'UDP', 'sctp'), hostIP: pick('', '0.0.0.0', '::', '127.0.0.1', '::ffff:127.0.0.1', '192.0.2.1', '0:0::1', '2001:DB8::00A1') }))
  .map(([hostPort, containerPort, rest]) => ({ hostPort, containerPort, ...rest }))
const ports = fc.uniqueArray(port, { maxLength: 3, selector: ({ hostPort }) => hostPort })
const SYSCTLS = {
  'net.core.somaxconn': pick('500', ' 0500', '0x1f4', '500\t'),
  'net/ipv4/ip_local_port_range': pick('1024 65000', '1024\t65000', ' 1024   65000 '),
  'net.ipv4.conf.IFNAME.arp_filter': pick('1', '01', '0', '-1'),
  'net/ipv4/ping_group_range': pick('0 0', ' 0\t0'),
  'net.ipv4.ip_forward': pick('1', '2', '0'),
  'net.ipv4.tcp_rmem': pick('4096 87380 6291456', '4096\t87380  6291456'),
  'net.ipv6.conf.IFNAME.accept_ra': pick('0', '2', '00'),
  'net.ipv4.route.flush': pick('1'),
  'net.ipv4.ip_default_ttl': pick('64', '128', '0100'),
  'net.ipv4.ip_unprivileged_port_start': pick('0', '1024'),
}
const tuning = some({ sysctl: some(SYSCTLS), mtu: MTU, mac: MAC, promisc: fc.boolean(), allmulti: fc.boolean(), txQLen: U32 })
const firewall = (...policies: string[]) => some({ ingressPolicy: pick('', 'open', ...policies), iptablesAdminChainName: pick('', 'MY-ADMIN'), backend: pick('', 'nftables') })
const CONDITION = pick(undefined, ['ip', 'saddr', '!=', '192.0.2.0/24'], ['!', '-s', '192.0.2.9/24'], ['-i', 'eth0'], ['iifname', '"eth0"'])
const portmap = fc.tuple(some({ snat: fc.boolean(), masqAll: fc.boolean(), markMasqBit: pick(0, 13) }), CONDITION).map(([keys, conditionsV4]) => ({ ...keys, ...(conditionsV4 && { conditionsV4 }) }))
const NETWORKS = few(pick('10.0.0.1/8', '10.1.2.0/24', '10.1.0.0/16', '10.2.0.0/16', '10.3.0.0/16', '0.0.0.0/0', '::/0', 'FD00::1/8', 'fd00:1::/64', '::ffff:172.16.0.9/108', '255.255.255.255/32', '224.0.0.0/3'))

const shared = { mtu: MTU, ipMasq: fc.boolean(), nonMasqueradeCIDRs: NETWORKS, portmap, bandwidth: rates, tuning, args: some({ mac: MAC }).map((cni) => ({ cni })), runtimeConfig: some({ portMappings: ports, bandwidth: rates, mac: MAC }), dns: some({ domain: pick('', 'example.org'), search: few(pick('a', '')) }) }
const flag = fc.boolean()
const main = fc.oneof(
  fc.record({ type: fc.constant('ptp'), ipam: fc.oneof(hostLocal, staticIpam), firewall: firewall(), ...shared }, { requiredKeys: ['type', 'ipam'] }),
  fc.record({ type: fc.constant('bridge'), ipam: fc.oneof(hostLocal, staticIpam), firewall: firewall('same-bridge', 'isolated'), ...shared, bridge: pick('', 'br-any'), isGateway: flag, isDefaultGateway: flag, forceAddress: flag, portIsolation: flag, macspoofchk: flag, enabledad: flag, hairpinMode: flag }, { requiredKeys: ['type', 'ipam'] })
    .chain((conf) => (conf.hairpinMode ? fc.constant(conf) : flag.map((promiscMode) => ({ ...conf, promiscMode })))),
)
const behind = fc.uniqueArray(
  fc.oneof(
    fc.tuple(portmap, some({ portMappings: ports })).map(([keys, runtimeConfig]) => ({ type: 'portmap', ...keys, runtimeConfig })),
    rates.map((keys) => ({ type: 'bandwidth', ...keys })),
    firewall().map((keys) => ({ type: 'firewall', ...keys })),
    tuning.map((keys) => ({ type: 'tuning', ...keys })),
    some({ gateways: pick(['10.1.2.1'], ['FD00:1::0001', '10.1.2.1']), table: U32, addSourceHints: flag }).map((keys) => ({ type: 'sbr', ...keys })),
  ),
  { maxLength: 2, selector: ({ type }) => type },
)
const VERSION = pick('0.4.0', '1.0.0', '1.1.0')

/** An entry that wishes something else than the first, and CHECK says so: of both one is lost (see repeated.test.ts). */
const contradicts = ({ type, mac }: { type: string; mac?: string }, first: Record<string, any>): boolean => type in first || (mac && first.macspoofchk) || (type === 'bandwidth' && first.runtimeConfig?.bandwidth) || (type === 'portmap' && first.runtimeConfig?.portMappings)

type Entry = { type: string } & Record<string, unknown>

netns('pod')
sh('sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1')

/** What a pod could leave, and what is shared is swept away. */
function remains(): string {
  const lines = ['ip -br link show type veth', 'ip -br link show type ifb', 'ip -n pod -br link | grep -v ^lo || true', 'ip -n pod rule | grep -vE "lookup (local|main|default)$" || true', 'nft list ruleset | grep comment || true', 'find /var/lib/cni/networks /run/cni -type f ! -name "last_reserved*" ! -name lock 2>/dev/null || true']
  const left = sh(lines.join('; '))
  sh('nft flush ruleset; ip link del cni0 2>/dev/null; ip link del br-any 2>/dev/null; rm -rf /var/lib/cni /run/cni; true')
  return left
}

t.test('CHECK after ADD is silent, and DEL leaves nothing', async (t) => {
  let added = 0
  const said = new Map<string, number>()
  const property = fc.property(VERSION, main, behind, (cniVersion, first, rest) => {
    const list = [first, ...rest.filter((entry) => !contradicts(entry, first))].map((entry) => ({ cniVersion, name: 'podnet', ...entry }) as Entry)
    let prevResult: object | undefined
    const send = (entry: Entry, command: string) => call(entry.type, command, { ...entry, ...(prevResult && { prevResult }) })
    let failed: string | undefined
    for (const entry of list) {
      const { status, json, stdout } = send(entry, 'ADD')
      if (status === 0) prevResult = json
      else {
        failed = `${entry.type}: ${json.code} ${json.msg}`
        if (json.code === 108) throw new Error(stdout)
        break
      }
    }
    const found = failed ? [] : list.map((entry) => send(entry, 'CHECK').stdout).filter(Boolean)
    const undone = list.toReversed().map((entry) => send(entry, 'DEL').stdout).filter(Boolean)
    const left = remains()
    if (failed) said.set(failed, (said.get(failed) ?? 0) + 1)
    else added++
    if (found.length > 0 || undone.length > 0 || left !== '') throw new Error([`CHECK: ${found.join('\n')}`, `DEL: ${undone.join('\n')}`, `left: ${left}`].join('\n'))
  })
  const result = fc.check(property, { numRuns, ...(seed && { seed: Number(seed) }), interruptAfterTimeLimit: PATIENCE, markInterruptAsFailure: false })
  t.notOk(result.failed, result.failed ? fc.defaultReportMessage(result)! : '')
  if (process.env.RUNS) for (const [sentence, count] of [...said].sort(([, a], [, b]) => b - a)) t.comment(`${count} ${sentence}`)
  t.comment(`${added} of ${numRuns} were added; seed ${result.seed}`)
  t.ok(added > numRuns / 10, 'not all are refused')
})
