// Which chains are podwire's: those that plans make, and no other. What is an operator's stays.

import { call, netns, nft, podnet, sh, works } from './world.ts'
import { globSync, readFileSync } from 'node:fs'
import t from 'tap'
import { bridge } from '../src/bridge/bridge.ts'
import { isOurs, NAMES } from '../src/chains.ts'
import type { Chain, Plan } from '../src/facts.ts'
import { ptp } from '../src/ptp/ptp.ts'
import { overlay } from '../src/vxlan/overlay.ts'
import { uninstall } from '../src/vxlan/uninstall.ts'
import { planOf, type Wirer, type Wiring } from '../src/wire.ts'
import { wiring } from './wiring.ts'

const ports = { runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80 }] } }
const drops = { drops: () => true, hasChain: () => true, firewalld: () => false }

function plan(wirer: Wirer, type: string, keys: object): Plan {
  const plain = wiring(type)
  return planOf(wirer, { ...plain, ips: [...plain.ips, { address: 'fd00::3/64', gateway: 'fd00::1' }], filters: drops, conf: { ...plain.conf, ...keys } } as Wiring)
}

const nodes = ['a', 'b'].map((name, i) => ({ name, addresses: [`192.0.2.${i}`], podCIDRs: [`10.244.${i}.0/24`] }))
const options = { vni: 1, port: 8472, mtu: undefined, directRouting: false, masquerade: true, nonMasqueradeCIDRs: [], checksumOffload: undefined, uplinks: [], advertised: [] }
const plans: Plan[] = [
  plan(ptp, 'ptp', { ipMasq: true, nonMasqueradeCIDRs: ['10.0.0.0/8'], ...ports, firewall: {} }),
  plan(ptp, 'ptp', { ...ports, portmap: { masqAll: true, conditionsV4: ['-s', '192.0.2.0/24'], conditionsV6: ['iifname', '"eth0"'] }, firewall: { iptablesAdminChainName: 'MINE' } }),
  plan(bridge, 'bridge', { isGateway: true, ipMasq: true, macspoofchk: true, firewall: { ingressPolicy: 'isolated' } }),
  plan(bridge, 'bridge', { isGateway: true, firewall: { ingressPolicy: 'same-bridge' } }),
  overlay(nodes[0]!, nodes[0]!.podCIDRs, { local: '192.0.2.0', dev: 'eth0', mtu: 1500, onLink: [] }, [], options),
]
const chains = plans.flat().filter((fact): fact is Chain => fact.fact === 'chain')

t.test('a chain that a plan makes and fills is known as ours', async (t) => {
  for (const { family = 'inet', name, open } of chains) t.equal(isOurs(family, name), !open, `${family} ${name}`)
  t.same(chains.filter(({ open }) => open).map(({ name }) => name), ['CNI-ADMIN', 'MINE', 'CNI-ADMIN', 'CNI-ADMIN'], "an operator's is not")
  const made = new Set(chains.map(({ family = 'inet', name }) => `${family} ${name.replace(/_[0-9a-f]{8}$/, '')}`))
  for (const [family, names] of Object.entries(NAMES)) for (const name of names) t.ok(made.has(`${family} ${name}`), `${family} ${name} is one's`)
})

t.test('and these plans are of all files that make chains', async (t) => {
  const files = globSync('src/**/*.ts').filter((file) => readFileSync(file, 'utf8').includes("fact: 'chain'") && file !== 'src/facts.ts').sort()
  t.same(files, ['src/bridge/macspoof.ts', 'src/firewall/firewall.ts', 'src/localhost.ts', 'src/nat.ts', 'src/portmap/portmap.ts'])
})

const named = (name: string) => ({ ...podnet, ipMasq: false, firewall: { iptablesAdminChainName: name } })

t.test("an operator's chain cannot have such a name, nor one of iptables'", async (t) => {
  netns('pod')
  const refused = (name: string, words: string) => t.match(call('ptp', 'ADD', named(name)).json, { code: 7, msg: `iptablesAdminChainName is "${name}": ${words} has a chain` }, name)
  for (const { name } of chains.filter(({ open }) => !open)) refused(name, 'podwire')
  for (const name of ['FORWARD', 'INPUT', 'CNI-FORWARD', 'ACCEPT', 'DROP', 'RETURN', 'LOG', 'MASQUERADE']) refused(name, 'iptables')
  for (const name of ['Forward', 'forward_mine', 'outside', 'inside_1', 'DOCKER-USER']) {
    t.equal(call('ptp', 'ADD', named(name)).status, 0, name)
    t.equal(call('ptp', 'DEL', named(name)).status, 0)
  }
})

const take = () => uninstall({ vni: 1, stateDir: '/run/podwire', confDir: '/run/net.d', binDir: '/run/none', libDir: '/run/none' })

t.test('what an operator wrote into a chain of their own outlives podwire uninstall, whatever its name', async (t) => {
  for (const chain of ['MINE', 'forward', 'outside', 'hostports_mine', 'firewall']) {
    nft(`'add table inet podwire; add chain inet podwire ${chain} { type filter hook forward priority -10; }; add rule inet podwire ${chain} ip saddr 192.0.2.6 drop'`)
    t.same(take().problems, [])
    t.match(nft(`list chain inet podwire ${chain}`), '192.0.2.6', chain)
    nft('delete table inet podwire')
  }
  nft(`'add table bridge podwire; add chain bridge podwire postrouting; add rule bridge podwire postrouting drop'`)
  take()
  t.ok(works('nft list chain bridge podwire postrouting'), 'a name is ours in its own table')
  nft('delete table bridge podwire')
})

t.test('and what is only ours goes', async (t) => {
  t.equal(call('ptp', 'ADD', { ...podnet, ...ports, firewall: {} }).status, 0)
  t.equal(call('ptp', 'DEL', { ...podnet, ...ports, firewall: {} }).status, 0)
  take()
  t.equal(sh('nft list tables | grep podwire || true'), '')
})
