// Configurations against schemas: sentences that name path, value and what is allowed; keys of any case; near misses.

import fc from 'fast-check'
import t from 'tap'
import { compile } from '../src/cni/compile.ts'
import { canonical, salvage, validate, type Schema } from '../src/cni/schema.ts'

const SCHEMA: Schema = {
  type: 'object',
  required: ['name', 'size'],
  properties: {
    name: { type: 'string', expected: 'a name' },
    size: { type: 'integer', minimum: 1, maximum: 9, expected: 'a size from 1 to 9' },
    mode: { type: 'string', enum: ['on', 'off'] },
    flag: { type: 'boolean' },
    address: { type: 'string', format: 'address', expected: 'an IP address' },
    level: { type: 'integer', minimum: 0 },
    ranges: { type: 'array', expected: 'a list of lists', items: { type: 'array', items: { type: 'object', required: ['subnet'], properties: { subnet: { type: 'string', format: 'cidr', expected: 'a network' }, rangeStart: { type: 'string' } } } } },
  },
}
const validator = compile(SCHEMA)

/** The sentences about a configuration, and what was noted. */
function judge(conf: object, twice: string[] = []): { problems: string[]; notes: string[]; value: Record<string, unknown> } {
  const notes: string[] = []
  const value = canonical(SCHEMA, conf as Record<string, unknown>, notes, twice)
  try {
    validate(SCHEMA, validator, value)
    return { problems: [], notes, value }
  } catch (error) {
    t.equal((error as { code: number }).code, 7)
    return { problems: (error as Error).message.split('; '), notes, value }
  }
}
const right = { name: 'n', size: 5 }

t.test('a right configuration has no problems, and unknown keys are none', async (t) => {
  t.same(judge({ ...right, flag: false, mode: 'on', address: '::1', ranges: [[{ subnet: '10.0.0.0/8' }]], other: { anything: [1, null] } }), { problems: [], notes: [], value: { ...right, flag: false, mode: 'on', address: '::1', ranges: [[{ subnet: '10.0.0.0/8' }]], other: { anything: [1, null] } } })
})

t.test('every problem is a sentence with path, value and what is allowed; all come at once', async (t) => {
  t.same(judge({ size: 10, flag: 'yes', mode: 'x', address: '1.2.3', ranges: [[{ subnet: '10.0.0.0/8' }], [{}, { subnet: 'x', rangeStart: 5 }], 'r'] }).problems.sort(), [
    'address is "1.2.3": expected an IP address',
    'flag is "yes": expected a boolean',
    'mode is "x": expected enum ["on","off"]',
    'name is missing: expected a name',
    'ranges[1][0].subnet is missing: expected a network',
    'ranges[1][1].rangeStart is 5: expected a string',
    'ranges[1][1].subnet is "x": expected a network',
    'ranges[2] is "r": expected an array',
    'size is 10: expected a size from 1 to 9',
  ])
  t.same(judge({ ...right, size: 1e400 }).problems, ['size is Infinity: expected a size from 1 to 9'])
  t.same(judge({ ...right, size: 2 ** 60 }).problems, ['size is 1152921504606847000: expected a size from 1 to 9'])
  t.same(judge({ ...right, name: ['x'.repeat(1000)] }).problems, [`name is ["${'x'.repeat(97)}…: expected a name`], 'a long value is cut')
})

t.test('keys are read in any case, the exact one first; null is absent', async (t) => {
  t.same(judge({ NAME: 'n', Size: 5, RANGES: [[{ Subnet: '10.0.0.0/8', RANGESTART: 'x' }]], flag: null }).value, { name: 'n', size: 5, ranges: [[{ subnet: '10.0.0.0/8', rangeStart: 'x' }]] })
  t.same(judge({ ...right, SIZE: 'x' }), { problems: [], notes: ['SIZE is not a key of podwire: did you mean size?'], value: { ...right, SIZE: 'x' } })
  t.same(judge({ NAME: 'n', name: null, size: 5 }).value, { name: 'n', size: 5 }, 'so that the other one counts')
  t.same(judge({ ...right, name: null }).problems, ['name is missing: expected a name'])
})

