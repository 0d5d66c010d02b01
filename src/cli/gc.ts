// `podwire gc`: what is provably dead goes, and is said before. What a runtime does that calls GC, which containerd and podman do not.

import { readdirSync } from 'node:fs'
import { garbage, gc as collect } from '../clean.ts'
import { checkName, type NetConf } from '../cni/conf.ts'
import type { Request } from '../cni/plugin.ts'
import { readEnvironment } from '../cni/request.ts'
import type { Answer } from '../cni/serve.ts'
import { CURRENT } from '../cni/version.ts'
import type { Fact } from '../facts.ts'
import { isErrno } from '../kernel/errno.ts'
import * as link from '../kernel/link.ts'
import { Netns } from '../kernel/netns.ts'
import * as nft from '../kernel/nft.ts'
import { isOwner } from '../names.ts'
import { printable } from '../printable.ts'
import { parse } from './args.ts'
import { columns } from './columns.ts'

const OPTIONS = {
  'data-dir': { type: 'string', default: '/var/lib/cni/networks' },
  'dry-run': { type: 'boolean', default: false },
} as const

export function gc(args: string[]): Answer {
  const { values, positionals: [network] } = parse(args, OPTIONS, 1)
  const networks = network === undefined ? networksIn(values['data-dir']) : [checkName(network)]
  const requests = networks.map((name) => requestOf(name, values['data-dir']))
  const rows = requests.flatMap((request) => rowsOf(request))
  if (rows.length === 0) return { status: 0, stdout: 'nothing is left of dead pods\n', stderr: '' }
  if (!values['dry-run']) requests.forEach(collect)
  const verb = values['dry-run'] ? 'would go' : 'gone'
  return { status: 0, stdout: columns(rows.map((row) => [verb, ...row])).join(''), stderr: '' }
}

/** The networks that have leases, or anything in the kernel. */
function networksIn(directory: string): string[] {
  const host = new Netns()
  try {
    const aliases = link.list(host).flatMap(({ alias }) => (alias !== undefined && isOwner(alias) ? [alias] : []))
    const owners = [...aliases, ...nft.elements(host, () => true).map(({ owner }) => owner)]
    return [...new Set([...directories(directory), ...owners.map((owner) => owner.split('/')[0]!)])].filter(isName).sort()
  } finally {
    host.close()
  }
}

function directories(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true }).filter((one) => one.isDirectory()).map(({ name }) => name)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return []
    throw error
  }
}

function isName(text: string): boolean {
  try {
    return checkName(text) === text
  } catch {
    return false
  }
}

/** What a runtime would send, without a list of who lives: then only what is provably dead goes. */
function requestOf(name: string, dataDir: string): Request {
  const conf = { cniVersion: CURRENT, name, type: 'podwire', ipam: { type: 'host-local', dataDir } } as NetConf
  return { env: readEnvironment({ CNI_COMMAND: 'GC', CNI_PATH: '/' }), conf, stdin: Buffer.alloc(0), notes: [] }
}

function rowsOf(request: Request): string[][] {
  const { facts, leases } = garbage(request)
  const holder = ({ containerID, ifname = '' }: (typeof leases)[number]) =>
    containerID === undefined ? 'of nobody' : `${request.conf.name}/${containerID}/${ifname}`
  const ofLeases = leases.map((lease) => ['lease', lease.address, holder(lease)])
  return [...ofLeases, ...facts.flatMap(rowOf)].map((row) => row.map(printable))
}

function rowOf(fact: Fact): string[][] {
  switch (fact.fact) {
    case 'element':
      return [['nft element', `${fact.key} in ${fact.map}`, fact.owner]]
    case 'link':
    case 'ifb':
      return [['interface', fact.name, fact.alias]]
    default:
      return []
  }
}
