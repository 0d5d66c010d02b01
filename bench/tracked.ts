// A connection that the node has, and its kernel tracks, as on every node that is in use. Who forgets a pod's connections has to
// look for them then, and the kernel looks through a table with room for some hundred thousand.

import { spawnSync } from 'node:child_process'
import { Refused } from './implementation.ts'
import { accept, close, connect, listen, receive, send } from './overlay/socket.ts'
import type { Scenario } from './scenarios.ts'
import { NODE } from './world.ts'

const PORT = 22

/** The same scenario while there is such a connection, from the world to the node. */
export function tracked(scenario: Scenario): Scenario {
  const there = new Map<string, [client: number, server: number]>()
  return {
    ...scenario,
    setUp(someone) {
      const { machine } = someone
      if (machine.inside(forget) !== 0) throw new Refused("conntrack, of Debian's package of that name, is missing")
      const fd = machine.inside(() => listen('tcp', PORT))
      there.set(someone.name, [machine.world.inside(() => connect('tcp', NODE, PORT)), accept(fd)])
      close(fd)
    },
    tearDown({ name, machine }) {
      there.get(name)?.forEach(close)
      machine.inside(forget)
    },
    round(someone, number) {
      const [client, server] = there.get(someone.name)!
      send(client, Buffer.alloc(1)) // by which the kernel knows it, also if it has begun to track only now
      receive(server, Buffer.alloc(1))
      return scenario.round(someone, number)
    },
  }
}

/** The kernel forgets all connections. */
const forget = (): number | null => spawnSync('conntrack', ['-F'], { stdio: 'ignore' }).status
