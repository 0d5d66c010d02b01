// `podwire plan CONF`: what ADD would do, as ip and nft lines; of a file of peers, what the agent would make.

import { statSync } from 'node:fs'
import { podName } from '../act.ts'
import { CniError } from '../cni/error.ts'
import type { Answer } from '../cni/serve.ts'
import { show } from '../show.ts'
import type { PortMapping } from '../portmap/portmap.ts'
import { parsePeers } from '../vxlan/file.ts'
import { viewOf } from '../vxlan/view.ts'
import { parse, Usage } from './args.ts'
import { entries, nameOf, objectIn, readable, type Entry } from './entries.ts'
import { mapping } from './mappings.ts'
import { chosenIn } from './net-dir.ts'
import { chainOf, overlayPart, type Part } from './parts.ts'
import { WISHES, wishesOf } from './wishes.ts'

const ABOUT = {
  netns: { type: 'string', default: 'pod' },
  container: { type: 'string', default: 'example' },
  ifname: { type: 'string', default: 'eth0' },
} as const
const OUTPUT = { json: { type: 'boolean', default: false }, strict: { type: 'boolean', default: false } } as const
const OPTIONS = { ...ABOUT, ...OUTPUT, ...WISHES, node: { type: 'string' }, port: { type: 'string', multiple: true } } as const

type Values = ReturnType<typeof parse<typeof OPTIONS>>['values']

export function plan(args: string[]): Answer {
  const { values, positionals, given } = parse(args, OPTIONS, 1)
  const [named] = positionals
  if (named === undefined) throw new Usage('expected one configuration: podwire plan CONF')
  const { file, why } = isDirectory(named) ? chosenIn(named) : { file: named, why: [] }
  const conf = objectIn(file)
  const parts = conf.nodes === undefined ? networkParts(conf, file, values, given) : peersParts(conf, file, values, given)
  const reasons = why.map((sentence) => `# ${sentence}\n`).join('')
  const lines = () => parts.map((part) => text(part, podName(values.netns), parts.length > 1)).join('\n')
  const json = () => `${JSON.stringify(parts.map((part) => ({ ...(reasons && { file }), ...part })), null, 2)}\n`
  const stdout = values.json ? json() : reasons + lines()
  const stderr = parts.flatMap(({ notes, warnings }) => [...warnings, ...notes].map((sentence) => `podwire: ${sentence}\n`)).join('')
  return { status: values.strict && parts.some(({ warnings }) => warnings.length > 0) ? 1 : 0, stdout, stderr }
}

const isDirectory = (path: string): boolean =>
  path !== '-' && readable(path, () => statSync(path, { throwIfNoEntry: false }))?.isDirectory() === true

/** No option is ignored: each is of a network configuration, of a file of nodes, or of both. */
function refuseOptions(given: Set<string>, names: string[], file: string, is: string, of: string): void {
  for (const name of names) if (given.has(name)) throw new Usage(`--${name} is for ${of}, and ${nameOf(file)} is ${is}`)
}

function networkParts(conf: Record<string, unknown>, file: string, values: Values, given: Set<string>): Part[] {
  const ofNodes = ['node', ...Object.keys(WISHES).filter((name) => name !== 'port')]
  refuseOptions(given, ofNodes, file, 'a network configuration', 'a file of nodes')
  const mappings = (values.port ?? []).map(mapping)
  const inputs = entries(conf, file)
  const parts = chainOf(mappings.length > 0 ? inputs.map((input) => withPorts(input, mappings)) : inputs, values)
  const idle = mappings.length > 0 && !inputs.some(servesPorts)
  if (idle) parts[0]!.warnings.push(`no entry declares ${CAPABILITY}: a runtime would pass --port to none`)
  return parts
}

const CAPABILITY = '"capabilities": {"portMappings": true}'
const servesPorts = ({ capabilities }: Entry): boolean => (capabilities as { portMappings?: unknown } | undefined)?.portMappings === true

/** An entry as a runtime's library passes it: if it declares the capability, with the ports that are asked for. */
const withPorts = (input: Entry, portMappings: PortMapping[]): Entry =>
  servesPorts(input) ? { ...input, runtimeConfig: { ...(input.runtimeConfig as object | undefined), portMappings } } : input

/** What the agent would make of a file of peers on a node. */
function peersParts(conf: Record<string, unknown>, file: string, values: Values, given: Set<string>): Part[] {
  refuseOptions(given, Object.keys(ABOUT), file, 'a file of nodes', 'a network configuration')
  const node = values.node ?? process.env.NODE_NAME ?? ''
  if (node === '') throw new CniError(4, 'which of the nodes is this one? Say it with --node NAME, or in NODE_NAME')
  const [port = WISHES.port.default, ...more] = values.port ?? []
  if (more.length > 0) throw new Usage('--port stands twice')
  const wishes = wishesOf({ ...values, port })
  return [overlayPart('agent', (host, find) => viewOf(host, parsePeers(JSON.stringify(conf), nameOf(file)), node, wishes, find))]
}

function text({ type, plan }: Part, pod: string, titled: boolean): string {
  const lines = plan.map((fact) => show(fact, pod)).filter(Boolean)
  return `${titled ? `# ${type}\n` : ''}${lines.map((line) => `${line}\n`).join('')}`
}
