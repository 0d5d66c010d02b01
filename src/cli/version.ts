// `podwire version`

import { VERSIONS } from '../cni/version.ts'
import manifest from '../../package.json' with { type: 'json' }

export const version = (): string => `podwire  ${manifest.version}\nnode     ${process.version}\ncni      ${VERSIONS.join(', ')}\n`
