// The nodes from the API server, as a source for the agent.

import { watchNodes } from './kubernetes/nodes.ts'
import type { Source } from './source.ts'

export const kubernetes = (kubeconfig: string | undefined): Source => (handler) =>
  watchNodes(kubeconfig === undefined ? {} : { kubeconfig }, { nodes: (nodes) => handler.nodes(nodes), state: ({ phase, reason = '' }) => handler.state({ phase, reason }) })
