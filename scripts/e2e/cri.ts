// A small crictl: calls a method of a container runtime over its socket, with the Kubernetes CRI.
//
//   node cri.ts METHOD [REQUEST...]     requests and answers are JSON, an answer per line; several are sent at once
//
// CRI_SOCKET is the runtime's socket, CRI_CACHE a directory with gRPC in node_modules and with api.proto.

import { createRequire } from 'node:module'

const { CRI_SOCKET: socket, CRI_CACHE: cache } = process.env
const require = createRequire(`${cache}/`)
const grpc = require('@grpc/grpc-js')
const { loadSync } = require('@grpc/proto-loader')

const [method = 'Version', ...requests] = process.argv.slice(2)
const { v1 } = grpc.loadPackageDefinition(loadSync(`${cache}/api.proto`, { keepCase: true, longs: String, enums: String, defaults: true })).runtime
const service = [v1.RuntimeService, v1.ImageService].find(({ service }) => method in service)
const client = new service(`unix://${socket}`, grpc.credentials.createInsecure(), { 'grpc.default_authority': 'localhost' })

const call = (request: string): Promise<object> =>
  new Promise((resolve, reject) => client[method](JSON.parse(request), { deadline: Date.now() + 30_000 }, (error: Error | null, answer: object) => (error ? reject(error) : resolve(answer))))

try {
  for (const answer of await Promise.all((requests.length > 0 ? requests : ['{}']).map(call))) console.log(JSON.stringify(answer, text))
} catch (error) {
  console.error((error as { details?: string }).details ?? (error as Error).message)
  process.exitCode = 1
} finally {
  client.close()
}

/** What a command printed comes as bytes. */
function text(_: string, value: any): unknown {
  return value?.type === 'Buffer' ? Buffer.from(value.data).toString() : value
}
