// What `podwire status` reports of the peers: whether each answers over the overlay, by what the agent has kept of it.

import { seconds } from '../kernel/clock.ts'
import { duration, hearing, words, worst, type Heard, type Hearing } from '../vxlan/heard.ts'
import { overlayMtu, overlayOverhead } from '../vxlan/overlay.ts'
import type { Status } from '../vxlan/state-dir.ts'
import type { Finding } from './report.ts'

export interface PeerReport {
  name: string
  address: string
  podCIDRs: string[]
  /** `unreachable`: the node's own end is not as it should be; `answered`: it did, while an agent ran. */
  state: Hearing | 'unreachable' | 'answered'
  /** The state in words, with figures. */
  words: string
  /** What is known of each of its addresses in the overlay: seconds since its last answer, and milliseconds that it took. */
  heard: { address: string; state: Hearing; ago?: number; roundTrip?: number }[]
}

/** `cut`: this node's own end is not as it should be. */
export function peersIn({ parts, heard = [] }: Status, running: boolean, cut: boolean): PeerReport[] {
  const now = seconds()
  const byNode = Map.groupBy(heard, ({ node }) => node)
  return (parts?.peers ?? []).map(({ node, address, podCIDRs }) => {
    const list = byNode.get(node.name) ?? []
    const last = Math.max(...list.map(({ answered = 0 }) => answered), 0)
    const [state, text] = cut ? ['unreachable', 'unreachable'] as const
      : running || last === 0 ? [hearingOf(list), words(list, now)] as const
      : ['answered', `answered ${duration(now - last)} ago`] as const
    return { name: node.name, address, podCIDRs, state, words: text, heard: list.map((one) => heardReport(one, now)) }
  })
}

const hearingOf = (list: Heard[]): Hearing => (list.length === 0 ? 'configured' : hearing(worst(list)!))

const heardReport = (one: Heard, now: number): PeerReport['heard'][number] => ({
  address: one.address, state: hearing(one),
  ...(one.answered !== undefined && { ago: Math.max(0, Math.round(now - one.answered)) }),
  ...(one.roundTrip !== undefined && { roundTrip: one.roundTrip }),
})

/** A peer that answered and does not any more, or answers small packets alone. */
export function unheard({ name, address, state, heard }: PeerReport, { underlay, options }: NonNullable<Status['parts']>): Finding[] {
  const where = heard.filter((one) => one.state === state).map((one) => one.address).join(', ')
  const mtu = overlayMtu(underlay, options.mtu)
  const less = `a link on the way to ${address} carries less than ${mtu + overlayOverhead(underlay)} bytes`
  const sentences: Partial<Record<PeerReport['state'], string>> = {
    silent: `no answer from ${where}: the node, its agent, or the way to ${address} by UDP port ${options.port} is down`,
    narrow: `packets of ${mtu} bytes do not pass to ${where}: ${less}. Raise its MTU, or give all agents a smaller --mtu`,
  }
  const sentence = sentences[state]
  return sentence === undefined ? [] : [{ peer: name, sentence, repair: '' }]
}
