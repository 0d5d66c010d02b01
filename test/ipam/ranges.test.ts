// Ranges against a model that is as simple as can be: a list of numbers below 256, of which the network part is a prefix
// of the text. Every sentence of the validation, with the key's path.

import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { addressText, parseAddress } from '../../src/ip.ts'
import type { ConfWithIpam } from '../../src/ipam/conf.ts'
import { rangeSets } from '../../src/ipam/host-local.ts'
import { candidates, capacity, conflicts, isGateway, parseRange, rangeFor, rangeText, type RangeConf, type RangeSet } from '../../src/ipam/ranges.ts'

interface Model {
  prefix: string
  ranges: { start: number; end: number; gateway: number }[]
}

/** Up to four ranges of one subnet, in any order, that do not overlap; gateways anywhere in it. */
const models: fc.Arbitrary<Model> = fc
  .record({
    prefix: fc.constantFrom('10.1.2.', 'fd00:1::'),
    cuts: fc.uniqueArray(fc.integer({ min: 1, max: 254 }), { minLength: 2, maxLength: 8 }),
    gateways: fc.array(fc.integer({ min: 1, max: 254 }), { minLength: 4, maxLength: 4 }),
    turn: fc.nat(3),
  })
  .map(({ prefix, cuts, gateways, turn }) => {
    const sorted = cuts.toSorted((a, b) => a - b)
    const ranges = gateways.flatMap((gateway, i) => (sorted[2 * i + 1] === undefined ? [] : [{ start: sorted[2 * i]!, end: sorted[2 * i + 1]!, gateway }]))
    return { prefix, ranges: [...ranges.slice(turn), ...ranges.slice(0, turn)] }
  })

const text = ({ prefix }: Model, number: number): string => addressText(parseAddress(prefix.includes(':') ? `${prefix}${number.toString(16)}` : `${prefix}${number}`)!)
const confs = (model: Model): RangeConf[] => model.ranges.map(({ start, end, gateway }) => ({ subnet: model.prefix.includes(':') ? 'fd00:1::/120' : '10.1.2.0/24', rangeStart: text(model, start), rangeEnd: text(model, end), gateway: text(model, gateway) }))
const setOf = (model: Model): RangeSet => confs(model).map((conf, i) => parseRange(conf, `range ${i}`))

/** Numbers in the order in which they may be leased when none was leased before. */
const order = ({ ranges }: Model): number[] =>
  ranges.flatMap(({ start, end, gateway }) => Array.from({ length: end - start + 1 }, (_, i) => start + i).filter((number) => number !== gateway))

t.test('candidates: round robin from the last one through all ranges, gateways skipped, every address once', async (t) => {
  const property = fc.property(models, fc.integer({ min: 0, max: 255 }), (model, last) => {
    const set = setOf(model)
    const all = order(model)
    const inside = model.ranges.some(({ start, end }) => start <= last && last <= end)
    const offered = [...candidates(set, parseAddress(text(model, last)))]
    const numbers = offered.map(({ address }) => addressText(address))
    assert.deepEqual(numbers, (inside ? behindLast(model, last) : all).map((number) => text(model, number)))
    assert.deepEqual(numbers.toSorted(), all.map((number) => text(model, number)).sort())
    assert.equal(Number(capacity(set)), all.length)
    for (const { address, range } of offered) assert.equal(range, rangeFor(set, address))
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 300 }))
})

/** The order, beginning behind `last`, which may itself be a gateway. */
function behindLast(model: Model, last: number): number[] {
  const withGateways = order({ ...model, ranges: model.ranges.map((range) => ({ ...range, gateway: -1 })) })
  const i = withGateways.indexOf(last) + 1
  const allowed = new Set(order(model))
  return [...withGateways.slice(i), ...withGateways.slice(0, i)].filter((number) => allowed.has(number))
}

t.test('no last one, or one that is in no range: from the first address of the first range', async (t) => {
  const set = [parseRange({ subnet: '10.1.2.0/24', rangeStart: '10.1.2.20', rangeEnd: '10.1.2.21' }, 'a'), parseRange({ subnet: '10.1.2.0/24', rangeStart: '10.1.2.10', rangeEnd: '10.1.2.11' }, 'b')]
  const offers = (last?: string) => [...candidates(set, last ? parseAddress(last) : undefined)].map(({ address }) => addressText(address))
  for (const last of [undefined, '10.1.2.15', '192.0.2.1', 'fd00::20']) t.same(offers(last), ['10.1.2.20', '10.1.2.21', '10.1.2.10', '10.1.2.11'])
  t.same(offers('10.1.2.21'), ['10.1.2.10', '10.1.2.11', '10.1.2.20', '10.1.2.21'], 'from one range into the next')
  t.same(offers('10.1.2.10'), ['10.1.2.11', '10.1.2.20', '10.1.2.21', '10.1.2.10'], 'and around')
})

