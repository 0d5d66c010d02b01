// `podwire repair`: pods made as ADD made them, while their runtime may be about to end them.

import { sleep } from '../kernel/libc.ts'
import type { Netns } from '../kernel/netns.ts'
import { owner } from '../names.ts'
import { isTouched } from './judge.ts'
import type { Library } from './library.ts'
import { standingOf, type IsOurs } from './pod.ts'
import { reportOf, type PodReport, type Subject } from './report.ts'
import { takeBack } from './take-back.ts'

/** How long a pod's interface has to be gone before it is made again. Milliseconds. */
export const LOST = 600
/** How long after a repair it is looked whether DEL came: longer than one takes. What a slower one leaves is for GC. Milliseconds. */
const AFTER = 1000

/** Repairs pods that the library keeps, and reports them; of a pod that ends meanwhile nothing stays, and nothing is said. */
export function repairAll(host: Netns, library: Library, subjects: Subject[], isOurs: IsOurs): PodReport[] {
  const lost = new Set(subjects.filter(({ kept }) => kept && standingOf(kept, { host }) === 'lost'))
  if (lost.size > 0) sleep(LOST)
  const before = living(library)
  const there = subjects.filter((subject) => !subject.kept || before.has(owner(subject)))
  const reports = there.map((subject) => ({ subject, report: reportOf(host, subject, isOurs, 'repair', lost.has(subject)) }))
  const touched = reports.filter(({ subject, report }) => subject.kept && isTouched(report))
  if (touched.length > 0) sleep(AFTER)
  const after = living(library)
  for (const { subject, report } of touched) takeBack(host, subject, { kept: after.has(owner(subject)), made: report.made === true })
  return reports.filter(({ subject }) => !subject.kept || after.has(owner(subject))).map(({ report }) => report)
}

const living = (library: Library): Set<string> => new Set(library.read().flatMap(({ kept }) => (kept ? [owner(kept.attachment)] : [])))
