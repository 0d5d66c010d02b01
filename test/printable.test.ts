// What others said does nothing to the terminal or the log of who reads it.

import t from 'tap'
import { printable } from '../src/printable.ts'
import { log } from '../src/vxlan/log.ts'

const CASES: [said: string, shown: string][] = [
  ['node-1', 'node-1'],
  ['é ü 漢字 🙂', 'é ü 漢字 🙂'],
  ['\u001b[31mred', '\\u001b[31mred'],
  ['\u009b31mred', '\\u009b31mred'],
  ['one\ntwo\r\u2028three', 'one\\u000atwo\\u000d\\u2028three'],
  ['abc\u202ecba\u2066', 'abc\\u202ecba\\u2066'],
  ['bell\u0007 del\u007f nul\0', 'bell\\u0007 del\\u007f nul\\u0000'],
]

for (const [said, shown] of CASES)
  t.test(shown, async (t) => {
    t.equal(printable(said), shown)
    const line = logged(() => log.warn('a node cannot be used as it is', { node: said, why: `it is ${said}` }))
    t.match(line, /^time=\S+ level=warn msg="a node cannot be used as it is" node=.* why=.*\n$/)
    t.notMatch(line.trimEnd(), /[\0-\x1f\x7f-\x9f\u2028\u202e\u2066]/, 'one line, without a control character')
  })

function logged(write: () => void): string {
  const before = process.stderr.write
  let text = ''
  process.stderr.write = ((chunk: string) => (text += chunk) !== '') as never
  try {
    write()
  } finally {
    process.stderr.write = before
  }
  return text
}
