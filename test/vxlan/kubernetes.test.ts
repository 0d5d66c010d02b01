// The nodes of a cluster as the agent hears of them, while the API server behaves and while it does not. The server here is
// one that can be told to misbehave; kubernetes-real.test.ts asks a real one.

import t from 'tap'
import { backoff } from '../../src/vxlan/kubernetes/backoff.ts'
import { TIMING } from '../../src/vxlan/kubernetes/nodes.ts'
import { ApiServer, directory, Follower, following, kubeconfig, node, refuse } from './apiserver.ts'

const none: Parameters<ApiServer['put']>[1] = { spec: {}, status: {} }

t.test('the nodes come once, whole, then again after each real change', async (t) => {
  const { server, follower } = await following(t)
  await follower.until((f) => f.nodes.length > 0)
  t.same(follower.nodes[0]!.get('a'), { name: 'a', addresses: ['192.0.2.1', '2001:db8::1'], podCIDRs: ['10.244.1.0/24', 'fd00:10:244:1::/64'], created: '2026-01-02T03:04:05Z' })
  t.equal(follower.names, 'a b c')
  await follower.watching()
  t.same(follower.states.map(({ phase }) => phase), ['listing', 'watching'])
  server.put('d', node(4))
  await follower.until((f) => f.names === 'a b c d')
  t.equal(follower.nodes[1]!.get('a'), follower.nodes[0]!.get('a'), 'what did not change is the same object')
  server.put('d', node(5))
  await follower.until((f) => f.nodes.at(-1)!.get('d')!.addresses[0] === '192.0.2.5')
  server.delete('d')
  await follower.until((f) => f.names === 'a b c')
  t.equal(follower.nodes.length, 4, 'no more often')
  t.equal(follower.state.resourceVersion, String(server.version))
})

t.test('heartbeats are not heard of', async (t) => {
  const { server, follower } = await following(t)
  await follower.watching()
  const told = follower.nodes.length
  for (let i = 0; i < 50; i++) server.put('a', node(1, { conditions: [{ lastHeartbeatTime: i }] }))
  await follower.until((f) => f.state.resourceVersion === String(server.version))
  await new Promise(setImmediate)
  t.equal(follower.nodes.length, told)
})

t.test('200 nodes that join together are one change, not 200', async (t) => {
  const { server, follower } = await following(t)
  await follower.watching()
  const told = follower.nodes.length
  const lines = Array.from({ length: 200 }, (_, i) => `${JSON.stringify({ type: 'ADDED', object: { kind: 'Node', metadata: { name: `n${i}`, resourceVersion: String(1000 + i) }, ...none } })}\n`)
  server.write(lines.join(''))
  await follower.until((f) => f.nodes.at(-1)!.size === 203)
  t.ok(follower.nodes.length - told <= 5, `${follower.nodes.length - told} times, as many as reads`)
})

t.test('it only ever gets /api/v1/nodes: lists in pages, watches with bookmarks and an end after five to ten minutes', async (t) => {
  const { server, follower } = await following(t, { prepare: (server) => void (server.page = 2) })
  await follower.watching()
  t.same(new Set(server.requests.map(({ method, path }) => `${method} ${path}`)), new Set(['GET /api/v1/nodes']))
  t.same(server.lists.map(({ query }) => query), [{ limit: '500' }, { limit: '500', continue: `${server.version}.2` }])
  const { timeoutSeconds, ...rest } = server.watches[0]!.query
  t.same(rest, { watch: 'true', allowWatchBookmarks: 'true', resourceVersion: String(server.version) })
  t.ok(Number(timeoutSeconds) >= 300 && Number(timeoutSeconds) <= 600, String(timeoutSeconds))
})

t.test('an empty cluster is told, too', async (t) => {
  const { follower } = await following(t, { prepare: (server) => ['a', 'b', 'c'].forEach((name) => server.delete(name)) })
  await follower.until((f) => f.nodes.length > 0)
  t.equal(follower.nodes[0]!.size, 0)
  t.equal(follower.state.synced, true)
})

