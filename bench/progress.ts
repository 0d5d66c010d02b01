// What a person sees while it runs, on standard error.

export function note(text: string): void {
  process.stderr.write(`${text}\n`)
}

/** Runs a function and says what, and how long it took. */
export function reporting<T>(what: string, run: () => T): T {
  const start = performance.now()
  process.stderr.write(`${what} ... `)
  const result = run()
  note(`${((performance.now() - start) / 1000).toFixed(1)} s`)
  return result
}
