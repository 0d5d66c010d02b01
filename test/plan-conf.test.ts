// `podwire plan`: what it says of a configuration that is none, of one that is probably not meant so, of a directory of them, and of
// the ports that a runtime would ask for.

import { sh } from './world.ts'
import { writeFileSync } from 'node:fs'
import t from 'tap'
import { cli } from '../src/cli/cli.ts'

const ENTRY = { type: 'ptp', ipam: { type: 'host-local', subnet: '10.1.2.0/24' } }
const LIST = { cniVersion: '1.0.0', name: 'podnet', plugins: [ENTRY] }
const CONF = { cniVersion: '1.0.0', name: 'podnet', ...ENTRY }

function plan(conf: unknown, ...args: string[]) {
  writeFileSync('/run/conf', typeof conf === 'string' ? conf : JSON.stringify(conf))
  return cli(['plan', '/run/conf', ...args])
}

t.test('what is no configuration is refused', async (t) => {
  const none: [unknown, RegExp][] = [
    [{}, /^podwire: \/run\/conf is no network configuration: it has neither type \(one plugin\), nor plugins \(a list of them\), nor nodes \(the file of peers\) \(code 7\)\n$/],
    [{ auths: { 'registry.example': {} } }, /is no network configuration/],
    [{ cniVersion: '1.0.0', name: 'x', plugin: [ENTRY] }, /; did you mean plugins by "plugin"\? \(code 7\)/],
    [{ cniVersion: '1.0.0', name: 'x', Type: 'ptp' }, /did you mean type by "Type"\?/],
    ['[]', /is \[\]: expected a JSON object/],
    [{ ...CONF, type: 5 }, /type is 5: expected the name of a plugin/],
    [{ ...CONF, type: '../ptp' }, /type is "\.\.\/ptp": expected the name of a plugin/],
    [{ ...LIST, plugins: [ENTRY, {}] }, /plugins\[1\]\.type is missing: expected the name of a plugin/],
    [{ ...LIST, name: undefined, plugins: [{ type: 'macvlan' }] }, /missing network name/],
    [{ ...CONF, ipam: { type: 'bridge' } }, /ipam\.type is "bridge", which is no IPAM plugin/],
  ]
  for (const [conf, said] of none) t.match(plan(conf), { status: 1, stdout: '', stderr: said }, JSON.stringify(conf))
})

t.test('an add-on that stands first is refused, as ADD would', async (t) => {
  for (const type of ['portmap', 'bandwidth', 'firewall', 'tuning', 'podwire-tuning']) {
    const said = new RegExp(`^podwire: Required prevResult missing \\(code 7\\)\n  ${type} must be called as chained plugin`)
    t.match(plan({ ...CONF, type }), { status: 1, stderr: said }, `${type} alone`)
    t.match(plan({ ...LIST, plugins: [{ type }, ENTRY] }), { status: 1, stderr: said }, `${type} first`)
    t.match(plan({ ...LIST, plugins: [ENTRY, { type }] }), { status: 0 }, `${type} behind`)
    t.match(plan({ ...LIST, plugins: [{ type: 'macvlan' }, { type }] }), { status: 0 }, "and behind somebody else's")
  }
  for (const type of ['sbr', 'vxlan']) t.match(plan({ ...LIST, plugins: [{ type, ...(type === 'vxlan' && { node: 'a', peers: [] }) }] }), { status: 1, stderr: /Required prevResult missing/ }, type)
})

t.test('what is probably mistyped is warned of; with --strict the status is 1', async (t) => {
  const odd: [object, string][] = [
    [{ ...CONF, type: 'brigde' }, 'no plugin "brigde": did you mean bridge? Not found in CNI_PATH (/opt/cni/bin) either'],
    [{ ...CONF, type: 'macvlna' }, 'no plugin "macvlna": did you mean macvlan? Not found in CNI_PATH (/opt/cni/bin) either'],
    [{ ...CONF, type: 'acme' }, 'no plugin "acme" in podwire, nor in CNI_PATH (/opt/cni/bin)'],
    [{ ...CONF, ipam: { type: 'hostlocal' } }, 'no IPAM plugin "hostlocal": did you mean host-local? Not found in CNI_PATH (/opt/cni/bin) either'],
    [{ ...CONF, capabilities: { portmappings: true } }, 'capabilities has "portmappings", for which a runtime passes nothing: did you mean portMappings?'],
    [{ ...CONF, ipmask: true }, 'ipmask is not a key of podwire: did you mean ipMasq?'],
  ]
  for (const [conf, said] of odd) {
    const { status, stderr } = plan(conf)
    t.equal(status, 0)
    t.equal(stderr.split('\n')[0], `podwire: ${said}`)
    t.equal(plan(conf, '--strict').status, 1, '--strict')
  }
  for (const conf of [CONF, LIST, { ...CONF, capabilities: { portMappings: true, mine: true } }, { ...CONF, ipMasqBackend: 'iptables' }]) t.equal(plan(conf, '--strict').status, 0, JSON.stringify(conf))
  t.equal(cli(['plan', 'conf/peers.json', '--node', 'a', '--strict']).status, 0, 'an example of an underlay is no fault of the file')
})

