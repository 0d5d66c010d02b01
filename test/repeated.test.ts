// Lists in which two entries serve the same thing for the same attachment: people declare capabilities on all entries, and ptp and
// bridge serve what the reference's leave to the plugins behind. What an entry before has made is there, and that is fine.

import { execute, builtIsMissing, BUILT } from './reference.ts'
import { call, ip, netns, nft, sh } from './world.ts'
import { join } from 'node:path'
import t from 'tap'

const CNI = { cniVersion: '1.1.0', name: 'podnet' }
const ipam = { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]], routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] }
const runtimeConfig = {
  portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }, { hostPort: 8081, containerPort: 53, protocol: 'udp', hostIP: '127.0.0.1' }],
  bandwidth: { ingressRate: 8_000_000, ingressBurst: 800_000, egressRate: 16_000_000, egressBurst: 1_600_000 },
}
const firewall = {}
const tuning = { sysctl: { 'net.core.somaxconn': '500' }, mtu: 1400, txQLen: 500, promisc: true }
const ptp = { ...CNI, type: 'ptp', ipMasq: true, ipam }
const bridge = { ...CNI, type: 'bridge', bridge: 'cni0', isDefaultGateway: true, ipMasq: true, ipam }

type Entry = { type: string } & Record<string, unknown>
/** An entry as it is within ptp or bridge, and as one of its own. */
const BOTH: Record<string, { within: object; own: Entry }> = {
  portmap: { within: { runtimeConfig }, own: { ...CNI, type: 'portmap', runtimeConfig } },
  bandwidth: { within: { runtimeConfig }, own: { ...CNI, type: 'bandwidth', runtimeConfig } },
  firewall: { within: { firewall }, own: { ...CNI, type: 'firewall', ...firewall } },
  tuning: { within: { tuning }, own: { ...CNI, type: 'tuning', ...tuning } },
}

netns('pod')
sh('sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1')

/** What there is, without what comes and goes with the carrier of a bridge. */
const world = () =>
  sh('ip -br link; ip -br addr; ip -n pod -br addr; ip route show table all; ip -6 route show table all; nft list ruleset; tc qdisc show; find /var/lib/cni /run/cni -name "10.*" -o -name "*.json" 2>/dev/null || true')
    .replace(/ linkdown|<.*?>|\b(UP|DOWN|UNKNOWN)\b/g, '')
    .replace(/ +/g, ' ')

/** The result of a list's ADD; what fails is thrown. */
function addAll(list: Entry[]): any {
  return list.reduce((prevResult, entry) => {
    const { status, stdout, json } = call(entry.type, 'ADD', { ...entry, ...(prevResult && { prevResult }) })
    if (status !== 0) throw new Error(`${entry.type}: ${stdout}`)
    return json
  }, undefined as any)
}
const each = (list: Entry[], command: string, prevResult?: object): string[] => list.map((entry) => call(entry.type, command, { ...entry, ...(prevResult && { prevResult }) }).stdout).filter(Boolean)

