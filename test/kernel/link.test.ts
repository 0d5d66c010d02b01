// Links that are deleted together.

import { ip, sh } from '../world.ts'
import t from 'tap'
import * as link from '../../src/kernel/link.ts'
import { Netns } from '../../src/kernel/netns.ts'

const host = new Netns()
t.teardown(() => host.close())
const links = (): string[] => JSON.parse(ip('-j link')).map(({ ifname, group }: { ifname: string; group: string }) => `${ifname} ${group}`)
const veth = (name: string, alias = 'podnet/c1/eth0'): link.Owned => ({ fact: 'link', name, alias })
const made = (name: string, alias?: string) => sh(`ip link add ${name} type veth peer name ${name}p${alias === undefined ? '' : ` && ip link set ${name} alias ${alias}`}`)

t.test('several, of which one is gone already: these, and no other', async (t) => {
  for (const name of ['a0', 'b0', 'other0']) made(name)
  ip('link set other0 group 7')
  const index = link.index(host, 'a0')
  link.delAll(host, [veth('a0'), veth('gone0'), veth('b0')])
  t.same(links(), ['lo default', 'other0p default', 'other0 7'])
  made('a0')
  t.not(link.index(host, 'a0'), index, 'its number is not remembered')
  sh('ip link del a0; ip link del other0')
})

t.test("what has the name, but is another owner's or of another kind, stays", async (t) => {
  made('mine0', 'podnet/c1/eth0')
  made('yours0', 'othernet/c1/eth0')
  ip('link add bridge0 type bridge')
  ip('link add ifb9 type ifb')
  link.delAll(host, [veth('yours0'), veth('bridge0'), veth('ifb9'), veth('lo')])
  t.equal(links().length, 7)
  link.delAll(host, [veth('mine0'), veth('yours0')])
  t.notOk(links().some((line) => line.startsWith('mine0')), 'one that is the owner\'s goes from among them')
  link.delAll(host, [{ fact: 'ifb', name: 'ifb9', alias: 'podnet/c1/eth0' }])
  t.same(links().sort(), ['bridge0 default', 'lo default', 'yours0 default', 'yours0p default'])
  sh('ip link del yours0; ip link del bridge0')
})

t.test('thousands, none of which is there, as after a reboot', async (t) => {
  made('last0')
  link.delAll(host, [...Array.from({ length: 3000 }, (_, i) => veth(`gone${i}`)), veth('last0')])
  t.same(links(), ['lo default'])
})
