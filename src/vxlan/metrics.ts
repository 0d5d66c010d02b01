// What the agent counts, in Prometheus' format. https://prometheus.io/docs/instrumenting/exposition_formats/

import { Counter, Gauge, Histogram, Registry } from 'prom-client'

/** What is counted, of what, by which label. */
const HELP = {
  peers: 'Number of other nodes with an entry in the overlay of this one.',
  problems: 'Number of addresses, networks and entries of other nodes that cannot be used; podwire status has a sentence on each.',
  unusable: 'The same of one node, by its name; no sample for a node in order.',
  ready: '1 if pods of this node can be wired, 0 if not.',
  reconcile: 'Seconds that it took to make the kernel as it should be, by why: the nodes had changed (wanted) or the kernel (repair).',
  pods: 'Number of pods with a network on this node, by state: ok, wrong, lost (its interface is gone), dead, unknown, others (of another plugin).',
  repairs: 'Number of links, addresses, routes and the like that others had changed and that were repaired, by kind; of pods (kind pod) the times that one was.',
  errors: "Number of changes that the kernel refused, by its code (EEXIST …), and of errors of GC, by CNI's.",
  watch: '1 for the phase in which the source of nodes (file or API server) is, 0 for each other, by phase.',
  leases: 'Number of addresses in the networks of this node, by network and by state: used by pods, or free.',
  hearing: 'Number of other nodes, by state: ok (answers over the overlay), configured (never did), silent (did before), narrow (large are lost).',
  answered: 'Seconds since another node last answered over the overlay, by its name; of 128 nodes at most, those that do not answer first.',
  roundTrip: 'Seconds from a question to another node over the overlay to its last answer, by its name; of the same nodes.',
  dropped: 'Number of packets to the port for such questions that were dropped, by why: stranger (no peer), malformed, unasked, rate.',
}
const BUCKETS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3] // seconds

export class Metrics {
  readonly #registry = new Registry()
  readonly #registers = [this.#registry]

  readonly peers = this.#gauge('podwire_peers', HELP.peers)
  readonly problems = this.#gauge('podwire_peer_problems', HELP.problems)
  readonly unusable = this.#gauge('podwire_peer_unusable', HELP.unusable, 'node')
  readonly ready = this.#gauge('podwire_ready', HELP.ready)
  readonly reconcile = new Histogram({
    name: 'podwire_reconcile_duration_seconds', help: HELP.reconcile, labelNames: ['why'], buckets: BUCKETS, registers: this.#registers,
  })
  readonly pods = this.#gauge('podwire_pods', HELP.pods, 'state')
  readonly repairs = new Counter({ name: 'podwire_repairs_total', help: HELP.repairs, labelNames: ['kind'], registers: this.#registers })
  readonly errors = new Counter({ name: 'podwire_errors_total', help: HELP.errors, labelNames: ['code'], registers: this.#registers })
  readonly watch = this.#gauge('podwire_watch_state', HELP.watch, 'phase')
  readonly leases = this.#gauge('podwire_leases', HELP.leases, 'state', 'network')
  readonly hearing = this.#gauge('podwire_peer_state', HELP.hearing, 'state')
  readonly answered = this.#gauge('podwire_peer_answered_seconds', HELP.answered, 'node')
  readonly roundTrip = this.#gauge('podwire_peer_round_trip_seconds', HELP.roundTrip, 'node')
  readonly dropped = new Counter({ name: 'podwire_probes_dropped_total', help: HELP.dropped, labelNames: ['why'], registers: this.#registers })

  get contentType(): string {
    return this.#registry.contentType
  }

  text(): Promise<string> {
    return this.#registry.metrics()
  }

  #gauge<L extends string>(name: string, help: string, ...labelNames: L[]): Gauge<L> {
    return new Gauge({ name, help, labelNames, registers: this.#registers })
  }
}
