// What must come out: the project's own demands.

import type { Work } from './scale.ts'

/** At most so many milliseconds among 5000 nodes. */
export const MOST: Partial<Record<Work, number>> = {
  'from nothing to true': 3000,
  'restart, true already': 2000,
  'a node more': 150,
  'a node with another address': 150,
  'repair of fdb': 300,
  'repair of neigh': 300,
  'repair of route': 300,
  'repair of addr': 300,
}
export const AMONG = 5000

/** Milliseconds of CPU time in ten minutes without work, among 5000 nodes. */
export const IDLE_CPU = 500

/** MiB resident, by how many nodes. */
export const MEMORY: Record<number, number> = { 100: 100, 5000: 200 }

/** What passes, by the best that can be made by hand. */
export const TRAFFIC_LEAST = 0.97
