// How long to wait before another attempt. All nodes of a cluster lose their API server in the same second; they must not
// all come back in the same second. AWS Architecture Blog, "Exponential Backoff And Jitter": full jitter.

/** Milliseconds. */
export interface Bounds {
  firstWait: number
  longestWait: number
  /** The longest Retry-After that is heeded. */
  longestRetryAfter: number
}

/** Any time up to a bound that doubles with each failure; on top of what the server asked for. `random`: 0 to 1. */
export const backoff = (failures: number, retryAfter: number, { firstWait, longestWait, longestRetryAfter }: Bounds, random: number): number =>
  Math.min(retryAfter, longestRetryAfter) + random * Math.min(longestWait, firstWait * 2 ** failures)
