// The overlay for people who have neither agent nor cluster: an entry behind the main plugin's makes it true when a pod
// comes. It is shared by all pods and never taken back by one of them; what becomes untrue in between is repaired by the
// next ADD.

import { hostname } from 'node:os'
import { complain } from '../act.ts'
import { CniError } from '../cni/error.ts'
import type { Request } from '../cni/plugin.ts'
import type { Result } from '../cni/result.ts'
import { script, told } from '../findings.ts'
import { Netns } from '../kernel/netns.ts'
import { compare, reconcile } from '../reconcile.ts'
import * as state from '../state.ts'
import type { VxlanConf } from './conf.ts'
import { parsePeers, readPeers } from './file.ts'
import { nodesIn, type Nodes } from './node.ts'
import { deviceName, realmOf } from './overlay.ts'
import { NoUnderlay, type FindUnderlay } from './underlay.ts'
import { isNeeded } from './verdict.ts'
import { NotReady, viewOf, type View } from './view.ts'

/** Makes the overlay true and passes on the result of the plugin before. */
export function add({ conf, notes }: Request): Result {
  if (!conf.prevResult) throw new CniError(7, 'Required prevResult missing', 'vxlan stands in a list behind the plugin that gives the pod its interface')
  withView(conf as VxlanConf, (netns, view) => {
    const { failed } = reconcile(netns, view.plan, realm(view))
    const broken = failed.filter(isNeeded)
    const repairs = broken.flatMap(({ sentence, repair }) => (repair ? [{ sentence, repair }] : []))
    if (broken.length > 0) throw new CniError(100, broken.map(({ sentence }) => sentence).join('; '), script(repairs) || undefined)
    notes.push(...failed.map(({ sentence }) => `the kernel refuses ${sentence}`))
    notes.push(...state.check({ host: netns }, view.plan.filter(({ fact }) => fact === 'condition'), '').map(({ sentence }) => sentence))
    notes.push(...view.problems.map(({ node, sentence }) => `node ${node} cannot be used as it is: ${sentence}`))
  })
  return conf.prevResult
}

export function check({ conf }: Request): void {
  withView(conf as VxlanConf, (netns, view) => {
    complain(told(compare(netns, view.plan, realm(view)).map((one) => ({ ...one, missing: one.how === 'missing' }))))
  })
}

/** 50 if there can be no overlay; 51 if there is none, or one that is not as it should be, though pods may need it. */
export function status({ conf }: Request): void {
  withView(conf as VxlanConf, (netns, view) => {
    const [first] = compare(netns, view.plan, realm(view))
    if (first) throw new CniError(51, `the overlay is not as it should be: ${first.sentence}`, script([{ sentence: 'the next ADD repairs it, or this does', repair: first.repair }]))
  }, 50)
}

/** What ADD would make. */
export function planOf(netns: Netns, conf: VxlanConf, find?: FindUnderlay): View {
  const { vni = 1, port = 8472, underlay, mtu, directRouting = false, masquerade = true, clusterCIDRs, nonMasqueradeCIDRs, checksumOffload } = conf
  return viewOf(netns, nodesOf(conf), conf.node ?? hostname(), { vni, port, underlay, mtu, directRouting, masquerade, clusterCIDRs: clusterCIDRs ?? [], nonMasqueradeCIDRs: nonMasqueradeCIDRs ?? [], checksumOffload }, find)
}

function withView(conf: VxlanConf, act: (netns: Netns, view: View) => void, unready = 7): void {
  const netns = new Netns()
  try {
    act(netns, planOf(netns, conf))
  } catch (error) {
    throw error instanceof NotReady || error instanceof NoUnderlay ? new CniError(unready, error.message) : error
  } finally {
    netns.close()
  }
}

function nodesOf({ peers, peersFile }: VxlanConf): Nodes {
  if ((peers === undefined) === (peersFile === undefined)) throw new CniError(7, peers ? 'peers and peersFile are both given: expected one of them' : 'peers is missing: expected peers or peersFile')
  if (peers) return nodesIn(peers)
  try {
    return parsePeers(readPeers(peersFile!), peersFile!)
  } catch (error) {
    throw error instanceof CniError ? error : new CniError(5, (error as Error).message)
  }
}

const realm = ({ options }: View) => realmOf(deviceName(options.vni))