t.test('half a list is never told: the second page fails, nothing is heard until all pages are there', async (t) => {
  const { server, follower } = await following(t, {
    prepare: (server) => {
      server.page = 2
      server.faults.push(() => true, (response) => refuse(response, 500, 'etcdserver: leader changed'))
    },
  })
  await follower.watching()
  t.same(follower.nodes.map((nodes) => nodes.size), [3])
  t.match(follower.states.find(({ phase }) => phase === 'failed'), { synced: false, reason: /answers 500 \(etcdserver: leader changed\)/ })
  t.equal(server.lists.length, 4, 'from the first page again')
})

t.test('410 in the middle of the pages: the list begins anew', async (t) => {
  const { server, follower } = await following(t, {
    prepare: (server) => {
      server.page = 2
      server.faults.push(
        () => true,
        () => {
          server.put('late', node(9))
          server.compact()
          return true
        },
      )
    },
  })
  await follower.watching()
  t.same(follower.nodes.map((nodes) => [...nodes.keys()]), [['a', 'b', 'c', 'late']])
  t.equal(follower.state.relists, 1)
  t.notOk(follower.states.some(({ phase }) => phase === 'failed'), 'that is no failure')
  t.equal(server.lists.length, 4)
})

t.test('a watch that ends is resumed from the last event; nothing is listed again, nothing is missed', async (t) => {
  const { server, follower } = await following(t)
  await follower.watching()
  for (const how of ['end', 'destroy', 'end'] as const) {
    server.put('d', node(how === 'end' ? 4 : 5))
    await follower.until((f) => f.state.resourceVersion === String(server.version))
    const seen = server.watches.length
    server.endWatches(how)
    server.put(`while-away-${server.version}`, node(6))
    await follower.until((f) => f.names.includes(`while-away-${server.version - 1}`))
    t.equal(server.watches[seen]!.query.resourceVersion, String(server.version - 1), `after ${how}`)
  }
  t.equal(server.lists.length, 1)
  t.notOk(follower.states.some(({ phase }) => phase === 'failed'), 'and that is no failure')
})

t.test('a bookmark moves the place from which a quiet watch is resumed', async (t) => {
  const { server, follower } = await following(t)
  await follower.watching()
  server.version = 5000 // whatever else changed in the cluster
  server.bookmark()
  await follower.until((f) => f.state.resourceVersion === '5000')
  server.endWatches()
  await follower.until(() => server.watches.length >= 2)
  t.equal(server.watches[1]!.query.resourceVersion, '5000')
  t.equal(follower.nodes.length, 1)
})

for (const [how, gone] of Object.entries<(server: ApiServer) => void>({
  'an ERROR event with code 410': (server) => server.compact(),
  'the status 410': (server) => server.faults.push((response) => refuse(response, 410, 'too old resource version')),
  'the status 504 after a restore of etcd ("Too large resource version")': (server) => server.faults.push((response) => refuse(response, 504, 'Timeout: Too large resource version: 100, current: 50')),
}))
  t.test(`history compacted while we were away: ${how} means list again, and who was deleted meanwhile is gone`, async (t) => {
    const { server, follower } = await following(t)
    await follower.watching()
    server.endWatches()
    server.delete('b')
    server.put('e', node(7))
    gone(server)
    await follower.until((f) => f.names === 'a c e')
    t.equal(follower.state.relists, 1)
    t.equal(follower.nodes.at(-1)!.get('a'), follower.nodes[0]!.get('a'), 'the others did not change')
  })

t.test('a list begun anew in which nothing changed is not told', async (t) => {
  const { server, follower } = await following(t)
  await follower.watching()
  server.version += 10
  server.compact()
  server.endWatches()
  await follower.until((f) => f.state.relists === 1 && f.state.phase === 'watching' && server.watches.length >= 3)
  t.equal(follower.nodes.length, 1)
})

t.test('etcd restored from a backup: the versions run backwards, so the list is read anew', async (t) => {
  const { server, follower } = await following(t)
  await follower.watching()
  server.write('{"type":"BOOKMARK","object":{"kind":"Node","metadata":{"resourceVersion":"50"}}}\n')
  await follower.until(() => server.lists.length >= 2)
  t.equal(follower.state.relists, 1)
})

