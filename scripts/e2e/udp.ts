// Answers every datagram with the address that it came from: node udp.ts [PORT]

import { createSocket } from 'node:dgram'

const socket = createSocket('udp6') // both families
socket.on('message', (_, { address, port }) => socket.send(`${address}\n`, port, address)).bind(Number(process.argv[2] ?? 53))
