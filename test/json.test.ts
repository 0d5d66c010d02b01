// JSON from outside: what is no object, what is too large, too deep, or no text.

import fc from 'fast-check'
import t, { type Test } from 'tap'
import { faultIn } from '../src/cni/json-fault.ts'
import { decodeObject, decodeText, excerpt, inFile } from '../src/cni/json.ts'

const decode = (input: string | Uint8Array) => decodeObject(Buffer.from(input as string), 'it')
const refused = (t: Test, input: string | Uint8Array, message: string) => t.throws(() => decode(input), { code: 6, message }, message)

t.test('an object is decoded: after a byte order mark, with all keys its own', async (t) => {
  t.same(decode('\ufeff {"a": 1} \n'), { a: 1 })
  t.same(decodeText('\ufeff {"a": 1} \n', 'it'), { a: 1 })
  t.same(Object.keys(decode('{"__proto__":{"a":1},"constructor":2}')), ['__proto__', 'constructor'])
  t.same(decode('{"a":1e400,"b":12345678901234567890}'), { a: Infinity, b: 12345678901234567000 })
  t.same(decode('{"a":"\\u0000\\ud800"}'), { a: '\0\ud800' })
})

t.test('what is none is refused', async (t) => {
  refused(t, '', 'it is empty: expected a JSON object')
  refused(t, ' \n', 'it is empty: expected a JSON object')
  for (const text of ['[1]', 'null', '"x"', '5']) refused(t, text, `it is ${text}: expected a JSON object`)
  for (const text of ['{', '{"a"}', "{'a':1}", '{"a":1}{', '{"a":01}', '{"a":NaN}', '{"a":1,}', '\0', '{"a":"\0"}', '{"a":"\n"}', '{"a":"\\x"}']) refused(t, text, 'it is not JSON: ')
  refused(t, Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), 'it is not UTF-8')
  refused(t, Buffer.from('{"a":1}', 'utf16le'), 'it is not JSON')
})

t.test('where a text stops being JSON, and why', async (t) => {
  const faults: [string, string][] = [
    ['{\n  "a": [\n    1,\n  ]\n}', '4:3: "]" after a comma: JSON allows none'],
    ['{"a": 1,}', '1:9: "}" after a comma: JSON allows none'],
    ['{"a": }', '1:7: "}" where a value belongs'],
    ['{"a": 1\n "b": 2}', '2:2: a comma is missing before "b"'],
    ['[1 2]', '1:4: a comma is missing before "2"'],
    ['{"a" 1}', '1:6: ":" is missing before "1"'],
    ['{"a"}', '1:5: "}" where ":" and a value belong'],
    ['{mtu: 1}', '1:2: the key "mtu" has no quotes'],
    ["{'mtu': 1}", "1:2: 'mtu' where a key in double quotes belongs"],
    ['{"a": yes}', '1:7: "yes" where a value belongs'],
    ['{"a": 010}', '1:7: "010" is no number as JSON has them'],
    ['{ // mine\n}', '1:3: a comment, and JSON has none'],
    ['{"a": "b\n}', '1:9: a line ends within a string: is its closing quote missing?'],
    ['{"a": "\t"}', '1:8: "\\u0009" within a string: it is written \\t'],
    ['{"a": "C:\\x"}', '1:10: "\\x" within a string: a backslash itself is written "\\\\"'],
    ['{"a": [\n', '2:1: the JSON ends within a list that begins in line 1'],
    ['{"a": "b', '1:7: the string that begins here does not end'],
    ['{"a": [1}', '1:9: "}" stands within a list'],
    ['}', '1:1: "}" closes what is not open'],
    ['{} {}', '1:4: "{" stands behind the end of the JSON'],
    ['{"a": \u001b[31m}', '1:7: "\\u001b" where a value belongs'],
  ]
  for (const [text, said] of faults) {
    t.throws(() => decodeText(text, 'conf', undefined, inFile), { code: 6, message: `conf:${said}` }, text)
    t.throws(() => decode(text), { message: `it is not JSON: line ${said.replace(':', ', column ')}` })
  }
})

