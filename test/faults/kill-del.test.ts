// A DEL that is killed at any moment: the next one does the rest, and nothing is in the way of the next ADD.

import { add, del, everything, MOMENTS, sweep, tally, things } from './moments.ts'
import t from 'tap'
import { builtIsMissing } from '../reference.ts'

t.test(`DEL killed at ${MOMENTS} moments`, { skip: builtIsMissing }, async (t) => {
  add()
  del()
  const [before, all] = [things(), everything()]
  const seen: string[] = []
  const problems: string[] = []
  const { killed, summary } = sweep('DEL', add, (i) => {
    seen.push(things())
    const again = del(i)
    if (again.stdout !== '') problems.push(`moment ${i}, DEL again: ${again.stdout}`)
    if (things() !== before) problems.push(`moment ${i}, left: ${things()}`)
    const next = add()
    if (next.status !== 0) problems.push(`moment ${i}, the next ADD: ${next.stdout}`)
    del()
  })
  t.equal(killed, MOMENTS)
  t.same(problems, [])
  t.comment(`${summary}; afterwards there was: ${tally(seen, before)}`)
  t.ok(new Set(seen.map((text) => tally([text], before))).size >= 2, 'it was killed before, amid and after its work')
  t.equal(everything(), all)
})
