// Something else in the place of a file of host-local's: nobody waits, everybody else gets an address and gives it back, and what
// somebody put there stays.

import '../bounded.ts'
import { call, directory, sh } from '../world.ts'
import { existsSync, lstatSync, readdirSync } from 'node:fs'
import t from 'tap'
import { hash } from '../../src/names.ts'
import { NO_FILE, ODD, put, take } from '../odd.ts'

let count = 0
const network = () => ({ cniVersion: '1.1.0', name: `net${++count}`, type: 'ptp', ipam: { type: 'host-local', subnet: '10.1.2.0/29' } })
type Network = ReturnType<typeof network>
const where = ({ name }: Network): string => directory(`/var/lib/cni/networks/${name}`)
const CARD = `.podwire.${hash(16, 'c1', 'eth0')}`

const request = (command: string, conf: object, container = 'c1') => call('host-local', command, conf, { container })
/** What a request says: an address, nothing, or an error. */
const said = (command: string, conf: object, container?: string): string => {
  const { json, stdout } = request(command, conf, container)
  return json?.ips?.[0].address ?? (stdout && `${json.code}: ${json.msg}`)
}
const gc = (conf: object, ...living: string[]): string => said('GC', { ...conf, 'cni.dev/valid-attachments': living.map((containerID) => ({ containerID, ifname: 'eth0' })) })
const leases = (conf: Network): string[] => readdirSync(where(conf)).filter((name) => name.startsWith('10.')).sort()

for (const kind of Object.keys(ODD)) {
  t.test(`an address whose name ${kind} has is held`, async (t) => {
    const conf = network()
    const odd = `${where(conf)}/10.1.2.2`
    put(kind, odd)
    const before = lstatSync(odd).ino
    t.equal(said('ADD', conf, 'c1'), '10.1.2.3/29')
    t.equal(said('ADD', conf, 'c2'), '10.1.2.4/29')
    t.match(request('ADD', { ...conf, runtimeConfig: { ips: ['10.1.2.2'] } }, 'c3').json, { code: 105, msg: /10\.1\.2\.2 is not available/, details: /says of no container/ })
    t.equal(said('CHECK', { ...conf, prevResult: { cniVersion: '1.1.0', ips: [{ address: '10.1.2.3/29' }] } }, 'c1'), '')
    t.equal(said('STATUS', conf), '')
    t.equal(said('DEL', conf, 'c1'), '')
    t.equal(said('DEL', conf, 'nobody'), '')
    t.equal(gc(conf, 'c2'), '')
    t.same(leases(conf), ['10.1.2.2', '10.1.2.4'])
    t.equal(gc(conf), '')
    t.equal(said('GC', conf), '')
    t.same(leases(conf), ['10.1.2.2'])
    for (const container of ['c4', 'c5', 'c6', 'c7']) request('ADD', conf, container)
    t.match(said('ADD', conf, 'c8'), '50: failed to allocate', 'when all are held it is not taken for one that a crash left')
    t.equal(lstatSync(odd).ino, before)
    take(odd)
  })

  t.test(`a lease that became ${kind}`, async (t) => {
    const conf = network()
    for (const container of ['c1', 'c2', 'c3']) request('ADD', conf, container)
    put(kind, `${where(conf)}/10.1.2.2`)
    t.equal(said('DEL', conf, 'c2'), '')
    t.equal(said('DEL', { ...conf, prevResult: { cniVersion: '1.1.0', ips: [{ address: '10.1.2.2/29' }] } }, 'c1'), '', 'its holder has it no more')
    t.equal(gc(conf), '')
    t.same(readdirSync(where(conf)).filter((name) => !name.startsWith('.podwire')).sort(), ['10.1.2.2', 'last_reserved_ip.0', 'lock'])
    take(`${where(conf)}/10.1.2.2`)
    t.equal(gc(conf), '')
    t.same(readdirSync(where(conf)).sort(), ['last_reserved_ip.0', 'lock'], 'and when it is gone, so are all names of the lease')
  })

  t.test(`names of podwire's own that became ${kind} hurt their holder at most`, async (t) => {
    for (const name of [CARD, `${CARD}.10.1.2.2`]) {
      const conf = network()
      for (const container of ['c1', 'c2', 'c3']) request('ADD', conf, container)
      put(kind, `${where(conf)}/${name}`)
      t.equal(said('ADD', conf, 'c4'), '10.1.2.5/29')
      for (const container of ['c2', 'c4']) t.equal(said('DEL', conf, container), '')
      t.equal(said('DEL', conf, 'c1'), '', name)
      t.equal(gc(conf), '')
      t.same(leases(conf), [], name)
      take(`${where(conf)}/${name}`)

      const unused = network()
      put(kind, `${where(unused)}/${name}`)
      t.equal(said('ADD', unused, 'c2'), '10.1.2.2/29', `${name}, before any ADD`)
      const own = said('ADD', unused, 'c1')
      t.ok(own === '10.1.2.3/29' || own.startsWith(`5: state directory ${where(unused)}: `), own)
      for (const container of ['c1', 'c2']) t.equal(said('DEL', unused, container), '')
      t.same(leases(unused), [])
      take(`${where(unused)}/${name}`)
    }
  })

  t.test(`${kind} in the place of the last address is no hint, and none is needed`, async (t) => {
    const conf = network()
    put(kind, `${where(conf)}/last_reserved_ip.0`)
    t.equal(said('STATUS', conf), '')
    t.equal(said('ADD', conf, 'c1'), '10.1.2.2/29')
    t.equal(said('ADD', conf, 'c2'), '10.1.2.3/29')
    for (const container of ['c1', 'c2']) t.equal(said('DEL', conf, container), '')
    t.equal(gc(conf), '')
    t.same(leases(conf), [])
    take(`${where(conf)}/last_reserved_ip.0`)
  })
}

