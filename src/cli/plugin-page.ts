// `podwire help PLUGIN`: what a plugin does, and each of its keys, from the schema against which configurations are checked.

import { PLUGINS, WIRERS } from '../plugins.ts'
import { aboutKey, commonKeys, ownKeys, type Key } from './keys.ts'

/** What each plugin does. */
const DOES: Record<string, string> = {
  ptp: 'gives a pod an interface: a veth pair to the node, everything else by routes',
  bridge: 'gives a pod an interface: a veth pair to a bridge, which the pods of a network share',
  loopback: "sets the pod's own lo up",
  'host-local': 'leases addresses from ranges of this node',
  static: 'gives the addresses that the configuration names',
  vxlan: 'keeps the overlay to other nodes, where no agent does',
  portmap: 'leads ports of the node to a pod',
  bandwidth: 'bounds how fast a pod sends and receives',
  firewall: 'lets the node forward for a pod, and keeps networks apart',
  tuning: 'sets sysctls of a pod, and MAC address, MTU and modes of its interface',
  sbr: "routes what a pod sends by its source: from an interface's addresses by that interface",
}

const ADD_ON = 'An entry of a list, behind the plugin that gives the pod its interface'

/** Where a plugin stands in a configuration. */
function place(name: string): string {
  if (name in WIRERS) return 'The first entry of a list, or a configuration of its own. Addresses: podwire help host-local, static'
  if (name === 'host-local' || name === 'static') return 'The type of ipam in an entry of ptp, bridge or others'
  if (name === 'loopback') return 'An entry of its own; a runtime starts it for every pod'
  return PLUGINS.ptp!.schema.properties![name] ? `${ADD_ON}; or an object "${name}" in an entry of ptp or bridge` : ADD_ON
}

export function pluginPage(name: string): string {
  const own = ownKeys(name)
  return [
    `${name} - ${DOES[name]}\n`,
    `Place\n${wrapped(place(name), 2)}`,
    ...(own.length > 0 ? [`Keys\n${own.map(keyText).join('')}`] : []),
    `Keys that every plugin has\n${commonKeys().map(keyText).join('')}`,
  ].join('\n')
}

/** Key, what it may be, what it means, an example. */
function keyText({ path, schema, required }: Key): string {
  const { meaning, example } = aboutKey(path, schema)
  const given = required ? ' (must be there)' : schema.default === undefined ? '' : ` (default: ${JSON.stringify(schema.default)})`
  const expected = schema.expected ?? (schema.enum ? schema.enum.map((value) => JSON.stringify(value)).join(', ') : schema.type)
  return [
    `  ${path}\n`,
    wrapped(meaning.replaceAll('`', ''), 6),
    wrapped(`expected: ${expected}${given}`, 6),
    ...(example === undefined ? [] : [`      example: ${JSON.stringify(example)}\n`]),
  ].join('')
}

const WIDTH = 100

/** Words in lines of at most WIDTH columns, if words are no longer. */
function wrapped(text: string, indent: number): string {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last !== undefined && indent + last.length + 1 + word.length <= WIDTH) lines[lines.length - 1] = `${last} ${word}`
    else lines.push(word)
  }
  return lines.map((line) => `${' '.repeat(indent)}${line}\n`).join('')
}
