// `podwire pods`, `check`, `repair` and `gc`, as an operator types them.

import { ip, sh } from '../world.ts'
import { rmSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { cli } from '../../src/cli/cli.ts'
import { attach, detach, fileOf, type List } from './library.ts'

const podwire = (line: string) => cli(line.split(' '))
const NET: List = { name: 'podnet', plugins: [{ type: 'ptp', capabilities: { portMappings: true }, ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }]], routes: [{ dst: '0.0.0.0/0' }] } }] }
const ID = '3f6940ab5ab43bc522569d15b23f8c1bbde1d7678b080398506924fc01d72755'
const web = { container: ID, args: [['IgnoreUnknown', '1'], ['K8S_POD_NAMESPACE', 'default'], ['K8S_POD_NAME', 'web']] as [string, string][], capabilityArgs: { portMappings: [80, 81, 443].map((port) => ({ hostPort: port, containerPort: port, protocol: 'tcp' })) } }

t.test('on a node without pods', async (t) => {
  t.same(podwire('pods'), { status: 0, stdout: 'no pods\n', stderr: '' })
  t.same(podwire('check'), { status: 0, stdout: 'no pods\n', stderr: '' })
  t.same(podwire('repair'), { status: 0, stdout: 'no pods\n', stderr: '' })
  t.same(podwire('gc'), { status: 0, stdout: 'nothing is left of dead pods\n', stderr: '' })
})

const result = attach(NET, web)
attach(NET, { container: 'plain' })
const end = result.interfaces[0].name

t.test('pods are listed', async (t) => {
  const { status, stdout } = podwire('pods')
  t.equal(status, 0)
  t.match(stdout.split('\n'), [
    /^pod +address +network +interface +ports +age +state$/,
    new RegExp(`^default/web +10\\.1\\.2\\.2 +podnet +${end} +80-81/tcp 443/tcp +\\ds +ok$`),
    /^plain +10\.1\.2\.3 +podnet +veth[0-9a-f]{11} +\ds +ok$/,
    '',
  ])
  t.match(JSON.parse(podwire('pods --json').stdout), { pods: [{ name: 'default/web', network: 'podnet', containerID: ID, ifname: 'eth0', addresses: ['10.1.2.2'], end, netns: `/run/netns/${ID}`, state: 'ok' }, { containerID: 'plain' }], unread: [] })
})

t.test('a pod is meant by its name, container ID, what that begins with, address or interface', async (t) => {
  for (const word of ['default/web', ID, '3f6940', '10.1.2.2', end, `podnet/${ID}/eth0`]) t.same(podwire(`check ${word}`), { status: 0, stdout: 'default/web  ok\n', stderr: '' }, word)
  t.match(podwire('check 10.1.2.9'), { status: 1, stdout: '', stderr: /^podwire: there is no pod 10\.1\.2\.9 on this node \(code 3\)\n.*podwire pods/ })
  t.match(podwire('repair a b'), { status: 1, stderr: /"b" is one argument too many/ })
  t.match(podwire('pods web'), { status: 1, stderr: /web/ })
})

t.test('what is wrong has the line that repairs it, and a shell can run it', async (t) => {
  sh(`ip route del 10.1.2.2 && tc qdisc add dev ${end} root pfifo && nft delete element inet podwire hostports_ip '{ tcp . 443 }'`)
  const { status, stdout } = podwire('check default/web')
  t.equal(status, 1)
  t.match(stdout, `default/web\n  wrong     route 10.1.2.2/32 dev ${end} scope host is missing\n  repair    ip route add 10.1.2.2/32 dev ${end} scope host\n`)
  t.match(podwire('pods').stdout, /^default\/web .* 2 things are wrong: podwire check$/m)
  t.match(podwire('check plain'), { status: 0 }, 'another pod is well')
  sh([...stdout.matchAll(/^ {2}repair {4}(.*)$/gm)].map(([, line]) => line).join('\n'))
  t.match(podwire('check'), { status: 0 })
})

t.test('repair says what it did, and then nothing', async (t) => {
  sh('ip route del 10.1.2.2')
  t.same(podwire('repair 3f6940ab'), { status: 0, stdout: `default/web  ok\n  repaired  route 10.1.2.2/32 dev ${end} scope host is missing\n`, stderr: '' })
  t.same(podwire('repair default/web').stdout, 'default/web  ok\n')
})

