// Signals, to the agent as it is built and to a plugin: what means nothing ends nothing, and nobody gets a debugger.

import { BIN, CONF, POD, request } from './binary.ts'
import { ip, netns, sh, works } from './world.ts'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:os'
import { openSync, readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'

sh('ip link add u0 up type veth peer name u1 && ip link set u1 up && ip addr add 192.0.2.1/24 dev u0 && ip route add default via 192.0.2.254')
netns('pod')
writeFileSync('/run/peers', JSON.stringify({ nodes: [1, 2].map((n) => ({ name: `n${n}`, addresses: [`192.0.2.${n}`], podCIDRs: [`10.244.${n}.0/24`] })) }))
const AGENT = [`${BIN}/podwire`, ...'agent --peers /run/peers --node n1 --state-dir /run/state --conf-dir /run/conf --bin-dir /run/peers/none'.split(' ')]

const PATIENCE = 60_000 // ms, more than any machine needs

async function until(what: string, probe: () => boolean): Promise<void> {
  for (const start = Date.now(); !probe(); await sleep(10)) if (Date.now() - start > PATIENCE) throw new Error(`not within ${PATIENCE} ms: ${what}\n${readFileSync('/run/log')}`)
}

const log = openSync('/run/log', 'a')
const started: ChildProcess[] = []
process.once('exit', () => started.forEach((child) => child.kill('SIGKILL')))

function start([file, ...args]: string[], env: NodeJS.ProcessEnv, stdin: 'ignore' | 'pipe' = 'ignore'): ChildProcess {
  const child = spawn(file!, args, { env, stdio: [stdin, 'pipe', log] })
  started.push(child)
  return child
}

/** An agent whose overlay is ready. */
async function agent(line = AGENT): Promise<ChildProcess> {
  sh('rm -rf /run/state')
  const child = start(line, { PATH: process.env.PATH })
  await until('the overlay is ready', () => works('grep -q \'"ready":true\' /run/state/overlay.json') || child.exitCode !== null)
  return child
}

/** Takes the route away, and waits for its repair: the agent hears and acts. */
async function repairs(): Promise<boolean> {
  ip('route del 10.244.2.0/24')
  await until('the route is back', () => ip('route').includes('10.244.2.0/24'))
  return true
}

const listening = (): string => sh('ss -Htlnp | grep -v 127.0.0.1:9466 || true')

const ENDING = ['SIGTERM', 'SIGINT']
/** Uncatchable, stopping at a terminal, faults and what asks for a core dump. */
const OTHERS = ['SIGKILL', 'SIGSTOP', 'SIGTSTP', 'SIGABRT', 'SIGIOT', 'SIGBUS', 'SIGFPE', 'SIGILL', 'SIGSEGV', 'SIGSYS', 'SIGTRAP']
const meaningless = [...new Set(Object.entries(constants.signals).filter(([name]) => ![...ENDING, ...OTHERS].includes(name)).map(([, number]) => number)), 34, 35, 50, 64]

t.test('ps calls the agent by what it does, and its arguments are what was typed', async (t) => {
  const child = await agent()
  t.equal(sh(`ps -o comm= -p ${child.pid}`), 'podwire agent')
  t.equal(sh(`ps -o args= -ww -p ${child.pid}`), AGENT.join(' '))
  child.kill()
  await once(child, 'exit')
})

t.test('the agent goes on, whatever signal comes that means nothing to it', async (t) => {
  const child = await agent()
  for (const signal of meaningless) sh(`kill -${signal} ${child.pid}`)
  t.ok(await repairs(), `after ${meaningless.length} signals it still repairs`)
  t.same([child.exitCode, child.signalCode], [null, null])
  t.equal(listening(), '', 'SIGUSR1 has opened no inspector')
  child.kill('SIGTERM')
  t.same(await once(child, 'exit'), [0, null], 'SIGTERM ends it')
})

t.test('it ends by SIGINT, too, and while it starts; however often it is told', async (t) => {
  const child = await agent()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGINT'] as const) child.kill(signal)
  t.same(await once(child, 'exit'), [0, null])
  const starting = start(AGENT, { PATH: process.env.PATH })
  await until('it ignores SIGHUP', () => works(`grep -q 'SigIgn:.*[13579bdf]$' /proc/${starting.pid}/status`))
  starting.kill('SIGTERM')
  t.same(await once(starting, 'exit'), [0, null], 'while it starts')
  t.ok((await agent()).kill('SIGKILL'), 'and the next one finds nothing that is in its way')
})

t.test('signals that whoever started it had blocked, or ignored, are heard as ever', async (t) => {
  const deaf = 'use POSIX; sigprocmask(SIG_BLOCK, POSIX::SigSet->new(1..31)); $SIG{$_} = "IGNORE" for qw(HUP INT TERM CHLD IO USR1 PIPE); exec @ARGV'
  const child = await agent(['perl', '-e', deaf, ...AGENT])
  t.ok(await repairs(), 'it hears of changes (SIGIO)')
  child.kill('SIGTERM')
  t.same(await once(child, 'exit'), [0, null])
})

t.test('a plugin that waits for its configuration opens no inspector and goes on', async (t) => {
  const plugin = start([`${BIN}/ptp`], request('ADD', { CNI_NETNS: POD }) as NodeJS.ProcessEnv, 'pipe')
  const json = JSON.stringify(CONF)
  plugin.stdin!.write(json.slice(0, 20))
  await until('it waits', () => /^State:\s+S/m.test(readFileSync(`/proc/${plugin.pid}/status`, 'utf8')) && works(`grep -q 'SigBlk:.*200$' /proc/${plugin.pid}/status`))
  for (let i = 0; i < 3; i++) plugin.kill('SIGUSR1')
  t.equal(listening(), '')
  plugin.stdin!.end(json.slice(20))
  let printed = ''
  plugin.stdout!.on('data', (chunk) => (printed += chunk))
  t.same(await once(plugin, 'close'), [0, null])
  t.match(printed, '"address": "10.1.2.')
})

t.test('an executable of IPAM has the signals of a process that was just started', async (t) => {
  sh('mkdir -p /run/ipam')
  writeFileSync('/run/ipam/asked', "#!/bin/sh\ngrep ^Sig /proc/self/status >/run/signals\n", { mode: 0o755 })
  const plugin = start([`${BIN}/ptp`], request('STATUS', { CNI_PATH: '/run/ipam', PATH: process.env.PATH }) as NodeJS.ProcessEnv, 'pipe')
  plugin.stdin!.end(JSON.stringify({ ...CONF, ipam: { type: 'asked' } }))
  t.same(await once(plugin, 'close'), [0, null])
  t.match(sh('cat /run/signals'), /^SigBlk:\s+0+$/m, 'none is blocked')
  t.match(sh('cat /run/signals'), /^SigIgn:\s+0+$/m, 'none is ignored')
})
