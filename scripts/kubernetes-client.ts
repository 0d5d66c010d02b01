// An esbuild plugin: the Kubernetes client without what podwire never calls. Of the library it uses KubeConfig, to make
// options for node:https; that brings the generated API (createConfiguration, for makeApiClient) and undici (for
// applySecurityAuthentication) along, of which 1.4 MB would be loaded by each agent to do nothing.

import type { Plugin } from 'esbuild'

export const kubernetesClient: Plugin = {
  name: 'kubernetes-client',
  setup(build) {
    build.onResolve({ filter: /^(\.\/gen\/index\.js|undici)$/ }, ({ path, importer }) => (importer.endsWith('/client-node/dist/config.js') ? { path, namespace: 'never-called' } : undefined))
    build.onLoad({ filter: /.*/, namespace: 'never-called' }, () => ({ contents: 'module.exports = {}', loader: 'js' }))
  },
}
