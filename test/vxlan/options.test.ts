// Options that contradict or lack each other are refused at once, in one sentence, before anything is touched. Typed at the built
// executable, which would install itself.

import { BIN, run } from '../binary.ts'
import { ip, sh } from '../world.ts'
import { mkdirSync } from 'node:fs'
import t from 'tap'
import { cli } from '../../src/cli/cli.ts'
import { node, peers } from './nodes.ts'

ip('link add u0 type bridge && sysctl -qw net.ipv6.conf.u0.disable_ipv6=1 && ip link set u0 up && ip addr add 192.0.2.1/24 dev u0')
peers({ ...node('a', 1), podCIDRs: ['10.244.1.0/24'] })
mkdirSync('/run/opt')

const PLACES = '--state-dir /run/state --conf-dir /run/net.d --bin-dir /run/opt/bin'
const AGENT = `agent --peers /run/peers.json --node a ${PLACES}`
const IN_POD = { KUBERNETES_SERVICE_HOST: '192.0.2.9', KUBERNETES_SERVICE_PORT: '443' }
const WAYS = 'say --peers FILE, --kubeconfig FILE, or run the agent in a pod of the cluster as conf/podwire.yaml does'

const REFUSED: [line: string, sentence: string | RegExp, env?: Record<string, string>][] = [
  [`agent --node a ${PLACES}`, `where do the nodes come from? KUBERNETES_SERVICE_HOST is not set, so this is no pod of a cluster: ${WAYS} (code 4)`],
  [`agent --node a ${PLACES}`, `where do the nodes come from? KUBERNETES_SERVICE_PORT is not set, so this is no pod of a cluster: ${WAYS} (code 4)`, { KUBERNETES_SERVICE_HOST: '192.0.2.9' }],
  [`agent --node a ${PLACES}`, `where do the nodes come from? /var/run/secrets/kubernetes.io/serviceaccount/token is not there, so this pod has no ServiceAccount: ${WAYS} (code 4)`, IN_POD],
  [`agent --peers /run/peers.json ${PLACES}`, 'which node is this? Say it with --node NAME, or in NODE_NAME (code 4)'],
  [`agent --peers /run/peers.json ${PLACES}`, 'which node is this? Say it with --node NAME, or in NODE_NAME (code 4)', { NODE_NAME: '' }],
  [`${AGENT} --kubeconfig /run/kubeconfig`, '--peers and --kubeconfig exclude each other: the nodes come from one of them. See: podwire help agent'],
  [`${AGENT} --no-masquerade --non-masquerade-cidrs 10.0.0.0/8`, '--non-masquerade-cidrs has no meaning with --no-masquerade. See: podwire help agent'],
  [`${AGENT} --cluster-cidr 10.245.0.0/16,fd00::/16`, 'node a, which is this one, has podCIDR 10.244.1.0/24, which is not inside --cluster-cidr 10.245.0.0/16,fd00::/16'],
  [`${AGENT} --cluster-cidr 10.244.1.0/25`, 'node a, which is this one, has podCIDR 10.244.1.0/24, which is not inside --cluster-cidr 10.244.1.0/25'],
  [`${AGENT} --cluster-cidr 10.244.0.0/16,`, '--cluster-cidr: one of the networks is empty (code 4)'],
  [`${AGENT} --cluster-cidr ,`, '--cluster-cidr: one of the networks is empty (code 4)'],
  [`${AGENT} --non-masquerade-cidrs 10.0.0.0/8,nonsense`, '--non-masquerade-cidrs: nonsense is no network in CIDR notation (code 4)'],
  [`${AGENT} --underlay an/interface`, '--underlay an/interface: expected an interface, a network or an address (code 4)'],
  [`${AGENT} --underlay sixteencharacter`, '--underlay sixteencharacter: expected an interface, a network or an address (code 4)'],
  [`${AGENT} --listen here`, '--listen here: expected ADDRESS:PORT such as 127.0.0.1:9466'],
  [`${AGENT} --listen 127.0.0.1:65536`, '--listen 127.0.0.1:65536: expected ADDRESS:PORT such as 127.0.0.1:9466'],
  [`${AGENT} --vni 1 --vni 2`, '--vni stands twice. See: podwire help agent'],
  [`${AGENT} --bridge cni0`, /^there is no option --bridge/],
  [`${AGENT} another`, '"another" is one argument too many. See: podwire help agent'],
  [`${AGENT} --install-only`, '--peers has no meaning with --install-only. See: podwire help agent'],
  ['agent --install-only --uninstall --bin-dir /run/opt/bin', '--uninstall has no meaning with --install-only. See: podwire help agent'],
  ['agent --install-only --state-dir /run/state --bin-dir /run/opt/bin', '--state-dir has no meaning with --install-only. See: podwire help agent'],
  ['agent --install-only --bin-dir /run/opt/bin another', '"another" is one argument too many. See: podwire help agent'],
  [`${AGENT} --uninstall`, '--peers has no meaning with --uninstall. See: podwire help agent'],
  [`agent --uninstall --node a ${PLACES}`, '--node has no meaning with --uninstall. See: podwire help agent'],
  [`agent --uninstall --vni 0 ${PLACES}`, '--vni 0: expected a number from 1 to 16777215 (code 4)'],
  [`uninstall --peers /run/peers.json ${PLACES}`, '--peers has no meaning here. See: podwire help uninstall'],
  [`uninstall --install-only ${PLACES}`, '--install-only has no meaning here. See: podwire help uninstall'],
  [`uninstall --mtu 1400 ${PLACES}`, '--mtu has no meaning here. See: podwire help uninstall'],
  [`uninstall ${PLACES} another`, '"another" is one argument too many. See: podwire help uninstall'],
  ['uninstall --bridge u0 --vni 3', '--vni has no meaning with --bridge. See: podwire help uninstall'],
  ['uninstall --bridge u0 --state-dir /run/state', '--state-dir has no meaning with --bridge. See: podwire help uninstall'],
  ['uninstall --bridge u0 another', '"another" is one argument too many. See: podwire help uninstall'],
]

