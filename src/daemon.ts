// The asset of the agent that src/later.ts loads.

export { agent } from './vxlan/agent.ts'
export { install } from './vxlan/install.ts'
export { uninstall } from './vxlan/uninstall.ts'
