// firewalld: addresses among the sources of its zones, by which it decides what becomes of a pod's packets. Asked over the
// message bus; neither it nor a program is started. Sources are of its runtime configuration, and gone when it is reloaded.
// https://firewalld.org/documentation/man-pages/firewalld.dbus.html

import type { Source } from '../facts.ts'
import { Bus, BusError } from './dbus.ts'
import { differs, missing, type Difference } from './difference.ts'
import { isErrno } from './errno.ts'

const SERVICE = 'org.fedoraproject.FirewallD1'
const ZONE = { destination: SERVICE, path: '/org/fedoraproject/FirewallD1', interface: `${SERVICE}.zone` }
const NOBODY = ['org.freedesktop.DBus.Error.ServiceUnknown', 'org.freedesktop.DBus.Error.NameHasNoOwner']

/** Whether firewalld runs. */
export function isRunning(): boolean {
  const answer = onBus((bus) => bus.call({ destination: 'org.freedesktop.DBus', path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus', member: 'NameHasOwner' }, SERVICE))
  return answer?.[0] === true
}

/** The sources of a zone; undefined if firewalld does not run. */
export const sources = (zone: string): string[] | undefined => onBus((bus) => bus.call({ ...ZONE, member: 'getSources' }, zone)[0] as string[])

/** Puts an address into a zone, wherever it was. */
export function add({ zone, address }: Source, what: string): void {
  try {
    if (!onBus((bus) => bus.call({ ...ZONE, member: 'changeZoneOfSource' }, zone, address))) throw new Error('firewalld does not run')
  } catch (error) {
    throw new Error(`${what}: ${(error as Error).message}`, { cause: error })
  }
}

/** Takes an address out of the zone that it is in. */
export function del({ address }: Source): void {
  onBus((bus) => {
    const [zone] = bus.call({ ...ZONE, member: 'getZoneOfSource' }, address)
    try {
      if (zone !== '') bus.call({ ...ZONE, member: 'removeSource' }, String(zone), address)
    } catch (error) {
      if (!(error as Error).message.startsWith('UNKNOWN_SOURCE')) throw error // somebody else was faster
    }
  })
}

export function check({ zone, address }: Source): Difference | undefined {
  const answer = onBus((bus) => bus.call({ ...ZONE, member: 'getZoneOfSource' }, address))
  if (!answer) return differs('firewalld does not run')
  if (answer[0] === '') return missing(`zone ${zone} of firewalld does not have the source ${address}`)
  return answer[0] === zone ? undefined : differs(`source ${address} is in zone ${String(answer[0])} of firewalld, not in ${zone}`)
}

/** Runs something on the bus; undefined if there is none, or nobody on it who is asked. */
function onBus<T>(run: (bus: Bus) => T): T | undefined {
  let bus: Bus
  try {
    bus = new Bus()
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ECONNREFUSED', 'ENOTDIR', 'EACCES', 'EPERM')) return undefined
    throw error
  }
  try {
    return run(bus)
  } catch (error) {
    if (error instanceof BusError && NOBODY.includes(error.code)) return undefined
    throw error
  } finally {
    bus.close()
  }
}
