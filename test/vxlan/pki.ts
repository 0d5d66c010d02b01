// Certificates for a test: a CA and what it signs, written as DER by hand, because Node signs but does not issue.
// RFC 5280 §4.1 (the certificate), X.690 (DER).

import { generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto'
import { isIP } from 'node:net'

export interface Identity {
  cert: string
  key: string
}

export class Authority {
  readonly cert: string
  readonly #name: string
  readonly #key: KeyObject

  constructor(name: string) {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    this.#name = name
    this.#key = privateKey
    this.cert = this.#certificate(name, publicKey, [extension('551d13', seq(tlv(0x01, '\xff')))], -1, 365)
  }

  /** A certificate for addresses or names, valid between two days from now. */
  issue(names: string[], notBefore = -1, notAfter = 365): Identity {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const alternatives = names.map((name) => (isIP(name) ? tlv(0x87, Buffer.from(name.split('.').map(Number))) : tlv(0x82, name)))
    const extensions = names.length > 0 ? [extension('551d11', seq(...alternatives))] : []
    return { cert: this.#certificate('server', publicKey, extensions, notBefore, notAfter), key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string }
  }

  #certificate(subject: string, key: KeyObject, extensions: Buffer[], notBefore: number, notAfter: number): string {
    const ecdsaWithSha256 = seq(oid('2a8648ce3d040302'))
    const body = seq(
      tlv(0xa0, tlv(0x02, '\x02')), // version 3
      tlv(0x02, Buffer.from([1, ...randomBytes(8)])),
      ecdsaWithSha256,
      name(this.#name),
      seq(time(notBefore), time(notAfter)),
      name(subject),
      key.export({ type: 'spki', format: 'der' }),
      ...(extensions.length > 0 ? [tlv(0xa3, seq(...extensions))] : []),
    )
    const der = seq(body, ecdsaWithSha256, tlv(0x03, '\0', sign('sha256', body, this.#key)))
    return `-----BEGIN CERTIFICATE-----\n${der.toString('base64').match(/.{1,64}/g)!.join('\n')}\n-----END CERTIFICATE-----\n`
  }
}

function tlv(tag: number, ...parts: (Buffer | string)[]): Buffer {
  const value = Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part)))
  const length = value.length < 128 ? [value.length] : value.length < 256 ? [0x81, value.length] : [0x82, value.length >> 8, value.length & 255]
  return Buffer.concat([Buffer.from([tag, ...length]), value])
}

const seq = (...parts: Buffer[]): Buffer => tlv(0x30, ...parts)
const oid = (hex: string): Buffer => tlv(0x06, Buffer.from(hex, 'hex'))
const name = (text: string): Buffer => seq(tlv(0x31, seq(oid('550403'), tlv(0x0c, text)))) // CN
const time = (days: number): Buffer => tlv(0x18, new Date(Date.now() + days * 86_400_000).toISOString().replace(/[-:T]|\.\d+/g, ''))
const extension = (id: string, value: Buffer): Buffer => seq(oid(id), tlv(0x04, value))
