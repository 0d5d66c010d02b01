// IPAM as the main plugins see it: who leases addresses, whatever its kind. host-local and static work in process; any
// other type is an executable in CNI_PATH. CNI 1.1 §4 "Plugin delegation".

import type { CniArgs } from '../cni/request.ts'
import type { Result } from '../cni/result.ts'
import type { Attachment } from '../names.ts'
import type { Finding } from '../state.ts'
import type { ConfWithIpam } from './conf.ts'

export interface IpamRequest {
  conf: ConfWithIpam
  attachment: Attachment
  args: CniArgs
  /** For del: the addresses that the attachment was found to have a moment ago, if it was looked. */
  held?: string[]
}

export interface GcRequest {
  conf: ConfWithIpam
  /** Attachments that live; undefined: the request does not say. */
  valid?: Omit<Attachment, 'network'>[]
  /** Whether an attachment is provably dead, where the caller can tell. */
  dead?: (attachment: Attachment) => boolean
}

export interface Ipam {
  add(request: IpamRequest): Result
  /** What add would lease, if that can be told without leasing it. */
  preview?(request: IpamRequest): Result
  del(request: IpamRequest): void
  /** Sentences about what is not as ADD left it. */
  check(request: IpamRequest): Finding[]
  /** Leases again, of the addresses in prevResult, those that the attachment has lost and nobody else has. Sentences about the rest. */
  restore?(request: IpamRequest): Finding[]
  gc(request: GcRequest): void
  /** What gc would release. */
  stale?(request: GcRequest): { address: string; containerID?: string; ifname?: string }[]
  /** Error 50 when no address can be leased. */
  status(request: { conf: ConfWithIpam }): void
  /** The addresses of an attachment, if that can be told without prevResult. */
  addresses?(request: IpamRequest): string[]
  /** Who holds addresses, if that can be told. */
  holders?(request: { conf: ConfWithIpam }): Omit<Attachment, 'network'>[]
  /** Whether any address is leased, if that can be told. */
  occupied?(request: { conf: ConfWithIpam }): boolean
}
