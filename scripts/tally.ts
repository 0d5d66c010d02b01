// What a person wants of a run of tests. Reads tap's TAP on standard input, and prints a line per file, failures whole, tests
// that were skipped, and the counts; the last line is for programs. Ends with status 1 if a file failed, or there was none.
// Each line is written when it is read: awk may wait for a block of them (mawk does), which is minutes.

import { createInterface } from 'node:readline'

const count = { passed: 0, failed: 0, skipped: 0 }
let failure = false // inside of one: from its first line to the end of its diagnostics

for await (const line of createInterface({ input: process.stdin })) {
  const [, not, file] = /^(not )?ok\b(.*)/.exec(line) ?? []
  if (file !== undefined) {
    count[not ? 'failed' : 'passed']++
    failure = not !== undefined
    console.log(line.replace(' # time=', '  '))
  } else if (/^ +not ok\b/.test(line)) failure = true
  if (/^ +ok\b.* # SKIP/.test(line)) {
    count.skipped++
    console.log(line)
  } else if (failure && file === undefined) console.log(line)
  if (/^ +\.\.\.$/.test(line)) failure = false
}

const { passed, failed, skipped } = count
const of = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? '' : 's'}`
console.log(`\n${of(passed, 'file')} passed, ${failed} failed; ${of(skipped, 'test')} skipped`)
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`)
process.exitCode = failed > 0 || passed === 0 ? 1 : 0
