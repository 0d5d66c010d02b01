// How long somebody is waited for, by the clock that only goes forward. The other one is set when a node learns the time, back, too,
// and who waits by it then waits for hours. man 2 clock_gettime, CLOCK_MONOTONIC

import { sleep, tryLock } from './libc.ts'

export class Patience {
  readonly #end: number

  /** So many milliseconds from now. */
  constructor(milliseconds: number) {
    this.#end = performance.now() + milliseconds
  }

  /** Whole milliseconds that are left. */
  get left(): number {
    return Math.max(0, Math.ceil(this.#end - performance.now()))
  }

  get over(): boolean {
    return this.left === 0
  }
}

/** Locks an open file, or a directory, for this process. False: another had it for so many milliseconds. */
export function lockWithin(milliseconds: number, fd: number): boolean {
  const patience = new Patience(milliseconds)
  for (let pause = 1; !tryLock(fd); pause = Math.min(pause * 2, 20)) {
    if (patience.over) return false
    sleep(Math.min(pause, patience.left))
  }
  return true
}
