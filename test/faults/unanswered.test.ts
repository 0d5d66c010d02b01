// A kernel that does what it is asked and does not say so, and one that does nothing any more, so that an ADD cannot even
// take back what it did: then DEL does.

import { before, del, once, strace, things, times } from './refusals.ts'
import t from 'tap'
import { cannotInject } from '../reference.ts'
import { sample } from './samples.ts'

t.test('each answer lost once', { skip: cannotInject }, async (t) => once(t, 'recvmsg', 'ENOBUFS'))

t.test('every request from one on: ADD can take nothing back, DEL does', { skip: cannotInject }, async (t) => {
  const count = times('sendmsg')
  let left = 0
  for (const i of sample(count, 6)) {
    strace(`inject=sendmsg:error=ENOMEM:when=${i}+`)
    if (things() !== before) left++
    const released = del()
    if (released.stdout !== '') return void t.fail(`from ${i} of ${count} on, DEL: ${released.stdout}`)
    const after = things()
    if (after !== before) return void t.equal(after, before, `from ${i} of ${count} on`)
  }
  t.ok(left > 0, `${left} of ${count} times it left something to DEL`)
})
