// Whether a node is ready, and what its conflist promises: from how it is alone.

import t from 'tap'
import type { Fact } from '../../src/facts.ts'
import { verdict, type Situation } from '../../src/vxlan/verdict.ts'

const [V4, V6] = ['10.244.1.0/24', 'fd00:10:244:1::/64']
const both = [V4, V6]
const well: Situation = { podCIDRs: both, inherited: false, trouble: '', narrow: '', underlay: '', refused: [], promised: [], unwritten: '', deaf: '' }
const refused = (fact: Partial<Fact> | undefined, more = {}) => ({ refused: [{ fact: fact as Fact, sentence: 'no', ...more }] })

const addr6 = { fact: 'addr', dev: 'podwire.1', address: 'fd00:10:244:1::/128' } as const
const disabled = { fact: 'sysctl', key: 'net/ipv6/conf/podwire.1/disable_ipv6', value: '0' } as const
const hardening = { ...disabled, key: 'net/ipv6/conf/podwire.1/accept_ra', optional: true } as const
const forwards = { fact: 'sysctl', key: 'net/ipv4/ip_forward', value: '1' } as const
const up = { fact: 'link set', dev: 'podwire.1', up: true } as const
const route = { fact: 'route', dst: '10.244.9.0/24', dev: 'podwire.1' } as const

const CASES: [what: string, how: Partial<Situation>, ready: boolean, reason: string, promise: string[] | undefined][] = [
  ['nothing is known', { podCIDRs: undefined }, false, 'the nodes are not known yet', undefined],
  ['nothing is known, but why', { podCIDRs: undefined, trouble: 'no file' }, false, 'no file', undefined],
  ['an agent before has left it ready', { podCIDRs: undefined, inherited: true, promised: both }, true, 'the nodes are not known yet', undefined],
  ['all is well', {}, true, '', both],
  ['one family is all there is', { podCIDRs: [V4] }, true, '', [V4]],
  ['the device is refused', refused(up), false, 'no', undefined],
  ['it was ready before, and the device is refused', { ...refused(up), promised: both }, false, 'no', undefined],
  ['nothing can be read', refused(undefined), false, 'no', undefined],
  ['forwarding is refused', { ...refused(forwards), podCIDRs: [V4] }, false, 'no', undefined],
  ['the chain is refused', refused({ fact: 'chain' } as never), false, 'no', undefined],
  ['what only protects is refused', refused(hardening), true, '', both],
  ['what one peer needs is refused', refused(route), true, '', both],
  ['what should not be there cannot be taken away', refused({ ...addr6, address: 'fd00::9/128' }, { extra: true }), true, '', both],
  ['one family of two is refused at first', refused(addr6), false, 'no', undefined],
  ['a family that comes later is refused: the other goes on', { ...refused(addr6), promised: [V4] }, true, 'no', undefined],
  ['the same, by a sysctl', { ...refused(disabled), promised: [V4] }, true, 'no', undefined],
  ['a family that pods have is refused', { ...refused(addr6), promised: both }, false, 'no', undefined],
  ['the other one is refused', { ...refused(forwards), promised: [V6] }, true, 'no', undefined],
  ['the network is another, and is refused', { ...refused(addr6), podCIDRs: ['fd00:9::/64'], promised: [V6] }, false, 'no', undefined],
  ['there is no plan of now', { trouble: 'the underlay is gone', promised: both }, true, 'the underlay is gone', both],
  ['there is no plan of now, and the device is refused', { ...refused(up), trouble: 'the underlay is gone', promised: both }, false, 'no', undefined],
  ['what was ready no longer carries what pods send', { trouble: 'too large', narrow: 'too large', promised: both }, false, 'too large', undefined],
  ['what an agent before has left does not', { podCIDRs: undefined, inherited: true, trouble: 'too large', narrow: 'too large', promised: both }, false, 'too large', undefined],
  ['the underlay is down at first', { underlay: 'u0 is down' }, false, 'u0 is down', undefined],
  ['the underlay is down, and the conflist stays', { underlay: 'u0 is down', promised: both }, false, 'u0 is down', both],
  ['an agent before has left it ready, and the underlay is gone', { podCIDRs: undefined, inherited: true, underlay: 'gone' }, false, 'gone', undefined],
  ['the conflist cannot be written', { unwritten: 'a directory' }, false, 'a directory', both],
  ['it cannot be written anew', { unwritten: 'a directory', promised: [V4] }, true, 'a directory', both],
  ['nothing is heard of the kernel', { deaf: 'EMFILE', promised: both }, true, 'EMFILE', both],
]

for (const [what, how, ready, reason, promise] of CASES) t.test(what, async (t) => t.same(verdict({ ...well, ...how }), { ready, reason, promise }))
