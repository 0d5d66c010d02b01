// The conflists of conf/, each sent to its plugins as a runtime would: a pod with an address that is reached, by a host port too
// where the list has a plugin for them, and nothing of it is left.

import { readdirSync, readFileSync } from 'node:fs'
import { call, ip, netns, sh } from './world.ts'
import t from 'tap'
import { ask, server } from './traffic.ts'

const PORTS = { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] }

ip('link add u0 type veth peer name u1 && ip link set u0 up && ip link set u1 up && ip addr add 192.0.2.1/24 dev u0')
netns('pod')
const pod = await server('pod', 'pod', 80)
t.teardown(() => pod.kill())

for (const file of readdirSync('conf').filter((name) => name.endsWith('.conflist')))
  t.test(`conf/${file}`, async (t) => {
    const { plugins, cniVersion, name } = JSON.parse(readFileSync(`conf/${file}`, 'utf8'))
    const send = (command: string, prevResult?: object) =>
      (plugin: any) => call(plugin.type, command, { ...plugin, cniVersion, name, ...(plugin.capabilities?.portMappings && { runtimeConfig: PORTS }), ...(prevResult && { prevResult }) })
    const all = (command: string, result: object, list = plugins) => list.map((plugin: any) => send(command, result)(plugin).stdout).join('')
    const add = () => plugins.reduce((prev: object | undefined, plugin: any) => send('ADD', prev)(plugin).json, undefined)
    const del = (result: object) => all('DEL', result, plugins.toReversed())

    const result = add()
    t.equal(result.code, undefined, result.msg)
    for (const { address } of result.ips) t.match(ask(undefined, address.split('/')[0], 80), 'pod sees')
    if (plugins.some(({ capabilities }: any) => capabilities?.portMappings)) t.match(ask(undefined, '192.0.2.1', 8080), 'pod sees 192.0.2.1')
    if (cniVersion !== '0.3.1') t.equal(all('CHECK', result), '')
    t.equal(del(result), '')
    t.equal(sh('ip -br link show type veth | grep -v ^u; nft list ruleset | grep comment; find /var/lib/cni /run/cni* -type f ! -name lock ! -name "last_reserved*" 2>/dev/null || true'), '', 'nothing is left but what pods share')
  })
