// Datagrams of DNS's sizes, there and back:
//
//   node udp.ts echo                sends back what comes to port 5353
//   node udp.ts ask ADDRESS SIZE    sends that many bytes there and prints how many equal ones came back

import { randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { isIPv6 } from 'node:net'

const PORT = 5353
const [command, address = '', size] = process.argv.slice(2)

if (command === 'echo') {
  const socket = createSocket('udp6') // both families
  socket.on('message', (data, { address, port }) => socket.send(data, port, address)).bind(PORT)
} else {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
  const sent = randomBytes(Number(size))
  const late = setTimeout(() => (console.log('no answer'), socket.close()), 3000)
  socket.on('message', (data) => {
    clearTimeout(late)
    console.log(data.equals(sent) ? data.length : 'something else')
    socket.close()
  })
  socket.send(sent, PORT, address)
}
