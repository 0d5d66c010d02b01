// Something to be done soon, once, however often it is asked for: the earliest wish counts.

export class Alarm {
  readonly #ring: () => void
  #timer: NodeJS.Timeout | undefined
  #due = Infinity

  constructor(ring: () => void) {
    this.#ring = ring
  }

  /** Rings in at most so many milliseconds. */
  within(milliseconds: number): void {
    const due = performance.now() + milliseconds
    if (due >= this.#due) return
    clearTimeout(this.#timer)
    this.#due = due
    this.#timer = setTimeout(() => {
      this.#due = Infinity
      this.#ring()
    }, milliseconds)
  }

  cancel(): void {
    clearTimeout(this.#timer)
    this.#due = Infinity
  }
}
