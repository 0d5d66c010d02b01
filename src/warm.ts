// Work that is the same for every pod, done before the startup snapshot is taken, which then holds what came out: the rules of
// nf_tables that plans have are text, and making them messages costs more than all else of an ADD in nf_tables.

import { encodeRule } from './kernel/nft-rule.ts'
import { WIRERS } from './plugins.ts'
import { planOf, type WireConf, type Wiring } from './wire.ts'

export function warm(): void {
  for (const wirer of Object.values(WIRERS)) for (const fact of planOf(wirer, POD)) if (fact.fact === 'chain') fact.rules.forEach(encodeRule)
}

/** A pod that is nobody's, with all that brings rules. Addresses of documentation, RFC 5737 and 3849. */
const POD: Wiring = {
  attachment: { network: 'none', containerID: 'none', ifname: 'eth0' },
  conf: {
    cniVersion: '1.1.0',
    name: 'none',
    type: 'none',
    ipMasq: true,
    macspoofchk: true,
    runtimeConfig: { portMappings: [{ hostPort: 80, containerPort: 80 }] },
    firewall: { ingressPolicy: 'same-bridge' },
  } as WireConf,
  ips: [{ address: '192.0.2.2/24', gateway: '192.0.2.1' }, { address: '2001:db8::2/64', gateway: '2001:db8::1' }],
  routes: [],
  mtu: 1500,
  mac: undefined,
  deaf: [],
  advertised: [],
  others: false,
}