t.test('podwire status has what is wrong with pods, once for all that share it, and what repairs it', async (t) => {
  t.match(podwire('status'), { status: 0 })
  sh('nft delete table inet podwire && ip route del 10.1.2.2 && ip route del 10.1.2.3')
  const { status, stdout } = podwire('status')
  t.equal(status, 1)
  t.match(stdout, /^wrong +nft table inet podwire is missing \(pod default\/web\)$/m)
  t.match(stdout, new RegExp(`^wrong +route 10\\.1\\.2\\.2/32 dev ${end} scope host is missing \\(pod default/web\\)\nrepair +ip route add 10\\.1\\.2\\.2/32 dev ${end} scope host$`, 'm'))
  t.match(podwire('check').stdout, /^plain\n {2}wrong/m)
  sh(podwire('status --repair').stdout)
  t.match([podwire('status').status, podwire('check').status], [0, 0])
})

t.test("a pod of another's plugin is listed and left alone", async (t) => {
  const [, before] = [sh('ip netns add theirs && ip link add vethab12cd34 type veth peer eth0 netns theirs'), sh('ip -d addr; ip route')]
  const file = fileOf(NET, { container: 'theirs' })
  const kept = { kind: 'cniCacheV1', containerId: 'theirs', config: Buffer.from(JSON.stringify({ ...NET, cniVersion: '1.0.0' })).toString('base64'), ifName: 'eth0', networkName: 'podnet', netns: '/run/netns/theirs', result: { cniVersion: '1.0.0', interfaces: [{ name: 'vethab12cd34' }, { name: 'eth0', sandbox: '/run/netns/theirs' }], ips: [{ address: '10.1.2.77/24', interface: 1 }] } }
  writeFileSync(file, JSON.stringify(kept))
  t.match(podwire('pods').stdout, /^theirs +10\.1\.2\.77 +podnet +\ds +of another plugin$/m)
  t.match(podwire('repair'), { status: 0, stdout: /^(?!.*theirs)/s })
  t.equal(sh('ip -d addr; ip route'), before)
  rmSync(file)
  ip('netns del theirs')
})

t.test('of a pod of which nobody keeps anything it is said that nothing can be known', async (t) => {
  rmSync(fileOf(NET, { container: 'plain' }))
  t.match(podwire('pods').stdout, /^plain +podnet +veth\w+ +the runtime's library keeps nothing of it$/m)
  t.match(podwire('check plain'), { status: 0, stdout: "plain\n  unknown   the runtime's library keeps nothing of it\n" })
})

t.test('a file that is none of the library is named', async (t) => {
  writeFileSync('/var/lib/cni/results/junk', '{')
  t.match(podwire('check'), { status: 0, stderr: /^podwire: \/var\/lib\/cni\/results\/junk is not as a library writes it: / })
  rmSync('/var/lib/cni/results/junk')
})

t.test('a pod whose namespace is gone, too, is dead', async (t) => {
  ip(`netns del ${ID}`)
  sh(`ip link del ${end} 2>/dev/null || true`)
  t.match(podwire('pods').stdout, /^default\/web .* is gone; the runtime has not sent DEL$/m)
  t.match(podwire('repair'), { status: 0 })
  t.notMatch(ip('-br link'), end)
})

t.test('what is left of it goes by gc, which says it before', async (t) => {
  sh('touch -d "2 minutes ago" /var/lib/cni/networks/podnet/*')
  const before = sh('nft list ruleset; ls /var/lib/cni/networks/podnet')
  const would = podwire('gc --dry-run')
  t.match(would, { status: 0, stdout: new RegExp(`^would go +lease +10\\.1\\.2\\.2 +podnet/${ID}/eth0$`, 'm') })
  t.match(would.stdout, /^would go +nft element +tcp \. 443 in hostports_ip +podnet\/3f6940/m)
  t.equal(sh('nft list ruleset; ls /var/lib/cni/networks/podnet'), before, 'nothing was changed')
  t.equal(podwire('gc other').stdout, 'nothing is left of dead pods\n', 'nothing of another network')
  t.equal(podwire('gc podnet').stdout, would.stdout.replaceAll('would go', 'gone'))
  t.equal(podwire('gc').stdout, 'nothing is left of dead pods\n')
  t.notMatch(sh('nft list ruleset; ls /var/lib/cni/networks/podnet'), /10\.1\.2\.2\b/)
  t.match(sh('ls /var/lib/cni/networks/podnet'), '10.1.2.3', 'who lives keeps what it has')
  t.match(podwire('gc ../podnet'), { status: 1, stderr: /invalid characters/ })
  detach(NET, { container: 'plain' })
})
