// A lease as it is written, and the names that podwire gives the same file. Text and names only; the directory is store.ts's.

import { IDENTIFIER } from '../cni/request.ts'
import { hash } from '../names.ts'

export interface Holder {
  containerID: string
  /** Empty: a file of the reference's first days, or one whose second line was lost. */
  ifname: string
}

export const content = ({ containerID, ifname }: Holder): string => `${containerID}\r\n${ifname}`

/** Who holds an address by what its file says; undefined when that could be no container. */
export function holderIn(text: string): Holder | undefined {
  const [containerID = '', ifname = ''] = text.split('\r\n', 2).map((part) => part.trim())
  return IDENTIFIER.test(containerID) ? { containerID, ifname } : undefined
}

/** Whether the file with that text may be the holder's: without an interface it is any's of the container. */
export function says(text: string, { containerID, ifname }: Holder): boolean {
  if (!text.includes(containerID)) return false // of thousands nearly all
  const there = holderIn(text)
  return there?.containerID === containerID && (there.ifname === '' || there.ifname === ifname)
}

/** Nothing, or nothing but zeros: what a crash of the reference leaves, or of the machine. */
export const isTorn = (text: string): boolean => /^[\0\s]*$/.test(text)

/** What names of podwire's begin with. */
export const INDEX = '.podwire.'
const DIGITS = 16

/** Characters that such a name has at most: that of an IPv6 address. */
export const LONGEST = INDEX.length + DIGITS + 1 + 39

/** The name by which podwire knows a holder, or one of its addresses. */
export const nameOf = ({ containerID, ifname }: Holder, address?: string): string =>
  `${INDEX}${hash(DIGITS, containerID, ifname)}${address === undefined ? '' : `.${address}`}`

/** The holder's name in the name of one of its addresses. */
export const cardOf = (name: string): string => name.slice(0, INDEX.length + DIGITS)

/** The address in a name; nothing in a holder's. */
export const addressOf = (name: string): string => name.slice(INDEX.length + DIGITS + 1)

const ADDRESS = /^[0-9a-f:]*[.:][0-9a-f.:]*$/

/** Whether a file's name is an address's, as no other name that belongs there. */
export const isAddress = (name: string): boolean => ADDRESS.test(name)
