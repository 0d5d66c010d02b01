// An ADD that is killed at any moment: DEL removes what it did, and the next ADD works.

import { add, del, everything, MOMENTS, sweep, tally, things } from './moments.ts'
import t from 'tap'
import { builtIsMissing } from '../reference.ts'

t.test(`ADD killed at ${MOMENTS} moments`, { skip: builtIsMissing }, async (t) => {
  add()
  del()
  const [before, all] = [things(), everything()]
  const seen: string[] = []
  const problems: string[] = []
  const { killed, summary } = sweep('ADD', del, (i) => {
    seen.push(things())
    const deleted = del(i)
    if (deleted.stdout !== '') problems.push(`moment ${i}, DEL: ${deleted.stdout}`)
    if (things() !== before) problems.push(`moment ${i}, left behind DEL: ${things()}`)
    const again = add()
    if (again.status !== 0) problems.push(`moment ${i}, the next ADD: ${again.stdout}`)
    del()
  })
  t.equal(killed, MOMENTS)
  t.same(problems, [])
  t.comment(`${summary}; afterwards there was: ${tally(seen, before)}`)
  t.ok(new Set(seen.map((text) => tally([text], before))).size >= 3, 'it was killed before, amid and after its work')
  t.equal(everything(), all)
})