t.test('a range by default', async (t) => {
  const parts = (conf: RangeConf) => {
    const range = parseRange(conf, 'range')
    return `${rangeText(range)} gateway ${addressText(range.gateway)}, ${capacity([range])}`
  }
  t.equal(parts({ subnet: '10.1.2.0/24' }), '10.1.2.1-10.1.2.254 gateway 10.1.2.1, 253')
  t.equal(parts({ subnet: '10.1.2.0/30' }), '10.1.2.1-10.1.2.2 gateway 10.1.2.1, 1')
  t.equal(parts({ subnet: 'fd00::/126' }), 'fd00::1-fd00::3 gateway fd00::1, 2')
  t.equal(parts({ subnet: 'fd00::/64' }), 'fd00::1-fd00::ffff:ffff:ffff:ffff gateway fd00::1, 18446744073709551614')
  t.equal(parts({ subnet: '::ffff:10.1.2.0/120' }), '10.1.2.1-10.1.2.254 gateway 10.1.2.1, 253', 'IPv4 in IPv6 clothes')
  t.equal(parts({ subnet: '10.1.2.0/24', gateway: '192.0.2.1' }), '10.1.2.1-10.1.2.254 gateway 192.0.2.1, 254', 'a gateway elsewhere takes no address')
  t.equal(parts({ subnet: '10.1.2.0/24', rangeStart: '', rangeEnd: '', gateway: '' }), parts({ subnet: '10.1.2.0/24' }), 'empty is absent')
})

t.test('whose gateway an address is', async (t) => {
  const range = parseRange({ subnet: '10.1.2.0/24' }, 'range')
  t.ok(isGateway(range, parseAddress('10.1.2.1')!))
  t.notOk(isGateway(range, parseAddress('10.1.2.2')!))
  t.notOk(isGateway(range, parseAddress('::a01:201')!), 'the same number in the other family')
})

t.test('what is wrong with ranges, in sentences that name the key', async (t) => {
  const said = (ipam: object, more: object = {}) => {
    try {
      rangeSets({ cniVersion: '1.0.0', name: 'n', type: 'host-local', ipam: { type: 'host-local', ...ipam }, ...more } as ConfWithIpam)
      return 'nothing'
    } catch (error) {
      return (error as Error).message
    }
  }
  const range = (conf: RangeConf) => said({ ranges: [[conf]] })
  const subnet = '10.1.2.0/24'
  t.equal(said({}), 'no IP ranges specified: expected ipam.ranges, such as [[{"subnet": "10.1.2.0/24"}]]')
  t.equal(range({ rangeStart: '10.1.2.3' }), 'ipam.ranges[0][0].subnet is missing: expected a network in CIDR notation such as "10.1.2.0/24"')
  t.equal(range({ subnet: '10.1.2.0' }), 'ipam.ranges[0][0].subnet is "10.1.2.0": expected a network in CIDR notation such as "10.1.2.0/24"')
  t.equal(range({ subnet: '10.1.2.3/24' }), 'ipam.ranges[0][0].subnet is "10.1.2.3/24": Network has host bits set. For a subnet mask of length 24 the network address is 10.1.2.0')
  for (const small of ['10.1.2.0/31', '10.1.2.0/32']) t.equal(range({ subnet: small }), `ipam.ranges[0][0].subnet is "${small}": Network ${small} too small to allocate from: expected a prefix of at most /30`)
  for (const small of ['fd00::/127', 'fd00::/128']) t.equal(range({ subnet: small }), `ipam.ranges[0][0].subnet is "${small}": Network ${small} too small to allocate from: expected a prefix of at most /126`)
  t.equal(range({ subnet, rangeStart: '10.1.3.1' }), 'ipam.ranges[0][0].rangeStart is "10.1.3.1": RangeStart not in network 10.1.2.0/24')
  t.equal(range({ subnet, rangeEnd: 'fd00::1' }), 'ipam.ranges[0][0].rangeEnd is "fd00::1": RangeEnd not in network 10.1.2.0/24')
  t.equal(range({ subnet, rangeEnd: '10.1.2.256' }), 'ipam.ranges[0][0].rangeEnd is "10.1.2.256": expected an IP address')
  t.equal(range({ subnet, gateway: 'fd00::1' }), 'ipam.ranges[0][0].gateway is "fd00::1": expected an IPv4 address, as subnet is one')
  t.equal(range({ subnet, rangeStart: '10.1.3.1', rangeEnd: 'x', gateway: 'y' }), ['rangeStart is "10.1.3.1": RangeStart not in network 10.1.2.0/24', 'rangeEnd is "x": expected an IP address', 'gateway is "y": expected an IP address'].map((one) => `ipam.ranges[0][0].${one}`).join('; '), 'all at once')
  t.equal(range({ subnet, rangeStart: '10.1.2.9', rangeEnd: '10.1.2.8' }), 'ipam.ranges[0][0].rangeStart is "10.1.2.9": it is behind rangeEnd 10.1.2.8')
  t.equal(said({ ranges: [[{ subnet }, { subnet: 'fd00::/64' }]] }), 'ipam.ranges[0]: mixed address families in one range set')
  t.equal(said({ ranges: [[{ subnet }, { subnet: '10.1.2.128/25' }]] }), 'ipam.ranges[0][1]: 10.1.2.129-10.1.2.254 overlaps with ipam.ranges[0][0]: 10.1.2.1-10.1.2.254')
  t.equal(said({ ranges: [[{ subnet }], [{ subnet: '10.1.0.0/16' }]] }), 'ipam.ranges[1]: 10.1.0.1-10.1.255.254 overlaps with ipam.ranges[0]: 10.1.2.1-10.1.2.254')
  t.equal(said({ subnet, ranges: [[{ subnet }]] }), 'ipam.ranges[0]: 10.1.2.1-10.1.2.254 overlaps with ipam: 10.1.2.1-10.1.2.254', 'the old style and the new')
  t.equal(said({ ranges: [[{ subnet }]] }, { runtimeConfig: { ipRanges: [[{ subnet }]] } }), 'ipam.ranges[0]: 10.1.2.1-10.1.2.254 overlaps with runtimeConfig.ipRanges[0]: 10.1.2.1-10.1.2.254')
  t.equal(said({ ranges: [[{ subnet: '10.1.2.3/24' }, { subnet: 'x' }]] }), [range({ subnet: '10.1.2.3/24' }), range({ subnet: 'x' }).replace('[0][0]', '[0][1]')].join('; '), 'all at once')
  t.equal(said({ ranges: [[{ subnet }], [{ subnet: '10.1.3.0/24' }]] }, { cniVersion: '0.2.0' }), 'CNI version 0.2.0 does not support more than 1 address per family')
  t.equal(said({ ranges: [[{ subnet }], [{ subnet: 'fd00::/64' }]] }, { cniVersion: '0.2.0' }), 'nothing')
})

