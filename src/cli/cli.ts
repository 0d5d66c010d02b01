// The command of a person: `podwire`, `podwire plan …`. Shows state and explains; changes nothing.

import { CniError } from '../cni/error.ts'
import type { Answer } from '../cni/serve.ts'
import { explain } from './explain.ts'
import { help } from './help.ts'
import { plan } from './plan.ts'
import { version } from './version.ts'

const COMMANDS: Record<string, (args: string[]) => string | Answer> = { help, version, plan, explain }

/** Runs `podwire ARGS`. Wrong usage is exit status 1 and a line that says what is right. */
export function cli(args: string[]): Answer {
  const [word = 'help', ...rest] = args
  const name = { '--help': 'help', '-h': 'help', '--version': 'version', '-V': 'version' }[word] ?? word
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (!command) return failed(`there is no command ${JSON.stringify(word)}. Commands: ${Object.keys(COMMANDS).join(', ')}`)
  if (rest.includes('--help') || rest.includes('-h')) return done(help([name]))
  try {
    const answer = command(rest)
    return typeof answer === 'string' ? done(answer) : answer
  } catch (error) {
    if (error instanceof CniError) return failed([`${error.message} (code ${error.code})`, error.details].filter(Boolean).join('\n  '))
    if (error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')) return failed(`${error.message}. See: podwire help ${name}`)
    return failed((error as Error).message)
  }
}

const done = (stdout: string): Answer => ({ status: 0, stdout, stderr: '' })
const failed = (message: string): Answer => ({ status: 1, stdout: '', stderr: `podwire: ${message}\n` })
