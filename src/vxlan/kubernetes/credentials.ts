// Who the API server is and as whom it is asked: what a kubeconfig says, or what a pod has. What they mean is the library's to
// know; the files are read here, since the library would wait for a FIFO, and takes as much as there is.

import { dirname, resolve } from 'node:path'
import { KubeConfig } from '@kubernetes/client-node/dist/config.js'
import type { Cluster, User } from '@kubernetes/client-node/dist/config_types.js'
import { dump, load } from 'js-yaml'
import { chosenText } from '../../file.ts'
import { lackingVariable } from '../in-cluster.ts'
import { Failure, failureOf } from './failure.ts'
import { at } from './node.ts'

/** Bytes that a kubeconfig or a file that it names may have. */
const MOST = 1024 * 1024

/** The configuration of this moment; no file is left to be read. `kubeconfig`: its path; undefined: a pod's. Errors: Failure. */
export function credentials(kubeconfig: string | undefined): KubeConfig {
  const config = new KubeConfig()
  try {
    if (kubeconfig === undefined) inCluster(config)
    else fromFile(config, kubeconfig)
    const [cluster, user] = [config.getCurrentCluster(), config.getCurrentUser()]
    if (!cluster || !user) throw new Failure('refused', `the kubeconfig ${kubeconfig} has no cluster and user for its current-context: choose one with kubectl config use-context`)
    const whole = new KubeConfig()
    whole.loadFromClusterAndUser(withCa(cluster), withSecrets(user))
    return whole
  } catch (error) {
    throw failureOf(error, kubeconfig === undefined ? 'the ServiceAccount' : `the kubeconfig ${kubeconfig}`)
  }
}

function inCluster(config: KubeConfig): void {
  const lacking = lackingVariable()
  if (lacking) throw new Failure('refused', `${lacking}: start the agent with --kubeconfig FILE or --peers FILE`)
  config.loadFromCluster()
}

function fromFile(config: KubeConfig, path: string): void {
  const text = chosenText(path, MOST)
  if (text.trim() === '') throw new Failure('refused', `the kubeconfig ${path} is empty`)
  const said = load(text)
  const users = at(said, 'users')
  for (const entry of Array.isArray(users) ? users : []) tokenFileOf(at(entry, 'user'), dirname(path))
  config.loadFromString(dump(said))
  config.makePathsAbsolute(dirname(path))
}

/**
 * A user's `tokenFile` as the library knows it of pods; of a kubeconfig it reads it under another name (token-file) and at once,
 * whoever's it is. Relative paths begin at the kubeconfig, and the file goes before a token (client-go, AuthInfo).
 */
function tokenFileOf(user: unknown, directory: string): void {
  const path = at(user, 'tokenFile') ?? at(user, 'token-file')
  if (typeof path !== 'string' || path === '') return
  const known = user as Record<string, unknown>
  delete known['token-file']
  known['auth-provider'] = { name: 'tokenFile', config: { tokenFile: resolve(directory, path) } }
}

const withCa = ({ caFile, ...cluster }: Cluster): Cluster => ({ ...cluster, ...(caFile && { caData: base64Of(caFile) }) })

function withSecrets({ certFile, keyFile, authProvider, ...user }: User): User {
  const tokenFile: unknown = authProvider?.config?.tokenFile
  return {
    ...user,
    ...(certFile && { certData: base64Of(certFile) }),
    ...(keyFile && { keyData: base64Of(keyFile) }),
    ...(typeof tokenFile === 'string' ? { token: chosenText(tokenFile, MOST).trim() } : { authProvider }),
  }
}

const base64Of = (path: string): string => Buffer.from(chosenText(path, MOST)).toString('base64')
