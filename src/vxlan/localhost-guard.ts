// The guard of 127.0.0.0/8 kept: pods with ports share it, beside the overlay, and no pod's facts alone would bring it back.

import { lackingGuard } from '../exposure.ts'
import type { Plan } from '../facts.ts'
import type { Netns } from '../kernel/netns.ts'
import * as state from '../state.ts'
import { Alarm } from './alarm.ts'
import { Refusals } from './refusals.ts'

export interface GuardReports {
  restored(): void
  /** What the kernel said; once, as long as it says the same. */
  refused(sentence: string): void
}

export class LocalhostGuard {
  readonly #netns: Netns
  readonly #reports: GuardReports
  readonly #refusals = new Refusals()
  readonly #again = new Alarm(() => this.look())
  #said = ''

  constructor(netns: Netns, reports: GuardReports) {
    this.#netns = netns
    this.#reports = reports
  }

  /** Brings it back if it is lacking; what the kernel refused not before its time, whatever is heard meanwhile. */
  look(): void {
    const now = performance.now()
    const held = this.#refusals.held(now)
    let lacking: Plan = []
    try {
      lacking = lackingGuard(this.#netns)
      if (lacking.some((fact) => held(fact))) return this.#later(now)
      if (lacking.length > 0) state.add({ host: this.#netns }, lacking, '')
      this.#refusals.learn('everything', 'repair', [], now)
      this.#said = ''
      if (lacking.length > 0) this.#reports.restored()
    } catch (error) {
      this.#refuse(lacking, (error as Error).message, now)
    }
  }

  #refuse(lacking: Plan, sentence: string, now: number): void {
    this.#refusals.learn('everything', 'repair', lacking.map((fact) => ({ fact, sentence })), now)
    if (sentence !== this.#said) this.#reports.refused(sentence)
    this.#said = sentence
    this.#later(now)
  }

  /** What was in the way may go without a word. */
  #later(now: number): void {
    this.#again.within(this.#refusals.next(now) ?? 0)
  }

  close(): void {
    this.#again.cancel()
  }
}