t.test('--port is passed as a runtime does, to who declares the capability', async (t) => {
  const able = { ...CONF, capabilities: { portMappings: true } }
  const asked = plan(able, '--port', '8080:80', '--port', '53:5353/udp', '--port', '192.0.2.1:443:8443').stdout
  const elements = [...asked.matchAll(/^nft add element inet podwire (host\S+) '\{ (.*) comment .* : (.*) \}'$/gm)].map(([, ...words]) => words.join(' '))
  t.same(elements, ['hostports_ip tcp . 8080 10.1.2.2 . 80', 'hostports_ip udp . 53 10.1.2.2 . 5353', 'hostips_ip tcp . 443 . 192.0.2.1 10.1.2.2 . 8443'])
  const list = plan({ ...LIST, plugins: [ENTRY, { type: 'portmap', capabilities: { portMappings: true } }] }, '--port', '8080:80')
  t.match(list.stdout, /# portmap\n[^]*tcp \. 8080/)
  t.notMatch(list.stdout.split('# portmap')[0], '8080', 'and to nobody else')
  t.match(plan(CONF, '--port', '8080:80', '--strict'), { status: 1, stderr: /^podwire: no entry declares "capabilities": \{"portMappings": true\}: a runtime would pass --port to none\n$/ })
  t.match(plan({ ...CONF, ipam: { ...CONF.ipam, subnet: 'fd00:1::/64' }, capabilities: { portMappings: true } }, '--port', '[2001:db8::1]:80:8080').stdout, 'tcp . 80 . 2001:db8::1 comment')
  for (const wrong of ['8080', '8080:', ':80', '0:80', '8080:65536', '8080:80/icmp', 'host:80:80', '1:2:3:4', '2001:db8::1:80:80', '[192.0.2.300]:1:1', '-1:80']) t.match(plan(able, `--port=${wrong}`), { status: 1, stdout: '', stderr: `podwire: --port ${wrong}: expected [ADDRESS:]PORT:PORT[/tcp|udp|sctp]` }, wrong)
})

t.test('of a directory it is the file that a runtime takes, and why', async (t) => {
  const put = (name: string, conf: unknown) => writeFileSync(`/run/net.d/${name}`, typeof conf === 'string' ? conf : JSON.stringify(conf))
  const typed = (...args: string[]) => cli(['plan', '/run/net.d', ...args])
  sh('mkdir -p /run/net.d/00-a.conf')
  t.match(typed(), { status: 1, stderr: /^podwire: \/run\/net\.d has no network configuration: runtimes read \*\.conf, \*\.conflist and \*\.json there \(code 7\)\n$/ })

  put('20-b.conflist', { ...LIST, name: 'b' })
  put('05-a.conflist.bak', '{')
  t.match(typed().stdout, /^# 20-b\.conflist is the one that containerd and CRI-O take: there is no other\n# podman takes a network by its name, of \*\.conflist alone: b \(20-b\.conflist\)\n(?:sysctl|ip) /)

  put('10-a.conf', CONF)
  put('30-c.json', '{"broken": ')
  put('40-b.conflist', { ...LIST, name: 'b' })
  put('50-d.conflist', { ...LIST, name: 'd' })
  const { stdout, stderr } = typed('--ifname', 'net1')
  t.match(stdout, /^# 10-a\.conf is the one that containerd and CRI-O take: the first by name, before 20-b\.conflist, 30-c\.json, 40-b\.conflist, 50-d\.conflist\n# podman takes a network by its name, of \*\.conflist alone: b \(20-b\.conflist\), d \(50-d\.conflist\)\n[^]*alias podnet\/example\/net1/)
  t.equal(stderr, '')
  t.match(JSON.parse(typed('--json').stdout), [{ file: '/run/net.d/10-a.conf', type: 'ptp' }])

  for (const [broken, said] of [['{', '10-a.conf:1:2: the JSON ends within an object that begins in line 1'], [JSON.stringify(LIST), 'has no type: expected one plugin; a list of them belongs in a *.conflist']] as const) {
    put('10-a.conf', broken)
    t.match(typed(), { status: 1, stdout: '', stderr: said })
    t.match(typed().stderr, '10-a.conf is the first by name in /run/net.d: containerd takes it, and has no network until it is mended\n  CRI-O passes it over and takes 20-b.conflist: podwire plan /run/net.d/20-b.conflist')
  }
  sh('rm -r /run/net.d')
})
