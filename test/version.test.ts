// Versions and what they allow: cni-rules 13 to 17. What an error of these says is test/protocol/config.test.ts's.

import t from 'tap'
import { atLeast, parseVersion, VERSIONS, type Command } from '../src/cni/version.ts'

const commands: Command[] = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS']

t.test('each version has its commands', async (t) => {
  const allowed = Object.fromEntries(VERSIONS.map((version) => [version, commands.filter((command) => code(version, command) === undefined).join(' ')]))
  t.same(allowed, {
    '0.1.0': 'ADD DEL', '0.2.0': 'ADD DEL', '0.3.0': 'ADD DEL', '0.3.1': 'ADD DEL',
    '0.4.0': 'ADD DEL CHECK', '1.0.0': 'ADD DEL CHECK', '1.1.0': 'ADD DEL CHECK GC STATUS',
  })
})

t.test('an unsupported version is error 1 for every command, an unparsable one error 6', async (t) => {
  for (const command of commands) {
    t.same(['0.0.9', '0.3.2', '1.0.10', '1.1', '2', '10.0.0'].map((version) => code(version, command)), [1, 1, 1, 1, 1, 1], command)
    t.same(['a', '1.', '.1', '1.0.0.0', '1.0.0-rc1', '٣', 1, null, false].map((version) => code(version, command)), [6, 6, 6, 6, 6, 6, 6, 6, 6], command)
  }
})

t.test('a missing version is 0.1.0', async (t) => {
  t.same([parseVersion(undefined, 'ADD'), parseVersion('', 'DEL')], ['0.1.0', '0.1.0'])
})

t.test('the versions are in order', async (t) => {
  t.ok(VERSIONS.every((version, i) => VERSIONS.every((other, j) => atLeast(version, other) === i >= j)))
})

function code(version: unknown, command: Command): number | undefined {
  try {
    parseVersion(version, command)
    return undefined
  } catch (error) {
    return (error as { code: number }).code
  }
}
