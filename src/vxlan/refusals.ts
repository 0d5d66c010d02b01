// What of a plan the kernel refuses, fact by fact: what one peer's entry suffers is tried again by itself, later and later, and holds
// up neither the others nor a look at all of it.

import type { Fact, Listed, Plan } from '../facts.ts'
import { isGround, isListed, key, line, type Failure, type Held } from '../reconcile.ts'

/** How long until it is tried again: at first, and at most for what the node needs and for what one peer does. Milliseconds. */
const FIRST = 500
const MOST = { node: 10_000, peer: 60_000 }

/** What a look was at: all of the plan, what is not listed, or single facts. */
export type Scope = 'everything' | 'rest' | Listed[]

/** Why something had to be made true: the plan changed, or somebody changed the kernel. It is the same when it succeeds only later. */
export type Why = 'wanted' | 'repair'

interface Refusal extends Failure {
  why: Why
  /** Milliseconds; and when it was tried, and is to be tried again. */
  wait: number
  tried: number
  due: number
}

/** What is to be tried again now. `everything`: what failed is what all else stands on, or cannot even be read. */
interface Due {
  everything: boolean
  rest: boolean
  lacking: Listed[]
  extra: Listed[]
}

export class Refusals {
  readonly #all = new Map<string, Refusal>()

  /** Takes in what came of a look, at a time in milliseconds. */
  learn(scope: Scope, why: Why, failed: Failure[], now: number): void {
    const before = new Map(this.#all)
    const looked = new Set(typeof scope === 'string' ? [] : scope.map(key))
    const covered = ({ fact }: Failure) => {
      if (fact === undefined || scope === 'everything') return scope === 'everything'
      return isListed(fact) ? looked.has(key(fact)) : scope === 'rest'
    }
    const readable = failed.every(({ fact }) => fact !== undefined)
    for (const [name, refusal] of before) if (readable && covered(refusal)) this.#all.delete(name)
    for (const failure of failed) {
      if (isHeld(failure)) {
        this.#all.set(nameOf(failure), failure)
        continue
      }
      const most = failure.fact && isListed(failure.fact) ? MOST.peer : MOST.node
      const last = before.get(nameOf(failure))
      const wait = Math.min((last?.wait ?? FIRST / 2) * 2, most)
      this.#all.set(nameOf(failure), { ...failure, why: last?.why ?? why, wait, tried: now, due: now + wait })
    }
  }

  /** Forgets what is no longer of the plan; what is, is the plan's own. */
  keep(plan: Plan): void {
    if (this.#all.size === 0) return
    const facts = new Map(plan.map((fact) => [line(fact), fact]))
    for (const [name, refusal] of this.#all) {
      const planned = refusal.fact && facts.get(line(refusal.fact))
      if (refusal.fact && (planned !== undefined) === (refusal.extra ?? false)) this.#all.delete(name)
      else refusal.fact = planned ?? refusal.fact
    }
  }

  /**
   * What is not to be tried before its time, whatever is heard meanwhile: a device that is changed or made in vain makes news of its own.
   * What is listed makes none.
   */
  held(now: number): Held {
    return (fact, extra) => {
      const refusal = isListed(fact) ? undefined : this.#all.get(nameOf({ fact, ...(extra && { extra }), sentence: '' }))
      return refusal && refusal.due > now ? refusal : undefined
    }
  }

  /** What may have been in the way is no longer: all is tried again, though not more often than at first. */
  hasten(): void {
    for (const refusal of this.#all.values()) refusal.due = Math.min(refusal.due, refusal.tried + FIRST)
  }

  get list(): Failure[] {
    return [...this.#all.values()]
  }

  /** Whether the device itself is refused, or nothing can be read: all the rest is not even tried. */
  get ground(): boolean {
    return this.list.some((failure) => failure.fact === undefined || isGround(failure))
  }

  /** Why what is refused was tried at first: a repair, if any of it was. */
  get why(): Why {
    return [...this.#all.values()].some(({ why }) => why === 'repair') ? 'repair' : 'wanted'
  }

  /** How long until something is to be tried again, milliseconds; undefined if there is nothing. */
  next(now: number): number | undefined {
    const first = this.#waiting().reduce((least, { due }) => Math.min(least, due), Infinity)
    return first === Infinity ? undefined : Math.max(0, first - now)
  }

  due(now: number): Due {
    const due = this.#waiting().filter((refusal) => refusal.due <= now)
    const listed = due.filter((failure): failure is Refusal & { fact: Listed } => failure.fact !== undefined && isListed(failure.fact))
    return {
      everything: due.some((failure) => failure.fact === undefined || isGround(failure)),
      rest: due.some(({ fact }) => fact !== undefined && !isListed(fact)),
      lacking: listed.filter(({ extra }) => !extra).map(({ fact }) => fact),
      extra: listed.filter(({ extra }) => extra).map(({ fact }) => fact),
    }
  }

  /** Where nothing can be read nothing else is tried before that. */
  #waiting(): Refusal[] {
    const unreadable = this.#all.get(UNREADABLE)
    return unreadable ? [unreadable] : [...this.#all.values()]
  }
}

/** Whether a failure is one of before, that was not tried again. */
export const isHeld = (failure: Failure): failure is Refusal => 'due' in failure

const UNREADABLE = ''

const nameOf = ({ fact, extra }: Failure): string =>
  fact === undefined ? UNREADABLE : `${extra ? 'extra ' : ''}${isListed(fact) ? key(fact) : aboutWhat(fact)}`

/** What is not listed is the same although what is wanted of it has changed. */
const aboutWhat = (fact: Fact): string => `${fact.fact} ${'key' in fact ? fact.key : 'name' in fact ? fact.name : ''}`