t.test('a fault is found in what JSON.parse refuses, and in nothing else', async () => {
  const isJson = (text: string) => {
    try {
      return (JSON.parse(text), true)
    } catch {
      return false
    }
  }
  const pieces = fc.array(fc.constantFrom(...'{}[],:-1.e "\\/\n', '"a"', 'null', '\\u00e9'), { maxLength: 12 }).map((list) => list.join(''))
  const damaged = fc.tuple(fc.jsonValue(), fc.nat(), fc.string({ maxLength: 2 })).map(([value, n, other]) => {
    const text = JSON.stringify(value, null, 2)
    return `${text.slice(0, n % text.length)}${other}${text.slice((n % text.length) + 1)}`
  })
  fc.assert(fc.property(fc.oneof(pieces, damaged, fc.json()), (text) => (faultIn(text) === undefined) === isJson(text)), { numRuns: 3000 })
})

t.test('a key that stands twice in one object is refused, with its path', async (t) => {
  const twice = (text: string, ...paths: string[]) => {
    t.throws(() => decode(text), { code: 7, message: `it: ${paths.map((path) => `${path} stands twice`).join('; ')}` }, text)
    const told: string[] = []
    decodeObject(Buffer.from(text), 'it', told)
    t.same(told, paths.map((path) => `${path} stands twice`))
  }
  twice('{"a":1,"a":2}', 'a')
  twice('{"a":1,"b":{"a":1},"a":2,"a":3}', 'a')
  twice('{"ipam":{"ranges":[[{"subnet":"x"},{"subnet":"x","gateway":"y","subnet":"z"}]]}}', 'ipam.ranges[0][1].subnet')
  twice('{"a":{"b":[1,{},[{"c":"}\\"{","c":[]}]],"b":2}}', 'a.b[2][0].c', 'a.b')
  twice('{"a":1,"\\u0061":2}', 'a')
  twice('{"__proto__":1,"__proto__":{}}', '__proto__')
  twice('{"":1, "" :2}', '')
  twice(`{${'"k":1,'.repeat(1000)}"k":1}`, 'k')
  t.throws(() => decode(`{${Array.from({ length: 1000 }, (_, i) => `"${i}":1,"${i}":2`).join()}}`), { message: /^it: 0 stands twice; .*; 19 stands twice$/ }, 'twenty are enough')
  t.same(decodeObject(Buffer.from('{"a":1,"a":2}'), 'it', []), { a: 2 }, 'who has to go on takes the last')
  t.same(decode('{"a":{"b":1,"c":["b","b"]},"d":{"b":{"b":"b"}},"b":[{"b":1},{"b":2}]}').b, [{ b: 1 }, { b: 2 }], 'in different objects, and as values, it is none')
})

t.test('the largest request that a runtime can mean', async (t) => {
  const HostIP = '2001:db8:1111:2222:3333:4444:5555:6666'
  const portMappings = ['tcp', 'udp'].flatMap((Protocol) => Array.from({ length: 65535 }, (_, i) => ({ HostPort: i + 1, ContainerPort: i + 1, Protocol, HostIP })))
  t.equal((decode(JSON.stringify({ portMappings })).portMappings as object[]).length, 2 * 65535)
})

t.test('limits: 16 MiB, 128 levels', async (t) => {
  const filled = (size: number) => `{"a":"${'x'.repeat(size - 8)}"}`
  t.equal(Object.keys(decode(filled(16 * 1024 * 1024))).length, 1)
  refused(t, filled(16 * 1024 * 1024 + 1), 'it has more than 16777216 bytes')
  const nested = (depth: number) => `{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`
  t.ok(decode(nested(128)))
  refused(t, nested(129), 'it is nested deeper than 128 levels')
  refused(t, '{"a":'.repeat(100_000), 'it is nested deeper than 128 levels')
  t.ok(decode(`{"a":"${'['.repeat(1000)}\\"${'{'.repeat(1000)}"}`), 'brackets in a string do not count')
  t.ok(decode(`{"a":[${'[],'.repeat(1000)}[]]}`), 'nor do those side by side')
  refused(t, `{"a":"${'\\"'.repeat(500_000)}`, 'it is not JSON') // an endless string of quotes takes no longer
  refused(t, `{"a":"${'\\'.repeat(1_000_000)}`, 'it is not JSON') // nor one of backslashes
})

t.test('what JSON.parse takes and is an object, is decoded to the same', async () => {
  fc.assert(fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 5 })), (value) => JSON.stringify(decode(JSON.stringify(value))) === JSON.stringify(JSON.parse(JSON.stringify(value)))), { numRuns: 300 })
})

t.test('an excerpt is JSON, cut after 100 characters', async (t) => {
  t.same([excerpt('a'), excerpt(undefined), excerpt(Infinity), excerpt([1, { a: null }]), excerpt('x'.repeat(200)).length], ['"a"', 'undefined', 'Infinity', '[1,{"a":null}]', 100])
})
