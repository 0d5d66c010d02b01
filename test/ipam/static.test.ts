// static: the addresses that a configuration, its runtime or CNI_ARGS name.

import { call } from '../world.ts'
import t from 'tap'

const ipam = { type: 'static', addresses: [{ address: '10.1.2.5/24', gateway: '10.1.2.1' }, { address: 'FD00:0::5/64' }], routes: [{ dst: '0.0.0.0/0' }], dns: { nameservers: ['10.0.0.10'], search: ['example.org'] } }
const conf = { cniVersion: '1.1.0', name: 'podnet', type: 'static', ipam }

const add = (more: object = {}, args = '') => call('static', 'ADD', { ...conf, ...more }, { args })
const ips = (answer: ReturnType<typeof add>): string => answer.json.ips?.map(({ address, gateway }: any) => (gateway ? `${address} via ${gateway}` : address)).join(', ') ?? `${answer.json.code}: ${answer.json.msg}`
const addresses = (...list: object[]) => ({ ipam: { type: 'static', addresses: list } })

t.test('the result is the configuration', async (t) => {
  t.same(add().json, { cniVersion: '1.1.0', ips: [{ address: '10.1.2.5/24', gateway: '10.1.2.1' }, { address: 'fd00::5/64' }], routes: ipam.routes, dns: ipam.dns })
  t.same(add({ cniVersion: '0.2.0' }).json, { cniVersion: '0.2.0', ip4: { ip: '10.1.2.5/24', gateway: '10.1.2.1', routes: ipam.routes }, ip6: { ip: 'fd00::5/64' }, dns: ipam.dns })
})

t.test('CNI_ARGS add addresses, each with the gateway of its subnet', async (t) => {
  t.equal(ips(add({}, 'IP=10.2.0.3/24')), '10.1.2.5/24 via 10.1.2.1, fd00::5/64, 10.2.0.3/24')
  t.equal(ips(add({}, 'IP=10.2.0.3/24,fd01::3/64;GATEWAY=10.2.0.1,fd00::1,10.1.2.9')), '10.1.2.5/24 via 10.1.2.1, fd00::5/64, 10.2.0.3/24 via 10.2.0.1, fd01::3/64')
  t.equal(ips(add({}, 'GATEWAY=10.1.2.9')), '10.1.2.5/24 via 10.1.2.1, fd00::5/64')
  t.equal(ips(add(addresses(), 'IP=10.2.0.3/24')), '10.2.0.3/24', 'or are all there is')
})

t.test('requested addresses replace them: of the runtime before those of args', async (t) => {
  const [runtimeConfig, args] = [{ ips: ['10.9.0.1/24', 'fd09::1/64'] }, { cni: { ips: ['10.8.0.1/24'] } }]
  t.equal(ips(add({ runtimeConfig, args }, 'IP=10.2.0.3/24;GATEWAY=10.9.0.9')), '10.9.0.1/24, fd09::1/64')
  t.equal(ips(add({ args }, 'IP=10.2.0.3/24')), '10.8.0.1/24')
  t.equal(ips(add({ runtimeConfig: { ips: [] }, args: null })), '10.1.2.5/24 via 10.1.2.1, fd00::5/64', 'empty requests nothing')
})

t.test('what is wrong', async (t) => {
  t.equal(ips(add({ ipam: { type: 'static' } })), '7: ipam.addresses is missing: expected a list of addresses such as [{"address": "10.1.2.3/24"}]')
  t.equal(ips(add(addresses({ address: '10.1.2.5' }))), '7: ipam.addresses[0].address is "10.1.2.5": expected an address with prefix length such as "10.1.2.3/24"')
  t.equal(ips(add(addresses({ address: '10.1.2.5/24' }, { gateway: '10.1.2.1' }))), '7: ipam.addresses[1].address is missing: expected an address with prefix length such as "10.1.2.3/24"')
  t.equal(ips(add(addresses({ address: '10.1.2.5/24', gateway: '10.1.2' }))), '7: ipam.addresses[0].gateway is "10.1.2": expected an IP address')
  t.equal(ips(add({ runtimeConfig: { ips: ['10.9.0.1'] } })), '7: runtimeConfig.ips[0] is "10.9.0.1": expected an address with prefix length such as "10.1.2.3/24"')
  t.equal(ips(add({ args: { cni: { ips: ['10.9.0.1'] } } })), '7: args.cni.ips[0] is "10.9.0.1": expected an address with prefix length such as "10.1.2.3/24"')
  t.equal(ips(add({}, 'IP=10.9.0.1')), '4: CNI_ARGS IP is "10.9.0.1": expected an address with prefix length such as "10.1.2.3/24"')
  t.equal(ips(add({ cniVersion: '0.2.0' }, 'IP=10.2.0.3/24')), '7: CNI version 0.2.0 does not support more than 1 address per family')
})

t.test('CHECK compares with prevResult', async (t) => {
  const check = (list: object[]) => call('static', 'CHECK', { ...conf, prevResult: { cniVersion: '1.1.0', ips: list } })
  const [four, six] = [{ address: '10.1.2.5/24', gateway: '10.1.2.1' }, { address: 'fd00::5/64' }]
  t.equal(check([four, six]).stdout, '')
  t.equal(check([{ address: '192.0.2.1/24' }, { ...six, gateway: 'fd00::1' }, four]).stdout, '', 'more, in any order, with a gateway of somebody else')
  t.match(check([six]).json, { code: 102, msg: 'static: 10.1.2.5/24 with gateway 10.1.2.1 is not among the addresses of prevResult (fd00::5/64)' })
  t.match(check([six, { ...four, gateway: '10.1.2.2' }]).json, { code: 102, msg: 'static: 10.1.2.5/24 with gateway 10.1.2.1 is not among' })
  t.match(check([four, { address: 'fd00::5/65' }]).json, { code: 102, msg: 'static: fd00::5/64 is not among' })
})

t.test('DEL, GC and STATUS have nothing to do, and say nothing', async (t) => {
  for (const command of ['DEL', 'GC', 'STATUS']) t.same(call('static', command, conf), { status: 0, stdout: '', stderr: '', json: undefined }, command)
})
