// What is known of a peer from its answers, and the words for it. Pure.
//
// Times are seconds of the clock that begins with the machine (CLOCK_MONOTONIC, man 2 clock_gettime): the agent, the next one, and
// `podwire status` have the same, and nobody sets it.

/** What is known of one address of a peer's in the overlay. */
export interface Heard {
  node: string
  /** The peer's address in the overlay, that of its device: the network's own. */
  address: string
  /** When it was last asked, and when it last answered; undefined: never. */
  asked?: number | undefined
  answered?: number | undefined
  /** How long the last answer took, milliseconds. */
  roundTrip?: number | undefined
  /** How many questions in a row had no answer. */
  missed: number
  /** The same for those as large as a packet of a pod's, while small ones were answered. */
  missedLarge: number
}

/** `configured`: never heard. `silent`: it answered before. `narrow`: small packets pass, large ones do not. */
export type Hearing = 'ok' | 'configured' | 'silent' | 'narrow'

/** So many questions without an answer are no accident. */
export const TRIES = 3

export function hearing({ answered, missed, missedLarge }: Heard): Hearing {
  if (answered === undefined) return 'configured'
  if (missed >= TRIES) return 'silent'
  return missedLarge >= TRIES ? 'narrow' : 'ok'
}

const WORST: Hearing[] = ['silent', 'narrow', 'configured', 'ok']

/** The worst of a peer's addresses; undefined if there is none. */
export const worst = (list: Heard[]): Heard | undefined =>
  list.toSorted((a, b) => WORST.indexOf(hearing(a)) - WORST.indexOf(hearing(b)) || (b.roundTrip ?? 0) - (a.roundTrip ?? 0))[0]

/** `ok 0.3 ms`, `silent for 5 min`, of all of a peer's addresses; the one that differs from the others is named. */
export function words(list: Heard[], now: number): string {
  const one = worst(list)
  if (!one) return 'configured'
  const differs = list.some((other) => hearing(other) !== hearing(one))
  return `${word(one, now)}${differs ? `: ${one.address}` : ''}`
}

function word(heard: Heard, now: number): string {
  switch (hearing(heard)) {
    case 'ok':
      return `ok ${milliseconds(heard.roundTrip ?? 0)}`
    case 'silent':
      return `silent for ${duration(now - heard.answered!)}`
    case 'narrow':
      return 'large packets do not pass'
    case 'configured':
      return 'configured'
  }
}

/** With two digits that say something: `0.31 ms`, `4.2 ms`, `130 ms`. */
const milliseconds = (value: number): string => `${value < 10 ? Number(value.toPrecision(2)) : Math.round(value)} ms`

/** Seconds as people say it: `40 s`, `3 min`, `5 h`, `2 days`. */
export function duration(seconds: number): string {
  const [unit, size] = UNITS.findLast(([, least]) => seconds >= 2 * least) ?? UNITS[0]!
  return `${Math.max(0, Math.round(seconds / size))} ${unit}`
}

const UNITS: [string, number][] = [['s', 1], ['min', 60], ['h', 3600], ['days', 86_400]]
