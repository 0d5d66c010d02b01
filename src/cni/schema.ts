// Configurations against their JSON Schemas: every problem at once, each a sentence that names the key's path, the value
// and what is allowed. A schema says the last in its own words under `expected`. Keys are matched exactly first, then in
// any case, as the Go plugins do (real runtimes send `HostPort`); an unknown key is accepted, because the configuration
// of a chain carries other plugins' keys, but one that is nearly ours is pointed out.

import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv'
import { parseAddress, parseCidr } from '../ip.ts'
import { CniError } from './error.ts'
import { excerpt } from './json.ts'

export interface Schema {
  type?: string | string[]
  properties?: Record<string, Schema>
  items?: Schema
  required?: string[]
  enum?: unknown[]
  minimum?: number
  maximum?: number
  minItems?: number
  pattern?: string
  format?: string
  /** What is allowed, for the sentence. */
  expected?: string
  /** What it means, for docs/configuration.md. */
  description?: string
  default?: unknown
}

const ajv = new Ajv({ allErrors: true, verbose: true, strict: false, validateFormats: true })
ajv.addKeyword('expected')
ajv.addFormat('cidr', (text: string) => parseCidr(text) !== undefined)
ajv.addFormat('address', (text: string) => parseAddress(text) !== undefined)
ajv.addFormat('address-or-cidr', (text: string) => parseAddress(text) !== undefined || parseCidr(text) !== undefined)
ajv.addFormat('mac', /^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i)

/** Compiles a schema; done when the snapshot is built. */
export const compile = (schema: Schema): ValidateFunction => ajv.compile(schema)

/**
 * Checks a value and returns it with its keys in canonical case. Error 7 lists all problems. `notes` receives what is
 * accepted but looks like a mistake.
 */
export function validate(schema: Schema, validator: ValidateFunction, input: Record<string, unknown>, notes: string[]): Record<string, unknown> {
  const value = canonical(schema, input, '', notes) as Record<string, unknown>
  if (validator(value)) return value
  const problems = [...new Set(validator.errors!.map(sentence))]
  throw new CniError(7, problems.join('; '), notes.join('; ') || undefined)
}

function sentence({ instancePath, keyword, params, parentSchema, data }: ErrorObject): string {
  const path = keyPath(instancePath)
  const schema = parentSchema as Schema
  if (keyword === 'required') {
    const key = params.missingProperty as string
    const expected = schema.properties?.[key]?.expected
    return `${path ? `${path}.` : ''}${key} is missing${expected ? `: expected ${expected}` : ''}`
  }
  const expected = schema.expected ?? (keyword === 'type' ? article(String(params.type)) : validatorWords(keyword, params))
  return `${path || 'the configuration'} is ${excerpt(data)}: expected ${expected}`
}

const article = (type: string): string => (/^[aeiou]/.test(type) ? `an ${type}` : `a ${type}`)
const validatorWords = (keyword: string, params: Record<string, unknown>): string => `${keyword} ${excerpt(params.allowedValues ?? params.limit ?? params)}`

/** `/ipam/ranges/0/0/subnet` as `ipam.ranges[0][0].subnet`. */
const keyPath = (pointer: string): string =>
  pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .reduce((path, part) => (/^\d+$/.test(part) ? `${path}[${part}]` : path ? `${path}.${part}` : part), '')

function canonical(schema: Schema | undefined, value: unknown, path: string, notes: string[]): unknown {
  if (schema?.items && Array.isArray(value)) return value.map((item, i) => canonical(schema.items, item, `${path}[${i}]`, notes))
  if (!schema?.properties || typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const ours = Object.keys(schema.properties)
  const given = new Set(Object.keys(value))
  const entries = Object.entries(value).map(([key, inner]) => {
    const name = ours.includes(key) ? key : ours.find((our) => our.toLowerCase() === key.toLowerCase() && !given.has(our))
    const at = path ? `${path}.${key}` : key
    if (name === undefined) {
      const near = ours.find((our) => isNear(our, key))
      if (near) notes.push(`${at} is not a key of podwire: did you mean ${near}?`)
    } else if (name !== key && key.toLowerCase() === key) notes.push(`${at} is read as ${name}`)
    return [name ?? key, name ? canonical(schema.properties![name], inner, at, notes) : inner]
  })
  return Object.fromEntries(entries)
}

/** One edit away (a letter more, less, changed, or two swapped), or the same but for case. */
function isNear(ours: string, key: string): boolean {
  const [a, b] = [ours.toLowerCase(), key.toLowerCase()]
  if (a === b) return true
  if (a.length < 4 || Math.abs(a.length - b.length) > 1) return false
  let i = 0
  while (i < a.length && a[i] === b[i]) i++
  const [restA, restB] = [a.slice(i), b.slice(i)]
  return restA.slice(1) === restB || restA === restB.slice(1) || restA.slice(1) === restB.slice(1) || (restA[0] === restB[1] && restA[1] === restB[0] && restA.slice(2) === restB.slice(2))
}
