// Whether peers answer over the overlay, how fast, and whether a packet passes that is as large as a pod's. The agents ask each other:
// from the address of this node's device to that of the peer's, in both families. A question is sent small, and as large as fits into
// the device, not to be fragmented; each answer is small. Nothing depends on it but what is told.
//
// A source address can be forged. So a question is answered only to the address and port of a peer, with no more bytes than it has, and at
// a bounded rate; and an answer counts only with the nonce that was sent to that very address.

import { randomBytes } from 'node:crypto'
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { addressBytes, parseAddress } from '../ip.ts'
import { seconds } from '../kernel/clock.ts'
import { prepared, udpSocket } from '../kernel/libc.ts'
import { Alarm } from './alarm.ts'
import { hearing, TRIES, type Heard } from './heard.ts'
import { decode, encode, LEAST, type Packet } from './probe-packet.ts'

/** How many peers are asked in a round, at most: of more, those that were not asked for longest. */
const ROUND = 64
/** How long an answer may take; how long after the peers changed the next round begins, at most. Milliseconds. */
const WAIT = 1000
const SOON = 500
/**
 * So many peers are asked together, and how long after them the next, milliseconds: an answer that waits until others are read seems slow,
 * and to wake up costs more than to ask.
 */
const GROUP = 8
const PACE = 20
/** By how much of itself an interval is longer or shorter, so that agents that were started together do not ask together. */
const JITTER = 0.2
/** Questions answered per second, and at once: 5000 nodes that ask 64 others each 30 s ask each one five times in a second. */
const RATE = 200
const BURST = 400
/** Seconds: before all times. */
const NEVER = -1
/** Bytes of the headers of IP and UDP by family. */
const HEADERS = { 4: 28, 6: 48 }

export interface Targets {
  /** The addresses of this node's device. */
  own: string[]
  /** Those of the peers' devices. */
  peers: { node: string; address: string }[]
  /** Of the overlay, bytes. */
  mtu: number
}

export interface Ears {
  /** What is known of peers has changed: `turned` if one of them is in another state than before. */
  heard(turned: boolean): void
  /** A packet was dropped. */
  dropped(why: 'stranger' | 'malformed' | 'unasked' | 'rate'): void
  /** The other nodes cannot be asked, and why; empty: they can again. */
  mute(why: string): void
}

/** A question that is under way. */
interface Pending {
  heard: Heard
  large: boolean
  /** The list that was asked with it. */
  list: Heard[]
  /** When it was sent, milliseconds. */
  sent: number
}

export class Probe {
  readonly #port: number
  readonly #interval: number
  readonly #ears: Ears
  readonly #sockets = new Map<string, Socket>()
  readonly #heard = new Map<string, Heard>()
  readonly #pending = new Map<string, Pending>()
  readonly #round = new Alarm(() => this.#ask())
  readonly #early = new Alarm(() => this.#ask(true))
  readonly #timers = new Set<NodeJS.Timeout>()
  #targets: Targets = { own: [], peers: [], mtu: 0 }
  #mute = ''
  #credit = BURST
  #counted = performance.now()
  #asked = -Infinity

  /** `port` 0: nobody is asked or answered. `interval`: of rounds, milliseconds. */
  constructor(port: number, interval: number, ears: Ears) {
    this.#port = port
    this.#interval = interval
    this.#ears = ears
  }

