// Rules and elements against nft itself: what we write nft reads as we mean it, and what nft writes we read as it means it.

import { nft, sh } from '../world.ts'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import t from 'tap'
import type { Chain, Element, Plan } from '../../src/facts.ts'
import { addressText, cidrText, network, type Family } from '../../src/ip.ts'
import { Netns } from '../../src/kernel/netns.ts'
import { elements } from '../../src/kernel/nft.ts'
import { encodeRule, expressions, sameRule } from '../../src/kernel/nft-rule.ts'
import * as state from '../../src/state.ts'

const kernel = { host: new Netns() }
t.teardown(() => kernel.host.close())
t.afterEach(() => sh('nft flush ruleset'))

const address = (family: Family) => fc.bigInt({ min: 0n, max: (1n << (family === 4 ? 32n : 128n)) - 1n }).map((value) => ({ family, value }))
const cidr = fc.constantFrom<Family>(4, 6).chain((family) => fc.tuple(address(family), fc.integer({ min: 1, max: family === 4 ? 32 : 128 }))).map(([a, prefix]) => network({ ...a, prefix }))
const rule = cidr.map((net) => `${net.family === 4 ? 'ip' : 'ip6'} daddr ${cidrText(net)} return`)
const chain = (rules: string[]): Chain => ({ fact: 'chain', name: 'outside', rules: [...rules, 'masquerade'], keep: true })
const table: Plan = [{ fact: 'table', keep: true }]

t.test('a chain of ours is read by nft as it was meant, and by us as nft wrote it', async (t) => {
  fc.assert(
    fc.property(fc.array(rule, { minLength: 1, maxLength: 12 }), (rules) => {
      sh('nft flush ruleset')
      const fact = chain(rules)
      state.add(kernel, [...table, fact], 'pod')
      const ours = nft('list chain inet podwire outside')
      if (state.check(kernel, [fact], 'pod').length > 0) return false
      nft(`-f - <<'RULES'\nflush ruleset\nadd table inet podwire\nadd chain inet podwire outside\n${fact.rules.map((r) => `add rule inet podwire outside ${r}`).join('\n')}\nRULES`)
      return nft('list chain inet podwire outside') === ours && state.check(kernel, [fact], 'pod').length === 0
    }),
    { numRuns: 6 },
  )
  t.match(nft('list chain inet podwire outside'), 'masquerade', 'and there was something to compare')
})

t.test('elements and their owners, whole, for any address', async (t) => {
  const owner = 'podnet/3f2a0123456789abcdef3f2a0123456789abcdef3f2a0123456789abcdef3f2a/eth0'
  const shared: Plan = [...table, { fact: 'map', name: 'masquerade_ip', type: 'ipv4_addr', data: 'verdict', keep: true }, { fact: 'map', name: 'masquerade_ip6', type: 'ipv6_addr', data: 'verdict', keep: true }, chain([])]
  const keys = fc.sample(fc.oneof(address(4), address(6)), { numRuns: 300, seed: 1 }).map(addressText)
  const wanted = [...new Set(keys)].map((key): Element => ({ fact: 'element', map: key.includes(':') ? 'masquerade_ip6' : 'masquerade_ip', key, value: 'goto outside', owner }))
  state.add(kernel, [...shared, ...wanted], 'pod')
  const found = ['masquerade_ip', 'masquerade_ip6'].flatMap((map) => elements(kernel.host, (name) => name === map))
  t.same(found.map(({ key }) => key).sort(), wanted.map(({ key }) => key).sort())
  t.ok(found.every((element) => element.owner === owner && element.value === 'goto outside'))
  t.same(state.check(kernel, wanted, 'pod'), [])
  t.same(state.del(kernel, wanted), [])
  t.same(elements(kernel.host, (name) => name === 'masquerade_ip'), [])
})

