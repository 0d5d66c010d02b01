// A file that is not what its name promises: read or refused at once.

import { sh } from './world.ts'
import { writeFileSync } from 'node:fs'
import t from 'tap'
import { BadFile, bytesOf, textOf } from '../src/file.ts'

t.test('a file is read whole, up to what it may have', async (t) => {
  writeFileSync('/run/file', 'a'.repeat(100))
  t.equal(textOf('/run/file', 100), 'a'.repeat(100))
  t.throws(() => textOf('/run/file', 99), new BadFile('/run/file', 'has more than 99 bytes'))
  writeFileSync('/run/file', '')
  t.equal(textOf('/run/file', 10), '')
  t.match(textOf('/proc/self/comm', 100), 'MainThread', 'of a file that says it has no bytes, too')
  t.equal(textOf('/run/nothing', 10), undefined)
  t.equal(textOf('/run/file/nothing', 10), undefined)
})

t.test('whatever else stands in its place is named, and nobody waits', async (t) => {
  sh(`cd /run; mkfifo fifo; mkdir directory; mknod null c 1 3 2>/dev/null || ln -s /dev/null null; ln -s file link; ln -s loop loop; truncate -s 1T large
    perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, pack_sockaddr_un("/run/socket"))'`)
  const said = (path: string, follow = false) => {
    try {
      return bytesOf(path, 1000, follow)?.length
    } catch (error) {
      return (error as Error).message
    }
  }
  t.equal(said('/run/fifo'), '/run/fifo is a FIFO, not a file')
  t.equal(said('/run/directory'), '/run/directory is a directory, not a file')
  t.equal(said('/run/directory', true), '/run/directory is a directory: name a file in it')
  t.equal(said('/dev/zero'), '/dev/zero is a device, not a file')
  t.equal(said('/run/socket'), '/run/socket is a socket or a device, not a file')
  t.equal(said('/run/link'), '/run/link is a symlink, which is not followed')
  t.equal(said('/run/link', true), 0, 'but where the operator chose the path')
  t.equal(said('/run/loop', true), '/run/loop is a symlink that leads in a circle')
  t.equal(said('/run/large'), '/run/large has more than 1000 bytes')
})
