// Writes the tables of docs/configuration.md and docs/operations.md: keys from the schemas by which configurations are
// checked, error codes from their one list, the agent's metrics. What stands around the tables is written by hand. And
// conf/peers.schema.json, from the schema of the peers file. test/docs.test.ts holds all of them against this.
// Run: node scripts/configuration.ts

import { readFileSync, writeFileSync } from 'node:fs'
import { aboutKey, commonKeys, ownKeys, type Key } from '../src/cli/keys.ts'
import { CODES } from '../src/cni/error.ts'
import type { Schema } from '../src/cni/schema.ts'
import { PLUGINS } from '../src/plugins.ts'
import { Metrics } from '../src/vxlan/metrics.ts'
import { PEERS } from '../src/vxlan/node.ts'

/** The tables by name, and which keys are in each. */
const TABLES: Record<string, () => string> = {
  common: () => table(commonKeys()),
  ...Object.fromEntries(Object.keys(PLUGINS).map((name) => [name, () => table(ownKeys(name))])),
  metrics: () => ['| Metric | Labels | Meaning |', '|---|---|---|', ...metrics().map(({ name, labelNames, help }) => `| \`${name}\` | ${labelNames.map((label) => `\`${label}\``).join(', ')} | ${help} |`)].join('\n'),
  codes: () => ['| Code | What it means | What to do |', '|---|---|---|', ...Object.entries(CODES).map(([code, { meaning, remedy }]) => `| ${code} | ${meaning} | ${remedy} |`)].join('\n'),
}

/** The page with its tables as they should be. */
export const page = (text: string): string =>
  text.replace(/(<!-- table (\S+) -->\n)[^]*?(<!-- end -->)/g, (_, begin: string, name: string, end: string) => `${begin}\n${TABLES[name]!()}\n\n${end}`)

const metrics = () => Object.values(new Metrics()) as unknown as { name: string; labelNames: string[]; help: string }[]

function table(rows: Key[]): string {
  return ['| Key | Type | Default | Meaning | Example |', '|---|---|---|---|---|', ...rows.map(row)].join('\n')
}

function row({ path, schema, required }: Key): string {
  const { example, meaning } = aboutKey(path, schema)
  const given = required ? '(must be there)' : schema.default === undefined ? '' : code(schema.default)
  return `| \`${path}\` | ${type(schema)} | ${given} | ${meaning} | ${example === undefined ? '' : code(example)} |`
}

/** The type in words. */
function type({ type: name, items, format, enum: values, minimum, maximum }: Schema): string {
  if (values) return values.map(code).join(', ')
  if (name === 'array') return `list: ${items ? type(items) : 'any'}`
  if (minimum !== undefined || maximum !== undefined) return `${name}, ${minimum} to ${maximum}`
  return format ? `${FORMATS[format]}` : String(name)
}

const FORMATS: Record<string, string> = { cidr: 'CIDR', address: 'IP address', 'address-or-cidr': 'IP address or CIDR', mac: 'MAC address' }
const code = (value: unknown): string => `\`${JSON.stringify(value).replaceAll('|', '\\|')}\``

export const PAGES = ['docs/configuration.md', 'docs/operations.md']

/** The schema of the peers file for editors and other programs: https://json-schema.org/draft/2020-12 */
export const PEERS_SCHEMA = 'conf/peers.schema.json'
export const peersSchema = (): string => {
  const { $id, ...schema } = standard(PEERS)
  return `${JSON.stringify({ $schema: 'https://json-schema.org/draft/2020-12/schema', title: 'The nodes of a podwire overlay', ...schema }, null, 2)}\n`
}

/** Without keywords and formats that only podwire knows; what is allowed, in its words, is a description where there is no other. */
function standard({ expected, format, items, properties, description = expected, ...schema }: Schema): Record<string, unknown> {
  return {
    ...(description !== undefined && { description }),
    ...schema,
    ...(items && { items: standard(items) }),
    ...(properties && { properties: Object.fromEntries(Object.entries(properties).map(([key, inner]) => [key, standard(inner)])) }),
  }
}

if (import.meta.main) {
  if (process.argv.length > 2) {
    console.error(`configuration.ts: ${process.argv.slice(2).join(' ')}: expected no argument`)
    process.exit(2)
  }
  for (const file of PAGES) writeFileSync(file, page(readFileSync(file, 'utf8')))
  writeFileSync(PEERS_SCHEMA, peersSchema())
}
