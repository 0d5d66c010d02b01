// Networks that somebody has, asked which of them overlaps another. Two overlap if one contains the other, so it is enough to
// look a network up under each prefix length that occurs: the cost does not grow with their number. Pure.

import { bits, type Address, type Cidr, type Family } from '../ip.ts'

/** The name of whose something is: `node b`, `this node`; made only when it is said. */
export type Owner = () => string

export interface Holding {
  cidr: Cidr
  owner: Owner
}

export class Networks {
  readonly #lengths: Record<Family, number[]>
  /** The network that is somebody's, by its key. */
  readonly #whole = new Map<string, Holding>()
  /** Whose something inside the network is, by its key. */
  readonly #inside = new Map<string, Owner>()

  /** `all`: every network that will be added or asked about. */
  constructor(all: Cidr[]) {
    const of = (family: Family) => [...new Set(all.filter((cidr) => cidr.family === family).map(({ prefix }) => prefix))]
    this.#lengths = { 4: of(4), 6: of(6) }
  }

  add(cidr: Cidr, owner: Owner): void {
    this.#whole.set(key(cidr, cidr.prefix), { cidr, owner })
    this.keep(cidr, owner)
  }

  /** An address or a network that no network may contain, though others may lie inside of it. */
  keep(cidr: Cidr, owner: Owner): void {
    for (const length of this.#lengths[cidr.family]) {
      if (length <= cidr.prefix && !this.#inside.has(key(cidr, length))) this.#inside.set(key(cidr, length), owner)
    }
  }

  /** Whose network contains this one, or whose network or address lies inside it. */
  overlapping(cidr: Cidr): string | undefined {
    return (this.around(cidr)?.owner ?? this.#inside.get(key(cidr, cidr.prefix)))?.()
  }

  /** The network that contains this one, or an address. */
  around(cidr: Cidr): Holding | undefined {
    for (const length of this.#lengths[cidr.family]) {
      const holding = length <= cidr.prefix ? this.#whole.get(key(cidr, length)) : undefined
      if (holding) return holding
    }
    return undefined
  }
}

/** The first bits of an address, `prefix` of them, as text behind its family. */
function key(address: Address, prefix: number): string {
  let digits = binary.get(address)
  if (digits === undefined) binary.set(address, (digits = address.family + address.value.toString(2).padStart(bits(address.family), '0')))
  return digits.slice(0, prefix + 1)
}

const binary = new WeakMap<Address, string>()