for (const main of [ptp, bridge]) {
  t.test(main.type, async (t) => {
    const warm = { ...main, runtimeConfig, firewall }
    call(main.type, 'DEL', { ...warm, prevResult: addAll([warm]) }) // what is shared stays from now on
    sh('rm -rf /var/lib/cni')
    const before = world()

    for (const [type, { within, own }] of Object.entries(BOTH)) {
      t.test(`${main.type} that serves ${type}, and an entry ${type}: ADD, CHECK, DEL in any order, DEL twice`, async (t) => {
        const list: Entry[] = [{ ...main, ...within }, own]
        for (const order of [list.toReversed(), list]) {
          const result = addAll(list)
          t.same(new Set(result.interfaces.map(({ name }: any) => name)).size, result.interfaces.length, 'each interface once in the result')
          t.same(each(list, 'CHECK', result), [])
          t.same(each(order, 'DEL', result), [])
          t.same(each(order, 'DEL'), [], 'twice')
          t.equal(world(), before)
          sh('rm -rf /var/lib/cni')
        }
      })

      t.test(`${main.type} that serves ${type}: an entry ${type} makes nothing twice, and one that fails takes nothing of it back`, async (t) => {
        const first = addAll([{ ...main, ...within, tuning }])
        const made = world()
        t.equal(call('tuning', 'ADD', { ...CNI, type: 'tuning', ...tuning, sysctl: { ...tuning.sysctl, 'net.none': '1' }, prevResult: first }).status, 1)
        t.equal(world(), made, 'what was there stays')
        const { status } = call(type, 'ADD', { ...own, prevResult: first })
        t.equal(status, 0)
        t.equal(world().replace(/\n.*\.json$/m, ''), made, 'and is made once')
        each([own, { ...main, ...within }], 'DEL', first)
        sh('rm -rf /var/lib/cni')
        t.equal(world(), before)
      })
    }

    t.test(`${main.type} that serves everything, and an entry of each, each twice`, async (t) => {
      const list: Entry[] = [{ ...main, runtimeConfig, firewall, tuning }, ...Object.values(BOTH).flatMap(({ own }) => (own.type === 'tuning' ? [own] : [own, own]))]
      const result = addAll(list)
      t.same(each(list, 'CHECK', result), [])
      t.same(each(list.toReversed(), 'DEL', result), [])
      t.equal(world(), before)
      sh('rm -rf /var/lib/cni')
    })

    t.test(`${main.type}: an entry behind that has less is taken back alone when it fails`, async (t) => {
      const first = addAll([{ ...main, runtimeConfig }])
      const ports = [...runtimeConfig.portMappings, { hostPort: 9090, containerPort: 90, protocol: 'tcp' }]
      nft(`'add element inet podwire hostports_ip { tcp . 9090 comment "other/c9/eth0" : 10.9.9.9 . 9 }'`)
      t.match(call('portmap', 'ADD', { ...BOTH.portmap!.own, runtimeConfig: { portMappings: ports }, prevResult: first }).json, { code: 109, msg: /9090\/tcp is held by container c9/ })
      nft(`'delete element inet podwire hostports_ip { tcp . 9090 }'`)
      t.same(each([{ ...main, runtimeConfig }], 'CHECK', first), [], 'what was there is there')
      each([{ ...main, runtimeConfig }], 'DEL', first)
      t.equal(world(), before)
      sh('rm -rf /var/lib/cni')
    })
  })
}

t.test('two that wish something else: an error says both, and what there was stays', async (t) => {
  const first = addAll([{ ...ptp, runtimeConfig }])
  const made = world()
  const { json } = call('bandwidth', 'ADD', { ...CNI, type: 'bandwidth', ingressRate: 80_000_000, ingressBurst: 800_000, prevResult: first })
  t.match(json, { code: 100, msg: /^tc qdisc add dev veth\S+ root handle 1: tbf rate 80000000bit .*EEXIST.*: qdisc tbf of veth\S+ has rate 8000000bit, not 80000000bit$/ })
  t.equal(world(), made)
  const { ingressRate, ingressBurst } = runtimeConfig.bandwidth
  t.match(call('bandwidth', 'ADD', { ...CNI, type: 'bandwidth', ingressRate, ingressBurst, egressRate: 8_000_000, egressBurst: 800_000, prevResult: first }).json, { code: 100, msg: /: qdisc tbf of bwp\w+ has rate 16000000bit, not 8000000bit$/ })
  t.equal(world(), made, 'nor is what was as it should be taken back')
  each([{ ...ptp, runtimeConfig }], 'DEL', first)
})

t.test('and a veth pair is never another entry\'s', async (t) => {
  const first = addAll([ptp])
  t.match(call('ptp', 'ADD', ptp).json, { code: 101 })
  t.match(call('bridge', 'ADD', { ...bridge, prevResult: first }).json, { code: 101 })
  t.match(ip('-n pod -br addr show eth0'), '10.1.2.')
  each([ptp], 'DEL', first)
})

t.test('as runtimes start the executables', { skip: builtIsMissing }, async (t) => {
  sh('rm -rf /var/lib/cni')
  const before = world()
  const list: Entry[] = [{ ...ptp, runtimeConfig, firewall, tuning }, ...Object.values(BOTH).map(({ own }) => own)]
  const run = (entry: Entry, command: string, prevResult?: object) => execute(join(BUILT, entry.type), command, { ...entry, ...(prevResult && { prevResult }) })
  const result = list.reduce((prevResult, entry) => {
    const { status, stdout, json } = run(entry, 'ADD', prevResult)
    t.equal(status, 0, stdout)
    return json
  }, undefined as any)
  for (const entry of list) t.equal(run(entry, 'CHECK', result).stdout, '', entry.type)
  for (const entry of list.toReversed()) t.equal(run(entry, 'DEL', result).stdout, '', entry.type)
  sh('rm -rf /var/lib/cni')
  t.equal(world(), before)
})
