// The clock that begins with the machine and that nobody sets: the same for all processes. CLOCK_MONOTONIC, man 2 clock_gettime

/** Seconds since the machine began. */
export const seconds = (): number => Number(process.hrtime.bigint()) / 1e9
