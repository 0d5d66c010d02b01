// Waiting, while somebody sets the clock back.

import '../world.ts'
import { closeSync, openSync } from 'node:fs'
import t from 'tap'
import { sleep, tryLock } from '../../src/kernel/libc.ts'
import { lockWithin, Patience } from '../../src/kernel/patience.ts'

const wall = Date.now
t.afterEach(() => void (Date.now = wall))

/** The clock on the wall goes back by an hour each time it is looked at. */
function setBack(): void {
  let hours = 0
  Date.now = () => wall() - ++hours * 3_600_000
}

t.test('a lock that somebody has for ever', async (t) => {
  const [theirs, ours] = [openSync('/run/lock', 'w'), openSync('/run/lock', 'w')]
  t.ok(tryLock(theirs))
  setBack()
  const start = performance.now()
  t.notOk(lockWithin(50, ours))
  t.ok(performance.now() - start >= 50, 'not before the time is up')
  closeSync(theirs)
  t.ok(lockWithin(0, ours), 'one that is free is had at once')
  closeSync(ours)
})

t.test('what is left gets less, and then nothing', async (t) => {
  setBack()
  const patience = new Patience(30)
  t.ok(patience.left > 0 && patience.left <= 30 && !patience.over)
  t.ok(Number.isInteger(patience.left), 'as poll wants it')
  while (!patience.over) sleep(1)
  t.equal(patience.left, 0)
})
