// What stands behind a command's name: options and operands. None is ignored, and what is wrong is named with what comes near it.

import { parseArgs, type ParseArgsOptionsConfig } from 'node:util'
import { didYouMean } from '../nearest.ts'

/** A command was called in a way that it does not know. */
export class Usage extends Error {}

type Config<Options extends ParseArgsOptionsConfig> = { args: string[]; options: Options; allowPositionals: true }
type Parsed<Options extends ParseArgsOptionsConfig> = ReturnType<typeof parseArgs<Config<Options>>> & { given: Set<string> }

/** The options of a command, which of them were given, and its operands, of which it takes `most`. Errors: Usage. */
export function parse<const Options extends ParseArgsOptionsConfig>(args: string[], options: Options, most = 0): Parsed<Options> {
  const { tokens, positionals } = parseArgs({ args, options, allowPositionals: true, strict: false, tokens: true })
  const given = new Set<string>()
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    const problem = problemOf(token, Object.hasOwn(options, token.name) ? options[token.name] : undefined, Object.keys(options), given)
    if (problem) throw new Usage(problem)
    given.add(token.name)
  }
  if (positionals.length > most) throw new Usage(`${JSON.stringify(positionals[most])} is one argument too many`)
  return { ...parseArgs({ args, options, allowPositionals: true } as const), given }
}

interface Option {
  name: string
  rawName: string
  value?: string | undefined
  inlineValue?: boolean | undefined
}

type Known = ParseArgsOptionsConfig[string] | undefined

function problemOf({ name, rawName, value, inlineValue }: Option, known: Known, names: string[], given: Set<string>): string | undefined {
  if (!known) return `there is no option ${rawName}${didYouMean(rawName, names.map((one) => `--${one}`))}`
  if (known.type === 'boolean') return value === undefined ? undefined : `${rawName} takes no value: ${rawName}=${value}`
  if (given.has(name) && !known.multiple) return `${rawName} stands twice`
  if (value === undefined) return `${rawName} needs a value`
  if (value.trim() === '') return `${rawName} needs a value: it is empty`
  if (inlineValue || !/^-./.test(value)) return undefined
  return `${rawName} needs a value: ${value} is an option itself (a value that begins so is written ${rawName}=${value})`
}
