// What swallows what is sent to it, and says so at its end: a program of its own.

import { accept, close, listen, receive, send } from './overlay/socket.ts'
import { CHUNK, SINK } from './ports.ts'

const fd = listen('tcp', SINK)
const chunk = Buffer.alloc(CHUNK)

for (;;) {
  const connection = accept(fd)
  while (receive(connection, chunk) > 0);
  send(connection, chunk.subarray(0, 1))
  close(connection)
}