t.test('an ERROR event: said with the words of the server, resumed, and after the third the list is read anew', async (t) => {
  const { server, follower } = await following(t)
  await follower.watching()
  for (let i = 0; i < 3; i++) server.faults.push((response) => void response.end('{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd event received with PrevKv=nil"}}\n'))
  server.endWatches()
  await follower.until(() => server.lists.length >= 2)
  await follower.watching()
  t.match(follower.states.find(({ phase }) => phase === 'failed')!.reason, /PrevKv=nil/)
  t.equal(server.watches.length, 5)
})

t.test('half an event, and lines that are no JSON, change nothing and are read again', async (t) => {
  const { server, follower } = await following(t)
  await follower.watching()
  for (const broken of ['{"type":"DELETED","object":{"metadata":{"name":"a"', '{"type":"DELETED"\n', 'not json\n', '[]\n', '{"object":{}}\n', '<html>\n']) {
    const watches = server.watches.length
    server.write(broken)
    server.endWatches('destroy')
    await follower.until(() => server.watches.length > watches)
    server.put('beat', node(8, { beat: broken }))
    await follower.until((f) => f.state.resourceVersion === String(server.version) && f.state.phase === 'watching')
    t.equal(follower.names, 'a b beat c', JSON.stringify(broken))
  }
  t.equal(server.lists.length, 1)
})

t.test('a Node object that is broken hurts that node only', async (t) => {
  const { server, follower } = await following(t, {
    prepare: (server) => {
      server.put('broken', { spec: 'x', status: { addresses: [5] } })
      server.put('nameless', { metadata: { name: 7 } })
    },
  })
  await follower.watching()
  t.equal(follower.names, 'a b broken c')
  t.same(follower.nodes[0]!.get('broken'), { name: 'broken', addresses: [], podCIDRs: [] })
  t.equal(follower.state.unreadable, 1, 'the one without a name is counted')
  server.write('{"type":"ADDED","object":null}\n{"type":"MODIFIED","object":{"metadata":{}}}\n{"type":"DELETED"}\n{"type":"SOMETHING-NEW","object":{}}\n')
  server.put('d', node(4))
  await follower.until((f) => f.names === 'a b broken c d')
  t.equal(follower.state.unreadable, 4)
  t.equal(server.watches.length, 1, 'in the same watch')
})

t.test('a connection that is dead but not closed is given up, and no change is missed', async (t) => {
  const { server, follower } = await following(t, { timing: { silence: 200 } })
  await follower.watching()
  server.faults.push((response, query) => void (query.watch && response.flushHeaders())) // and never a byte
  server.endWatches()
  await follower.until(() => server.watches.length >= 2)
  server.put('d', node(4))
  await follower.until((f) => f.names === 'a b c d')
  t.notOk(follower.states.some(({ phase }) => phase === 'failed'), 'in a quiet cluster without bookmarks that is no failure')
})

t.test('bookmarks keep a quiet watch alive', async (t) => {
  for (const silence of [300, 1200, 4800]) { // milliseconds; a machine may be so busy that it is silent for longer than it should be
    const { server, follower } = await following(t, { timing: { silence }, prepare: (server) => void (server.bookmarks = 20) })
    await follower.watching()
    await new Promise((resolve) => setTimeout(resolve, 2.3 * silence))
    if (server.watches.length === 1) return t.pass(`after ${2.3 * silence} ms it is the same`)
  }
  t.fail('it has ended each time')
})

t.test('a watch that does not end when it should is ended', async (t) => {
  const { server, follower } = await following(t, { timing: { watch: 30, answer: 200 }, prepare: (server) => void (server.bookmarks = 5) })
  await follower.until(() => server.watches.length >= 3)
  t.equal(server.lists.length, 1)
  t.equal(follower.nodes.length, 1)
})

t.test('an API server that hangs: no answer to the list, no end of it, no answer to the watch', async (t) => {
  const { server, follower } = await following(t, {
    timing: { answer: 150, silence: 150 },
    prepare: (server) => void server.faults.push(() => {}, (response) => void response.write('{"kind":"NodeList","items":[{"metadata":'), () => true, () => {}),
  })
  await follower.until((f) => f.nodes.length === 1 && f.state.phase === 'watching')
  t.match(follower.states[0], { phase: 'failed', reason: /not a byte in 0.15 seconds; the connection is dead or the API server hangs/ })
  t.equal(follower.names, 'a b c')
  t.equal(server.lists.length, 3)
})

