// loopback: the pod's own lo, up. It is started for every pod, so it touches nothing it does not need.
// https://www.cni.dev/plugins/current/main/loopback/

import { COMMON } from '../cni/conf.ts'
import { CniError } from '../cni/error.ts'
import type { Plugin } from '../cni/plugin.ts'
import type { Result } from '../cni/result.ts'
import type { LinkSet } from '../facts.ts'
import * as addr from '../kernel/addr.ts'
import * as link from '../kernel/link.ts'
import { Netns, netnsKind } from '../kernel/netns.ts'
import { complain, podName, requireNetns } from '../act.ts'
import { show } from '../show.ts'

const DEV = 'lo'
const UP: LinkSet = { fact: 'link set', in: 'pod', dev: DEV, up: true }

export const loopback: Plugin = {
  schema: { $id: 'loopback', type: 'object', properties: COMMON },

  add({ env, conf }): Result {
    requireNetns(env)
    return inside(env.netns, (pod) => {
      const before = addr.list(pod, DEV).filter((address) => !LOOPBACK.test(address))
      if (before.length > 0) throw new CniError(100, `loopback interface has a non-loopback address: ${before.join(', ')}`)
      link.set(pod, UP, 'ip link set lo up')
      if (conf.prevResult) return conf.prevResult
      const ips = addr.list(pod, DEV).map((address) => ({ address, interface: 0 }))
      return { interfaces: [{ name: DEV, mac: '00:00:00:00:00:00', sandbox: env.netns }], ips, routes: [], dns: {} }
    })
  },

  del({ env }): void {
    if (!env.netns || netnsKind(env.netns) !== 'namespace') return
    inside(env.netns, (pod) => link.setDown(pod, DEV))
  },

  check({ env }): void {
    requireNetns(env, 3)
    const finding = inside(env.netns, (pod) => link.checkSet(pod, UP))
    if (finding) complain([{ sentence: finding.sentence, repair: show(UP, podName(env.netns)) }])
  },

  made: () => [UP],

  gc(): void {},

  status(): void {},
}

const LOOPBACK = /^(127\.|::1\/)/

function inside<T>(path: string, run: (pod: Netns) => T): T {
  const pod = new Netns(path)
  try {
    return run(pod)
  } finally {
    pod.close()
  }
}