t.test('more elements than a datagram may have, for who may not widen the buffer of a socket', async (t) => {
  const LONG = 127 // bytes of an owner
  const owner = 'podnet/3f2a/eth0'.padEnd(LONG, '0')
  const room = 2 * Number(readFileSync('/proc/sys/net/core/wmem_max', 'utf8')) // SO_SNDBUF doubles it
  const count = Math.min(65_535, Math.ceil(room / (LONG + 50)) + 1)
  const map = { fact: 'map', name: 'hostports_ip6', type: 'inet_proto . inet_service', data: 'ipv6_addr . inet_service', keep: true } as const
  const own = Array.from({ length: count }, (_, i): Element => ({ fact: 'element', map: map.name, key: `udp . ${i + 1}`, value: 'fd00::2 . 80', owner, exclusive: { map: 'hostips_ip6', keys: 'longer' } }))
  state.add(kernel, [...table, map, { ...map, name: 'hostips_ip6', type: 'inet_proto . inet_service . ipv6_addr' }, ...own], 'pod')
  t.equal(elements(kernel.host, (name) => name === map.name).length, count)
  const others = own.slice(-2).map((element) => ({ ...element, owner: 'podnet/other/eth0' }))
  const more = Array.from({ length: count }, (_, i) => ({ ...own[i]!, key: `tcp . ${i + 1}`, owner: others[0]!.owner }))
  t.throws(() => state.add(kernel, [...more, ...others], 'pod'), { message: /udp \. \d+ is held by podnet\/3f2a/ })
  t.equal(elements(kernel.host, (name) => name === map.name).length, count, 'all or none, in parts as well')
  t.same(state.del(kernel, own), [])
  t.same(elements(kernel.host, (name) => name === map.name), [])
})

t.test('fifty owners at once each take back their own', async (t) => {
  const shared: Plan = [...table, { fact: 'map', name: 'masquerade_ip', type: 'ipv4_addr', data: 'verdict', keep: true }, chain([])]
  const own = Array.from({ length: 50 }, (_, i): Element => ({ fact: 'element', map: 'masquerade_ip', key: `10.0.0.${i}`, value: 'goto outside', owner: `n/c${i}/eth0` }))
  state.add(kernel, [...shared, ...own], 'pod')
  t.same(state.del(kernel, own.map((element) => ({ ...element, owner: 'n/somebody/eth0' }))), [])
  t.equal(elements(kernel.host, (name) => name === 'masquerade_ip').length, 50, "nobody takes another's")
  const odd = own.filter((_, i) => i % 2)
  t.same(state.del(kernel, odd), [])
  t.equal(elements(kernel.host, (name) => name === 'masquerade_ip').length, 25)
})

t.test('a rule is the same on a kernel that lists less or more of it, and not with another value or sense', async (t) => {
  const list = (text: string) => expressions(encodeRule(text))
  const ours = list('ip daddr 224.0.0.0/4 ip saddr != @some drop')
  const without = (kind: string, type: number) => list('ip daddr 224.0.0.0/4 ip saddr != @some drop').map((one) => (one.name === kind ? { ...one, data: new Map([...one.data].filter(([attribute]) => attribute !== type)) } : one))
  const more = ours.map((one) => ({ ...one, data: new Map([...one.data, [99, Buffer.from([1])] as const]) }))
  t.ok(sameRule(ours, without('bitwise', 6)), 'before Linux 5.6 there was no NFTA_BITWISE_OP')
  t.ok(sameRule(ours, more))
  t.notOk(sameRule(ours, without('lookup', 5)), '"!=" is a flag of the lookup')
  t.notOk(sameRule(ours, without('bitwise', 4)), 'the mask')
  for (const other of ['ip daddr 224.0.0.0/5 ip saddr != @some drop', 'ip daddr 224.0.0.0/4 ip saddr != @other drop', 'ip daddr 224.0.0.0/4 ip saddr @some drop', 'ip daddr 224.0.0.0/4 ip saddr != @some accept', 'ip daddr 224.0.0.0/4']) t.notOk(sameRule(ours, list(other)), other)
})
