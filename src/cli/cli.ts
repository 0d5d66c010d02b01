// The command of a person: `podwire`, `podwire plan …`. Shows state and explains; only `agent` and `uninstall` change things.

import { CniError } from '../cni/error.ts'
import type { Answer } from '../cni/serve.ts'
import { didYouMean } from '../nearest.ts'
import { pluginOf } from '../plugins.ts'
import { agent, uninstall } from './agent.ts'
import { Usage } from './args.ts'
import { explain } from './explain.ts'
import { gc } from './gc.ts'
import { help } from './help.ts'
import { plan } from './plan.ts'
import { check, pods, repair } from './pods.ts'
import { status } from './status.ts'
import { version } from './version.ts'

const COMMANDS: Record<string, (args: string[]) => string | Answer> = { status, pods, check, repair, gc, agent: () => help(['agent']), uninstall, plan, explain, version, help }

/** Runs `podwire ARGS`. Wrong usage is exit status 1 and a line that says what is right. */
export function cli(args: string[]): Answer {
  const [word = 'status', ...rest] = args
  const name = { '--help': 'help', '-h': 'help', '--version': 'version', '-V': 'version' }[word] ?? word
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (!command) return failed(unknown(word))
  if (rest.includes('--help') || rest.includes('-h')) return done(help([name]))
  try {
    const answer = command(rest)
    return typeof answer === 'string' ? done(answer) : answer
  } catch (error) {
    return sentence(error as Error, name)
  }
}

/** Runs `podwire agent ARGS`, the one command that goes on. */
export async function daemon(args: string[]): Promise<Answer> {
  if (args.includes('--help') || args.includes('-h')) return done(help(['agent']))
  try {
    return done(await agent(args))
  } catch (error) {
    return sentence(error as Error, 'agent')
  }
}

function unknown(word: string): string {
  const plugin = word !== 'podwire' && pluginOf(word) !== undefined
  if (plugin) return `${word} is a plugin, which a container runtime starts, and no command. See: podwire help ${word}`
  const behind = ': options stand behind a command, as in podwire status --json.'
  const near = word.startsWith('-') ? behind : didYouMean(word, Object.keys(COMMANDS))
  return `there is no command ${JSON.stringify(word)}${near || '.'} Commands: ${Object.keys(COMMANDS).join(', ')}`
}

function sentence(error: Error, command: string): Answer {
  const { message } = error
  if (error instanceof CniError) return failed([`${message} (code ${error.code})`, ...(error.details?.split('\n') ?? [])].filter(Boolean).join('\n  '))
  const see = `${/[.?]$/.test(message) ? '' : '.'} See: podwire help ${command}`
  return failed(error instanceof Usage && command !== 'help' ? `${message}${see}` : message)
}

const done = (stdout: string): Answer => ({ status: 0, stdout, stderr: '' })
const failed = (message: string): Answer => ({ status: 1, stdout: '', stderr: `podwire: ${message}\n` })