for (const kind of NO_FILE)
  t.test(`${kind} in the place of the lock is named at once`, async (t) => {
    const conf = network()
    put(kind, `${where(conf)}/lock`)
    for (const command of ['ADD', 'DEL']) t.match(said(command, conf), `5: state directory ${where(conf)}: ${where(conf)}/lock is a`, command)
    t.match(gc(conf), `5: state directory ${where(conf)}: ${where(conf)}/lock is a`)
    t.notOk(existsSync('/run/nothing'), 'a symlink is not followed')
    take(`${where(conf)}/lock`)
    t.equal(said('ADD', conf), '10.1.2.2/29')
  })

t.test('a lease that cannot be removed fails its own DEL, and is said by GC, which frees the others', async (t) => {
  const conf = network()
  for (const container of ['c1', 'c2', 'c3']) request('ADD', conf, container)
  const lease = `${where(conf)}/10.1.2.2`
  sh(`mount --bind ${lease} ${lease}`)
  t.match(said('DEL', conf, 'c1'), `5: state directory ${where(conf)}: EBUSY`)
  t.equal(said('DEL', conf, 'c2'), '')
  t.match(gc(conf), new RegExp(`^5: state directory ${where(conf)}: EBUSY.*10\\.1\\.2\\.2`))
  t.same(leases(conf), ['10.1.2.2'])
  t.match(call('ptp', 'GC', { ...conf, 'cni.dev/valid-attachments': [] }).json, { code: 107, details: /EBUSY.*10\.1\.2\.2/ })
  sh(`umount ${lease}`)
  t.equal(said('DEL', conf, 'c1'), '')
  t.same(readdirSync(where(conf)).sort(), ['last_reserved_ip.0', 'lock'])
})

t.test('a lease that cannot be read, by one without the power to', async (t) => {
  const conf = network()
  for (const container of ['c1', 'c2', 'c3']) request('ADD', conf, container)
  sh(`chmod 0 ${where(conf)}/10.1.2.2; echo -n 'x\r\neth0' > ${where(conf)}/10.1.2.5; chmod 0 ${where(conf)}/10.1.2.5`)
  const powerless = (command: string, container: string, more: object = {}) => {
    const env = { CNI_COMMAND: command, CNI_CONTAINERID: container, CNI_NETNS: '/run/netns/pod', CNI_IFNAME: 'eth0', CNI_PATH: '/nowhere' }
    const script = "Promise.all(['./src/plugins.ts', './src/cni/serve.ts'].map((file) => import(file))).then(([{ pluginOf }, { serve }]) => console.log(serve(pluginOf('host-local'), JSON.parse(process.argv[1]), () => Buffer.from(process.argv[2])).stdout || '0'))"
    return JSON.parse(sh(`setpriv --bounding-set=-all --inh-caps=-all ${process.execPath} --disable-warning=ExperimentalWarning -e "${script}" '${JSON.stringify(env)}' '${JSON.stringify({ ...conf, ...more })}'`))
  }
  t.match(powerless('ADD', 'c4'), { ips: [{ address: '10.1.2.6/29' }] })
  t.equal(powerless('DEL', 'c2'), 0)
  t.equal(powerless('DEL', 'c1'), 0, 'its own is known by its names')
  t.equal(powerless('GC', 'c0', { 'cni.dev/valid-attachments': [] }), 0)
  t.same(leases(conf), ['10.1.2.5'])
})

for (const kind of [...NO_FILE, 'a file of a terabyte'].filter((kind) => !/socket|itself/.test(kind)))
  t.test(`ipam.resolvConf is ${kind}`, async (t) => {
    const conf = network()
    put(kind, '/run/resolv.conf')
    t.match(said('ADD', { ...conf, ipam: { ...conf.ipam, resolvConf: '/run/resolv.conf' } }), '7: ipam.resolvConf is "/run/resolv.conf": ')
    t.same(leases(conf), [])
    take('/run/resolv.conf')
  })
