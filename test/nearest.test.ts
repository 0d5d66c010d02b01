// "Did you mean …?"

import fc from 'fast-check'
import t from 'tap'
import { didYouMean, distance, nearest } from '../src/nearest.ts'

t.test('a distance is the letters to insert, delete, change or swap', async (t) => {
  const pairs: [string, string, number][] = [['', '', 0], ['a', '', 1], ['bridge', 'brigde', 1], ['bridge', 'bride', 1], ['bridge', 'brridge', 1], ['bridge', 'fridge', 1], ['ca', 'abc', 3], ['kitten', 'sitting', 3]]
  for (const [a, b, edits] of pairs) t.same([distance(a, b), distance(b, a)], [edits, edits], `${a} ${b}`)
  fc.assert(fc.property(fc.string(), fc.string(), (a, b) => distance(a, b) === distance(b, a) && distance(a, b) <= Math.max(a.length, b.length) && (distance(a, b) === 0) === (a === b)))
})

t.test('the nearest word is one edit away for three letters typed, the first of several, in any case', async (t) => {
  const words = ['bridge', 'host-local', 'portMappings', 'ptp', 'tap']
  t.same(['brigde', 'hostlocal', 'portmappings', 'ptb', 'PTP', 'macvlan', 'pt', 'bdrigs', ''].map((typed) => nearest(typed, words)), ['bridge', 'host-local', 'portMappings', 'ptp', 'ptp', undefined, 'ptp', undefined, undefined])
  t.equal(nearest('hostlcl', words, 1), undefined)
  t.same([didYouMean('brigde', words), didYouMean('macvlan', words)], [': did you mean bridge?', ''])
})
