// bridge: an ADD that is killed before any of what it asks of the kernel, or is refused any of it. Then DEL, and nothing is left but
// the bridge, and the next ADD works. strace kills and refuses; some of the many calls, or all with FAULTS=all.

import { call, full, netns, sh } from '../world.ts'
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { BUILT, cannotInject, execute } from '../reference.ts'
import { sample } from './samples.ts'

const SOME = 3
const conf = { ...full(), type: 'bridge', isDefaultGateway: true, hairpinMode: true, macspoofchk: true }
const pod = netns('pod')

const add = (filter?: string) => execute(join(BUILT, 'bridge'), 'ADD', conf, { netns: pod, ...(filter && { by: ['strace', '-f', '-qq', '--seccomp-bpf', '-o', '/run/trace', '-e', filter] }) })
/** Every other DEL comes without the namespace, as after a reboot. */
const del = (i: number) => call('bridge', 'DEL', conf, { netns: i % 2 === 0 ? pod : '' })

/** What an attachment makes, and the bridge. It is asked for so often that no shell is started. */
const things = (): string => {
  const links = readFileSync('/proc/net/dev', 'utf8').match(/\w+(?=:)/g)!.join(' ')
  const elements = execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }).split('\n').filter((line) => /comment|veth/.test(line))
  return [links, ...elements, execFileSync('ip', ['-n', 'pod', '-br', 'link'], { encoding: 'utf8' }), execFileSync('ip', ['-o', 'addr', 'show', 'cni0', 'scope', 'global'], { encoding: 'utf8' }), ...readdirSync('/var/lib/cni/networks/podnet')].join('\n')
}

t.test('an ADD killed or refused', { skip: cannotInject }, async (t) => {
  add()
  del(0)
  const [before, all] = [things(), sh('nft list ruleset; ip -o addr show scope global')]
  const often = (name: string) => {
    t.equal(add(`trace=${name}`).status, 0)
    del(0)
    return readFileSync('/run/trace', 'utf8').split('\n').filter((line) => line.includes(`${name}(`)).length
  }
  for (const [name, fault] of [['sendmsg', 'signal=SIGKILL'], ['sendmsg', 'error=ENOMEM'], ['setns', 'error=EPERM']] as const) {
    const count = often(name)
    const problems: string[] = []
    let failed = 0
    for (const i of sample(count, SOME)) {
      const { status, signal, stdout, json } = add(`inject=${name}:${fault}:when=${i}`)
      if (status !== 0 || signal) failed++
      const killed = fault === 'signal=SIGKILL'
      if (!killed && status !== 0 && !json?.msg) problems.push(`${name} ${i}: no sentence: ${stdout}`)
      if (!killed && status !== 0 && things() !== before) problems.push(`${name} ${i}: left behind by the ADD that said ${json?.msg}: ${things()}`)
      const deleted = del(i)
      if (deleted.stdout !== '') problems.push(`${name} ${i}, DEL: ${deleted.stdout}`)
      if (things() !== before) problems.push(`${name} ${i}, left behind DEL: ${things()}`)
      const again = call('bridge', 'ADD', conf)
      if (again.status !== 0) problems.push(`${name} ${i}, the next ADD: ${again.stdout}`)
      del(0)
    }
    t.same(problems, [], `${name} of an ADD, ${fault}: ${sample(count, SOME).length} of ${count}`)
    t.ok(failed >= sample(count, SOME).length / 2, `${failed} of them were needed`)
  }
  t.equal(sh('nft list ruleset; ip -o addr show scope global'), all, 'what is shared is as it was')
})