t.test('overloaded: 429 is heeded as long as Retry-After says', async (t) => {
  const { server, follower } = await following(t, { timing: { longestRetryAfter: 400 }, prepare: (server) => void server.faults.push((response) => refuse(response, 429, 'too many requests', { 'retry-after': '1' })) })
  await follower.until((f) => f.state.phase === 'failed')
  t.match(follower.state.reason, /answers 429 \(too many requests\): it is overloaded/)
  const refused = performance.now()
  await follower.until(() => server.requests.length > 1)
  t.ok(performance.now() - refused > 300, 'other waits are 20 ms here')
  await follower.watching()
})

t.test('waits: any time up to half a second, one, two and so on to 30 s; at least what Retry-After says, up to a minute', async (t) => {
  const waits = (random: number, retryAfter = 0) => [1, 2, 3, 6, 7, 100, 5000].map((failures) => backoff(failures, retryAfter, TIMING, random))
  t.same(waits(1), [500, 1000, 2000, 16000, 30000, 30000, 30000])
  t.same(waits(0.5), [250, 500, 1000, 8000, 15000, 15000, 15000])
  t.same(waits(0), [0, 0, 0, 0, 0, 0, 0])
  t.equal(backoff(1, 7000, TIMING, 0.5), 7250)
  t.equal(backoff(1, 3_600_000, TIMING, 0), 60_000)
})

t.test('gone for hours: the nodes stay known, and it is back soon after', async (t) => {
  const { server, follower } = await following(t)
  await follower.watching()
  await server.stop()
  await follower.until((f) => f.state.failures > 20)
  t.match(follower.state, { phase: 'failed', synced: true, reason: /ECONNREFUSED.*cannot be reached; see that the API server runs/ })
  t.equal(follower.states.filter(({ phase }) => phase === 'failed').length, 1, 'said once')
  t.equal(follower.nodes.length, 1)
  server.delete('a')
  await server.start()
  await follower.until((f) => f.names === 'b c' && f.state.failures === 0 && f.state.phase === 'watching')
  t.equal(server.lists.length, 1, 'resumed, not listed')
})

t.test('refused: 401, 403, 404 and 500 say what to do, and end when they end', async (t) => {
  const { server, follower } = await following(t, { prepare: (server) => void (server.always = (response) => refuse(response, 401, 'Unauthorized')) })
  const said = async (code: number, message: string, words: RegExp) => {
    server.always = (response) => refuse(response, code, message)
    await follower.until((f) => f.state.reason?.includes(`answers ${code}`) ?? false)
    t.match(follower.state, { phase: 'failed', synced: false, reason: words }, String(code))
  }
  await said(401, 'Unauthorized', /\(Unauthorized\): it does not accept the credentials; see that the ServiceAccount .* its token or certificate has not expired/)
  await said(403, 'nodes is forbidden: User "system:serviceaccount:kube-system:podwire" cannot list resource "nodes"', /cannot list resource "nodes"\): bind a ClusterRole with the rule apiGroups \[""\], resources \["nodes"\], verbs \["get", "list", "watch"\]/)
  await said(404, 'page not found', /not that of a Kubernetes API server/)
  await said(503, 'apiserver not ready', /cannot serve at the moment/)
  t.equal(follower.nodes.length, 0)
  server.always = undefined
  await follower.watching()
  t.notOk('reason' in follower.state)
  t.equal(follower.names, 'a b c')
})

t.test('list allowed, watch forbidden: the nodes are known, the reason is said', async (t) => {
  const { server, follower } = await following(t, { prepare: (server) => void (server.always = (response, query) => (query.watch ? refuse(response, 403, 'cannot watch resource "nodes"') : true)) })
  await follower.until((f) => f.state.phase === 'failed' && f.state.failures > 3)
  t.match(follower.state.reason, /cannot watch resource "nodes"/)
  t.equal(follower.names, 'a b c')
  t.equal(server.lists.length, 1)
})

