// Lists and watches are read as they arrive, in pieces of any size.

import fc from 'fast-check'
import t from 'tap'
import { Items, Lines } from '../../src/vxlan/kubernetes/cut.ts'

const chunks = (bytes: Buffer, size: number): Buffer[] => Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size))

function read(text: string, size: number): { list: any; items: unknown[] } {
  const page = new Items()
  const items = chunks(Buffer.from(text), size).flatMap((chunk) => page.push(chunk))
  const rest = page.end()
  return { list: rest.list, items: [...items, ...rest.items] }
}

const inner = fc.oneof(fc.json().map((text) => JSON.parse(text) as unknown), fc.constantFrom('},{"metadata":', '"items":[', '\\"}', '\n', 'é😀', ']', '\u2028'))
// Inside, too, there may be what looks like the end of an item: a list of objects with metadata.
const item = fc.record({ metadata: fc.record({ name: fc.string() }), spec: inner, nested: fc.array(fc.record({ metadata: inner })) })
const size = fc.integer({ min: 1, max: 400 })

t.test('a page gives its items, whatever is in them and however it is cut', async (t) => {
  fc.assert(
    fc.property(fc.array(item, { maxLength: 6 }), size, (items, size) => {
      const page = { kind: 'NodeList', metadata: { resourceVersion: '5', continue: 'x' }, items }
      const whole = JSON.parse(JSON.stringify(items)) as unknown[]
      for (const text of [JSON.stringify(page), `${JSON.stringify(page)}\n`, JSON.stringify(page, null, 2), JSON.stringify({ items, metadata: page.metadata, kind: page.kind })]) {
        const found = read(text, size)
        t.strictSame(found.items, whole) || t.fail(text)
        if (found.list.metadata.continue !== 'x' || found.list.kind !== 'NodeList') throw new Error(`the list lost its metadata: ${text}`)
      }
    }),
    { numRuns: 60 },
  )
})

t.test('items come before the page is complete', async (t) => {
  const page = new Items()
  t.same(page.push(Buffer.from('{"kind":"NodeList","metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}')), [{ metadata: { name: 'a' } }])
  t.same(page.push(Buffer.from(',{"metadata":')), [{ metadata: { name: 'b' } }])
})

t.test('an empty list, in both of the ways in which it is written', async (t) => {
  for (const items of ['[]', 'null']) t.same(read(`{"kind":"NodeList","metadata":{"resourceVersion":"1"},"items":${items}}`, 7).items, [], items)
})

t.test('a page that is cut off or is no JSON is refused', async (t) => {
  const text = JSON.stringify({ kind: 'NodeList', metadata: { resourceVersion: '1' }, items: [{ metadata: { name: 'a' } }, { metadata: { name: 'b' } }] })
  for (let end = 0; end < text.length; end++) t.throws(() => read(text.slice(0, end), 16), /not JSON/, `after ${end} bytes`)
  t.throws(() => read('<html>log in here</html>', 16), /not JSON/)
})

t.test('a watch gives its lines, however they are cut; half a line is never handed out', async (t) => {
  fc.assert(
    fc.property(fc.array(item, { maxLength: 6 }), size, (events, size) => {
      const lines = new Lines()
      const text = `${events.map((event) => `${JSON.stringify(event)}\n`).join('\n')}{"type":"ADDED"`
      const found = chunks(Buffer.from(text), size).flatMap((chunk) => lines.push(chunk))
      t.strictSame(found, JSON.parse(JSON.stringify(events))) || t.fail(text)
    }),
    { numRuns: 60 },
  )
  t.throws(() => new Lines().push(Buffer.from('{"type":\n')), /not JSON/)
})

t.test('a line without end does not fill the memory', async (t) => {
  const lines = new Lines()
  const chunk = Buffer.alloc(1024 * 1024, 'x')
  t.throws(() => Array.from({ length: 20 }, () => lines.push(chunk)), /a piece of more than/)
})

// What an API server could send to keep the agent from its work, so many times over.
const TEDIOUS: [string, (times: number) => string][] = [
  ['what stands between items, and nothing else', (times) => `{"items":[{"metadata":${'},{"metadata":'.repeat(times)}`],
  ['objects with metadata inside of one item', (times) => `{"items":[{"metadata":[${'{"metadata":0},'.repeat(times)}`],
  ['the same with more between', (times) => `{"items":[{"metadata":[${'{"x":[{},{"metadata":0}],"y":0},'.repeat(times)}`],
  ['quotes that open and close', (times) => `{"items":[{"metadata":${'"},{"metadata":'.repeat(times)}`],
  ['the beginning of the items, again and again', (times) => '"items":[],'.repeat(times)],
]

for (const [what, text] of TEDIOUS)
  t.test(`a page takes time in proportion to its length: ${what}`, async (t) => {
    const time = (times: number): number => {
      const [page, start] = [new Items(), performance.now()]
      for (const chunk of chunks(Buffer.from(text(times)), 65536)) page.push(chunk)
      return performance.now() - start
    }
    time(2_000)
    // Sixteen times as long took 256 times as long: minutes.
    const [short, long] = [Math.min(time(8_000), time(8_000)), time(128_000)]
    t.ok(long < 64 * short + 500, `${short.toFixed(1)} and ${long.toFixed(1)} ms`)
  })

t.test('what is nested deeper than anybody means is refused before it is parsed, in lists and in watches', async (t) => {
  for (const text of ['[', '{"a":', '{"x":{},"y":{"metadata":0},"z":[{},{"metadata":0},']) {
    t.throws(() => read(`{"items":[{"metadata":${text.repeat(200_000)}`, 65536), { message: /nested deeper than 128 levels/ }, text)
    t.throws(() => new Lines().push(Buffer.from(`${text.repeat(200_000)}\n`)), { message: /nested deeper than 128 levels/ }, text)
  }
  t.strictSame(read(JSON.stringify({ metadata: {}, items: [{ metadata: { name: '[[{{'.repeat(100) + '"\\' } }] }), 7).items, [{ metadata: { name: '[[{{'.repeat(100) + '"\\' } }])
})

t.test('items that hold lists of objects with metadata come all the same, several at once', async (t) => {
  const items = Array.from({ length: 300 }, (_, i) => ({ metadata: { name: `n${i}` }, owners: [{ metadata: 1 }, { metadata: 2 }, { metadata: i }] }))
  const page = new Items()
  const early = chunks(Buffer.from(JSON.stringify({ metadata: {}, items })), 100).flatMap((chunk) => page.push(chunk))
  t.ok(early.length > 100, `${early.length} of them before the end`)
  t.equal(JSON.stringify([...early, ...page.end().items]), JSON.stringify(items))
})
