// Lists of plugins as libcni runs them, which a container runtime has inside: ADD goes through the list, and each plugin is
// handed the result of the one before; CHECK goes through it, DEL through it backwards, all with the last result. What a
// runtime knows of capabilities goes to who declares them. https://www.cni.dev/docs/spec/#section-3-execution-of-network-configurations

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { call, callAll, type Call, type Implementation, type Sample } from './implementation.ts'

/** An entry of a list. */
export interface Entry {
  type: string
  capabilities?: Record<string, boolean>
  [key: string]: unknown
}

/** A pod, and what the runtime was told of it: by capability. */
export interface Pod {
  container: string
  netns: string
  runtime: Record<string, unknown>
}

export type Command = 'ADD' | 'CHECK' | 'DEL'

const NETWORK = { cniVersion: '1.0.0', name: 'bench' }

/** Wires a pod; what all plugins together took, and the last result. */
export function add(implementation: Implementation, list: Entry[], pod: Pod): { sample: Sample; result: object } {
  let result: object | undefined
  const samples = list.map((entry) => {
    const { sample, stdout } = call(implementation, request('ADD', entry, pod, result))
    result = JSON.parse(stdout) as object
    return sample
  })
  return { sample: sum(...samples), result: result! }
}

export const check = (implementation: Implementation, list: Entry[], pod: Pod, result: object): Sample => sum(...list.map((entry) => call(implementation, request('CHECK', entry, pod, result)).sample))

export const del = (implementation: Implementation, list: Entry[], pod: Pod, result: object): Sample =>
  sum(...list.toReversed().map((entry) => call(implementation, request('DEL', entry, pod, result)).sample))

/** Wires a pod, looks at it and takes it away again. */
export function once(implementation: Implementation, list: Entry[], pod: Pod): Record<Command, Sample> {
  const { sample, result } = add(implementation, list, pod)
  return { ADD: sample, CHECK: check(implementation, list, pod, result), DEL: del(implementation, list, pod, result) }
}

/** Wires pods, so many at once. */
export function addAll(implementation: Implementation, list: Entry[], pods: Pod[], jobs: number): void {
  let results: (object | undefined)[] = pods.map(() => undefined)
  for (const entry of list) {
    const answers = callAll(implementation, pods.map((pod, i) => request('ADD', entry, pod, results[i])), jobs)
    results = answers.map((answer) => JSON.parse(answer) as object)
  }
}

/** Whether somebody has all plugins of a list. */
export const has = ({ bin }: Implementation, list: Entry[]): boolean => list.every(({ type }) => existsSync(join(bin, type)))

export const sum = (...samples: Sample[]): Sample => ({ value: total(samples.map(({ value }) => value)), cpu: total(samples.map(({ cpu = 0 }) => cpu)) })
const total = (values: number[]): number => values.reduce((a, b) => a + b, 0)

function request(command: Command, entry: Entry, { container, netns, runtime }: Pod, prevResult: object | undefined): Call {
  const known = Object.entries(runtime).filter(([capability]) => entry.capabilities?.[capability])
  const conf = { ...NETWORK, ...entry, ...(known.length > 0 && { runtimeConfig: Object.fromEntries(known) }), ...(prevResult && { prevResult }) }
  return { plugin: entry.type, command, conf, container, netns }
}
