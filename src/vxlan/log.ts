// One line per event, `key=value` as logfmt readers and people read it: time, level, what happened, and about what.

import { printable } from '../printable.ts'

type Fields = Record<string, string | number | boolean | undefined>

export interface Log {
  info(message: string, fields?: Fields): void
  warn(message: string, fields?: Fields): void
  error(message: string, fields?: Fields): void
}

export const log: Log = { info: (message, fields) => write('info', message, fields), warn: (message, fields) => write('warn', message, fields), error: (message, fields) => write('error', message, fields) }

function write(level: string, message: string, fields: Fields = {}): void {
  const given = Object.entries({ time: new Date().toISOString(), level, msg: message, ...fields }).filter(([, value]) => value !== undefined && value !== '')
  process.stderr.write(`${given.map(([key, value]) => `${key}=${quoted(String(value))}`).join(' ')}\n`)
}

/** A line is one line, and no terminal obeys it, whoever said what is in it. */
const quoted = (text: string): string => (/^[^\s"=\\]+$/.test(text) ? printable(text) : printable(JSON.stringify(text)))
