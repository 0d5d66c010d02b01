// Results of every version (cni-rules 1.12, 1.13): a table of shapes, and round trips of any result.

import fc from 'fast-check'
import t from 'tap'
import { CniError } from '../src/cni/error.ts'
import { parseResult, printResult, type IP, type Result, type ResultRoute } from '../src/cni/result.ts'
import { VERSIONS } from '../src/cni/version.ts'
import { addressText, cidrText, parseCidr } from '../src/ip.ts'

const RESULT: Result = {
  interfaces: [{ name: 'veth1', mac: '0a:58:0a:01:02:01', mtu: 1400 }, { name: 'eth0', mac: '0a:58:0a:01:02:03', mtu: 1400, sandbox: '/run/netns/pod', socketPath: '/s', pciID: '0000:00:01.0' }],
  ips: [{ address: '10.1.2.3/24', gateway: '10.1.2.1', interface: 1 }, { address: 'fd00::3/64', gateway: 'fd00::1', interface: 1 }, { address: '10.1.3.3/24', interface: 1 }],
  routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0', gw: 'fd00::1' }, { dst: '10.9.0.0/16', gw: '10.1.2.9', mtu: 1300, advmss: 1260, priority: 5, table: 0, scope: 0 }],
  dns: { nameservers: ['10.1.2.1'], domain: 'example.org', search: ['a', 'b'], options: ['ndots:5'] },
}
const printed = (result: Result, version: (typeof VERSIONS)[number]) => JSON.parse(printResult(result, version))
const bare = { interfaces: [], ips: [], routes: [], dns: {} }

t.test('R93 R94 R96 R100 1.1.0 and 1.0.0 have everything', async (t) => {
  t.same(printed(RESULT, '1.1.0'), { cniVersion: '1.1.0', ...RESULT })
  t.same(printed(RESULT, '1.0.0'), { cniVersion: '1.0.0', ...RESULT }, 'R100 but for cniVersion the same')
  t.same(printed(bare, '1.1.0'), { cniVersion: '1.1.0' }, 'R94 R97 what is empty is left out')
})

t.test('R95 R101 0.3.0 to 0.4.0: ips have a version, interfaces no more than name, mac and sandbox, and dns is always there', async (t) => {
  for (const version of ['0.3.0', '0.3.1', '0.4.0'] as const) {
    const { interfaces, ips, routes, dns } = printed(RESULT, version)
    t.same(interfaces, [{ name: 'veth1', mac: '0a:58:0a:01:02:01' }, { name: 'eth0', mac: '0a:58:0a:01:02:03', sandbox: '/run/netns/pod' }], version)
    t.same(ips.map((ip: { version: string }) => ip.version), ['4', '6', '4'])
    t.same(routes, RESULT.routes, 'routes are copied whole')
    t.same(dns, RESULT.dns)
    t.same(printed(bare, version), { cniVersion: version, dns: {} })
  }
})

t.test('R102 0.1.0 and 0.2.0: the first address of each family, with the routes of that family', async (t) => {
  for (const version of ['0.1.0', '0.2.0'] as const)
    t.same(printed(RESULT, version), {
      cniVersion: version,
      ip4: { ip: '10.1.2.3/24', gateway: '10.1.2.1', routes: [{ dst: '0.0.0.0/0' }, { dst: '10.9.0.0/16', gw: '10.1.2.9' }] },
      ip6: { ip: 'fd00::3/64', gateway: 'fd00::1', routes: [{ dst: '::/0', gw: 'fd00::1' }] },
      dns: RESULT.dns,
    })
  t.throws(() => printResult(bare, '0.2.0'), { code: 7, message: 'cannot convert: no valid IP addresses' })
})