t.test('something answers that is no API server', async (t) => {
  const { server, follower } = await following(t, { prepare: (server) => void (server.always = (response) => void response.end('<html>log in here</html>')) })
  await follower.until((f) => f.state.phase === 'failed')
  t.match(follower.state.reason, /what the API server sent is not JSON/)
  for (const body of ['{}', '[]', 'null', '{"kind":"Status","metadata":{"resourceVersion":"5"}}', '{"kind":"NodeList","metadata":{},"items":[{"metadata":{"name":"x"}}]}']) {
    const asked = server.requests.length
    server.always = (response) => void response.end(body)
    await follower.until(() => server.requests.length > asked + 1)
    t.match(follower.state.reason, /not with a list of Nodes/, body)
  }
  t.equal(follower.nodes.length, 0)
})

t.test('a list that goes round in circles', async (t) => {
  const { follower } = await following(t, { prepare: (server) => void (server.always = (response) => void response.end('{"kind":"NodeList","metadata":{"resourceVersion":"5","continue":"x"},"items":[]}')) })
  await follower.until((f) => f.state.phase === 'failed')
  t.match(follower.state.reason, /the same page of the list again and again/)
})

t.test('a watch that ends as soon as it begins is a failure, with waits that grow', async (t) => {
  const { server, follower } = await following(t, { timing: { brief: 1000 }, prepare: (server) => void (server.always = (response, query) => (query.watch ? void response.end() : true)) })
  await follower.until((f) => f.state.failures > 4)
  t.ok(follower.states.some(({ reason }) => /the watch ends as soon as it begins/.test(reason ?? '')))
  server.always = undefined
  server.put('d', node(4))
  await follower.until((f) => f.names === 'a b c d')
  t.equal(server.lists.length, 1)
})

t.test('the clock is set back and forth by years, and nothing happens', async (t) => {
  const { server, follower } = await following(t, { prepare: (server) => void (server.bookmarks = 10) })
  await follower.watching()
  const now = Date.now
  t.teardown(() => void (Date.now = now))
  for (const years of [-20, 20]) {
    Date.now = () => now() + years * 365 * 86_400_000
    server.put(`in-${years}`, node(4))
    await follower.until((f) => f.names.includes(`in-${years}`))
  }
  await new Promise((resolve) => setTimeout(resolve, 150))
  t.equal(server.watches.length, 1)
  const ages = follower.states.map(({ since }) => performance.now() - since)
  t.ok(ages.every((age) => age >= 0 && age < 60_000), 'nor to what is said about when')
})

t.test('the state says since when', async (t) => {
  const { server, follower } = await following(t)
  await follower.watching()
  const { since } = follower.state
  server.put('d', node(4))
  await follower.until((f) => f.names === 'a b c d')
  t.equal(follower.state.since, since, 'events do not begin it anew')
  server.always = (response) => refuse(response, 500, 'one')
  server.endWatches()
  await follower.until((f) => f.state.phase === 'failed')
  const failing = follower.state.since
  t.ok(failing > since)
  server.always = (response) => refuse(response, 500, 'another')
  await follower.until((f) => f.state.reason!.includes('another'))
  t.equal(follower.state.since, failing, 'another reason is the same outage')
})

t.test('closed is closed: no word after it, no connection left', async (t) => {
  const { server, follower } = await following(t)
  await follower.watching()
  server.put('d', node(4))
  await new Promise((resolve) => setTimeout(resolve, 1))
  follower.close()
  const heard = [follower.nodes.length, follower.states.length]
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.same([follower.nodes.length, follower.states.length], heard)
  const asked = server.requests.length
  server.endWatches()
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.equal(server.requests.length, asked)
})

t.test('nobody at the address from the start', async (t) => {
  const server = await new ApiServer().start()
  const path = kubeconfig(directory(t), { server: server.address, 'insecure-skip-tls-verify': true })
  await server.stop()
  const follower = new Follower({ kubeconfig: path })
  t.teardown(() => follower.close())
  await follower.until((f) => f.state.failures > 2)
  t.match(follower.state, { phase: 'failed', synced: false, reason: /ECONNREFUSED/ })
  t.equal(follower.nodes.length, 0)
})
