// A pod for tests of plans.

import type { Wiring } from '../src/wire.ts'

export const wiring = (type: string): Wiring => ({
  attachment: { network: 'podnet', containerID: 'c1', ifname: 'eth0' },
  conf: { cniVersion: '1.1.0', name: 'podnet', type, ipam: { type: 'host-local' } },
  ips: [{ address: '10.1.2.3/24', gateway: '10.1.2.1' }],
  routes: [{ dst: '0.0.0.0/0' }],
  mtu: 1450,
  mac: undefined,
  deaf: [],
  advertised: [],
  others: false,
})
