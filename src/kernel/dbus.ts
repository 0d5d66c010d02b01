// The system's message bus, spoken on its socket: a method is called, and its answer awaited; synchronous, as all that a plugin
// does. https://dbus.freedesktop.org/doc/dbus-specification.html

import { closeSync, readSync, writeSync } from 'node:fs'
import { decodeMessage, encodeCall, ERROR, FIELD, lengthOf, METHOD_RETURN, type Method, type Value } from './dbus-message.ts'
import * as libc from './libc.ts'

/** Where the system's bus listens: "Well-known Message Bus Instances", by the name that /var/run leads to. */
const SOCKET = '/run/dbus/system_bus_socket'
const PATIENCE = 20_000 // ms without an answer; firewalld takes seconds to load its rules

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
  #read = Buffer.alloc(0)
  #serial = 0

  /** Error ENOENT or ECONNREFUSED if there is no bus. */
  constructor() {
    this.#fd = libc.connectUnix(SOCKET)
    try {
      this.#authenticate()
      this.call({ destination: 'org.freedesktop.DBus', path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus', member: 'Hello' })
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
    writeSync(this.#fd, encodeCall(method, serial, args))
    for (;;) {
      const { type, fields, body } = decodeMessage(this.#take(lengthOf))
      if (fields.get(FIELD.REPLY_SERIAL) !== serial) continue // a signal
      if (type === METHOD_RETURN) return body
      if (type === ERROR) throw new BusError(String(fields.get(FIELD.ERROR_NAME)), String(body[0] ?? ''))
    }
  }

  /** Who we are the kernel tells the other side: "Authentication Protocol", EXTERNAL. */
  #authenticate(): void {
    const line = (read: Buffer) => (read.includes('\r\n') ? read.indexOf('\r\n') + 2 : undefined)
    writeSync(this.#fd, `\0AUTH EXTERNAL ${Buffer.from(String(process.getuid!())).toString('hex')}\r\n`)
    const answer = this.#take(line).toString().trim()
    if (!answer.startsWith('OK ')) throw new BusError('org.freedesktop.DBus.Error.AuthFailed', `the message bus answered ${answer}`)
    writeSync(this.#fd, 'BEGIN\r\n')
  }

  /** The next bytes, as many as `length` says as soon as it can. */
  #take(length: (read: Buffer) => number | undefined): Buffer {
    for (;;) {
      const end = length(this.#read)
      if (end !== undefined && this.#read.length >= end) {
        const taken = this.#read.subarray(0, end)
        this.#read = this.#read.subarray(end)
        return taken
      }
      if (!libc.readable([this.#fd], PATIENCE)) throw new BusError('org.freedesktop.DBus.Error.NoReply', `no answer in ${PATIENCE / 1000} seconds`)
      const chunk = Buffer.alloc(4096)
      const count = readSync(this.#fd, chunk)
      if (count === 0) throw new BusError('org.freedesktop.DBus.Error.Disconnected', 'the message bus has closed the connection')
      this.#read = Buffer.concat([this.#read, chunk.subarray(0, count)])
    }
  }
}
