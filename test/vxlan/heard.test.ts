// What agents send each other over the overlay, byte by byte, and the words for what comes of it.

import t from 'tap'
import { duration, hearing, words, type Heard } from '../../src/vxlan/heard.ts'
import { decode, encode, LEAST } from '../../src/vxlan/probe-packet.ts'

const NONCE = '0123456789abcdef'

t.test('a question and its answer', async (t) => {
  const small = encode({ kind: 'question', length: LEAST, nonce: NONCE })
  t.equal(small.toString('hex'), `706f647701010010${NONCE}`)
  const large = encode({ kind: 'question', length: 1422, nonce: NONCE })
  t.same([large.length, large.subarray(0, LEAST).toString('hex')], [1422, `706f64770101058e${NONCE}`])
  const answer = encode({ kind: 'answer', length: 1422, nonce: NONCE })
  t.equal(answer.toString('hex'), `706f64770102058e${NONCE}`, 'never larger than what it answers')
  t.same(decode(large), { kind: 'question', length: 1422, nonce: NONCE })
  t.same(decode(answer), { kind: 'answer', length: 1422, nonce: NONCE })
})

const ODD: [what: string, hex: string][] = [
  ['nothing', ''],
  ['too few bytes', `706f647701010010${NONCE}`.slice(2)],
  ['somebody else\'s', `ffff647701010010${NONCE}`],
  ['another version', `706f647702010010${NONCE}`],
  ['another kind', `706f647701030010${NONCE}`],
  ['a question that says it is longer', `706f647701010011${NONCE}`],
  ['a question that says it is shorter', `706f647701010010${NONCE}00`],
  ['a length below the least', `706f647701010008${NONCE}`],
  ['an answer with more than it needs', `706f647701020010${NONCE}00`],
]

for (const [what, hex] of ODD) t.test(`no packet: ${what}`, async (t) => t.equal(decode(Buffer.from(hex, 'hex')), undefined))

t.test('words', async (t) => {
  const one = (more: Partial<Heard>): Heard => ({ node: 'b', address: '10.244.2.0', missed: 0, missedLarge: 0, ...more })
  const [ok, silent, narrow] = [one({ answered: 90, roundTrip: 0.3141 }), one({ answered: 40, missed: 3 }), one({ answered: 90, missedLarge: 3 })]
  t.same([one({}), one({ missed: 9 }), ok, one({ answered: 90, missed: 2 }), silent, narrow].map(hearing), ['configured', 'configured', 'ok', 'ok', 'silent', 'narrow'])
  t.equal(words([], 100), 'configured')
  t.equal(words([ok], 100), 'ok 0.31 ms')
  t.equal(words([ok, one({ address: 'fd00::', answered: 90, roundTrip: 12.6 })], 100), 'ok 13 ms', 'the slower one')
  t.equal(words([silent], 100), 'silent for 60 s')
  t.equal(words([ok, { ...silent, address: 'fd00::' }], 4000), 'silent for 66 min: fd00::', 'the one that differs is named')
  t.equal(words([narrow], 100), 'large packets do not pass')
  t.same([0, 1.4, 119, 121, 7300, 200_000].map(duration), ['0 s', '1 s', '119 s', '2 min', '2 h', '2 days'])
})
