// Addresses as text, number and bytes, against Node's own readers: net.isIP, and the WHATWG URL parser as a canonicaliser;
// and against ip-num, whose numbers and ranges ours must be.

import fc from 'fast-check'
import { IPv4, IPv4CidrRange, IPv6, IPv6CidrRange } from 'ip-num'
import { isIP } from 'node:net'
import t from 'tap'
import { addressBytes, addressText, bytesAddress, cidrText, contains, hostCidr, lastAddress, network, parseAddress, parseCidr, sameAddress, type Address } from '../src/ip.ts'

const value4 = fc.bigInt(0n, 2n ** 32n - 1n)
const group = fc.oneof(fc.constant(0), fc.constant(0xffff), fc.nat(0xffff))
const value6 = fc.array(group, { minLength: 8, maxLength: 8 }).map((groups) => groups.reduce((value, g) => (value << 16n) | BigInt(g), 0n))
const address: fc.Arbitrary<Address> = fc.oneof(value4.map((value): Address => ({ family: 4, value })), value6.filter((value) => value >> 32n !== 0xffffn).map((value): Address => ({ family: 6, value })))

/** Text that is often nearly an address. */
const piece = fc.oneof(fc.constantFrom(':', '::', '.', '0', '00', '1', '255', '256', '1.2.3.4', '10.0.0.1', 'ffff', 'FFFF', 'abcd', '12345', 'g', ' ', '+1', '-1', '0x1', '/', '\n', '٣'), fc.nat(300).map(String))
const text = fc.oneof(fc.array(piece, { maxLength: 16 }).map((pieces) => pieces.join('')), fc.array(piece, { maxLength: 9 }).map((pieces) => pieces.join(':')), fc.array(piece, { maxLength: 5 }).map((pieces) => pieces.join('.')), fc.ipV4(), fc.ipV6(), fc.string())

t.test('what Node takes for an address is one, and nothing else', async () => {
  fc.assert(
    fc.property(text.filter((s) => !s.includes('%')), (s) => {
      const parsed = parseAddress(s)
      if ((parsed !== undefined) !== (isIP(s) !== 0)) throw new Error(`${JSON.stringify(s)}: isIP says ${isIP(s)}`)
      return parsed === undefined || isIP(addressText(parsed)) === parsed.family
    }),
    { numRuns: 3000 },
  )
})

t.test('an IPv4 address stands only at the end of an IPv6 one', async (t) => {
  for (const wrong of ['10.0.0.1::', '1:10.0.0.1::', '10.0.0.1::1', '10.0.0.1:1:2:3:4:5:6']) t.equal(parseAddress(wrong), undefined, wrong)
  t.equal(addressText(parseAddress('1:2:3:4:5:6:10.0.0.1')!), '1:2:3:4:5:6:a00:1')
})

t.test('IPv6 text is what the URL parser makes of it (RFC 5952)', async (t) => {
  fc.assert(fc.property(value6.filter((value) => value >> 32n !== 0xffffn), (value) => `[${addressText({ family: 6, value })}]` === new URL(`http://[${long(value)}]/`).hostname), { numRuns: 1000 })
  fc.assert(fc.property(fc.ipV6(), (s) => parseAddress(s)!.family === 4 || `[${addressText(parseAddress(s)!)}]` === new URL(`http://[${s}]/`).hostname), { numRuns: 1000 })
  for (const [given, canonical] of [['0:0:0:0:0:0:0:0', '::'], ['2001:DB8::0:1', '2001:db8::1'], ['1:0:0:2:0:0:0:3', '1:0:0:2::3'], ['1:0:0:2:3:0:0:4', '1::2:3:0:0:4'], ['1:0:2:3:4:5:6:7', '1:0:2:3:4:5:6:7'], ['::1.2.3.4', '::102:304']]) t.equal(addressText(parseAddress(given!)!), canonical)
})

t.test('an IPv4-mapped IPv6 address is IPv4', async (t) => {
  t.equal(addressText(parseAddress('::ffff:10.1.2.3')!), '10.1.2.3')
  t.equal(cidrText(parseCidr('::ffff:a01:203/120')!), '10.1.2.3/24')
  t.equal(parseCidr('::ffff:10.1.2.3/64'), undefined, 'with a prefix that reaches beyond it, it is none')
})

t.test('text and bytes lead back to the address', async () => {
  fc.assert(fc.property(address, (a) => sameAddress(parseAddress(addressText(a))!, a) && sameAddress(bytesAddress(addressBytes(a)), a) && addressBytes(a).length === (a.family === 4 ? 4 : 16)), { numRuns: 1000 })
})

t.test('prefixes', async (t) => {
  fc.assert(
    fc.property(address, fc.nat(128), address, (a, length, b) => {
      const cidr = { ...a, prefix: Math.min(length, a.family === 4 ? 32 : 128) }
      const [first, last] = [network(cidr), lastAddress(cidr)]
      const inside = a.family === b.family && bits(a).slice(0, cidr.prefix) === bits(b).slice(0, cidr.prefix)
      return cidrText(parseCidr(cidrText(cidr))!) === cidrText(cidr) && bits(first) === bits(a).slice(0, cidr.prefix).padEnd(bits(a).length, '0') && bits(last) === bits(a).slice(0, cidr.prefix).padEnd(bits(a).length, '1') && contains(cidr, b) === inside && contains(cidr, last) && contains(hostCidr(a), a)
    }),
    { numRuns: 1000 },
  )
  for (const wrong of ['10.0.0.1', '10.0.0.1/', '10.0.0.1/33', '10.0.0.1/-1', '10.0.0.1/08', '10.0.0.1/8/8', '/8', '::/129', '10.0.0/8', ' 10.0.0.0/8', '10.0.0.0/8\n', '10.0.0.0/1e1', '']) t.equal(parseCidr(wrong), undefined, JSON.stringify(wrong))
})

const bits = ({ family, value }: Address) => value.toString(2).padStart(family === 4 ? 32 : 128, '0')
const long = (value: bigint) => value.toString(16).padStart(32, '0').match(/..../g)!.join(':')

t.test('numbers, first and last addresses are those of ip-num', async () => {
  fc.assert(
    fc.property(address, fc.integer({ min: 1, max: 32 }), (a, length) => {
      const cidr = { ...a, prefix: a.family === 4 ? length : length * 4 }
      const theirs = a.family === 4 ? new IPv4(addressText(a)) : new IPv6(addressText(a))
      const range = a.family === 4 ? IPv4CidrRange.fromCidr(cidrText(cidr)) : IPv6CidrRange.fromCidr(cidrText(cidr))
      return theirs.value === a.value && range.getFirst().value === network(cidr).value && range.getLast().value === lastAddress(cidr).value
    }),
    { numRuns: 300 },
  )
})
