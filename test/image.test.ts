// The image that scripts/build-image.sh makes of dist/bin.

import { sh, works } from './world.ts'
import { createHash } from 'node:crypto'
import { chmodSync, mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { archive, layOut } from '../scripts/image.ts'

const digest = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
const blob = (at: string): string => `blobs/${at.replace(':', '/')}`
const IMAGE = { reference: 'localhost/podwire:1.2.3', version: '1.2.3', architecture: 'amd64' }

t.test('an archive is an OCI image layout, whose blobs are what their digests say', async (t) => {
  sh('mkdir -p /run/layout /run/some/bin && echo some >/run/some/bin/podwire')
  const named = archive({ ...IMAGE, root: '/run/some' }, '/run/image.tar')
  sh('tar -C /run/layout -xf /run/image.tar')
  const file = (name: string) => readFileSync(`/run/layout/${name}`)
  const json = (name: string) => JSON.parse(file(name).toString())
  const [descriptor] = json('index.json').manifests
  t.equal(descriptor.digest, named, 'the digest that is printed')
  t.same(json('oci-layout'), { imageLayoutVersion: '1.0.0' })
  t.equal(descriptor.annotations['io.containerd.image.name'], IMAGE.reference)
  const manifest = json(blob(descriptor.digest))
  const config = json(blob(manifest.config.digest))
  for (const { digest: name, size } of [descriptor, manifest.config, ...manifest.layers]) {
    t.equal(digest(file(blob(name))), name)
    t.equal(file(blob(name)).length, size)
  }
  t.same(config.rootfs.diff_ids, [digest(gunzipSync(file(blob(manifest.layers[0].digest))))])
  t.same(file(blob(manifest.layers[0].digest)).subarray(3, 8), Buffer.alloc(5), 'compressed with neither name nor time: RFC 1952 §2.3')
  t.same(config.config.Entrypoint, ['/bin/podwire'])
  t.same(json('manifest.json'), [{ Config: blob(manifest.config.digest), RepoTags: [IMAGE.reference], Layers: [blob(manifest.layers[0].digest)] }], 'what `docker load` reads')
})

t.test('the image holds podwire, its libraries and their licences, and no more', async (t) => {
  layOut('dist', '/run/root')
  const files = sh('cd /run/root && find . -type f | sort').split('\n')
  const known = [/^.\/bin\/podwire$/, /^.\/lib\/LICENSE$/, /^.\/lib\/podwire\/(LICENSE|LICENSES|libatomic.so.1|libatomic.so.1.LICENSE)$/, /\/(libc|libm|libdl|libpthread|libstdc\+\+|libgcc_s)\.so\.\d$/, /\/ld-linux-[\w-]+\.so\.\d$/]
  t.same(files.filter((file) => !known.some((name) => name.test(file))), [])
  for (const name of known) t.ok(files.some((file) => name.test(file)), String(name))
  const licence = readFileSync('/run/root/lib/LICENSE', 'utf8')
  for (const file of files.filter((file) => /\.so/.test(file) && !file.includes('podwire'))) {
    if (!file.includes('ld-linux')) t.match(licence, file.replace(/.*\//, ''), 'its licence is said')
  }
})

t.test('podwire runs in it, where there is nothing else', async (t) => {
  sh('mkdir /run/root/proc && mount --rbind /proc /run/root/proc') // as in any container; $ORIGIN is read there
  t.match(sh('chroot /run/root /bin/podwire version'), /podwire/)
  sh('rm /run/root/lib/*/libstdc++.so.6')
  t.notOk(works('chroot /run/root /bin/podwire version'), 'the libraries are needed')
})

t.test('the same files make the same archive, whoever builds it and when', async (t) => {
  const made = ['one', 'two'].map((name, i) => {
    process.umask(i === 0 ? 0o022 : 0o077)
    const files = ['a', 'b/c', 'b/d', 'Z']
    for (const file of i === 0 ? files : files.toReversed()) {
      mkdirSync(`/run/${name}/b`, { recursive: true })
      writeFileSync(`/run/${name}/${file}`, file)
      utimesSync(`/run/${name}/${file}`, i, i)
    }
    chmodSync(`/run/${name}/a`, i === 0 ? 0o755 : 0o700)
    const named = archive({ ...IMAGE, root: `/run/${name}` }, `/run/${name}.tar`)
    return [named, digest(readFileSync(`/run/${name}.tar`))]
  })
  process.umask(0o022)
  t.same(made[0], made[1])
  writeFileSync('/run/one/a', 'other')
  t.not(archive({ ...IMAGE, root: '/run/one' }, '/run/one.tar'), made[0]![0], 'and others make another')
})
