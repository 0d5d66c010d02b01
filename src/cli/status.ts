// `podwire status`, and `podwire` alone: the node, its overlay, each peer with what is wrong and what repairs it, and the ports
// of the node that lead to pods; for people, as JSON, or what repairs it alone.

import { CniError } from '../cni/error.ts'
import type { Answer } from '../cni/serve.ts'
import { Netns } from '../kernel/netns.ts'
import { LIBRARY } from '../pods/library.ts'
import { StateDir } from '../vxlan/state-dir.ts'
import { parse } from './args.ts'
import { DEFAULT_DIR, page } from './page.ts'
import { repairLines } from './repairs.ts'
import { reportOf, type Report } from './report.ts'

const OPTIONS = {
  'state-dir': { type: 'string', default: DEFAULT_DIR },
  library: { type: 'string', default: LIBRARY },
  'bin-dir': { type: 'string', default: '/opt/cni/bin' },
  json: { type: 'boolean', default: false },
  repair: { type: 'boolean', default: false },
} as const

/** Exit status 0: all is well; 1: something is wrong; 2: nothing that is seen, but not all could be looked at. */
export function status(args: string[]): Answer {
  const { values } = parse(args, OPTIONS)
  if (values.json && values.repair) throw new CniError(4, '--json and --repair: one of them')
  const netns = new Netns()
  try {
    const report = reportOf(netns, new StateDir(values['state-dir']), { library: values.library, binDir: values['bin-dir'] })
    const stdout = values.repair ? repairLines(report) : values.json ? json(report) : page(report, values['state-dir'])
    return { status: report.wrong ? 1 : report.unseen.length > 0 ? 2 : 0, stdout, stderr: '' }
  } finally {
    netns.close()
  }
}

/**
 * All of it. A number that a double does not hold exactly is the same in a string: jq, and whatever else reads numbers as doubles,
 * would round it without a word; `tonumber` takes both, and in jq's order a string comes behind every number.
 */
function json({ wrong, overlay, ...others }: Report): string {
  const exact = (_: string, value: unknown) =>
    typeof value !== 'bigint' ? value : value <= Number.MAX_SAFE_INTEGER ? Number(value) : String(value)
  return `${JSON.stringify({ well: !wrong && others.unseen.length === 0, ...overlay, ...others }, exact, 2)}\n`
}
