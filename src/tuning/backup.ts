// What an entry of its own replaces of an interface that is another plugin's, in a file until DEL puts it back. Name and format
// are the reference's, so that either can put back what the other replaced; what the reference does not know it passes over.

import { readdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import type { Pod } from '../chained.ts'
import { hostEnd, type Memory } from '../chain.ts'
import type { NetConf } from '../cni/conf.ts'
import { CniError } from '../cni/error.ts'
import { formats } from '../cni/formats.ts'
import type { LinkSet, LinkSettings } from '../facts.ts'
import { textOf } from '../file.ts'
import { isErrno } from '../kernel/errno.ts'
import * as link from '../kernel/link.ts'
import { hash, owner, type Attachment } from '../names.ts'
import { replaceText, unlink } from '../replace.ts'
import type { Kernel } from '../state.ts'
import { settings, type TuningConf } from './tuning.ts'

interface Backup {
  mac?: string
  promisc?: boolean
  mtu?: number
  allmulti?: boolean
  txQLen?: number
  /** What the reference has not: whose it is, and the MTU of the node's end. */
  podwire?: { network: string; owner?: string; hostMtu?: number }
}

export const backup: Memory = {
  keep(kernel, pod, conf) {
    const replaced = replacing(kernel, pod, conf as TuningConf)
    if (!replaced) return () => {}
    const [usual, other] = places(pod.attachment, conf)
    const file = isAnothers(usual, pod.attachment) ? other : usual
    attempt(conf, () => replaceText(file, JSON.stringify(replaced, null, 1), temporaryOf(file, conf)))
    return () => unlink(file)
  },

  recall(kernel, attachment, conf) {
    const kept = mine(attachment, conf).flatMap((file) => read(file) ?? [])[0]
    const inside = kernel.pod && link.get(kernel.pod, attachment.ifname)
    if (!kept || !inside) return []
    const { txQLen, podwire, ...before } = kept
    const end = podwire?.hostMtu === undefined ? undefined : hostEnd(kernel, inside)
    return [
      { fact: 'link set', in: 'pod', dev: attachment.ifname, before: { ...before, ...(txQLen !== undefined && { txqlen: txQLen }) } },
      ...(end ? [{ fact: 'link set', dev: end.name, before: { mtu: podwire!.hostMtu } } as LinkSet] : []),
    ]
  },

  forget(attachment, conf) {
    const temporaries = places(attachment, conf).map((file) => temporaryOf(file, conf))
    attempt(conf, () => [...mine(attachment, conf), ...temporaries].forEach(removeFile))
  },

  // The name of a file does not say of which network it is. Those of the reference say it nowhere, and stay.
  gc(living, conf) {
    const kept = new Set(living.flatMap((attachment) => places(attachment, conf)).flatMap((file) => [file, temporaryOf(file, conf)]))
    const ours = (file: string) => file.endsWith(torn(conf.name)) || (file.endsWith('.json') && read(file)?.podwire?.network === conf.name)
    const files = () => names(conf).map((name) => join(directory(conf), name))
    attempt(conf, () => files().filter((file) => !kept.has(file) && ours(file)).forEach(removeFile))
  },
}

/** What is there now of what will be set; undefined if nothing will. */
function replacing(kernel: Kernel, pod: Pod, conf: TuningConf): Backup | undefined {
  const wanted = settings(pod, conf)
  if (Object.keys(wanted).length === 0) return undefined
  const dev = pod.attachment.ifname
  const { txqlen, ...before }: LinkSettings = link.replaced(kernel.pod!, { fact: 'link set', dev, ...wanted })
  const host = wanted.mtu !== undefined && pod.host !== undefined ? link.get(kernel.host, pod.host) : undefined
  const podwire = { network: conf.name, owner: owner(pod.attachment), ...(host && { hostMtu: host.mtu }) }
  return { ...before, ...(txqlen !== undefined && { txQLen: txqlen }), podwire }
}

/** A backup that is whole, or undefined: of one that is not nothing can be put back. */
function read(file: string): Backup | undefined {
  try {
    const value = JSON.parse(textOf(file, LARGEST) ?? '') as Backup
    const number = (one: unknown) => one === undefined || (Number.isInteger(one) && (one as number) >= 0 && (one as number) <= 0xffffffff)
    const flag = (one: unknown) => one === undefined || typeof one === 'boolean'
    const { mac, promisc, mtu, allmulti, txQLen, podwire } = value
    const right = (mac === undefined || formats.mac(mac)) && [promisc, allmulti].every(flag) && [mtu, txQLen, podwire?.hostMtu].every(number)
    return right ? JSON.parse(JSON.stringify({ mac, promisc, mtu, allmulti, txQLen, podwire })) : undefined
  } catch {
    return undefined
  }
}

const directory = (conf: NetConf): string => (conf as TuningConf).dataDir ?? '/run/cni/tuning'

/**
 * Where an attachment's backup may be: under the reference's name for it, which does not say of which network it is and where the
 * container's ends; and, where another attachment has that, under one that nobody else can have.
 */
function places({ network, containerID, ifname }: Attachment, conf: NetConf): [usual: string, other: string] {
  const name = `${containerID}_${ifname}`
  const file = (one: string) => join(directory(conf), short(one, '.json'))
  return [file(`${name}.json`), file(`${name}:${hash(8, network, containerID, ifname)}.json`)]
}

/** Those of them that are not another attachment's. */
const mine = (attachment: Attachment, conf: NetConf): string[] => places(attachment, conf).filter((file) => !isAnothers(file, attachment))

/** True if a backup says so. */
function isAnothers(file: string, attachment: Attachment): boolean {
  const whose = read(file)?.podwire
  return whose !== undefined && (whose.network !== attachment.network || (whose.owner !== undefined && whose.owner !== owner(attachment)))
}

/** What becomes a file when it is whole. */
const temporaryOf = (file: string, conf: NetConf): string =>
  join(dirname(file), short(`.${basename(file)}${torn(conf.name)}`, torn(conf.name)))

/** A name that a file can have. Where the reference's is too long, it was so for the reference. */
const short = (name: string, end: string): string => (Buffer.byteLength(name) <= NAME_MAX ? name : `.${hash(16, name)}${end}`)

const NAME_MAX = 255 // bytes. <linux/limits.h>
const LARGEST = 4096 // bytes

/** A directory in the place of a file stays: nothing was written down there, and nobody waits for it to go. */
function removeFile(file: string): void {
  try {
    unlink(file)
  } catch (error) {
    if (!isErrno(error, 'EBADFILE')) throw error
  }
}

/** How names of files of a network end that are not whole yet. */
const torn = (network: string): string => `.${hash(8, network)}`

function names(conf: NetConf): string[] {
  try {
    return readdirSync(directory(conf))
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return []
    throw error
  }
}

/** A system error of the directory becomes error 5, which names the path. */
function attempt<T>(conf: NetConf, run: () => T): T {
  try {
    return run()
  } catch (error) {
    throw new CniError(5, `dataDir ${directory(conf)}: ${(error as Error).message}`)
  }
}