/** All that an agent or uninstall would make or take. */
const touchable = (): string => sh('ip link; ip addr; nft list ruleset; find /run/opt /run/state /run/net.d 2>&1 || true')

for (const [line, sentence, env = {}] of REFUSED)
  t.test(`podwire ${line.replace(PLACES, '…')}${Object.keys(env).length > 0 ? ` with ${Object.keys(env).join(' and ')}` : ''}`, async (t) => {
    const before = touchable()
    const { status, stdout, stderr } = await run('timeout', ['20', `${BIN}/podwire`, ...line.split(' ')], { PATH: process.env.PATH, ...env }, '')
    t.match(stderr, typeof sentence === 'string' ? `podwire: ${sentence}\n` : new RegExp(sentence.source.replace('^', '^podwire: ')))
    t.match([status, stdout], [1, ''])
    t.equal(stderr.split('\n').length, 2, 'one line')
    t.equal(touchable(), before, 'and nothing is touched')
  })

const VALUES = ['peers', 'kubeconfig', 'node', 'vni', 'port', 'underlay', 'mtu', 'non-masquerade-cidrs', 'cluster-cidr', 'checksum-offload', 'conf-dir', 'bin-dir', 'lib-dir', 'state-dir', 'listen']

t.test('no value is empty', async (t) => {
  for (const name of VALUES) for (const args of [[`--${name}=`], [`--${name}`, ''], [`--${name}= `]]) {
    const { status, stderr } = await run('timeout', ['20', `${BIN}/podwire`, 'agent', ...args], { PATH: process.env.PATH }, '')
    t.same([status, stderr], [1, `podwire: --${name} needs a value: it is empty. See: podwire help agent\n`])
  }
  for (const name of ['bridge', 'vni', 'state-dir']) t.match(cli(['uninstall', `--${name}=`]), { status: 1, stderr: `--${name} needs a value: it is empty` })
})
