// By which credentials the API server is asked: those of a pod, of a kubeconfig, and what happens when they rotate or do
// not fit. The server speaks TLS with certificates that are made here; /run is this test's own (world.ts).

import { BIN } from '../binary.ts'
import { sh } from '../world.ts'
import { spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import { ApiServer, directory, Follower, kubeconfig, node, refuse } from './apiserver.ts'
import { Authority, type Identity } from './pki.ts'

const ca = new Authority('the cluster')
const base64 = (text: string): string => Buffer.from(text).toString('base64')

async function secured(t: { teardown(undo: () => unknown): void }, identity: Identity = ca.issue(['127.0.0.1']), more: object = {}): Promise<ApiServer> {
  const server = new ApiServer({ ...identity, ...more })
  server.put('a', node(1))
  await server.start()
  t.teardown(() => server.stop())
  return server
}

function follow(t: { teardown(undo: () => unknown): void }, options: { kubeconfig?: string }): Follower {
  const follower = new Follower(options)
  t.teardown(() => follower.close())
  return follower
}

const accept = (server: ApiServer, token: string): void => {
  server.always = (response) => (server.requests.at(-1)!.authorization === `Bearer ${token}` ? true : refuse(response, 401, 'Unauthorized'))
}

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'

t.test('in a pod: the ServiceAccount, and its token and CA may rotate', async (t) => {
  const server = await secured(t)
  mkdirSync(SERVICE_ACCOUNT, { recursive: true })
  writeFileSync(`${SERVICE_ACCOUNT}/token`, 'one')
  writeFileSync(`${SERVICE_ACCOUNT}/ca.crt`, ca.cert)
  const { hostname, port } = new URL(server.address)
  Object.assign(process.env, { KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port })
  t.teardown(() => (delete process.env.KUBERNETES_SERVICE_HOST, delete process.env.KUBERNETES_SERVICE_PORT))
  accept(server, 'one')
  const follower = follow(t, {})
  await follower.watching()
  t.equal(follower.names, 'a')

  accept(server, 'two')
  server.put('b', node(2))
  await follower.until((f) => f.names === 'a b')
  server.endWatches()
  await follower.until((f) => f.state.phase === 'failed')
  t.match(follower.state.reason, /answers 401/, 'the old token is no longer good')
  writeFileSync(`${SERVICE_ACCOUNT}/token`, 'two')
  await follower.watching()

  const next = new Authority('the cluster')
  server.present(next.issue(['127.0.0.1']))
  server.endWatches('destroy')
  await follower.until((f) => f.state.phase === 'failed')
  t.match(follower.state.reason, /its certificate is not signed by the CA we trust; see .*the ServiceAccount's ca\.crt/, 'the CA rotated')
  writeFileSync(`${SERVICE_ACCOUNT}/ca.crt`, next.cert)
  server.put('c', node(3))
  await follower.until((f) => f.names === 'a b c')
  t.equal(server.lists.length, 1, 'all of it without a second list')

  rmSync(`${SERVICE_ACCOUNT}/token`)
  server.endWatches()
  await follower.until((f) => f.state.phase === 'failed')
  t.match(follower.state.reason, /^the ServiceAccount: \/\S+serviceaccount\/token: there is no such file$/)
})

t.test('neither a pod nor a kubeconfig', async (t) => {
  const follower = follow(t, {})
  await follower.until((f) => f.state.phase === 'failed')
  t.match(follower.state.reason, /KUBERNETES_SERVICE_HOST is not set.*--kubeconfig FILE/)
})

t.test('a kubeconfig with CA and token, in the file and in files beside it', async (t) => {
  const server = await secured(t)
  accept(server, 'secret')
  const path = directory(t)
  writeFileSync(join(path, 'ca.pem'), ca.cert)
  writeFileSync(join(path, 'token'), 'secret\n')
  for (const [what, cluster, user] of [
    ['data', { 'certificate-authority-data': base64(ca.cert) }, { token: 'secret' }],
    ['relative paths', { 'certificate-authority': 'ca.pem' }, { token: 'secret' }],
    ['tokenFile', { 'certificate-authority': 'ca.pem' }, { tokenFile: join(path, 'token') }],
    ['a relative tokenFile, which goes before a token', { 'certificate-authority': 'ca.pem' }, { tokenFile: 'token', token: 'old' }],
    ['token-file', { 'certificate-authority': 'ca.pem' }, { 'token-file': join(path, 'token') }],
  ] as const) {
    const follower = follow(t, { kubeconfig: kubeconfig(path, { server: server.address, ...cluster }, user) })
    await follower.until((f) => f.nodes.length > 0, what)
    t.equal(follower.names, 'a', what)
    follower.close()
  }
})

t.test('what is no file in the place of a kubeconfig, or of a file that it names, is named, and nobody waits for it', async (t) => {
  const server = await secured(t)
  accept(server, 'secret')
  const path = directory(t)
  const at = (name: string) => join(path, name)
  writeFileSync(at('ca.pem'), ca.cert)
  writeFileSync(at('token'), 'secret')
  const own = kubeconfig(path, { server: server.address, 'certificate-authority': 'ca.pem' }, { tokenFile: 'token' })
  for (const [name, undo] of [['ca.pem', ca.cert], ['token', 'secret'], [basename(own), readFileSync(own, 'utf8')]] as const)
    for (const [line, words] of [['mkfifo', /is a FIFO, not a file/], ['mkdir', /is a directory: name a file in it/], ['ln -s /dev/zero', /is a device, not a file/], ['truncate -s 1G', /has more than 1048576 bytes/]] as const) {
      sh(`rm -rf ${at(name)} && ${line} ${at(name)}`)
      const follower = follow(t, { kubeconfig: own })
      await follower.until((f) => f.state.phase === 'failed', `${line} ${name}`)
      t.match(follower.state.reason, `the kubeconfig ${own}: ${at(name)} `)
      t.match(follower.state.reason, words)
      sh(`rm -rf ${at(name)}`)
      writeFileSync(at(name), undo)
      await follower.until((f) => f.nodes.length > 0, `${name} is mended`)
      follower.close()
    }
})

t.test('a kubeconfig with a client certificate', async (t) => {
  const server = await secured(t, undefined, { requestCert: true, ca: ca.cert })
  const { cert, key } = ca.issue([])
  const path = directory(t)
  const cluster = { server: server.address, 'certificate-authority-data': base64(ca.cert) }
  const without = follow(t, { kubeconfig: kubeconfig(path, cluster) })
  await without.until((f) => f.state.phase === 'failed')
  t.match(without.state.reason, /TLS failed; see .*the client certificate in the kubeconfig|cannot be reached/)
  const follower = follow(t, { kubeconfig: kubeconfig(path, cluster, { 'client-certificate-data': base64(cert), 'client-key-data': base64(key) }) })
  await follower.until((f) => f.nodes.length > 0)
  t.equal(follower.names, 'a')
})

t.test('a kubeconfig with an exec plugin', async (t) => {
  const server = await secured(t)
  accept(server, 'from-exec')
  const path = directory(t)
  const plugin = join(path, 'plugin')
  writeFileSync(plugin, '#!/bin/sh\necho "no luck" >&2; exit 1\n')
  chmodSync(plugin, 0o755)
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: plugin, interactiveMode: 'Never' }
  const follower = follow(t, { kubeconfig: kubeconfig(path, { server: server.address, 'certificate-authority-data': base64(ca.cert) }, { exec }) })
  await follower.until((f) => f.state.phase === 'failed')
  t.match(follower.state.reason, /no credentials for the API server: no luck: see the user in .*kubeconfig/)
  writeFileSync(plugin, `#!/bin/sh\necho '{"kind":"ExecCredential","status":{"token":"from-exec"}}'\n`)
  await follower.until((f) => f.nodes.length > 0)
  t.equal(follower.names, 'a')
})

t.test('a certificate that cannot be accepted is named with the reason', async (t) => {
  const cases: [string, Identity, object, RegExp][] = [
    ['of another CA', new Authority('somebody').issue(['127.0.0.1']), {}, /not signed by the CA we trust; see `certificate-authority`/],
    ['expired', ca.issue(['127.0.0.1'], -10, -1), {}, /CERT_HAS_EXPIRED.*not valid now; renew it, or set this node's clock/],
    ['of tomorrow', ca.issue(['127.0.0.1'], 1, 10), {}, /CERT_NOT_YET_VALID.*not valid now/],
    ['for another address', ca.issue(['192.0.2.1']), {}, /ERR_TLS_CERT_ALTNAME_INVALID.*made for another name or address; give the kubeconfig a `server` or `tls-server-name`/],
  ]
  for (const [what, identity, more, words] of cases) {
    const server = await secured(t, identity)
    const follower = follow(t, { kubeconfig: kubeconfig(directory(t), { server: server.address, 'certificate-authority-data': base64(ca.cert), ...more }) })
    await follower.until((f) => f.state.phase === 'failed')
    t.match(follower.state.reason, words, what)
    t.equal(server.requests.length, 0, 'and no request was sent')
  }
  const server = await secured(t, ca.issue(['kubernetes.default']))
  const follower = follow(t, { kubeconfig: kubeconfig(directory(t), { server: server.address, 'certificate-authority-data': base64(ca.cert), 'tls-server-name': 'kubernetes.default' }) })
  await follower.until((f) => f.nodes.length > 0)
  t.equal(follower.names, 'a', 'tls-server-name says under which name it is known')
})

t.test("whom the agent trusts is the kubeconfig's to say, and not its environment's", async (t) => {
  const other = new Authority('another')
  const server = await secured(t, other.issue(['127.0.0.1']))
  const folder = directory(t)
  const path = join(folder, 'ca.crt')
  writeFileSync(path, other.cert)
  const agent = ['agent', '--node', 'a', '--state-dir', folder, '--bin-dir', `${path}/none`, '--kubeconfig', kubeconfig(folder, { server: server.address })]
  const env = { NODE_TLS_REJECT_UNAUTHORIZED: '0', NODE_EXTRA_CA_CERTS: path, SSL_CERT_FILE: path, NODE_USE_SYSTEM_CA: '1', NODE_USE_ENV_PROXY: '1', HTTPS_PROXY: server.address, HTTP_PROXY: server.address, SSLKEYLOGFILE: join(folder, 'keys') }
  const child = spawn(join(BIN, 'podwire'), agent, { env, stdio: ['ignore', 'ignore', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  for await (const line of createInterface(child.stderr)) {
    if (!line.includes('the nodes cannot be read')) continue
    t.match(line, "its certificate is not signed by the CA we trust")
    break
  }
  t.same([server.requests.length, existsSync(join(folder, 'keys'))], [0, false], 'no request was sent, no key written down')
})

t.test('what listens there does not speak TLS, or nothing at all', async (t) => {
  const plain = await new ApiServer().start()
  t.teardown(() => plain.stop())
  const silent = createServer(() => {}).listen(0, '127.0.0.1')
  await new Promise((resolve) => silent.on('listening', resolve))
  t.teardown(() => silent.close())
  const to = (port: number | string) => kubeconfig(directory(t), { server: `https://127.0.0.1:${port}`, 'certificate-authority-data': base64(ca.cert) })
  const first = follow(t, { kubeconfig: to(new URL(plain.address).port) })
  await first.until((f) => f.state.phase === 'failed')
  t.match(first.state.reason, /TLS failed; see that the address is that of an API server/)
  const second = new Follower({ kubeconfig: to((silent.address() as AddressInfo).port) }, { answer: 50 })
  t.teardown(() => second.close())
  await second.until((f) => f.state.phase === 'failed')
  t.match(second.state.reason, /not a byte in 0\.05 seconds; the connection is dead/)
})

t.test('addresses that lead nowhere', async (t) => {
  sh('ip route add unreachable 198.51.100.0/24')
  for (const [address, words] of [
    ['https://198.51.100.1', /EHOSTUNREACH.*cannot be reached/],
    ['https://no-such-name.invalid', /(ENOTFOUND|EAI_AGAIN).*the name is not resolved/],
  ] as const) {
    const follower = follow(t, { kubeconfig: kubeconfig(directory(t), { server: address }) })
    await follower.until((f) => f.state.phase === 'failed')
    t.match(follower.state.reason, words, address)
  }
})

t.test('a kubeconfig that is missing, empty, or none is named; mended, it is taken', async (t) => {
  const server = await secured(t)
  const folder = directory(t)
  const path = join(folder, 'kubeconfig')
  const follower = follow(t, { kubeconfig: path })
  const said = async (text: string | undefined, words: RegExp) => {
    if (text !== undefined) writeFileSync(path, text)
    await follower.until((f) => words.test(f.state.reason ?? ''), String(words))
    t.ok(follower.state.reason!.includes(path), follower.state.reason!)
  }
  await said(undefined, /^the kubeconfig \S+: \S+: there is no such file$/)
  await said(' \n', /is empty/)
  await said('{"a": [', /the kubeconfig .*: /)
  await said('just words', /has no cluster and user for its current-context/)
  await said('{"clusters":[{"name":"c"}]}', /clusters\[0\]\.cluster is missing/)
  await said('{"clusters":[{"name":"c","cluster":{"server":"https://127.0.0.1:1"}}],"current-context":"x","contexts":[{"name":"x","context":{"cluster":"c","user":"nobody"}}]}', /has no cluster and user/)
  kubeconfig(folder, { server: server.address, 'certificate-authority-data': base64(ca.cert) })
  await follower.until((f) => f.nodes.length > 0)
  t.equal(follower.names, 'a')
})
