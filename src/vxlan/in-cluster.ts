// Whether this process is in a pod of a cluster, so that it can ask the API server as its ServiceAccount.
// https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/

import { existsSync } from 'node:fs'
import { join } from 'node:path'

/** Where a pod finds its ServiceAccount. */
export const IN_CLUSTER = '/var/run/secrets/kubernetes.io/serviceaccount'

/** What is lacking of a pod's environment, a sentence; undefined if nothing is. */
export function lackingVariable(): string | undefined {
  const name = ['KUBERNETES_SERVICE_HOST', 'KUBERNETES_SERVICE_PORT'].find((one) => !process.env[one])
  return name && `${name} is not set, so this is no pod of a cluster`
}

/** The same, or that there is no ServiceAccount. */
export function lackingInPod(): string | undefined {
  const token = join(IN_CLUSTER, 'token')
  return lackingVariable() ?? (existsSync(token) ? undefined : `${token} is not there, so this pod has no ServiceAccount`)
}
