// An esbuild plugin: in the place of src/cni/compile.ts, the functions that Ajv makes of the plugins' schemas.

import { join } from 'node:path'
import { Ajv, _ } from 'ajv'
import standaloneCode from 'ajv/dist/standalone/index.js'
import type { Plugin } from 'esbuild'
import { OPTIONS } from '../src/cni/compile.ts'
import type { Schema } from '../src/cni/schema.ts'
import { PLUGINS } from '../src/plugins.ts'

export const validators: Plugin = {
  name: 'validators',
  setup(build) {
    build.onResolve({ filter: /\/compile\.ts$/ }, () => ({ path: 'validators.cjs', namespace: 'ajv' }))
    build.onLoad({ filter: /.*/, namespace: 'ajv' }, () => ({ contents: generate(), loader: 'js', resolveDir: join(import.meta.dirname, '../src/cni') }))
  },
}

function generate(): string {
  const ajv = new Ajv({ ...OPTIONS, keywords: [...OPTIONS.keywords], code: { source: true, formats: _`require('./formats.ts').formats` }, inlineRefs: false })
  const schemas = Object.values(PLUGINS).map(({ schema }) => withoutWords(schema))
  const names = schemas.map(({ $id }) => $id!)
  const refer = sharing(schemas, ajv)
  for (const schema of schemas) ajv.addSchema(refer(schema))
  const exported = (name: string) => name.replace('-', '_')
  const code = standaloneCode.default(ajv, Object.fromEntries(names.map((name) => [exported(name), name])))
  return `${code}\nconst byName = { ${names.map((name) => `'${name}': exports.${exported(name)}`)} }\nexports.compile = ({ $id }) => byName[$id]\n`
}

/** What is for people is for the sentence, which the schema itself tells (src/cni/schema.ts), and not for the function. */
function withoutWords({ expected, description, default: _default, ...schema }: Schema): Schema {
  return inside(schema, withoutWords)
}

/** Makes schemas refer to what occurs more than once in all of them, so that there is one function for it: a fifth of the start is code. */
function sharing(schemas: Schema[], ajv: Ajv): (schema: Schema) => Schema {
  const times = Map.groupBy(schemas.flatMap(parts), (part) => JSON.stringify(part))
  const names = new Map<string, string>()
  const refer = (schema: Schema): Schema => inside(schema, part)
  function part(schema: Schema): Schema & { $ref?: string } {
    const text = JSON.stringify(schema)
    if (times.get(text)!.length === 1) return refer(schema)
    if (!names.has(text)) {
      names.set(text, `part${names.size}`)
      ajv.addSchema(refer(schema), names.get(text))
    }
    return { $ref: names.get(text)! }
  }
  return refer
}

const parts = (schema: Schema): Schema[] => inner(schema).flatMap((part) => [part, ...parts(part)])
const inner = ({ items, additionalProperties, properties = {} }: Schema): Schema[] => [items, additionalProperties, ...Object.values(properties)].filter((part) => part !== undefined)

/** A schema with something else in the place of each schema in it. */
function inside({ items, additionalProperties, properties, ...schema }: Schema, change: (part: Schema) => Schema): Schema {
  return {
    ...schema,
    ...(items && { items: change(items) }),
    ...(additionalProperties && { additionalProperties: change(additionalProperties) }),
    ...(properties && { properties: Object.fromEntries(Object.entries(properties).map(([key, part]) => [key, change(part)])) }),
  }
}
