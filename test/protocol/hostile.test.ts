// Requests that nobody sane sends: a clear error or correct work, never a crash, a hang or a stack trace (which
// test/binary.ts looks for in every answer).

import { call, CONF, each, inside, request, type Ended } from '../binary.ts'
import { netns } from '../world.ts'
import { existsSync } from 'node:fs'
import t from 'tap'

netns('pod')

const ADD = request('ADD')
const STATUS = request('STATUS')
const json = JSON.stringify(CONF)
const text = (extra: string, conf: object = CONF) => JSON.stringify(conf).replace(/}$/, `,${extra}}`)
const ok = (t: Tap, ended: Ended, name: string) => t.same([ended.status, ended.stdout, ended.stderr], [0, '', ''], name)
type Tap = { same(found: unknown, wanted: unknown, name: string): unknown }

t.test('too much, too deep, no text', async (t) => {
  const refused: [string, string | Uint8Array, string][] = [
    ['20 MiB', text(`"x":"${'x'.repeat(20 * 1024 * 1024)}"`), 'has more than 16777216 bytes'],
    ['32 MiB of blanks', ' '.repeat(32 * 1024 * 1024), 'has more than 16777216 bytes'],
    ['100 000 levels', text(`"x":${'['.repeat(100_000)}${']'.repeat(100_000)}`), 'is nested deeper than 128 levels'],
    ['100 000 levels that do not end', '{"name":"podnet","x":'.repeat(40_000), 'is nested deeper than 128 levels'],
    ['half a million quotes', `{"x":"${'\\"'.repeat(500_000)}`, 'is not JSON'],
    ['a NUL byte', `${json}\0`, 'is not JSON'],
    ['a NUL byte in a string', json.replace('podnet', 'pod\0net'), 'is not JSON'],
    ['UTF-16', Buffer.from(json, 'utf16le'), 'is not JSON'],
    ['Latin-1', Buffer.from(json.replace('podnet', 'pödnet'), 'latin1'), 'is not UTF-8'],
    ['half a character', Buffer.concat([Buffer.from(json), Buffer.from([0xe2, 0x82])]), 'is not UTF-8'],
    ['blanks', ' \n\t ', 'is empty'],
    ['two documents', `${json}\n${json}`, 'is not JSON'],
  ]
  const error = (why: string) => ({ code: 6, msg: `the configuration on standard input ${why}` })
  await each(refused.slice(0, 6), async ([name, input, why]) => t.match((await call('ptp', ADD, input)).json, error(why), name))
  for (const [name, input, why] of refused.slice(6)) t.match(inside('ptp', ADD, input).json, error(why), name)
  t.notOk(existsSync('/run/leases'), 'nothing was leased')
  const accepted: [string, string][] = [['a byte order mark', `\ufeff${json}`], ['blanks around it', `\n\t ${json} \n`], ['16 MiB', text(`"x":"${'x'.repeat(16 * 1024 * 1024 - json.length - 7)}"`)]]
  await each(accepted, async ([name, input]) => ok(t, await call('ptp', STATUS, input), name))
})

t.test('many of everything', async (t) => {
  const many = Array.from({ length: 5000 }, (_, i) => i)
  ok(t, inside('ptp', STATUS, text(many.map((i) => `"key${i}":${i}`).join())), '5000 keys of others')
  const routes = many.map((i) => ({ dst: `10.${i >> 8}.${i & 255}.0/33` }))
  const { msg } = inside('ptp', ADD, { ...CONF, ipam: { ...CONF.ipam, routes } }).json
  t.match(msg, 'ipam.routes[19].dst is "10.0.19.0/33": expected', '5000 wrong routes')
  t.ok(msg.length < 10_000)
})

t.test('numbers beyond what JavaScript counts, and keys twice', async (t) => {
  const mtus: [string, string][] = [['1e400', 'Infinity'], ['-1e400', '-Infinity'], ['9007199254740993', '9007199254740992'], ['1e-400', ''], ['4294967296', '4294967296'], ['-0', ''], ['1400.0', '']]
  for (const [number, said] of mtus) {
    const ended = inside('ptp', STATUS, text(`"mtu":${number}`))
    if (said) t.match(ended.json, { code: 7, msg: `mtu is ${said}: expected an MTU in bytes` }, number)
    else ok(t, ended, number)
  }
  for (const key of ['priority', 'table', 'mtu', 'advmss']) t.match(inside('ptp', ADD, `${JSON.stringify({ ...CONF, ipam: 0 }).replace('"ipam":0', `"ipam":{"type":"host-local","subnet":"10.1.2.0/24","routes":[{"dst":"0.0.0.0/0","${key}":99999999999999999999}]}`)}`).json, { code: 7, msg: `ipam.routes[0].${key} is 100000000000000000000` }, key)
  t.match(inside('ptp', ADD, text('"mtu":1400,"mtu":"x"')).json, { code: 7, msg: 'mtu stands twice' }, 'which of two equal keys is meant, nobody knows')
})

