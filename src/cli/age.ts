// How long ago something was, as kubectl has it: `45s`, `12m`, `3h`, `9d`.

const UNITS = [['d', 86_400], ['h', 3600], ['m', 60]] as const

/** Of a moment in milliseconds since 1970. */
export function ageText(since: number, now = Date.now()): string {
  const seconds = Math.max(0, Math.round((now - since) / 1000))
  const [unit, length] = UNITS.find(([, least]) => seconds >= least * 2) ?? ['s', 1]
  return `${Math.floor(seconds / length)}${unit}`
}
