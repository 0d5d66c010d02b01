// `podwire pods`, `podwire check`, `podwire repair`: the pods of this node, what of each is not as its ADD made it, and the same
// made so again.

import { CniError } from '../cni/error.ts'
import type { Answer } from '../cni/serve.ts'
import { isErrno } from '../kernel/errno.ts'
import { Netns } from '../kernel/netns.ts'
import { owner } from '../names.ts'
import { Library, LIBRARY } from '../pods/library.ts'
import { executablesIn } from '../pods/pod.ts'
import { repairAll } from '../pods/repair.ts'
import { isCalled, reportOf, subjectsOf, type PodReport } from '../pods/report.ts'
import { printable } from '../printable.ts'
import { ageText } from './age.ts'
import { parse } from './args.ts'
import { columns } from './columns.ts'
import { ports, portsOf } from './ports.ts'
import { repairsOf } from './repairs.ts'

const OPTIONS = {
  library: { type: 'string', default: LIBRARY },
  'bin-dir': { type: 'string', default: '/opt/cni/bin' },
  json: { type: 'boolean', default: false },
} as const

interface Node {
  pods: PodReport[]
  /** Files of the library that are not believed, and why. */
  unread: { file: string; problem: string }[]
}

export interface Places {
  library: string
  binDir: string
}

/** The pods of a node; of one word, those that it names. */
export function podsOf(host: Netns, { library, binDir }: Places, mends = false, word?: string): Node {
  const files = new Library(library)
  const leaves = files.read()
  const isOurs = executablesIn(binDir)
  const subjects = subjectsOf(host, leaves).filter((subject) => word === undefined || isCalled(subject, word))
  return {
    pods: mends ? repairAll(host, files, subjects, isOurs) : subjects.map((subject) => reportOf(host, subject, isOurs, 'look')),
    unread: leaves.flatMap(({ file, problem }) => (problem === undefined ? [] : [{ file, problem }])),
  }
}

export const pods = (args: string[]): Answer => answer(args, { named: false, repair: false, text: table })
export const check = (args: string[]): Answer => answer(args, { named: true, repair: false, text: pages })
export const repair = (args: string[]): Answer => answer(args, { named: true, repair: true, text: pages })

interface Command {
  /** Whether a word may say which pod is meant. */
  named: boolean
  repair: boolean
  text(pods: PodReport[], host: Netns): string
}

function answer(args: string[], { named, repair: mends, text }: Command): Answer {
  const { values, positionals: [word] } = parse(args, OPTIONS, named ? 1 : 0)
  const host = new Netns()
  try {
    const node = podsOf(host, { library: values.library, binDir: values['bin-dir'] }, mends, word)
    if (word !== undefined && node.pods.length === 0) throw new CniError(3, `there is no pod ${word} on this node`, EXPECTED)
    const well = node.pods.every(({ findings }) => findings.length === 0)
    const stdout = values.json ? `${JSON.stringify(node, null, 2)}\n` : text(node.pods, host)
    return { status: well ? 0 : 1, stdout, stderr: node.unread.map(unreadText).join('') }
  } catch (error) {
    throw isErrno(error, 'EPERM', 'EACCES') ? new CniError(100, `${(error as Error).message}: pods can be looked at by root alone`) : error
  } finally {
    host.close()
  }
}

const EXPECTED = 'podwire pods lists them; expected a name, container ID, address or interface'
const unreadText = ({ file, problem }: Node['unread'][number]): string =>
  `podwire: ${printable(`${file} is not as a library writes it: ${problem}`)}\n`

function table(list: PodReport[], host: Netns): string {
  if (list.length === 0) return 'no pods\n'
  const open = ports(host) ?? []
  const rows = list.map((pod) => {
    const age = pod.since === undefined ? '' : ageText(pod.since)
    return [titleOf(pod), pod.addresses.join(' '), pod.network, pod.end ?? '', portsOf(open, owner(pod)), age, stateText(pod)]
  })
  return columns([['pod', 'address', 'network', 'interface', 'ports', 'age', 'state'], ...rows]).join('')
}

/** By what it is called: its name in Kubernetes, or what its container ID begins with; and its interface, if that is not eth0. */
export const titleOf = ({ name, containerID, ifname }: PodReport): string =>
  `${name ?? containerID.slice(0, SHORT)}${ifname === 'eth0' ? '' : ` ${ifname}`}`
const SHORT = 13 // characters of a container ID, as crictl shows it

function stateText({ state, findings, unknown }: PodReport): string {
  switch (state) {
    case 'wrong':
      return findings.length === 1 ? findings[0]!.sentence : `${findings.length} things are wrong: podwire check`
    case 'lost':
      return 'its interface is gone: podwire repair'
    case 'dead':
      return 'is gone; the runtime has not sent DEL'
    case 'unknown':
      return unknown[0]!
    case 'others':
      return 'of another plugin'
    default:
      return 'ok'
  }
}

/** A pod in which all is well is a line; of another, what is wrong and what was repaired. */
function pages(list: PodReport[]): string {
  const own = list.filter(({ state }) => state !== 'others' && state !== 'dead')
  return own.length === 0 ? 'no pods\n' : own.map(page).join('')
}

function page(pod: PodReport): string {
  const repaired = pod.repaired.map((sentence) => ['repaired', sentence])
  const wrong = pod.findings.flatMap((one) => [['wrong', one.sentence], ...repairsOf(one.repair).map((line) => ['repair', line])])
  const unknown = pod.unknown.map((sentence) => ['unknown', sentence])
  const below = [...repaired, ...wrong, ...unknown].map(([label = '', text]) => `${printable(`  ${label.padEnd(8)}  ${text}`)}\n`)
  return `${printable(`${titleOf(pod)}${pod.findings.length === 0 && pod.state === 'ok' ? '  ok' : ''}`)}\n${below.join('')}`
}
