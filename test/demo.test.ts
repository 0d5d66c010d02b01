// scripts/demo.sh from outside, with the executable as it is built: it judges every step itself, so its end is the test;
// the lines asked for here are what the README promises that a reader sees. And it must fail when podwire does not work.

import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'

const demo = (directory: string) => spawnSync('bash', ['scripts/demo.sh', '--no-build'], { cwd: directory, encoding: 'utf8' })
const namespaces = () => (existsSync('/run/netns') ? readdirSync('/run/netns') : [])

t.test('the demo shows what podwire does', async (t) => {
  t.ok(existsSync('dist/bin/podwire'), 'the executable is built (scripts/build-sea.sh)')
  const before = namespaces()
  const { status, stdout, stderr } = demo('.')
  t.equal(status, 0, stderr)
  for (const line of [
    'ip -n pod route add default via 10.1.2.1 dev eth0', // the plan
    '"address": "fd00:1:2::2/64"', // ADD's result
    '$ ping -c1 -W1 10.1.2.2\n   1 packets transmitted, 1 received', // node to pod
    "$ ip netns exec pod bash -c 'exec 3<>/dev/tcp/198.51.100.2/80; cat <&3'\n   198.51.100.1\n", // masqueraded
    "$ ip netns exec pod bash -c 'exec 3<>/dev/tcp/2001:db8::2/80; cat <&3'\n   2001:db8::1\n",
    '$ CNI_COMMAND=CHECK dist/bin/ptp </run/check.json\n   (no output, status 0: yes)',
    '# route default via 10.1.2.1 dev eth0 is missing\\nip -n pod route add default via 10.1.2.1 dev eth0',
    'No link, no route, no element, no lease: as before ADD.',
    'a$ podwire plan conf/peers.json --node a\n', // two nodes: the plan
    'ip route add 10.244.2.0/24 via 10.244.2.0 dev podwire.1 onlink proto 119',
    "a$ ip netns exec pod bash -c 'exec 3<>/dev/tcp/10.244.2.2/80; cat <&3'\n   10.244.1.2\n", // across, untranslated
    "a$ ip netns exec pod bash -c 'exec 3<>/dev/tcp/fd00:10:244:2::2/80; cat <&3'\n   fd00:10:244:1::2\n",
    'msg=repaired what="interface podwire.1 is missing',
    'msg=repaired what="nft table inet podwire is missing',
    '200 packets transmitted, 200 received', // past a killed agent
    'agent     not running: changes are not repaired',
    '  repair  ip route add 10.244.2.0/24 via 10.244.2.0 dev podwire.1 onlink proto 119',
    'removed: interface podwire.1 with its routes',
    'Every step came out as it should',
  ])
    t.ok(stdout.includes(line), line)
  t.same(namespaces(), before, 'this machine has no namespace more than before')
})

t.test('the demo fails when a plugin does nothing', async (t) => {
  const clone = mkdtempSync(join(tmpdir(), 'podwire-demo-'))
  t.teardown(() => rmSync(clone, { recursive: true }))
  for (const directory of ['scripts', 'conf']) cpSync(directory, join(clone, directory), { recursive: true })
  symlinkSync(join(process.cwd(), 'node_modules'), join(clone, 'node_modules'))
  mkdirSync(join(clone, 'dist/bin'), { recursive: true })
  symlinkSync(join(process.cwd(), 'dist/bin/podwire'), join(clone, 'dist/bin/podwire'))
  writeFileSync(join(clone, 'dist/bin/ptp'), '#!/bin/sh\n', { mode: 0o755 })

  const { status, stderr } = demo(clone)
  t.equal(status, 1)
  t.match(stderr, 'demo: the output lacks: "address": "10.1.2.2/24"')
})
