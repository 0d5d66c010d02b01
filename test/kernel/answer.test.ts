// Answers of the kernel that are not whole: nobody may take what is in them for all that there is.

import { spawnSync } from 'node:child_process'
import { ip, nft, sh } from '../world.ts'
import t from 'tap'
import { walk } from '../../src/kernel/answer.ts'
import * as link from '../../src/kernel/link.ts'
import { Netns } from '../../src/kernel/netns.ts'
import * as nftables from '../../src/kernel/nft.ts'
import { readFileSync } from 'node:fs'

const [NOOP, ERROR, DONE, OVERRUN, LINK] = [1, 2, 3, 4, 16]

/** A message: struct nlmsghdr, and so many bytes behind it. */
function message(type: number, seq: number, bytes = 4): Buffer {
  const data = Buffer.alloc(16 + bytes)
  data.writeUInt32LE(data.length, 0)
  data.writeUInt16LE(type, 4)
  data.writeUInt32LE(seq, 8)
  return Buffer.concat([data, Buffer.alloc(-data.length & 3)])
}

/** The types of the messages of the answer to request 7 in datagrams, until an error or a DONE; or the error. */
function read(...datagrams: (Buffer | number)[]): string {
  const buffer = Buffer.alloc(256)
  const types: number[] = []
  const next = () => {
    const datagram = datagrams.shift()
    if (typeof datagram === 'number' || datagram === undefined) return datagram
    datagram.copy(buffer)
    return datagram.length
  }
  try {
    walk('ip link show', buffer, next, 7, (start) => [ERROR, DONE].includes(types[types.push(buffer.readUInt16LE(start + 4)) - 1]!))
    return types.join(' ')
  } catch (error) {
    return (error as Error).message
  }
}

t.test('a list is whole when it has its end', async (t) => {
  t.equal(read(Buffer.concat([message(LINK, 7), message(LINK, 7, 7)]), message(DONE, 7)), `${LINK} ${LINK} ${DONE}`)
  t.equal(read(Buffer.concat([message(DONE, 7), message(LINK, 7)])), `${DONE}`, 'what comes behind it is not looked at')
  t.equal(read(message(LINK, 6), message(DONE, 6), message(NOOP, 7), message(ERROR, 7)), `${ERROR}`, 'what is left of an answer before, and what says nothing, are passed over')
})

t.test('and an error when it has none', async (t) => {
  const stopped = "ip link show: EBADMSG: the kernel's answer stopped before its end"
  t.equal(read(), stopped, 'nothing at all')
  t.equal(read(message(LINK, 7), message(LINK, 7)), stopped, 'without DONE')
  t.equal(read(message(LINK, 7), message(DONE, 6)), stopped, "with another answer's DONE")
  t.equal(read(Buffer.alloc(0)), stopped, 'an empty datagram')
  t.equal(read(message(LINK, 7), message(OVERRUN, 7), message(DONE, 7)), 'ip link show: ENOBUFS: messages were lost')
  t.equal(read(4096), 'ip link show: EBADMSG: a datagram of 4096 bytes, of which 256 were read')
  const whole = message(LINK, 7, 40)
  for (const length of [1, 4, 15, 16, 40]) t.equal(read(whole.subarray(0, length), message(DONE, 7)), `ip link show: EBADMSG: half a message in the kernel's answer, ${length} bytes`, `${length} of 56 bytes`)
  for (const length of [0, 3, 15, 60, 0xffffffff]) {
    whole.writeUInt32LE(length, 0)
    t.match(read(whole, message(DONE, 7)), /EBADMSG: half a message/, `one that says that it has ${length} bytes`)
  }
})

const host = new Netns()
t.teardown(() => host.close())

t.test('nobody but the kernel answers: what another process sends to our sockets is refused', async (t) => {
  link.list(host)
  nftables.check(host, { fact: 'table', keep: true })
  const sockets = readFileSync('/proc/self/net/netlink', 'utf8').split('\n').slice(1).map((line) => line.trim().split(/\s+/)).filter(([, protocol, port]) => port !== '0' && ['0', '12'].includes(protocol!))
  t.ok(sockets.length >= 2, 'one for rtnetlink, one for nfnetlink')
  const send = 'my ($protocol, $port) = @ARGV; socket(S, 16, 3, $protocol) or die; print send(S, pack("LSSLLl", 20, 2, 0, 1, $port, 0), 0, pack("SSLL", 16, 0, $port, 0)) ? "sent" : "$!"'
  for (const [, protocol, port] of sockets) t.equal(spawnSync('perl', ['-e', send, protocol!, port!], { encoding: 'utf8' }).stdout, 'Connection refused', `protocol ${protocol}`)
})

t.test('a change is made when the kernel says so: each way of asking ends with its word', async (t) => {
  sh('for i in $(seq 9); do echo link add a$i type veth peer name b$i; done | ip -batch -')
  const names = link.list(host, 'veth').map(({ name }) => name)
  t.equal(names.length, 18, 'a list')
  nftables.add(host, [{ fact: 'table', keep: true }, { fact: 'map', name: 'm', type: 'ipv4_addr', keep: true }, { fact: 'element', map: 'm', key: '10.0.0.1', owner: 'o' }])
  t.match(nft('list set inet podwire m'), '10.0.0.1', 'a transaction')
  t.throws(() => nftables.add(host, [{ fact: 'element', map: 'none', key: '10.0.0.1', owner: 'o' }]), { code: 'ENOENT' }, 'one that is refused')
  nftables.del(host, [{ fact: 'element', map: 'm', key: '10.0.0.1', owner: 'o' }])
  t.notMatch(nft('list set inet podwire m'), '10.0.0.1')
  ip('link del a1')
  t.equal(link.get(host, 'a1'), undefined, 'one object that is not there')
  t.equal(link.list(host, 'veth').length, 16)
})

t.test('a list that ends with a refusal is none', async (t) => {
  const chains = { what: 'nft list chains', type: (10 << 8) | 4, header: Buffer.from([1, 0, 0, 0]) } // NFT_MSG_GETCHAIN of family inet
  const elements = { what: 'nft list set', type: (10 << 8) | 13, header: Buffer.from([1, 0, 0, 0]) } // NFT_MSG_GETSETELEM, of no set
  let begun = 0
  const nothing = () => (begun++, () => {})
  host.nf.scanWhole(chains, nothing)
  t.equal(begun, 1)
  t.equal(host.nf.scan(elements, () => {}), false)
  t.throws(() => host.nf.scanWhole(elements, nothing), { message: /^nft list set: EINVAL/ })
  t.doesNotThrow(() => host.nf.scanWhole(elements, nothing, 'EINVAL'), 'unless that says that there is nothing')
  t.equal(begun, 3, 'it is asked for once')
})