t.test('R103 R104 a result from outside is read in its own version, else in the one that is assumed', async (t) => {
  const old = { ip4: { ip: '10.1.2.3/24', gateway: '10.1.2.1', routes: [{ dst: '0.0.0.0/0' }] }, ip6: { ip: 'FD00:0::3/64' }, dns: {} }
  const read = { interfaces: [], ips: [{ address: '10.1.2.3/24', gateway: '10.1.2.1' }, { address: 'fd00::3/64' }], routes: [{ dst: '0.0.0.0/0' }], dns: {} }
  t.same(parseResult({ cniVersion: '0.2.0', ...old }, '1.1.0', 'prevResult'), read, 'of another group than the configuration')
  t.same(parseResult(old, '0.1.0', 'prevResult'), read)
  t.same(parseResult({ cniVersion: '', ...old }, '0.2.0', 'prevResult'), read, 'R105 an empty version is none')
  t.same(parseResult({ cniVersion: '0.4.0', ips: [{ version: '4', address: '10.1.2.3/24' }] }, '1.0.0', 'prevResult').ips, [{ address: '10.1.2.3/24' }], 'R103 the version of an address is dropped')
  t.same(parseResult({ interfaces: null, ips: null, routes: null, dns: null, extra: 1 }, '1.0.0', 'prevResult'), bare)
})

t.test('R96 R99 what is read is canonical: addresses as text, and zeros that mean nothing are dropped', async (t) => {
  const { ips, routes } = parseResult({ ips: [{ address: '::FFFF:10.1.2.3/120', gateway: '0:0:0:0:0:0:0:1' }], routes: [{ dst: 'FD00::/8', gw: '', mtu: 0, advmss: 0, priority: 0, table: 0, scope: 0 }] }, '1.1.0', 'prevResult')
  t.same([ips, routes], [[{ address: '10.1.2.3/24', gateway: '::1' }], [{ dst: 'fd00::/8', table: 0, scope: 0 }]])
})

t.test('what says nothing is read as nothing', async (t) => {
  const routes = [{ dst: '0.0.0.0/0', gw: '', mtu: 0, advmss: 0, priority: 0, table: null, scope: null }]
  const said = { cniVersion: '', interfaces: [{ name: 'eth0', mac: '', mtu: 0, sandbox: '', socketPath: null, pciID: '' }], ips: [{ address: '10.1.2.3/24', gateway: '', interface: -1 }], routes, dns: { nameservers: [], search: null, domain: '' } }
  t.same(parseResult(said, '1.0.0', 'prevResult'), { interfaces: [{ name: 'eth0' }], ips: [{ address: '10.1.2.3/24' }], routes: [{ dst: '0.0.0.0/0' }], dns: {} })
  t.same(parseResult({ cniVersion: null, interfaces: null, ips: [], routes: null, dns: null }, '1.0.0', 'prevResult'), { interfaces: [], ips: [], routes: [], dns: {} })
  t.same(parseResult({ cniVersion: '0.2.0', ip4: null, ip6: { ip: 'fd00::1/64', gateway: '', routes: null } }, '1.0.0', 'prevResult').ips, [{ address: 'fd00::1/64' }])
})

t.test('what is wrong with a result is named', async (t) => {
  const wrong: [unknown, string][] = [
    [5, 'prevResult is 5: expected a result object'],
    [{ cniVersion: '9.9.9' }, 'prevResult.cniVersion is "9.9.9": expected one of 0.1.0'],
    [{ ips: {} }, 'prevResult.ips is {}: expected a list'],
    [{ ips: [{ address: '10.1.2.3' }] }, 'prevResult.ips[0].address is "10.1.2.3": expected an address with prefix length'],
    [{ ips: [{ address: '10.1.2.3/24', interface: 1.5 }] }, 'prevResult.ips[0].interface is 1.5: expected a whole number'],
    [{ interfaces: [{ name: 'a' }, {}] }, 'prevResult.interfaces[1].name is undefined: expected the name of an interface'],
    [{ interfaces: [{ name: 'a', mtu: 1.5 }] }, 'prevResult.interfaces[0].mtu is 1.5: expected a whole number'],
    [{ routes: [{ dst: 'x' }] }, 'prevResult.routes[0].dst is "x": expected a destination'],
    [{ routes: [{ dst: '::/0', table: 4294967296 }] }, 'prevResult.routes[0].table is 4294967296: expected a whole number'],
    [{ dns: { search: [1] } }, 'prevResult.dns.search[0] is 1: expected a string'],
    [{ cniVersion: '0.2.0', ip4: [] }, 'prevResult.ip4 is []: expected an object'],
  ]
  for (const [value, message] of wrong) t.match(thrown(() => parseResult(value, '1.1.0', 'prevResult')), { code: 7, message }, message)
})

function thrown(run: () => unknown): unknown {
  try {
    run()
  } catch (error) {
    return error
  }
  return undefined
}