t.test('a key in two spellings, neither of them its own, is told, wherever it is, unless one of them says nothing', async (t) => {
  const twice = (conf: object) => {
    const told: string[] = []
    judge({ ...right, ...conf }, told)
    return told
  }
  t.same(twice({ SIZE: 6 }), [], 'the exact one counts, and the other is noted')
  t.same(twice({ Flag: true, FLAG: false, flag: null }), ['FLAG is the same key as Flag: expected one of them'])
  t.same(twice({ ranges: [[{ subnet: '10.0.0.0/8' }, { Subnet: '10.0.0.0/8', SUBNET: '11.0.0.0/8' }]] }), ['ranges[0][1].SUBNET is the same key as Subnet: expected one of them'])
  t.same(twice({ Size: null, Mode: '', mode: 'on', other: 1, OTHER: 2 }), [])
})

t.test('what says nothing is as if it were not there: null, and of keys that may be left out an empty string', async (t) => {
  t.same(judge({ ...right, mode: '', address: '', flag: null, ranges: null, level: null }), { problems: [], notes: [], value: right })
  t.same(judge({ ...right, flag: false, level: 0, ranges: [] }).value, { ...right, flag: false, level: 0, ranges: [] }, 'but what is a value')
  t.same(judge({ name: '', size: 0 }).problems, ['size is 0: expected a size from 1 to 9'], 'and of a key that must be there it is a wrong one')
  t.same(judge({ ...right, ranges: [[{ subnet: '10.0.0.0/8', rangeStart: '' }]] }).value.ranges, [[{ subnet: '10.0.0.0/8' }]], 'at any depth')
})

t.test('a near miss is noted with its path: a letter more, less, another, or two swapped', async (t) => {
  for (const near of ['adress', 'addresss', 'addrezz', 'addrses', 'Addres', 'ddress']) t.same(judge({ ...right, [near]: 1 }).notes, near === 'addrezz' ? [] : [`${near} is not a key of podwire: did you mean address?`], near)
  t.same(judge({ ...right, ranges: [[{ subnet: '10.0.0.0/8', subnets: 1, rangestart: 'x' }]] }).notes, ['ranges[0][0].subnets is not a key of podwire: did you mean subnet?', 'ranges[0][0].rangestart is read as rangeStart'])
})

t.test('salvage keeps the keys that are right', async (t) => {
  t.same(salvage(validator, { name: 'n', size: 'x', ranges: [[{}]], other: 1 }), { name: 'n', other: 1 })
})

t.test('keys that every object has are keys like others', async (t) => {
  const conf = JSON.parse('{"name":"n","size":5,"__proto__":{"flag":"x"},"constructor":1,"toString":2,"ranges":[[{"subnet":"::/0","__proto__":[],"hasOwnProperty":3}]]}')
  const { problems, value } = judge(conf)
  t.same(problems, [])
  t.equal(JSON.stringify(value), JSON.stringify(conf))
  t.equal(Object.getPrototypeOf(value), Object.prototype)
})

t.test('any configuration is judged, without an exception and without a change of what is right', async () => {
  const key = fc.oneof(fc.constantFrom('name', 'NAME', 'size', 'mode', 'flag', 'address', 'adress', 'ranges', 'subnet', '__proto__', 'constructor', ''), fc.string())
  const value = fc.letrec((tie) => ({ any: fc.oneof({ maxDepth: 4 }, fc.jsonValue({ maxDepth: 1 }), fc.constantFrom('n', 5, 'on', '10.0.0.0/8', Infinity), fc.dictionary(key, tie('any')), fc.array(tie('any'))) })).any
  fc.assert(
    fc.property(fc.dictionary(key, value), (conf) => {
      const { problems, value: read } = judge(conf)
      const again = judge(read)
      if (JSON.stringify(again.value) !== JSON.stringify(read) || JSON.stringify(again.problems) !== JSON.stringify(problems)) throw new Error('judged again, it is another')
      return problems.length === 0 || / is missing| is .*: expected ./s.test(problems.join('; '))
    }),
    { numRuns: 150 },
  )
})
