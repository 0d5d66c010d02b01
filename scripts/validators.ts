// An esbuild plugin: in the place of src/cni/compile.ts, the functions that Ajv makes of the schemas of plugins and of the peers file.

import { join } from 'node:path'
import { Ajv, _ } from 'ajv'
import standaloneCode from 'ajv/dist/standalone/index.js'
import type { Plugin } from 'esbuild'
import { OPTIONS } from '../src/cni/compile.ts'
import type { Schema } from '../src/cni/schema.ts'
import { PLUGINS } from '../src/plugins.ts'
import { PEERS } from '../src/vxlan/node.ts'

export const validators: Plugin = {
  name: 'validators',
  setup(build) {
    build.onResolve({ filter: /\/compile\.ts$/ }, () => ({ path: 'validators.cjs', namespace: 'ajv' }))
    build.onLoad({ filter: /.*/, namespace: 'ajv' }, () => ({ contents: generate(), loader: 'js', resolveDir: join(import.meta.dirname, '../src/cni') }))
  },
}

function generate(): string {
  const ajv = new Ajv({ ...OPTIONS, keywords: [...OPTIONS.keywords], code: { source: true, formats: _`require('./formats.ts').formats` }, inlineRefs: false })
  const schemas = [...Object.values(PLUGINS).map(({ schema }) => schema), PEERS]
  const names = schemas.map(({ $id }) => $id!)
  for (const schema of schemas) ajv.addSchema(referring(schema, ajv))
  const exported = (name: string) => name.replace('-', '_')
  const code = standaloneCode.default(ajv, Object.fromEntries(names.map((name) => [exported(name), name])))
  return `${code}\nconst byName = { ${names.map((name) => `'${name}': exports.${exported(name)}`)} }\nexports.compile = ({ $id }) => byName[$id]\n`
}

/** A schema with its named parts as references, so that each is compiled once. */
function referring(schema: Schema, ajv: Ajv): Schema {
  const part = (inner: Schema): Schema & { $ref?: string } => {
    const { part: name, ...whole } = referring(inner, ajv)
    if (name === undefined) return whole
    if (!ajv.schemas[name]) ajv.addSchema(whole, name)
    return { $ref: name }
  }
  return {
    ...schema,
    ...(schema.items && { items: part(schema.items) }),
    ...(schema.properties && { properties: Object.fromEntries(Object.entries(schema.properties).map(([key, inner]) => [key, part(inner)])) }),
  }
}