// Any result as podwire has them inside: canonical text, nothing empty.
const address = fc.oneof(fc.bigInt(0n, 2n ** 32n - 1n).map((value) => ({ family: 4 as const, value })), fc.bigInt(2n ** 64n, 2n ** 128n - 1n).map((value) => ({ family: 6 as const, value })))
const text = address.map(addressText)
const cidr = address.chain((a) => fc.nat(a.family === 4 ? 32 : 128).map((prefix) => cidrText({ ...a, prefix })))
const u32 = fc.nat(0xffffffff)
const some = fc.string({ minLength: 1 })
const strings = fc.array(fc.string(), { minLength: 1 })
const positive = fc.integer({ min: 1, max: 0xffffffff })
const record = <T, K extends keyof T>(shape: { [P in keyof T]: fc.Arbitrary<T[P]> }, requiredKeys: K[]) => fc.record(shape, { requiredKeys })
const anyResult: fc.Arbitrary<Result> = fc.record({
  interfaces: fc.array(record({ name: fc.string(), mac: some, mtu: positive, sandbox: some, socketPath: some, pciID: some }, ['name'])),
  ips: fc.array(record({ address: cidr, gateway: text, interface: u32 }, ['address'])),
  routes: fc.array(record({ dst: cidr, gw: text, mtu: positive, advmss: positive, priority: positive, table: u32, scope: u32 }, ['dst'])),
  dns: record({ nameservers: strings, domain: some, search: strings, options: strings }, []),
}) as fc.Arbitrary<Result>

/** What is left of a result in the shape of a version. */
function remaining({ interfaces, ips, routes, dns }: Result, version: string): Result {
  if (version >= '1.0.0') return { interfaces, ips, routes, dns }
  if (version >= '0.3.0') return { interfaces: interfaces.map(({ mtu: _, socketPath: __, pciID: ___, ...rest }) => rest), ips, routes, dns }
  const firsts = [4, 6].flatMap((family) => ips.find((ip) => familyOf(ip.address) === family) ?? [])
  const own = firsts.flatMap((first) => routes.filter(({ dst }) => familyOf(dst) === familyOf(first.address)))
  const only = ({ dst, gw }: ResultRoute): ResultRoute => ({ dst, ...(gw && { gw }) })
  return { interfaces: [], ips: firsts.map(({ interface: _, ...rest }: IP): IP => rest), routes: own.map(only), dns }
}
const familyOf = (text: string) => parseCidr(text)!.family

t.test('any result survives its way out and in again, as far as its version can say it', async () => {
  fc.assert(
    fc.property(anyResult, fc.constantFrom(...VERSIONS), (result, version) => {
      if (version < '0.3.0' && result.ips.length === 0) return
      const { cniVersion, ...body } = printed(result, version)
      const again = parseResult({ cniVersion, ...body }, '1.1.0', 'prevResult')
      same(again, remaining(result, version))
      same(parseResult(body, version, 'prevResult'), again)
    }),
    { numRuns: 300 },
  )
})

t.test('anything else is refused with error 7 or read', async () => {
  const value = fc.letrec((tie) => ({
    any: fc.oneof({ maxDepth: 4 }, fc.jsonValue({ maxDepth: 2 }), cidr, fc.dictionary(fc.constantFrom('cniVersion', 'interfaces', 'ips', 'routes', 'dns', 'ip4', 'ip6', 'ip', 'address', 'gateway', 'name', 'dst', 'gw', 'search', 'table'), tie('any')), fc.array(tie('any'))),
  })).any
  fc.assert(
    fc.property(value, fc.constantFrom(...VERSIONS), (given, version) => {
      const result = (() => {
        try {
          return parseResult(given, version, 'prevResult')
        } catch (error) {
          if (error instanceof CniError && error.code === 7 && error.message.startsWith('prevResult')) return undefined
          throw error
        }
      })()
      if (result) same(parseResult(printed(result, '1.1.0'), '1.1.0', 'prevResult'), result)
    }),
    { numRuns: 500 },
  )
})

/** Equal as JSON, whatever the order of keys. */
function same(found: unknown, wanted: unknown): void {
  const [a, b] = [found, wanted].map((value) => JSON.stringify(value, sorted))
  if (a !== b) throw new Error(`found ${a}\nwanted ${b}`)
}
const sorted = (_: string, value: unknown) => (typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))) : value)
