// docs/comparison.md claims nothing that no test shows: each row that says what podwire does names tests, and they are there.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

const PAGE = 'docs/comparison.md'
const CITED = /\[[\w-]+\]\((\.\.\/test\/[\w/-]+\.test\.ts)\)((?:;? "[^"]+")+)/g

/** Rows of the tables whose last column is the test. */
const rows = readFileSync(PAGE, 'utf8')
  .split('\n\n')
  .filter((block) => /^\|.*\| Test \|$/m.test(block))
  .flatMap((block) => block.split('\n').filter((line) => line.startsWith('|')).slice(2))

const cited = (row: string): [file: string, title: string][] =>
  [...row.matchAll(CITED)].flatMap(([, path, titles]) => [...titles!.matchAll(/"([^"]+)"/g)].map(([, title]): [string, string] => [join('docs', path!), title!]))

/** The texts of a file that can be titles; what is computed in them, `${…}`, may be anything. */
function titles(file: string): RegExp[] {
  const texts = [...readFileSync(file, 'utf8').matchAll(/'((?:[^'\\\n]|\\.)+)'|"([^"\n]+)"|`([^`\n]+)`/g)].map(([, single, double, template]) => (single?.replace(/\\(.)/g, '$1') ?? double ?? template)!.split(/\$\{[^}]*\}/))
  const enough = texts.filter((parts) => parts.join('').length >= 12)
  return enough.map((parts) => new RegExp(`^${parts.map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('.*')}$`))
}

t.test('every row names a test', async (t) => {
  t.ok(rows.length > 40, `${rows.length} rows`)
  t.same(rows.filter((row) => cited(row).length === 0), [])
})

t.test('every test that is named is there', async (t) => {
  const known = new Map<string, RegExp[]>()
  for (const [file, title] of rows.flatMap(cited)) {
    if (!known.has(file)) known.set(file, titles(file))
    t.ok(known.get(file)!.some((one) => one.test(title)), `${file}: ${title}`)
  }
})
