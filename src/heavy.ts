// The asset that src/later.ts loads.

export { cli, daemon } from './cli/cli.ts'
export { run } from './run.ts'
export * as vxlan from './vxlan/plugin.ts'
