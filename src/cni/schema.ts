// Configurations against their JSON Schemas: every problem at once, each a sentence that names the key's path, the value
// and what is allowed. A schema says the last in its own words under `expected`. Keys are matched exactly first, then in
// any case, as the Go plugins do (real runtimes send `HostPort`); an unknown key is accepted, because the configuration
// of a chain carries other plugins' keys, but one that is nearly ours is pointed out.
//
// Programs that write configurations do not leave out what they have nothing to say about, as Go's encoding/json without
// `omitempty`. So for every key of every schema it is the same as if it were not there
//
//   of any type   null
//   a string      "", unless the key must be there
//
// `0`, `false`, `[]` and `{}` are values like others. What they mean each key says, and where Go writes them for a key that was
// not given (`mtu`, `vlan`, the rates) that is what it is without the key.

import type { ErrorObject, ValidateFunction } from 'ajv'
import { CniError } from './error.ts'
import { excerpt } from './json.ts'
import { nearest } from '../nearest.ts'

export interface Schema {
  /** The plugin's name. */
  $id?: string
  type?: string
  properties?: Record<string, Schema>
  items?: Schema
  /** Of a map: what its values are. */
  additionalProperties?: Schema
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

/** Error 7 if a value, its keys in canonical case, is not as its schema says; it lists all problems. */
export function validate(schema: Schema, validator: ValidateFunction, value: Record<string, unknown>): void {
  if (validator(value)) return
  const problems = [...new Set(validator.errors!.map((error) => sentence(error, schema, value)))]
  const more = problems.length - MOST
  throw new CniError(7, [...problems.slice(0, MOST), ...(more > 0 ? [`and ${more} more`] : [])].join('; '))
}

const MOST = 20 // problems in one message; who has more begins with these

/** Of a wrong configuration the keys of its top level that have nothing wrong in them. */
export function salvage(validator: ValidateFunction, value: Record<string, unknown>): Record<string, unknown> {
  const wrong = new Set(validator(value) ? [] : validator.errors!.map(({ instancePath }) => instancePath.split('/')[1]))
  return Object.fromEntries(Object.entries(value).filter(([key]) => !wrong.has(key)))
}

function sentence({ instancePath, keyword, params }: ErrorObject, root: Schema, value: unknown): string {
  const pointer = instancePath.split('/').slice(1).map(unescape)
  const path = keyPath(pointer)
  const schema = pointer.reduce<Schema | undefined>((outer, part) => outer?.properties?.[part] ?? outer?.items ?? outer?.additionalProperties, root) ?? {}
  if (keyword === 'required') {
    const key = params.missingProperty as string
    const expected = schema.properties?.[key]?.expected
    return `${path ? `${path}.` : ''}${key} is missing${expected ? `: expected ${expected}` : ''}`
  }
  const expected = schema.expected ?? (keyword === 'type' ? article(String(params.type)) : validatorWords(keyword, params))
  return `${path || 'the configuration'} is ${excerpt(pointer.reduce<any>((outer, part) => outer?.[part], value))}: expected ${expected}`
}

/** A part of a JSON pointer. RFC 6901 §4 */
const unescape = (part: string): string => part.replaceAll('~1', '/').replaceAll('~0', '~')

const article = (type: string): string => (/^[aeiou]/.test(type) ? `an ${type}` : `a ${type}`)
const validatorWords = (keyword: string, params: Record<string, unknown>): string => `${keyword} ${excerpt(params.allowedValues ?? params.limit ?? params)}`

/** `ipam.ranges[0][0].subnet` */
const keyPath = (parts: string[]): string => parts.reduce((path, part) => (/^\d+$/.test(part) ? `${path}[${part}]` : path ? `${path}.${part}` : part), '')

/**
 * An object with the keys of its schema in their canonical case, down to the last, and without those that say nothing. `notes`
 * receives what is accepted but looks like a mistake, `twice` sentences about keys that are one key in several spellings.
 */
export function canonical(schema: Schema, object: Record<string, unknown>, notes: string[], twice: string[] = [], path = ''): Record<string, unknown> {
  const ours = Object.keys(schema.properties ?? {})
  const nothing = (name: string, value: unknown) => saysNothing(schema.properties![name]!, value, !schema.required?.includes(name))
  const exact = new Set(ours.filter((our) => Object.hasOwn(object, our) && !nothing(our, object[our])))
  const said = new Map<string, string>()
  const entries = Object.entries(object).flatMap(([key, value]) => {
    const at = path ? `${path}.${key}` : key
    const name = ours.includes(key) ? key : ours.find((our) => our.toLowerCase() === key.toLowerCase())
    if (name !== undefined && nothing(name, value)) return []
    if (name === key || (name !== undefined && !exact.has(name))) {
      if (said.has(name)) twice.push(`${at} is the same key as ${said.get(name)}: expected one of them`)
      said.set(name, key)
      if (name !== key && key.toLowerCase() === key) notes.push(`${at} is read as ${name}`)
      return [[name, inside(schema.properties![name]!, value, notes, twice, at)]]
    }
    const near = key === 'cniVersions' ? undefined : nearKey(key, ours) // a key of lists, CNI 1.1 §1
    if (near) notes.push(`${at} is not a key of podwire: did you mean ${near}?`)
    return schema.additionalProperties && value === null ? [] : [[key, value]]
  })
  return Object.fromEntries(entries)
}

/** Whether a value is the same as if its key were not there. */
const saysNothing = ({ type }: Schema, value: unknown, optional: boolean): boolean => value === null || (value === '' && optional && type === 'string')

function inside(schema: Schema, value: unknown, notes: string[], twice: string[], path: string): unknown {
  if (Array.isArray(value)) return schema.items ? value.map((item, i) => inside(schema.items!, item, notes, twice, `${path}[${i}]`)) : value
  const map = schema.properties ?? schema.additionalProperties
  return map && typeof value === 'object' && value !== null ? canonical(schema, value as Record<string, unknown>, notes, twice, path) : value
}

/** A key of ours that another one is probably to be: the same but for case, or one edit away; not of the shortest, which other plugins have. */
const nearKey = (key: string, ours: string[]): string | undefined =>
  nearest(key, ours.filter((our) => our.length >= SHORTEST || our.toLowerCase() === key.toLowerCase()), 1)

const SHORTEST = 4 // letters
