// Schemas to functions that check, by Ajv. The executable is built with this file replaced by the functions that Ajv makes
// of the plugins' schemas (scripts/validators.ts), so that Ajv itself is in no plugin's start.

import { Ajv, type ValidateFunction } from 'ajv'
import { formats } from './formats.ts'
import type { Schema } from './schema.ts'

export const OPTIONS = { allErrors: true, messages: false, strict: false, keywords: ['expected'], formats } as const

const ajv = new Ajv({ ...OPTIONS, keywords: [...OPTIONS.keywords] })

export const compile = (schema: Schema): ValidateFunction => ajv.compile(schema)