  /** Whom to ask from now on; `before`: what is known of them already. */
  want(targets: Targets, before: readonly Heard[] = []): void {
    if (this.#port === 0) return
    this.#targets = targets
    const known = new Map(before.map((heard) => [heard.address, heard]))
    const wanted = new Map(targets.peers.map((target) => [target.address, target]))
    for (const [address, { node }] of this.#heard) if (wanted.get(address)?.node !== node) this.#heard.delete(address)
    for (const [address, { node }] of wanted) {
      if (this.#heard.has(address)) continue
      const old = known.get(address)
      this.#heard.set(address, old?.node === node ? { ...old, asked: undefined } : { node, address, missed: 0, missedLarge: 0 })
    }
    for (const [address, socket] of this.#sockets) if (!targets.own.includes(address)) this.#closeSocket(address, socket)
    if (this.#heard.values().some(({ asked }) => asked === undefined)) this.#soon()
  }

  get heard(): Heard[] {
    return [...this.#heard.values()]
  }

  /** How many addresses are asked. */
  get size(): number {
    return this.#heard.size
  }

  close(): void {
    for (const alarm of [this.#round, this.#early]) alarm.cancel()
    for (const timer of this.#timers) clearTimeout(timer)
    for (const [address, socket] of this.#sockets) this.#closeSocket(address, socket)
  }

  /** Asks those that have not been asked yet, at least a second after the last round. */
  #soon(): void {
    const apart = Math.max(0, this.#asked + WAIT - performance.now())
    this.#early.within(apart + Math.random() * SOON)
  }

  /** A round. `early`: of those alone that have not been asked yet. */
  #ask(early = false): void {
    this.#asked = performance.now()
    this.#round.within(this.#interval * (1 + JITTER * (2 * Math.random() - 1)))
    this.#open()
    const byNode = Map.groupBy(this.#askable(), ({ node }) => node)
    const all = [...byNode.values()].map((list) => ({ list, asked: Math.min(...list.map(({ asked = NEVER }) => asked)) }))
    const due = early ? all.filter(({ asked }) => asked === NEVER) : all.sort((a, b) => a.asked - b.asked)
    const oldest = due.slice(0, ROUND).map(({ list }) => list)
    for (let i = 0; i < oldest.length; i += GROUP) this.#later((i / GROUP) * PACE, () => this.#try(oldest.slice(i, i + GROUP).flat(), 1))
  }

  /** Those of the families in which there is a socket. Of the others nothing is known: nobody is silent who cannot be asked. */
  #askable(): Heard[] {
    const isAble = ({ address }: Heard) => this.#socketFor(address) !== undefined
    const lost = this.heard.filter((heard) => !isAble(heard) && heard.answered !== undefined)
    for (const heard of lost) Object.assign(heard, { answered: undefined, roundTrip: undefined, missed: 0, missedLarge: 0 })
    if (lost.length > 0) this.#ears.heard(true)
    return this.heard.filter(isAble)
  }

  /** Asks, and after a while those again that have not answered. */
  #try(list: Heard[], count: number): void {
    const states = new Map(list.map((heard) => [heard, hearing(heard)]))
    for (const heard of list) {
      heard.asked = seconds()
      for (const large of [false, true]) this.#question(heard, large, list)
    }
    this.#later(WAIT, () => {
      const open = this.#conclude(list)
      if (open.length > 0 && count < TRIES) this.#try(open, count + 1)
      this.#ears.heard(list.some((heard) => states.get(heard) !== hearing(heard)))
    })
  }

  #later(milliseconds: number, what: () => void): void {
    const timer = setTimeout(() => (this.#timers.delete(timer), what()), milliseconds)
    this.#timers.add(timer)
  }

  /** Counts what has not been answered, and forgets it; returns those to be asked again. */
  #conclude(list: Heard[]): Heard[] {
    const [small, large] = [new Set<Heard>(), new Set<Heard>()]
    for (const [nonce, question] of this.#pending) {
      if (question.list !== list) continue
      this.#pending.delete(nonce)
      ;(question.large ? large : small).add(question.heard)
    }
    return list.filter((heard) => {
      if (small.has(heard)) heard.missed++
      else heard.missedLarge = large.has(heard) ? heard.missedLarge + 1 : 0
      const counts = [heard.missed, heard.missedLarge]
      return counts.some((missed) => missed > 0) && counts.every((missed) => missed < TRIES)
    })
  }

  #question(heard: Heard, large: boolean, list: Heard[]): void {
    const family = heard.address.includes(':') ? 6 : 4
    const nonce = randomBytes(8).toString('hex')
    this.#pending.set(nonce, { heard, large, list, sent: performance.now() })
    const length = large ? Math.max(LEAST, this.#targets.mtu - HEADERS[family]) : LEAST
    this.#send(heard.address, { kind: 'question', length, nonce })
  }

  /** What cannot be sent is not answered: that is what is told. */
  #send(address: string, packet: Packet): void {
    this.#socketFor(address)?.send(encode(packet), this.#port, address, () => {})
  }

  /** The socket at the address of the same family. */
  #socketFor(address: string): Socket | undefined {
    return this.#sockets.get(this.#targets.own.find((own) => own.includes(':') === address.includes(':')) ?? '')
  }

  #receive(bytes: Buffer, { address, port }: RemoteInfo): void {
    const heard = this.#heard.get(address)
    if (!heard || port !== this.#port) return this.#ears.dropped('stranger')
    const packet = decode(bytes)
    if (!packet) return this.#ears.dropped('malformed')
    if (packet.kind === 'answer') return this.#answered(heard, packet)
    if (!this.#mayAnswer()) return this.#ears.dropped('rate')
    this.#send(address, { ...packet, kind: 'answer' })
    if (hearing(heard) === 'ok' || (heard.asked ?? 0) + 1 > seconds()) return
    heard.asked = undefined // it lives: asked soon
    this.#soon()
  }

  #answered(heard: Heard, { nonce }: Packet): void {
    const question = this.#pending.get(nonce)
    if (question?.heard !== heard) return this.#ears.dropped('unasked')
    this.#pending.delete(nonce)
    const before = hearing(heard)
    heard.answered = seconds()
    if (question.large) heard.missedLarge = 0
    else {
      heard.roundTrip = performance.now() - question.sent
      heard.missed = 0
    }
    if (before !== hearing(heard)) this.#ears.heard(true)
  }

  #mayAnswer(): boolean {
    const now = performance.now()
    this.#credit = Math.min(BURST, this.#credit + ((now - this.#counted) / 1000) * RATE)
    this.#counted = now
    if (this.#credit < 1) return false
    this.#credit--
    return true
  }

  /** Opens a socket at each address that is there; what hinders is told once, and tried again with the next round. */
  #open(): void {
    let why = ''
    for (const address of this.#targets.own) {
      if (this.#sockets.has(address)) continue
      try {
        this.#sockets.set(address, this.#socketAt(address))
      } catch (error) {
        why = `${address} port ${this.#port}: ${(error as Error).message}`
      }
    }
    if (why !== this.#mute) this.#ears.mute(why)
    this.#mute = why
  }

  #socketAt(address: string): Socket {
    const family = address.includes(':') ? 6 : 4
    const lookup = (host: string, _: unknown, done: (error: null, address: string, family: number) => void) => done(null, host, family)
    const socket = createSocket({ type: `udp${family}`, lookup: lookup as never }) // addresses are sent to at once, not in the next tick
    socket.on('error', () => this.#closeSocket(address, socket))
    socket.on('message', (bytes, from) => this.#receive(bytes, from))
    prepared(udpSocket(addressBytes(parseAddress(address)!), this.#port), (fd) => socket.bind({ fd, exclusive: true }))
    return socket
  }

  #closeSocket(address: string, socket: Socket): void {
    if (this.#sockets.get(address) !== socket) return
    this.#sockets.delete(address)
    socket.close()
  }
}
