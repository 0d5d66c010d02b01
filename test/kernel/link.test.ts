// Links that are deleted together.

import { ip } from '../world.ts'
import t from 'tap'
import * as link from '../../src/kernel/link.ts'
import { Netns } from '../../src/kernel/netns.ts'

const host = new Netns()
t.teardown(() => host.close())
const links = (): string[] => JSON.parse(ip('-j link')).map(({ ifname, group }: { ifname: string; group: string }) => `${ifname} ${group}`)

t.test('several, of which one is gone already: these, and no other', async (t) => {
  for (const name of ['a0', 'b0', 'other0']) ip(`link add ${name} type bridge`)
  ip('link set other0 group 7')
  const index = link.index(host, 'a0')
  link.delAll(host, ['a0', 'gone0', 'b0'])
  t.same(links(), ['lo default', 'other0 7'])
  ip('link add a0 type bridge')
  t.not(link.index(host, 'a0'), index, 'its number is not remembered')
})

t.test('one that cannot go is told of, and the others go', async (t) => {
  ip('link add b0 type bridge')
  t.throws(() => link.delAll(host, ['b0', 'lo']), /^ip link del lo: EOPNOTSUPP/)
  t.notOk(links().some((line) => line.startsWith('b0 ')))
})

t.test('thousands, none of which is there, as after a reboot', async (t) => {
  const gone = Array.from({ length: 3000 }, (_, i) => `gone${i}`)
  ip('link add last0 type bridge')
  link.delAll(host, [...gone, 'last0'])
  t.notOk(links().some((line) => line.startsWith('last0 ')))
})
