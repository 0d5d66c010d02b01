// Where the nodes come from, as the agent sees it: a file or the API server.

import type { Nodes } from './node.ts'

/** How it is about the source, for logs, metrics and /readyz. */
export interface SourceState {
  phase: 'connecting' | 'listing' | 'watching' | 'failed'
  /** A sentence about what is wrong; empty if nothing is. */
  reason: string
}

export interface Handler {
  /** All nodes, after each change of something that matters. */
  nodes(nodes: Nodes): void
  state(state: SourceState): void
}

export type Source = (handler: Handler) => { close(): void }
