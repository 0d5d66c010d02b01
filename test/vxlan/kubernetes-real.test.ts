// The nodes of a real cluster: etcd and kube-apiserver, in a network namespace of this test's own, with RBAC on. It takes half
// a minute, and runs where ETCD and KUBE_APISERVER name the programs: scripts/e2e-cluster.sh does that.

import '../world.ts'
import { spawn, type ChildProcess } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { openSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { join } from 'node:path'
import t from 'tap'
import { directory, Follower, kubeconfig } from './apiserver.ts'
import { Authority } from './pki.ts'

const { ETCD: etcd, KUBE_APISERVER: apiserver } = process.env

const COUNT = 1200 // three pages

t.test('a real API server: RBAC, pages, watch, restart, compaction', { skip: !(etcd && apiserver) && 'ETCD and KUBE_APISERVER name no programs; scripts/e2e-cluster.sh does' }, async (t) => {
  const at = directory(t)
  const ca = new Authority('the cluster')
  const identity = ca.issue(['127.0.0.1'])
  const file = (name: string, text: string): string => (writeFileSync(join(at, name), text), join(at, name))
  const sa = file('sa.key', generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs1', format: 'pem' }) as string)
  const flags = {
    'etcd-servers': 'http://127.0.0.1:2379', 'bind-address': '127.0.0.1', 'advertise-address': '192.0.2.1', 'secure-port': '6443', 'cert-dir': at,
    'tls-cert-file': file('server.pem', identity.cert), 'tls-private-key-file': file('server.key', identity.key), 'token-auth-file': file('tokens.csv', 'root,root,root,system:masters\nagent,podwire,podwire\n'),
    'authorization-mode': 'RBAC', 'disable-admission-plugins': 'ServiceAccount', 'service-cluster-ip-range': '10.96.0.0/16',
    'feature-gates': 'IPv6DualStack=true', // of itself from Kubernetes 1.21 on
    'service-account-issuer': 'https://kubernetes.default', 'service-account-signing-key-file': sa, 'service-account-key-file': sa,
  }
  const run = (name: string, command: string, args: string[]): ChildProcess => {
    const log = openSync(join(at, `${name}.log`), 'a')
    const child = spawn(command, args, { stdio: ['ignore', log, log], env: { PATH: process.env.PATH, HOME: at } })
    t.teardown(() => stop(child))
    return child
  }
  const startServer = (): ChildProcess => run('apiserver', apiserver!, Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`))
  run('etcd', etcd!, ['--data-dir', join(at, 'etcd'), '--listen-client-urls', 'http://127.0.0.1:2379', '--advertise-client-urls', 'http://127.0.0.1:2379', '--listen-peer-urls', 'http://127.0.0.1:2380', '--unsafe-no-fsync'])
  let server = startServer()
  const api = (method: string, path: string, body?: object): Promise<number> =>
    new Promise((resolve) => {
      const asked = request(`https://127.0.0.1:6443${path}`, { method, ca: ca.cert, headers: { authorization: 'Bearer root', 'content-type': method === 'PATCH' ? 'application/strategic-merge-patch+json' : 'application/json' } }, (response) => response.resume().on('end', () => resolve(response.statusCode!)))
      asked.on('error', () => resolve(0)).end(body && JSON.stringify(body))
    })
  const ready = async (): Promise<void> => {
    for (let i = 0; i < 300 && (await api('GET', '/readyz')) !== 200; i++) await new Promise((resolve) => setTimeout(resolve, 100))
  }

  const follower = new Follower({ kubeconfig: kubeconfig(at, { server: 'https://127.0.0.1:6443', 'certificate-authority-data': Buffer.from(ca.cert).toString('base64') }, { token: 'agent' }) }, { firstWait: 50, longestWait: 200, brief: 1000 })
  t.teardown(() => follower.close())
  await follower.until((f) => f.state.phase === 'failed')
  t.match(follower.state.reason, /ECONNREFUSED/, 'before it listens')
  await ready()
  await follower.until((f) => /403/.test(f.state.reason ?? ''))
  t.match(follower.state.reason, /User "podwire" cannot list resource "nodes".*apiGroups \[""\], resources \["nodes"\], verbs \["get", "list", "watch"\]/, 'without a ClusterRole')
  t.equal(follower.nodes.length, 0)

  const names = Array.from({ length: COUNT }, (_, i) => `node-${i}`)
  // A Node's status is not taken from a POST of the Node, but of a subresource. With addresses: the first hundred.
  for (const some of Array.from({ length: COUNT / 50 }, (_, i) => names.slice(i * 50, (i + 1) * 50))) {
    await Promise.all(some.map((name) => api('POST', '/api/v1/nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name }, spec: specOf(name) })))
    if (some.includes('node-0') || some.includes('node-50')) await Promise.all(some.map((name) => api('PATCH', `/api/v1/nodes/${name}/status`, { status: { addresses: [{ type: 'InternalIP', address: `192.0.2.${name.slice(5)}` }] } })))
  }
  await api('POST', '/apis/rbac.authorization.k8s.io/v1/clusterroles', { metadata: { name: 'podwire' }, rules: [{ apiGroups: [''], resources: ['nodes'], verbs: ['get', 'list', 'watch'] }] })
  await api('POST', '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', { metadata: { name: 'podwire' }, roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'podwire' }, subjects: [{ kind: 'User', name: 'podwire' }] })
  await follower.until((f) => f.nodes.length > 0)
  t.equal(follower.nodes[0]!.size, COUNT, 'with the rule: all of them at once')
  t.match(follower.nodes[0]!.get('node-7'), { name: 'node-7', addresses: ['192.0.2.7'], podCIDRs: ['10.64.7.0/24', 'fd00:7::/64'], created: /^20\d\d-/ })
  await follower.until((f) => f.state.phase === 'watching')

  await api('PATCH', '/api/v1/nodes/node-7/status', { status: { addresses: [{ type: 'InternalIP', address: '192.0.2.7', $patch: 'delete' }, { type: 'InternalIP', address: '198.51.100.7' }] } })
  await follower.until((f) => f.nodes.at(-1)!.get('node-7')!.addresses.includes('198.51.100.7'))
  const told = follower.nodes.length
  await api('PATCH', '/api/v1/nodes/node-8/status', { status: { conditions: [{ type: 'Ready', status: 'True', lastHeartbeatTime: new Date().toISOString() }] } })
  await api('DELETE', '/api/v1/nodes/node-9')
  await follower.until((f) => !f.nodes.at(-1)!.has('node-9'))
  t.equal(follower.nodes.length, told + 1, 'a heartbeat and a deletion: one change')

  const version = BigInt(follower.state.resourceVersion!)
  await stop(server)
  await follower.until((f) => f.state.phase === 'failed')
  server = startServer()
  await ready()
  await follower.until((f) => f.state.phase === 'watching')
  t.equal(follower.state.relists, 0, 'a restart of the API server: resumed, not listed')
  await api('DELETE', '/api/v1/nodes/node-10')
  await follower.until((f) => !f.nodes.at(-1)!.has('node-10'))
  t.ok(BigInt(follower.state.resourceVersion!) > version)

  // While the API server is away, a node goes and etcd forgets the way from there to here.
  await stop(server)
  const key = Buffer.from('/registry/minions/node-11').toString('base64')
  const { header } = await ask('deleterange', { key })
  await ask('compaction', { revision: header.revision, physical: true })
  server = startServer()
  await follower.until((f) => !f.nodes.at(-1)!.has('node-11'))
  t.equal(follower.state.relists, 1, 'compacted: listed anew, once; who was deleted meanwhile is gone')
  t.equal(follower.nodes.at(-1)!.size, COUNT - 3)
  await follower.until((f) => f.state.phase === 'watching')
})

function specOf(name: string): object {
  const n = Number(name.slice('node-'.length))
  const podCIDR = `10.${64 + (n >> 8)}.${n & 255}.0/24`
  return { podCIDR, podCIDRs: [podCIDR, `fd00:${n.toString(16)}::/64`] }
}

/** Asks etcd, by its gateway from HTTP to gRPC. */
async function ask(what: string, body: object): Promise<{ header: { revision: string } }> {
  const answer = await fetch(`http://127.0.0.1:2379/v3/kv/${what}`, { method: 'POST', body: JSON.stringify(body) })
  return (await answer.json()) as { header: { revision: string } }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await new Promise((resolve) => child.on('exit', resolve))
}
