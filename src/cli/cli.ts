// The command of a person: `podwire`, `podwire plan …`. Shows state and explains; only `agent` and `uninstall` change things.

import { CniError } from '../cni/error.ts'
import type { Answer } from '../cni/serve.ts'
import { agent, uninstall } from './agent.ts'
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
  if (!command) return failed(`there is no command ${JSON.stringify(word)}. Commands: ${Object.keys(COMMANDS).join(', ')}`)
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

function sentence(error: Error, command: string): Answer {
  if (error instanceof CniError) return failed([`${error.message} (code ${error.code})`, error.details].filter(Boolean).join('\n  '))
  if (error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')) return failed(`${error.message}. See: podwire help ${command}`)
  return failed(error.message)
}

const done = (stdout: string): Answer => ({ status: 0, stdout, stderr: '' })
const failed = (message: string): Answer => ({ status: 1, stdout: '', stderr: `podwire: ${message}\n` })
