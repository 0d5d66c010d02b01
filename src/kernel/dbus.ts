// The system's message bus, spoken on its socket: a method is called, and its answer awaited; synchronous, as all that a plugin
// does. https://dbus.freedesktop.org/doc/dbus-specification.html

import { closeSync, readSync, writeSync } from 'node:fs'
import { decodeMessage, encodeCall, ERROR, FIELD, lengthOf, METHOD_RETURN, type Method, type Value } from './dbus-message.ts'
import { systemBus } from './dbus-address.ts'
import { isErrno } from './errno.ts'
import * as libc from './libc.ts'
import { Patience } from './patience.ts'

const NO_REPLY = 'org.freedesktop.DBus.Error.NoReply'
const GREETING = 5000 // ms for the bus itself, which answers at once
const PATIENCE = 20_000 // ms for an answer; firewalld takes seconds to load its rules
const LARGEST = 1024 * 1024 // bytes of an answer: the sources of a zone are some thousands of addresses

/** An answer that says what was wrong; `code` is the error's name. */
export class BusError extends Error {
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

export class Bus {
  readonly #fd: number
  #patience: number
  #read = Buffer.alloc(0)
  #serial = 0

  /**
   * Takes the first of the sockets that can be reached; `greeting`: how long the bus may take to let us in, ms. Error ENOENT or
   * ECONNREFUSED if there is no bus.
   */
  constructor(sockets = systemBus(), greeting = GREETING) {
    this.#fd = connect(sockets, greeting)
    this.#patience = greeting
    try {
      this.#authenticate()
      this.call({ destination: 'org.freedesktop.DBus', path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus', member: 'Hello' })
      this.#patience = PATIENCE
    } catch (error) {
      this.close()
      throw error
    }
  }

  close(): void {
    closeSync(this.#fd)
  }

  /** Calls a method and returns the values of its answer. Throws a BusError if that is an error, or none comes. */
  call(method: Method, ...args: string[]): Value[] {
    const serial = ++this.#serial
    const end = new Patience(this.#patience)
    writeSync(this.#fd, encodeCall(method, serial, args))
    for (;;) {
      const { type, fields, body } = decodeMessage(this.#take(lengthOf, end))
      if (fields.get(FIELD.REPLY_SERIAL) !== serial) continue // a signal
      if (type === METHOD_RETURN) return body
      if (type === ERROR) throw new BusError(String(fields.get(FIELD.ERROR_NAME)), String(body[0] ?? ''))
    }
  }

  /** Who we are the kernel tells the other side: "Authentication Protocol", EXTERNAL. */
  #authenticate(): void {
    const line = (read: Buffer) => (read.includes('\r\n') ? read.indexOf('\r\n') + 2 : undefined)
    writeSync(this.#fd, `\0AUTH EXTERNAL ${Buffer.from(String(process.getuid!())).toString('hex')}\r\n`)
    const answer = this.#take(line, new Patience(this.#patience)).toString().trim()
    if (!answer.startsWith('OK ')) throw new BusError('org.freedesktop.DBus.Error.AuthFailed', `the message bus answered ${answer}`)
    writeSync(this.#fd, 'BEGIN\r\n')
  }

  /** The next bytes, as many as `length` says as soon as it can. */
  #take(length: (read: Buffer) => number | undefined, until: Patience): Buffer {
    for (;;) {
      const end = length(this.#read)
      if ((end ?? this.#read.length) > LARGEST) throw new BusError('org.freedesktop.DBus.Error.LimitsExceeded', `an answer of more than ${LARGEST} bytes`)
      if (end !== undefined && this.#read.length >= end) {
        const taken = this.#read.subarray(0, end)
        this.#read = this.#read.subarray(end)
        return taken
      }
      if (!libc.readable([this.#fd], until.left)) throw new BusError(NO_REPLY, `no answer in ${this.#patience / 1000} seconds`)
      const chunk = Buffer.alloc(4096)
      const count = readSync(this.#fd, chunk)
      if (count === 0) throw new BusError('org.freedesktop.DBus.Error.Disconnected', 'the message bus has closed the connection')
      this.#read = Buffer.concat([this.#read, chunk.subarray(0, count)])
    }
  }
}

/** Connects to the first of the sockets that somebody listens on; else the last one's error. Without any there is no bus. */
function connect(sockets: string[], patience: number): number {
  let last: Error = Object.assign(new Error('DBUS_SYSTEM_BUS_ADDRESS names no unix socket'), { code: 'ENOENT' })
  for (const socket of sockets) {
    try {
      return libc.connectUnix(socket, patience)
    } catch (error) {
      const full = isErrno(error, 'EAGAIN') // and stayed so
      last = full ? new BusError(NO_REPLY, `${socket.replace('\0', '@')}: nobody accepts a connection`) : (error as Error)
    }
  }
  throw last
}
