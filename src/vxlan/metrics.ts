// What the agent counts, in Prometheus' format. https://prometheus.io/docs/instrumenting/exposition_formats/

import { Counter, Gauge, Histogram, Registry } from 'prom-client'

export class Metrics {
  readonly #registry = new Registry()
  readonly #registers = [this.#registry]

  readonly peers = new Gauge({ name: 'podwire_peers', help: 'Nodes that this one sends to.', registers: this.#registers })
  readonly problems = new Gauge({ name: 'podwire_peer_problems', help: 'What of other nodes cannot be used.', registers: this.#registers })
  readonly unusable = new Gauge({ name: 'podwire_peer_unusable', help: 'The same by node; none that is in order.', labelNames: ['node'], registers: this.#registers })
  readonly ready = new Gauge({ name: 'podwire_ready', help: '1 if the overlay is ready.', registers: this.#registers })
  readonly reconcile = new Histogram({ name: 'podwire_reconcile_duration_seconds', help: 'Time to make the kernel hold what it should.', labelNames: ['why'], buckets: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3], registers: this.#registers })
  readonly repairs = new Counter({ name: 'podwire_repairs_total', help: 'Things that somebody else had changed, by kind.', labelNames: ['kind'], registers: this.#registers })
  readonly errors = new Counter({ name: 'podwire_errors_total', help: "What the kernel refused, by the kernel's code, and errors of GC by CNI's.", labelNames: ['code'], registers: this.#registers })
  readonly watch = new Gauge({ name: 'podwire_watch_state', help: '1 for the phase in which the source of nodes is.', labelNames: ['phase'], registers: this.#registers })
  readonly leases = new Gauge({ name: 'podwire_leases', help: 'Addresses of pods on this node, by state and network.', labelNames: ['state', 'network'], registers: this.#registers })

  get contentType(): string {
    return this.#registry.contentType
  }

  text(): Promise<string> {
    return this.#registry.metrics()
  }
}
