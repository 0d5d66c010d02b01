// npm run bench:pods [-- [--quick] PODS…]: what an agent costs that keeps pods, and how fast what others took away is back. In namespaces of its
// own. Beside a look at rest the same run lists what such a look has to see by ip, tc and nft, as a program from outside would.

import { ip, sh } from '../test/world.ts'
import { setTimeout as sleep } from 'node:timers/promises'
import { LIBRARY } from '../src/pods/library.ts'
import { PodKeeper } from '../src/pods/keeper.ts'
import type { Finding } from '../src/state.ts'
import { attach } from '../test/pods/library.ts'
import { median } from './statistics.ts'

const USAGE = `npm run bench:pods [-- [--quick] PODS…]

  PODS      numbers of pods, in rising order (default: 10 110)
  --quick   each once, and one kind of damage
`
const quick = process.argv[2] === '--quick'
const counts = process.argv.slice(quick ? 3 : 2)
if (counts.some((one) => !/^\d+$/.test(one))) {
  process.stderr.write(USAGE)
  process.exit(2)
}

const ROUNDS = quick ? 1 : 15
const PATIENCE = 30_000 // ms
const LISTS = ['ip -d link', 'ip addr', 'ip route show table all', 'ip -6 route show table all', 'tc qdisc', 'nft list table inet podwire']
const RANGES = [[{ subnet: '10.1.0.0/16' }], [{ subnet: 'fd00:1::/64' }]]
const ipam = { type: 'host-local', ranges: RANGES, routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] }
const LIST = { name: 'podnet', plugins: [{ type: 'ptp', ipMasq: true, capabilities: { portMappings: true, bandwidth: true }, ipam }] }
/** Every fourth pod has a port and a limit. */
const asked = (i: number) => ({
  portMappings: [{ hostPort: 8000 + i, containerPort: 80, protocol: 'tcp' }],
  bandwidth: { ingressRate: 8_000_000, ingressBurst: 800_000 },
})

const DAMAGES = [
  'nft flush ruleset',
  'ip route flush proto boot',
  "ip -br link show type veth | cut -d@ -f1 | sed 's/.*/link set & down/' | ip -batch -",
  'ip link del $(ip -br link show type veth | cut -d@ -f1 | head -1)',
]

/** Milliseconds of CPU time that something took of this process. */
async function cost(work: () => unknown): Promise<number> {
  const before = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}

/** The same of children. */
function listing(): number {
  const times = sh(`{ ${LISTS.map((list) => `${list} >/dev/null`).join('; ')}; times; } | tail -1`)
  const milliseconds = ([, minutes, seconds]: RegExpMatchArray) => Number(minutes) * 60_000 + Number(seconds) * 1000
  return [...times.matchAll(/(\d+)m([\d.]+)s/g)].reduce((sum, time) => sum + milliseconds(time), 0)
}

const whole = (): string => sh('{ nft -s list ruleset; ip route; ip -6 route | grep -v fe80; ip -br link | grep -c UP; } | sort | cksum')

async function measure(pods: number): Promise<void> {
  for (let i = Number(ip('-br link show type veth | wc -l')); i < pods; i++)
    attach(LIST, { container: `c${i}`, capabilityArgs: i % 4 ? {} : asked(i) })
  const before = whole()
  const wrong = (pod: string, findings: Finding[]) => findings.forEach(({ sentence }) => console.error(`${pod}: ${sentence}`))
  const keeper = new PodKeeper(LIBRARY, () => true, { repaired() {}, wrong, unread() {}, counted() {} })
  const first = await cost(() => sleep(1500 + pods * 15))
  const rest = []
  for (let i = 0; i < ROUNDS; i++) rest.push(await cost(async () => (keeper.soon(), await sleep(500))))
  const [look, lists] = [median(rest), median(Array.from({ length: ROUNDS }, listing))]
  console.log(`\n${pods} pods\n  first look    ${first.toFixed(0)} ms of CPU`)
  const ratio = `by lists of ip, tc and nft ${lists.toFixed(0)}: ratio ${(look / lists).toFixed(2)}`
  console.log(`  look at rest  ${look.toFixed(1)} ms of CPU; ${ratio}`)
  for (const line of DAMAGES.slice(0, quick ? 1 : undefined)) {
    sh(line)
    const start = performance.now()
    keeper.soon() // here nobody hears the kernel: as if it had told at once
    while (whole() !== before && performance.now() - start < PATIENCE) await sleep(10)
    const took = Math.round(performance.now() - start)
    console.log(`  ${line.padEnd(84)} ${whole() === before ? `back after ${took} ms` : 'does not come back'}`)
    await sleep(quick ? 0 : 1500)
  }
  keeper.close()
}

for (const pods of counts.length > 0 ? counts.map(Number) : [10, 110]) await measure(pods)
process.exit(0)
