// What a plugin asks of the agent's overlay before it wires a pod: one small file, and whether the device is there.

import { join } from 'node:path'
import { CniError } from '../cni/error.ts'
import { textOf } from '../file.ts'
import * as link from '../kernel/link.ts'
import type { Netns } from '../kernel/netns.ts'

/** overlay.json in the agent's state directory. */
export interface Readiness {
  device: string
  ready: boolean
  /** Why it is not, a sentence. */
  reason: string
}

/** Error 11 if pods cannot be wired yet: the runtime tries again. */
export function requireOverlay(netns: Netns, stateDir: string): void {
  const wrong = problem(netns, stateDir)
  if (wrong) throw new CniError(11, wrong.sentence, 'podwire agent makes the overlay ready; podwire status says how far it is')
}

/** Error 50 if pods cannot be wired, 51 if those that run are cut off. */
export function overlayStatus(netns: Netns, stateDir: string): void {
  const wrong = problem(netns, stateDir)
  if (wrong) throw new CniError(wrong.lost ? 51 : 50, wrong.sentence, 'podwire agent repairs it, if it runs; podwire status says more')
}

/** `lost` if the overlay was ready before. */
function problem(netns: Netns, stateDir: string): { sentence: string; lost: boolean } | undefined {
  const said = read(join(stateDir, 'overlay.json'))
  if (!said.ready) return { sentence: `the overlay is not ready: ${said.reason}`, lost: false }
  const device = link.get(netns, said.device)
  return device?.up ? undefined : { sentence: `the overlay is broken: interface ${said.device} is ${device ? 'down' : 'missing'}`, lost: true }
}

/** What is no file, or not what an agent writes, says as little as none. */
function read(file: string): Readiness {
  const unready = (reason: string): Readiness => ({ device: '', ready: false, reason })
  try {
    const text = textOf(file, MOST)
    if (text === undefined) return unready(`no podwire agent has said so in ${file}`)
    const said = JSON.parse(text) as Readiness | null
    const { device, ready, reason } = said ?? {}
    return typeof device === 'string' && typeof ready === 'boolean' && typeof reason === 'string' ? { device, ready, reason } : unready(`${file} is not what an agent writes`)
  } catch (error) {
    return unready(error instanceof SyntaxError ? `${file} is not what an agent writes` : (error as Error).message)
  }
}

const MOST = 64 * 1024 // bytes
