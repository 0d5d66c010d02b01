// The formats that schemas name.

import { parseAddress, parseCidr } from '../ip.ts'

export const formats = {
  cidr: (text: string): boolean => parseCidr(text) !== undefined,
  address: (text: string): boolean => parseAddress(text) !== undefined,
  'address-or-cidr': (text: string): boolean => parseAddress(text) !== undefined || parseCidr(text) !== undefined,
  mac: (text: string): boolean => /^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i.test(text),
}
