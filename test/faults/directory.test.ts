// The directory of leases under the executable as it is built: whatever umask it inherits, whoever owns it. (What the
// disk says to it is in ipam/store.test.ts.) Not in a world of its own, where there is nobody else to own anything.

import { chownSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { BUILT, builtIsMissing, execute, type Start } from '../reference.ts'

const dataDir = mkdtempSync(join(tmpdir(), 'podwire-leases-'))
t.teardown(() => rmSync(dataDir, { recursive: true }))

const hostLocal = (command: string, conf: object, start?: Start) => execute(join(BUILT, 'host-local'), command, conf, start)
const network = (name: string) => ({ cniVersion: '1.1.0', name, type: 'ptp', ipam: { type: 'host-local', subnet: '10.1.0.0/16', dataDir: join(dataDir, name) } })
const where = (name: string): string => join(dataDir, name, name)
const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8)

t.test('0600 in 0755, whatever the umask', { skip: builtIsMissing }, async (t) => {
  for (const umask of ['077', '0', '777']) {
    const conf = network(`umask${umask}`)
    t.equal(hostLocal('ADD', conf, { by: ['sh', '-c', `umask ${umask}; exec "$0"`] }).status, 0)
    for (const directory of [conf.ipam.dataDir, where(conf.name)]) t.equal(mode(directory), '755', `umask ${umask}: ${directory}`)
    for (const file of readdirSync(where(conf.name))) t.equal(mode(join(where(conf.name), file)), '600', `umask ${umask}: ${file}`)
  }
})

const NOBODY = 65534
const powerless = ['setpriv', '--bounding-set=-all', '--inh-caps=-all'] // root, but what it does not own it cannot write
const cannotChown = process.getuid!() !== 0 ? 'only root can give a directory to somebody else' : builtIsMissing

t.test("somebody else's directory", { skip: cannotChown }, async (t) => {
  const conf = network('foreign')
  mkdirSync(where('foreign'), { recursive: true })
  chownSync(where('foreign'), NOBODY, NOBODY)
  t.match(hostLocal('ADD', conf, { by: powerless }).json, { code: 5, msg: `state directory ${where('foreign')}: EACCES` })
  t.match(hostLocal('STATUS', conf, { by: powerless }).json, { code: 50, msg: `state directory ${where('foreign')}: EACCES` })
  t.same(readdirSync(where('foreign')), [])
  t.equal(hostLocal('STATUS', conf).stdout, '', 'one with the power to write there does')
  t.equal(hostLocal('ADD', conf).json.ips?.[0].address, '10.1.0.2/16')
  t.equal(statSync(join(where('foreign'), '10.1.0.2')).uid, 0)
})
