// `--port 8080:80`: ports of the node that lead to a pod, as an operator writes them and a runtime passes them.

import { CniError } from '../cni/error.ts'
import { parseAddress } from '../ip.ts'
import type { PortMapping } from '../portmap/portmap.ts'

// Digits, and what stands before them: an address of IPv4 or one of IPv6 in brackets.
const MAPPING = /^(?:(?<v4>[^:[\]]+):|\[(?<v6>[^[\]]+)\]:)?(?<host>\d{1,5}):(?<container>\d{1,5})(?:\/(?<protocol>tcp|udp|sctp))?$/

const EXAMPLES = '8080:80, 53:5353/udp, [2001:db8::1]:80:80'

/** Error 4 that names the option and its value. */
export function mapping(text: string): PortMapping {
  const { v4, v6, host, container, protocol = 'tcp' } = MAPPING.exec(text)?.groups ?? {}
  const [hostPort, containerPort, hostIP] = [Number(host), Number(container), v4 ?? v6]
  const isPort = (port: number) => port >= 1 && port <= 65535
  if (!isPort(hostPort) || !isPort(containerPort) || (hostIP !== undefined && !parseAddress(hostIP)))
    throw new CniError(4, `--port ${text}: expected [ADDRESS:]PORT:PORT[/tcp|udp|sctp], the node's and then the pod's, such as ${EXAMPLES}`)
  return { hostPort, containerPort, protocol, ...(hostIP !== undefined && { hostIP }) }
}
