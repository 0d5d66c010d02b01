// The other end of a round trip, a program of its own: echo.ts udp|tcp

import { accept, close, echo, listen, receive, send, type Protocol } from './socket.ts'
import { MESSAGE } from './traffic.ts'

const protocol = process.argv[2] as Protocol
const message = Buffer.alloc(MESSAGE)
const fd = listen(protocol)

while (protocol === 'udp') echo(fd, message)
for (;;) {
  const connection = accept(fd)
  while (receive(connection, message) > 0) send(connection, message)
  close(connection)
}
