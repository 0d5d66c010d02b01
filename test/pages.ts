// The pages, for tests that hold them against what is so; and a node of this world on which what they say can be typed.

import { sh } from './world.ts'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { cli } from '../src/cli/cli.ts'

export const OPERATIONS = 'docs/operations.md'
export const DOCUMENTS = ['README.md', 'CHANGELOG.md', ...readdirSync('docs').filter((file) => file.endsWith('.md')).map((file) => `docs/${file}`)]
export const read = (file: string): string => readFileSync(file, 'utf8')

/** Fenced blocks of a language. */
export const blocks = (file: string, language: string): string[] => [...read(file).matchAll(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\`$`, 'gm'))].map(([, text]) => text!)

/** Where the pages put the executables, in this world. */
export const BIN = '/run/opt/cni/bin'

/** Words of the pages, with this world's directories in the place of the node's. */
export const there = (text: string): string => text.replaceAll(/(?<!\/run)\/(opt\/cni|etc\/cni|usr\/local)/g, '/run/$1')

/** Puts podwire there under some names: from its sources, so that it need not be built. */
export function install(...names: string[]): void {
  mkdirSync(BIN, { recursive: true })
  process.env.NODE_COMPILE_CACHE = '/run/compiled'
  for (const name of names) {
    const file = join(BIN, name)
    rmSync(file, { force: true })
    writeFileSync(file, `#!/bin/bash\nunset NODE_OPTIONS # tap's loaders\nexec -a ${name} ${process.execPath} --disable-warning=ExperimentalWarning ${process.cwd()}/src/main.ts "$@"\n`)
    chmodSync(file, 0o755)
  }
}

const LOG = '/run/agent.log'

/** Node a of conf/peers.json, with an agent as the pages start it, while something runs. */
export async function withAgent(run: () => void): Promise<void> {
  sh('ip netns add b; ip link add eth0 up type veth peer name eth0 netns b; ip -n b link set eth0 up; ip addr add 192.0.2.1/24 dev eth0')
  const agent = spawn(join(BIN, 'podwire'), ['agent', '--peers', 'conf/peers.json', '--node', 'a', '--conf-dir', '/run/etc/cni/net.d', '--bin-dir', BIN], { stdio: ['ignore', 'ignore', openSync(LOG, 'w')] })
  const ended = once(agent, 'exit')
  try {
    while (!cli(['status']).stdout.includes('overlay   ready')) {
      if (agent.exitCode !== null) throw new Error(`the agent has ended:\n${read(LOG)}`)
      await setTimeout(20)
    }
    run()
  } finally {
    agent.kill()
    await ended
  }
}
