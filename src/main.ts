// Who am I? The name I was started by says which plugin; `podwire` is a plugin when a runtime calls it (CNI_COMMAND and a
// configuration whose type is ours), else a person's command. This is what the startup snapshot holds.

import { closeSync, constants, existsSync, openSync, readSync, writeSync } from 'node:fs'
import { basename } from 'node:path'
import { setFlagsFromString, startupSnapshot } from 'node:v8'
import { CniError, errorJson } from './cni/error.ts'
import { decodeObject, LARGEST } from './cni/json.ts'
import { serve, type Answer } from './cni/serve.ts'
import { CURRENT, VERSIONS } from './cni/version.ts'
import { isErrno } from './kernel/errno.ts'
import { leave, nameProcess, sleep } from './kernel/libc.ts'
import { later } from './later.ts'
import { didYouMean } from './nearest.ts'
import { pluginOf, PLUGINS } from './plugins.ts'
import { warm } from './warm.ts'

function main(): void {
  process.umask(0o022)
  const name = calledAs()
  const command = process.env.CNI_COMMAND
  const [word, ...rest] = process.argv.slice(2)
  const lasts = name === 'podwire' && !command && word === 'agent'
  for (const flag of lasts ? LASTING : BRIEF) setFlagsFromString(flag)
  if (lasts) {
    nameProcess('podwire agent') // Node.js calls its first thread MainThread
    return void later().daemon(rest).then(end)
  }
  end(name !== 'podwire' || command ? asPlugin(name, command) : later().cli(process.argv.slice(2)))
}

/** A plugin runs once: V8 does without its compilers. These are flags with which code was compiled that is kept (scripts/build.ts). */
const BRIEF = ['--no-maglev', '--no-opt']
/** The agent goes on, and keeps what it compiled: it looks at everything once a minute. */
const LASTING = ['--no-flush-bytecode']

/** The name of a plugin, or `podwire`. argv[0] decides; if it is none of ours, the file that was started. */
function calledAs(): string {
  const names = [process.argv0, process.execPath].map((path) => basename(path))
  return names.find((name) => pluginOf(name)) ?? 'podwire'
}

function asPlugin(name: string, command: string | undefined): Answer {
  if (!command && process.argv.length > 2) return { status: 1, stdout: '', stderr: mistaken(name) }
  if (!command) return { status: 0, stdout: '', stderr: about(name) }
  let bytes: Uint8Array | undefined
  const stdin = () => (bytes ??= readStdin(command === 'VERSION'))
  const type = name === 'podwire' && command !== 'VERSION' ? typeIn(stdin) : name
  const plugin = pluginOf(type)
  if (plugin) return serve(plugin, process.env, stdin)
  const near = didYouMean(type, Object.keys(PLUGINS))
  const expected = `${near ? ' E' : ': e'}xpected one of ${Object.keys(PLUGINS).join(', ')}, or podwire, which is ptp`
  const error = new CniError(7, `type is ${JSON.stringify(type)}${near}${expected}`)
  return { status: 1, stdout: `${errorJson(error, CURRENT)}\n`, stderr: '' }
}

/** The type in the configuration, when that is how the plugin is chosen; whatever is wrong with it, the plugin will say. */
function typeIn(stdin: () => Uint8Array): string {
  try {
    const { type } = decodeObject(stdin(), 'standard input', [])
    return typeof type === 'string' ? type : 'podwire'
  } catch {
    return 'podwire'
  }
}

/** Without a command and arguments a plugin says what it is, and that is no error: so do the reference's (PluginMain of pkg/skel). */
const about = (name: string): string => `${name}: a CNI plugin (podwire; CNI protocol versions supported: ${VERSIONS.join(', ')}), started by a container runtime; see: podwire help\n`

/** With arguments somebody means another program, whose line must not seem to have done its work. */
function mistaken(name: string): string {
  const other = OTHERS[name]?.find((file) => existsSync(file))
  const hint = other ? `The one of iproute2 is ${other}` : 'See: podwire help'
  return `${name}: this is a CNI plugin (podwire), which takes no arguments; a container runtime starts it. ${hint}\n`
}

/** Programs that have the name of a plugin, and where they are. */
const OTHERS: Record<string, string[]> = { bridge: ['/usr/sbin/bridge', '/sbin/bridge', '/usr/bin/bridge'] } // man 8 bridge

/** Standard input to its end. For VERSION only what is there already: nobody waits for a configuration it does not need. */
function readStdin(onlyWhatIsThere: boolean): Uint8Array {
  const fd = onlyWhatIsThere ? openSync('/proc/self/fd/0', constants.O_RDONLY | constants.O_NONBLOCK) : 0
  const chunks: Buffer[] = []
  let length = 0
  try {
    for (let chunk = read(fd, onlyWhatIsThere); chunk.length > 0 && length <= LARGEST; chunk = read(fd, onlyWhatIsThere)) {
      chunks.push(chunk)
      length += chunk.length
    }
  } catch (error) {
    const why = isErrno(error, 'EISDIR') ? 'it is a directory, not a configuration' : (error as Error).message
    throw new CniError(5, `error reading from stdin: ${why}`)
  } finally {
    if (fd !== 0) closeSync(fd)
  }
  return Buffer.concat(chunks)
}

function read(fd: number, onlyWhatIsThere: boolean): Buffer {
  const buffer = Buffer.allocUnsafe(64 * 1024)
  for (;;) {
    try {
      return buffer.subarray(0, readSync(fd, buffer))
    } catch (error) {
      if (!isErrno(error, 'EAGAIN')) throw error
      if (onlyWhatIsThere) return Buffer.alloc(0)
      sleep(1) // the runtime gave us a pipe that does not block
    }
  }
}

/**
 * Prints the answer and leaves at once: what Node would tear down belongs to a process that is over. An answer that could
 * not be written is a failure, which the runtime follows with DEL.
 */
function end({ status, stdout, stderr }: Answer): void {
  write(2, stderr)
  const code = write(1, stdout) ? status : 1
  leave(code)
  ;(process as unknown as { reallyExit(status: number): never }).reallyExit(code)
}

/** False if not all of it could be written. */
function write(fd: number, text: string): boolean {
  let rest = Buffer.from(text)
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(fd, rest))
    } catch (error) {
      if (!isErrno(error, 'EAGAIN')) return false
      sleep(1)
    }
  }
  return true
}

if (startupSnapshot.isBuildingSnapshot()) {
  warm()
  startupSnapshot.setDeserializeMainFunction(main)
} else main()