t.test('range sets in their order: of the runtime, old style, new style', async (t) => {
  const conf = { cniVersion: '1.0.0', name: 'n', type: 'x', runtimeConfig: { ipRanges: [[{ subnet: '10.1.0.0/24' }]] }, ipam: { type: 'host-local', subnet: '10.2.0.0/24', ranges: [[{ subnet: '10.3.0.0/24' }], [{ subnet: 'fd00::/64' }]] } } as ConfWithIpam
  t.same(rangeSets(conf).map((set) => set.map(rangeText)), [['10.1.0.1-10.1.0.254'], ['10.2.0.1-10.2.0.254'], ['10.3.0.1-10.3.0.254'], ['fd00::1-fd00::ffff:ffff:ffff:ffff']])
})

t.test('twenty thousand ranges that overlap are said once each', async (t) => {
  const sets = [{ path: 'set', set: Array.from({ length: 20_000 }, () => parseRange({ subnet: '10.0.0.0/8' }, '')) }]
  const found = [...conflicts(sets)]
  t.equal(found.length, 19_999)
  t.equal(found.at(-1), 'set[19999]: 10.0.0.1-10.255.255.254 overlaps with set[0]: 10.0.0.1-10.255.255.254')
})

t.test('overlaps are found wherever they are, and nowhere else', async (t) => {
  const span = fc.tuple(fc.integer({ min: 1, max: 254 }), fc.integer({ min: 0, max: 20 })).map(([start, length]) => ({ start, end: Math.min(start + length, 254) }))
  const property = fc.property(fc.array(span, { minLength: 1, maxLength: 5 }), (spans) => {
    const sets = spans.map(({ start, end }, i) => ({ path: `set ${i}`, set: [parseRange({ subnet: '10.1.2.0/24', rangeStart: `10.1.2.${start}`, rangeEnd: `10.1.2.${end}` }, '')] }))
    const numbers = spans.flatMap(({ start, end }) => Array.from({ length: end - start + 1 }, (_, i) => start + i))
    assert.equal([...conflicts(sets)].length > 0, new Set(numbers).size < numbers.length)
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 300 }))
})
