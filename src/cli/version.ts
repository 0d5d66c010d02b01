// `podwire version`

import { VERSIONS } from '../cni/version.ts'
import { parse } from './args.ts'
import manifest from '../../package.json' with { type: 'json' }

/** Errors: Usage. */
export function version(args: string[]): string {
  parse(args, {})
  return `podwire  ${manifest.version}\nnode     ${process.version}\ncni      ${VERSIONS.join(', ')}\n`
}
