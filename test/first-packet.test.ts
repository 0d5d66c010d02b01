// The first packet after ADD gets through at once, in a world where host and pod end have the same ifindex
// (2), for which the kernel's link watcher takes its time.

import { call, ip, netns, works } from './world.ts'
import t from 'tap'

const conf = {
  cniVersion: '1.1.0', name: 'podnet', type: 'ptp',
  ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]], routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] },
}

t.test('the first packet gets through', async (t) => {
  for (let i = 0; i < 20; i++) {
    netns('pod')
    const added = call('ptp', 'ADD', conf)
    t.ok(works(`ping -c1 -W30 ${added.json.ips[1].address.split('/')[0]}`), `pod ${i}`)
    call('ptp', 'DEL', conf)
    ip('netns del pod')
  }
})