t.test('a key twice, anywhere, and in two spellings of which neither is its own', async (t) => {
  const twice: [string, string][] = [
    ['"IpMasq":true,"IPMASQ":false', 'IPMASQ is the same key as IpMasq: expected one of them'],
    ['"runtimeConfig":{"portMappings":[{"Hostport":1,"HostPort":2,"containerPort":1}]}', 'runtimeConfig.portMappings[0].HostPort is the same key as Hostport'],
    ['"runtimeConfig":{"mac":"","mac":""}', 'runtimeConfig.mac stands twice'],
    ['"prevResult":{"ips":[],"interfaces":[{"name":"a","name":"b"}]}', 'prevResult.interfaces[0].name stands twice'],
    ['"args":{"cni":{"ips":[],"ips":["10.1.2.9"]}}', 'args.cni.ips stands twice'],
    ['"others":[{},{"a":{"b":1,"b":1}}]', 'others[1].a.b stands twice'],
  ]
  for (const [keys, said] of twice) {
    for (const command of ['ADD', 'CHECK', 'STATUS']) t.match(inside('ptp', request(command), text(keys)).json, { code: 7, msg: said }, `${command} ${keys}`)
    const { status, stderr, stdout } = inside('ptp', request('DEL'), text(keys))
    t.equal(status, 0, stdout)
    t.match(stderr, said, 'DEL goes on and notes it')
  }
})

t.test('podwire reads after a byte order mark, too, which plugin is meant', async (t) => {
  t.match((await call('podwire', request('ADD'), `\ufeff${JSON.stringify({ ...CONF, type: 'nobody' })}`)).json, { code: 7, msg: /^type is "nobody"/ })
})

t.test('keys that every JavaScript object has', async (t) => {
  const evil = '"__proto__":{"mtu":"x","ipMasq":"x","name":"/"},"constructor":{"prototype":{"mtu":1}},"toString":5,"hasOwnProperty":null,"valueOf":[]'
  const conf = `{${evil},"cniVersion":"1.1.0","name":"podnet","type":"ptp","runtimeConfig":{${evil}},"args":{${evil},"cni":{${evil}}},"ipam":{${evil},"type":"host-local","dataDir":"/run/leases","ranges":[[{${evil},"subnet":"10.1.2.0/24"}]],"routes":[{${evil},"dst":"0.0.0.0/0"}]}}`
  const added = await call('ptp', ADD, conf)
  t.same([added.json.ips, added.json.routes, added.stderr], [[{ address: '10.1.2.2/24', gateway: '10.1.2.1', interface: 1 }], [{ dst: '0.0.0.0/0' }], ''])
  ok(t, await call('ptp', request('CHECK'), conf.replace('"args"', `"prevResult":${added.stdout.replace('{', `{${evil},`)},"args"`)), 'CHECK')
  ok(t, await call('ptp', request('DEL'), conf), 'DEL')
  for (const name of ['__proto__', 'constructor', 'toString']) t.match(inside('ptp', ADD, { ...CONF, ipam: { type: name } }).json, { code: 106, msg: `failed to find plugin "${name}"` }, name)
  for (const name of ['constructor', 'toString', '__defineGetter__']) t.equal(inside('host-local', request('DEL'), { ...CONF, name: name.replace(/^_+/, '') }).status, 0, `a network called ${name}`)
})

t.test('strings that would be paths, options, formats or lines of something else', async (t) => {
  for (const dataDir of ['/run/leases/../../etc', '/run/a\nb', '/run/-rf', '/run/%s$(id)`id`'])
    t.equal(inside('host-local', request('DEL'), { ...CONF, ipam: { ...CONF.ipam, dataDir } }).status, 0, dataDir)
  const { json } = inside('ptp', ADD, { ...CONF, mtu: 'a\n    at x (y:1:2)\u001b[31m' })
  t.match(json, { code: 7, msg: 'mtu is "a\\n    at x (y:1:2)\\u001b[31m": expected' }, 'control characters are written as JSON writes them')
})
