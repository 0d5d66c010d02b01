// What is not true of a fact, in a sentence: the thing is missing, or it is there and otherwise. It decides what repairs it.

export interface Difference {
  sentence: string
  missing: boolean
  /** The interface is there, and down: it has no routes then. */
  down?: true
  /** It cannot be changed, but has to be taken away and made anew. */
  anew?: true
  /** What an operator would type, where that is less than all that the fact says. */
  repair?: string
}

export const missing = (sentence: string): Difference => ({ sentence, missing: true })
export const differs = (sentence: string): Difference => ({ sentence, missing: false })
