// Gives an ELF executable a directory to look for libraries in (DT_RPATH), relative to where it is installed. The dynamic
// section has spare entries at its end, and the page behind the first segment's contents is mapped and empty: so one entry
// and one string are written in place, and nothing moves. man 5 elf

import { readFileSync, writeFileSync } from 'node:fs'

const PT_LOAD = 1
const PT_DYNAMIC = 2
const DT_NULL = 0
const DT_STRTAB = 5
const DT_RPATH = 15 // unlike DT_RUNPATH it is looked at before the caller's LD_LIBRARY_PATH
const PAGE = 4096

export function setLibraryPath(file: string, path: string): void {
  const elf = readFileSync(file)
  const headers = Array.from({ length: elf.readUInt16LE(56) }, (_, i) => Number(elf.readBigUInt64LE(32)) + i * elf.readUInt16LE(54)).map((at) => ({
    type: elf.readUInt32LE(at),
    offset: Number(elf.readBigUInt64LE(at + 8)),
    address: Number(elf.readBigUInt64LE(at + 16)),
    size: Number(elf.readBigUInt64LE(at + 32)),
  }))
  const dynamic = headers.find(({ type }) => type === PT_DYNAMIC)!
  const entries = Array.from({ length: dynamic.size / 16 }, (_, i) => dynamic.offset + i * 16).map((at) => ({ at, tag: Number(elf.readBigInt64LE(at)), value: Number(elf.readBigUInt64LE(at + 8)) }))
  const strings = entries.find(({ tag }) => tag === DT_STRTAB)!.value
  const spare = entries.filter(({ tag }) => tag === DT_NULL)
  const segment = headers.find(({ type, address, size }) => type === PT_LOAD && address <= strings && strings < address + size)!
  const end = segment.offset + segment.size
  const room = elf.subarray(end, Math.ceil(end / PAGE) * PAGE)
  if (spare.length < 2 || room.length <= path.length || !room.subarray(0, path.length + 1).every((byte) => byte === 0)) throw new Error(`${file} has no room for a library path`)
  room.write(`${path}\0`)
  elf.writeBigInt64LE(BigInt(DT_RPATH), spare[0]!.at)
  elf.writeBigUInt64LE(BigInt(segment.address + segment.size - strings), spare[0]!.at + 8)
  writeFileSync(file, elf)
}
