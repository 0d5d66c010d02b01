// conf/podwire.yaml and conf/kind.yaml are held against what podwire needs and what they say of it. That a cluster takes
// them is scripts/e2e-cluster.sh's to show.

import { existsSync, readFileSync } from 'node:fs'
import { loadAllYaml, loadYaml } from '@kubernetes/client-node/dist/yaml.js'
import t from 'tap'
import { cli } from '../src/cli/cli.ts'

const read = (file: string): string => readFileSync(file, 'utf8')
const objects: any[] = loadAllYaml(read('conf/podwire.yaml'))
const one = (kind: string): any => objects.find((object) => object.kind === kind)
const { spec } = one('DaemonSet').spec.template
const [install] = spec.initContainers
const [agent] = spec.containers
const containers = [install, agent]

t.test('the agent may read nodes and nothing else', async (t) => {
  t.same(one('ClusterRole').rules, [{ apiGroups: [''], resources: ['nodes'], verbs: ['get', 'list', 'watch'] }])
  t.same(one('ClusterRoleBinding').roleRef, { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: one('ClusterRole').metadata.name })
  const { name, namespace } = one('ServiceAccount').metadata
  t.same(one('ClusterRoleBinding').subjects, [{ kind: 'ServiceAccount', name, namespace }])
  t.equal(spec.serviceAccountName, name)
  t.equal(one('DaemonSet').metadata.namespace, namespace)
  t.same(objects.map(({ kind }) => kind).sort(), ['ClusterRole', 'ClusterRoleBinding', 'DaemonSet', 'ServiceAccount'], 'and there is no other object')
})

t.test('no container has more than it needs', async (t) => {
  for (const { name, securityContext } of containers) {
    const { capabilities, ...rest } = securityContext
    t.same(rest, { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true }, `${name} is not privileged`)
    t.same(capabilities.drop, ['ALL'], name)
  }
  t.same(agent.securityContext.capabilities.add, ['NET_ADMIN'])
  t.equal(install.securityContext.capabilities.add, undefined)
  t.same(spec.securityContext, { seccompProfile: { type: 'RuntimeDefault' }, seLinuxOptions: { type: 'spc_t' } })
  for (const key of ['hostPID', 'hostIPC', 'shareProcessNamespace']) t.notOk(key in spec, key)
})

t.test('it runs on every node, before there is a network', async (t) => {
  t.equal(spec.hostNetwork, true)
  t.equal(spec.priorityClassName, 'system-node-critical')
  t.same(spec.tolerations, [{ operator: 'Exists' }])
  t.same(spec.nodeSelector, { 'kubernetes.io/os': 'linux' })
  const { selector, template } = one('DaemonSet').spec
  t.same(template.metadata.labels, selector.matchLabels)
})

t.test('the image is that of this version, and so is that of scripts/build-image.sh', async (t) => {
  const { version } = JSON.parse(read('package.json'))
  for (const { image } of containers) t.equal(image, `localhost/podwire:${version}`)
})

t.test('what the agent reads and writes by default is the node\'s', async (t) => {
  const help = cli(['help', 'agent'])
  const mounts = new Map<string, any>(agent.volumeMounts.map((mount: any) => [mount.mountPath, mount]))
  for (const [option, path] of [['conf-dir', '/etc/cni/net.d'], ['state-dir', '/run/podwire'], ['bin-dir', '/opt/cni/bin']] as const) {
    t.match(help.stdout, new RegExp(`--${option}[^]*${path}`), option)
    t.ok(mounts.has(path) && !mounts.get(path).readOnly, path)
  }
  for (const { volumeMounts } of containers) {
    for (const { name, mountPath } of volumeMounts) {
      const { path } = spec.volumes.find((volume: any) => volume.name === name).hostPath
      t.ok(mountPath === path || mountPath === `/host${path}`, `${mountPath} is the node's ${path}`)
    }
  }
  const procSys = agent.env.find(({ name }: any) => name === 'PODWIRE_PROC_SYS').value
  t.ok(mounts.has(`${procSys}/net`), 'the values of the node are there to be written')
  t.same(spec.volumes.map(({ name }: any) => name).filter((name: string) => !containers.some(({ volumeMounts }) => volumeMounts.some((mount: any) => mount.name === name))), [], 'no volume is unused')
})

t.test('the arguments are options of the agent, the probes ask where it listens', async (t) => {
  const help = cli(['help', 'agent']).stdout
  for (const { name, args } of containers) {
    t.equal(args[0], 'agent', name)
    for (const option of args.slice(1)) t.match(help, option, option)
  }
  const [, host, port] = /--listen[^]*?([\d.]+):(\d+)/.exec(help)!
  for (const { httpGet } of [agent.livenessProbe, agent.readinessProbe]) t.same([httpGet.host, httpGet.port], [host, Number(port)])
  t.same([agent.livenessProbe.httpGet.path, agent.readinessProbe.httpGet.path], ['/healthz', '/readyz'])
  t.equal(agent.env.find(({ name }: any) => name === 'NODE_NAME').valueFrom.fieldRef.fieldPath, 'spec.nodeName')
})

t.test('the kind cluster has no network of its own, and both families', async (t) => {
  const { networking, nodes }: any = loadYaml(read('conf/kind.yaml'))
  t.equal(networking.disableDefaultCNI, true)
  t.equal(networking.ipFamily, 'dual')
  for (const subnets of [networking.podSubnet, networking.serviceSubnet]) t.match(subnets, /^10\.[\d.]+\/\d+,fd[0-9a-f:]+\/\d+$/)
  t.ok(nodes.length > 1, 'pods on different nodes')
})

t.test('the page of kind names files that are there, and the cluster by its name', async (t) => {
  const text = read('docs/kind.md')
  const { name }: any = loadYaml(read('conf/kind.yaml'))
  const files = [...text.matchAll(/(?<=[\s(`/])(?:conf|scripts)\/[\w.-]+/g)].map(([file]) => file)
  t.ok(files.length >= 5)
  for (const file of files) t.ok(existsSync(file), file)
  for (const [, cluster] of text.matchAll(/--name (\S+)/g)) t.equal(cluster!.replace('`.', ''), name)
})
