// What an agent has put into a directory is put there again when somebody has removed or altered it: at once, and where two do not
// agree what belongs there, once a second.

import { Alarm } from './alarm.ts'
import { DirectoryWatch } from './directory-watch.ts'

/** How long changes are gathered. Milliseconds. */
const GATHER = 5
/** How long after it was put in place it is let be: at first, and at most while that is needed time and again. Milliseconds. */
const FIRST = 50
const MOST = 800
/** How often it is looked although nothing is heard: a file may be mounted over. Milliseconds. */
const RARELY = 10_000

export interface Upkept {
  /** Puts in place what is not as it should be: says what that was. Throws if it cannot. */
  restore(): string[]
  /** What had to be put in place; `again` if that was so just before, too. */
  restored(what: string[], again: boolean): void
  /** Why it cannot be, once; empty when it can be again. */
  failed(why: string): void
}

export class Upkeep {
  readonly #kept: Upkept
  readonly #watch: DirectoryWatch
  readonly #alarm = new Alarm(() => this.#act())
  #last = -Infinity
  #looked = -Infinity
  #wait = 0
  #trouble = ''

  constructor(directory: string, kept: Upkept) {
    this.#kept = kept
    this.#watch = new DirectoryWatch(directory, (name) => this.#hear(name))
  }

  /** What is heard of need not be looked at time and again: that costs more than to listen. */
  #hear(name: string | undefined): void {
    if (name !== undefined || this.#watch.deaf || performance.now() >= this.#looked + RARELY) this.look()
  }

  /** Something may have changed. */
  look(): void {
    this.#alarm.within(Math.max(GATHER, this.#last + this.#wait - performance.now()))
  }

  close(): void {
    this.#watch.close()
    this.#alarm.cancel()
  }

  #act(): void {
    const now = performance.now()
    this.#looked = now
    const again = now < this.#last + this.#wait + MOST
    const { done, trouble } = this.#attempt()
    if (done.length > 0 || trouble) {
      this.#wait = again ? Math.min(Math.max(this.#wait * 2, FIRST), MOST) : FIRST
      this.#last = now
    }
    if (done.length > 0) this.#kept.restored(done, again)
    if (trouble !== this.#trouble) this.#kept.failed(trouble)
    this.#trouble = trouble
  }

  #attempt(): { done: string[]; trouble: string } {
    try {
      return { done: this.#kept.restore(), trouble: '' }
    } catch (error) {
      return { done: [], trouble: (error as Error).message }
    }
  }
}
