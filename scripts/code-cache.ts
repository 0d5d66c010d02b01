// A snapshot holds, behind V8's heap, compiled code of each of Node.js's own modules, 4 MB that every start copies whether it
// loads one of them or not: a tenth of it. This leaves only the modules that a plugin loads, in place, and zeros; others are
// compiled when they are loaded. The list is the last thing of the snapshot: u64 count; of each u64 length and name, u64 length and code.
// github.com/nodejs/node, src/node_snapshotable.cc (SnapshotSerializer), blob_serializer_deserializer-inl.h

import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'

const SNAPSHOT = 0x143da19 // SnapshotData::kMagic; before it the snapshot's length
const LONGEST_NAME = 200
const MOST = 5000 // modules; Node.js 26 has 441

interface Module {
  name: string
  /** In the file, behind it. */
  from: number
  end: number
}

/** Keeps the code of modules with these names in a single executable application with a snapshot. */
export function keepCode(file: string, base: number, keep: (name: string) => boolean): void {
  const bytes = readFileSync(file)
  const found = snapshots(bytes, base).map(([start, end]) => codeCache(bytes, start, end)).find((cache) => cache !== undefined)
  if (!found) throw new Error(`${file}: this version of Node.js writes its snapshots in another way than scripts/code-cache.ts knows`)
  const kept = found.modules.filter(({ name }) => keep(name))
  const count = Buffer.alloc(8)
  count.writeBigUInt64LE(BigInt(kept.length))
  const list = Buffer.concat([count, ...kept.map(({ from, end }) => bytes.subarray(from, end))])
  const fd = openSync(file, 'r+')
  writeSync(fd, Buffer.concat([list, Buffer.alloc(found.modules.at(-1)!.end - found.at - list.length)]), 0, null, found.at)
  closeSync(fd)
}

/** What may be snapshots, behind the executable that the application was made of. */
function snapshots(bytes: Buffer, base: number): [start: number, end: number][] {
  const magic = Buffer.alloc(4)
  magic.writeUInt32LE(SNAPSHOT)
  const found: [number, number][] = []
  for (let at = bytes.indexOf(magic, base); at >= 0; at = bytes.indexOf(magic, at + 1)) found.push([at, at + Number(bytes.readBigUInt64LE(at - 8))])
  return found.filter(([, end]) => end <= bytes.length)
}

/** The list that ends where the snapshot does. */
function codeCache(bytes: Buffer, start: number, end: number): { at: number; modules: Module[] } | undefined {
  for (let at = start; at < end - 8; at++) {
    const count = bytes.readUInt32LE(at)
    if (count === 0 || count > MOST || bytes.readUInt32LE(at + 4) !== 0) continue
    const modules = listed(bytes, at + 8, end, count)
    if (modules?.at(-1)!.end === end) return { at, modules: modules! }
  }
  return undefined
}

function listed(bytes: Buffer, start: number, end: number, count: number): Module[] | undefined {
  const modules: Module[] = []
  for (let from = start; modules.length < count; from = modules.at(-1)!.end) {
    const name = field(bytes, from, end)
    const code = name && name.length <= LONGEST_NAME ? field(bytes, from + 8 + name.length, end) : undefined
    if (!code) return undefined
    modules.push({ name: name!.toString('latin1'), from, end: from + 8 + name!.length + 8 + code.length })
  }
  return modules
}

/** u64 length, and as many bytes. */
function field(bytes: Buffer, at: number, end: number): Buffer | undefined {
  const from = at + 8
  const length = from <= end ? Number(bytes.readBigUInt64LE(at)) : 0
  return length > 0 && from + length <= end ? bytes.subarray(from, from + length) : undefined
}
