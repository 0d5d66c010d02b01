// An image as an archive, by tar and gzip alone: an OCI image layout (oci-layout, index.json, blobs), which containerd reads,
// with the manifest.json of `docker save` beside it, which older readers look for, and both name the same blobs.
// https://github.com/opencontainers/image-spec: image-layout.md, manifest.md, config.md
//
// Nothing of when, where and by whom it was built is in it, so the same files make the same bytes.

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'

export interface Image {
  /** As the manifest of the DaemonSet says it. */
  reference: string
  version: string
  /** Go's name of the architecture, which OCI uses. */
  architecture: string
  /** The directory that is the container's root. */
  root: string
}

/** Writes the archive; returns the digest by which a runtime will know the image. `level` is gzip's. */
export function archive({ reference, version, architecture, root }: Image, file: string, level = 6): string {
  const made = mkdtempSync(join(tmpdir(), 'podwire-image-'))
  try {
    const blob = blobs(made)
    tar(root, join(made, 'layer.tar'))
    const diffId = digestOf(join(made, 'layer.tar'))
    execFileSync('gzip', ['-n', `-${level}`, join(made, 'layer.tar')]) // -n: no name, no time
    const layer = blob('application/vnd.oci.image.layer.v1.tar+gzip', join(made, 'layer.tar.gz'))
    const config = blob('application/vnd.oci.image.config.v1+json', {
      created: '1970-01-01T00:00:00Z',
      architecture,
      os: 'linux',
      config: { Entrypoint: ['/bin/podwire'], Env: ['PATH=/bin'], WorkingDir: '/', Labels: { 'org.opencontainers.image.version': version, 'org.opencontainers.image.licenses': 'Apache-2.0' } },
      rootfs: { type: 'layers', diff_ids: [diffId] },
    })
    const manifest = blob('application/vnd.oci.image.manifest.v1+json', { schemaVersion: 2, mediaType: 'application/vnd.oci.image.manifest.v1+json', config, layers: [layer] })
    // containerd takes the image's name from the first annotation, other readers from the second.
    const annotations = { 'io.containerd.image.name': reference, 'org.opencontainers.image.ref.name': reference.slice(reference.lastIndexOf(':') + 1) }
    json(made, 'oci-layout', { imageLayoutVersion: '1.0.0' })
    json(made, 'index.json', { schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests: [{ ...manifest, platform: { architecture, os: 'linux' }, annotations }] })
    json(made, 'manifest.json', [{ Config: pathOf(config.digest), RepoTags: [reference], Layers: [pathOf(layer.digest)] }])
    tar(made, file)
    return manifest.digest
  } finally {
    rmSync(made, { recursive: true })
  }
}

interface Descriptor {
  mediaType: string
  digest: string
  size: number
}

/** What puts a file or an object into the layout under its digest. */
function blobs(layout: string): (mediaType: string, content: string | object) => Descriptor {
  mkdirSync(join(layout, 'blobs/sha256'), { recursive: true })
  return (mediaType, content) => {
    const file = typeof content === 'string' ? content : json(layout, 'blob', content)
    const digest = digestOf(file)
    const descriptor = { mediaType, digest, size: statSync(file).size }
    renameSync(file, join(layout, pathOf(digest)))
    return descriptor
  }
}

function json(directory: string, name: string, content: object): string {
  writeFileSync(join(directory, name), JSON.stringify(content))
  return join(directory, name)
}

const digestOf = (file: string): string => `sha256:${createHash('sha256').update(readFileSync(file)).digest('hex')}`
const pathOf = (digest: string): string => `blobs/${digest.replace(':', '/')}`

/** A directory's contents in one order, with one time, one owner, and no more of their modes than who may execute. */
function tar(directory: string, file: string): void {
  const reproducible = ['--sort=name', '--format=ustar', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '--mode=u=rwX,go=rX']
  execFileSync('tar', ['-cf', file, ...reproducible, '-C', directory, ...readdirSync(directory).sort()])
}

/**
 * Lays out the container's root: the executable with its own libraries beside it, as on a node, and those of the C and C++
 * runtimes from this machine, where its dynamic loader looks for them. No shell, no certificates (Kubernetes mounts its
 * own), no users.
 */
export function layOut(dist: string, root: string): void {
  copy(join(dist, 'bin/podwire'), join(root, 'bin/podwire'))
  for (const file of readdirSync(join(dist, 'lib/podwire'))) copy(join(dist, 'lib/podwire', file), join(root, 'lib/podwire', file))
  copy('scripts/image.LICENSE', join(root, 'lib/LICENSE'))
  for (const path of librariesOf(join(dist, 'bin/podwire'))) {
    if (relative(join(dist, 'lib'), path).startsWith('..')) copy(path, join(root, path))
  }
}

function copy(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true })
  copyFileSync(from, to)
}

/** Paths of the libraries that an executable is linked with, and of the loader. man 1 ldd */
function librariesOf(executable: string): string[] {
  const lines = execFileSync('ldd', [executable], { encoding: 'utf8' }).trim().split('\n')
  return lines.flatMap((line) => /(?:=> )?(\/\S+) \(0x/.exec(line)?.[1] ?? [])
}

if (import.meta.main) {
  const file = process.argv[2]!
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
  const reference = `localhost/podwire:${version}`
  const root = mkdtempSync(join(tmpdir(), 'podwire-root-'))
  try {
    layOut('dist', root)
    mkdirSync(dirname(file), { recursive: true })
    const digest = archive({ reference, version, architecture: process.arch === 'x64' ? 'amd64' : process.arch, root }, file)
    console.log(`built ${file}: ${reference}, ${(statSync(file).size / 1024 / 1024).toFixed(1)} MiB, ${digest}`)
  } finally {
    rmSync(root, { recursive: true })
  }
}
