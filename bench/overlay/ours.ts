// Two nodes with podwire as it is shipped: an agent on each, and pods wired by the conflist that it writes.

import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { containerID } from '../implementation.ts'
import { Namespace } from '../world.ts'
import { Agent } from './agent.ts'
import { podCIDR, underlay, underlayAddress, type Node, type Pair } from './pair.ts'

export interface Ours {
  pair: Pair
  agents: Agent[]
}

/** `words` are further ones for the agents. */
export function podwire(name: string, bin: string, words: string[] = []): Ours {
  const pair = underlay(name)
  const file = `/run/${name}.json`
  const nodes = [pair.a, pair.b]
  writeFileSync(file, JSON.stringify({ nodes: nodes.map((node) => ({ name: node.name, addresses: [underlayAddress(node)], podCIDRs: [podCIDR(node)] })) }))
  const agents = nodes.map((node) => new Agent(node.netns, bin, node.name, ['--peers', file, ...words]))
  agents.forEach((agent) => agent.start())
  for (const [i, node] of nodes.entries()) for (const number of node === pair.a ? [1, 2] : [1]) add(node, agents[i]!.confDir, bin, number)
  return { pair, agents }
}

interface Conflist {
  name: string
  cniVersion: string
  plugins: [{ type: string }]
}

/** ADD of a pod, by the first plugin of the node's conflist. */
function add(node: Node, confDir: string, bin: string, number: number): void {
  const netns = new Namespace(`${node.netns.name}${number}`)
  const { name, cniVersion, plugins } = JSON.parse(readFileSync(join(confDir, '10-podwire.conflist'), 'utf8')) as Conflist
  const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: containerID(), CNI_NETNS: netns.path, CNI_IFNAME: 'eth0', CNI_PATH: bin }
  const stdout = node.netns.inside(() => execFileSync(join(bin, plugins[0].type), { env, encoding: 'utf8', input: JSON.stringify({ ...plugins[0], name, cniVersion }) }))
  const [ip] = (JSON.parse(stdout) as { ips: { address: string }[] }).ips
  node.pods.push({ netns, address: ip!.address.replace(/\/\d+$/, '') })
}
