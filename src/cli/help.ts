// `podwire help`: what it is and what to type; of a command, and of a plugin.

import { didYouMean } from '../nearest.ts'
import { PLUGINS } from '../plugins.ts'
import { parse, Usage } from './args.ts'
import { pluginPage } from './plugin-page.ts'

const PAGES: Record<string, string> = {
  '': `podwire - wires Linux pods

Usage
  podwire [status]        this node, its overlay, each peer, and what is wrong with them; its ports; changes nothing
  podwire pods            the pods of this node: address, interface, ports, age, and how each is
  podwire check [POD]     what of a pod is not as its ADD made it; changes nothing
  podwire repair [POD]    makes that so again
  podwire gc [NETWORK]    takes back what is left of dead pods
  podwire plan CONF|DIR   what ADD would do, as ip and nft lines; changes nothing
  podwire agent …         keeps the overlay between this node and the others true, until it is ended
  podwire uninstall       takes the overlay away, or a bridge that nobody is on
  podwire explain [CODE]  what an error code means and what to do
  podwire version         version of podwire, of Node.js and of CNI
  podwire help [WORD]     this page, or that of a command, or of a plugin with its keys

As a plugin
  A container runtime starts podwire by the name of a plugin, or the same with the prefix podwire-, with CNI_COMMAND set:

    ${Object.keys(PLUGINS).join(' ')}

  To install it, put the directory it is in on the runtime's plugin path and a configuration into /etc/cni/net.d. Then:

    CNI_PATH=dist/bin cnitool add NETWORK /run/netns/NAME
`,
  plan: `podwire plan - what ADD would do

Usage
  podwire plan CONF|DIR [--port PORT:PORT] [--netns NAME] [--container ID] [--ifname NAME] [--strict] [--json]
  podwire plan PEERS --node NAME [--strict] [--json]

  CONF is the file of a network configuration or of a list of plugins, or - for standard input.
  Prints the lines that would do by hand what ADD does, in its order. Nothing is changed and nothing leased;
  the address is the one that would be next. Needs no privileges.
  DIR is a directory of such files, as /etc/cni/net.d: says which of them a runtime takes, and why, and plans that.
  PEERS is a file of nodes: then it is what podwire agent would make on that node, and takes its options, too.

Options
  --port PORT:PORT  a port of the node and the port of the pod to which it leads, as a runtime would ask for it; with an address
                    of the node before it, a protocol behind it: 192.0.2.1:53:5353/udp, [2001:db8::1]:80:80. Can be repeated
  --netns NAME      the pod's network namespace, by name or path (default: pod)
  --container ID    container ID (default: example)
  --ifname NAME     the pod's interface (default: eth0)
  --node NAME       which of the nodes in PEERS this one is
  --strict          status 1 also if something is only warned of: a plugin that is nowhere, a key that is probably mistyped
  --json            the same facts as JSON
`,
  pods: `podwire pods - the pods of this node

Usage
  podwire pods [--library DIR] [--bin-dir DIR] [--json]

  Lists the pods that a container runtime has given a network here: Kubernetes name or container ID, addresses, network,
  interface on the node, ports of the node, age, and whether all is as ADD made it. A pod of another program's plugin is
  listed and not looked at. Exit status 0 if nothing is wrong.

Options
  --library DIR    where the runtime's library (libcni) keeps what pods were promised (default: /var/lib/cni/results)
  --bin-dir DIR    where the runtime looks for plugins, to tell podwire's from others of their names
                   (default: /opt/cni/bin)
  --json           the same, complete, as JSON
`,
  check: `podwire check - what of pods is not as ADD made it

Usage
  podwire check [POD] [--library DIR] [--bin-dir DIR] [--json]

  POD is a name (namespace/name), a container ID or what that begins with, an address, or an interface of the node; all
  pods without it. Says for each what is wrong, a line on each, and the lines that repair it. Changes nothing. Exit
  status 0 if nothing is wrong.

Options
  as of podwire pods
`,
  repair: `podwire repair - makes pods as ADD made them

Usage
  podwire repair [POD] [--library DIR] [--bin-dir DIR] [--json]

  Makes true what podwire check says is not: on the node, in nf_tables, among the leases, and in the pod's network
  namespace. An interface that is gone is made again. podwire agent does this by itself, for all but what is in a pod's
  namespace, which is the pod's to change. Exit status 0 if nothing is wrong any more.

Options
  as of podwire pods
`,
  gc: `podwire gc - takes back what is left of dead pods

Usage
  podwire gc [NETWORK] [--dry-run] [--data-dir DIR]

  Takes back leases, nf_tables elements and interfaces of pods that are provably dead: their interface on the node is
  gone, and a lease is older than a minute. Of one network, or of all. podwire agent does it every five minutes;
  containerd and podman never send GC.

Options
  --dry-run        says what would go, and changes nothing
  --data-dir DIR   where the networks have their leases (default: /var/lib/cni/networks)
`,
  status: `podwire status - this node, its overlay, its peers, its ports

Usage
  podwire [status] [--state-dir DIR] [--library DIR] [--bin-dir DIR] [--json | --repair]
  podwire status --repair | sudo sh

  Compares the kernel with what the agent last made of the nodes, and with what pods that run were promised; says what is
  wrong and what to type to repair it; then which ports of the node lead to which pods. Tells also when no agent runs. Without privileges it says what can be seen so,
  and what could not.

Options
  --state-dir DIR  where the agent leaves its state (default: /run/podwire)
  --library DIR    where the runtime's library keeps what pods were promised (default: /var/lib/cni/results)
  --bin-dir DIR    where the runtime looks for plugins (default: /opt/cni/bin)
  --json           the same, complete, as JSON; a number above 2^53 is a string of digits, so that nothing rounds it
  --repair         the lines that repair it alone, in an order that works; what nobody can repair by typing is a comment

Exit status
  0  all is well
  1  something is wrong: with the node, a peer, a pod, the conflist; no agent runs, or it cannot read the nodes
  2  nothing that can be seen, but not everything can be without privileges
`,
  agent: `podwire agent - keeps the overlay true

Usage
  podwire agent --peers FILE --node NAME [OPTIONS]      the nodes from a file
  podwire agent [--kubeconfig FILE] [OPTIONS]           the nodes from Kubernetes
  podwire agent --install-only [--bin-dir DIR]          puts the plugins in place, and ends
  podwire agent --uninstall [OPTIONS]                   as podwire uninstall

  Makes a VXLAN device and, for each other node, what leads to its pods; repairs what somebody changes, at once; writes
  the network configuration of this node when pods can be wired. It ends on SIGTERM, and leaves the overlay in place.

Nodes
  --peers FILE        all nodes as JSON, read again at each change:
                      {"nodes": [{"name": "a", "addresses": ["192.0.2.1"], "podCIDRs": ["10.244.1.0/24"]}, …]}
  --kubeconfig FILE   how to reach the API server; not with --peers (default: as a pod of the cluster does). Needs get, list and watch
                      of nodes
  --node NAME         which of the nodes this one is (default: NODE_NAME)

Overlay
  --vni N             VXLAN network identifier, 1 to 16777215 (default: 1); the device is podwire.N (of eight digits podwireN)
  --port N            UDP port (default: 8472)
  --underlay WHAT     the interface, network or address that carries it (default: the node's address, else the
                      interface with the default route)
  --mtu N             bytes for a packet of a pod (default, and most: the underlay's less 50, or 70 over IPv6)
  --cluster-cidr L    the networks in which those of all pods lie, separated by commas, as kube-controller-manager has them: a
                      node that says another network, or an address inside of them, is not believed (default: any)
  --direct-routing    no encapsulation to nodes without a router between
  --checksum-offload on|off
                      whether the device leaves checksums to the hardware (default: as the kernel has it; off before
                      Linux 5.7, which got them wrong)

Masquerading
  --no-masquerade            pods keep their addresses towards the outside, too
  --non-masquerade-cidrs L   they keep them towards these networks, separated by commas

Places
  --conf-dir DIR      where the runtime reads 10-podwire.conflist (default: /etc/cni/net.d)
  --bin-dir DIR       where it looks for plugins (default: /opt/cni/bin)
  --library DIR       where its library (libcni) keeps what pods were promised (default: /var/lib/cni/results)
  --lib-dir DIR       for what a host may lack (default: ../lib/podwire beside it)
  --state-dir DIR     a directory that a reboot empties (default: /run/podwire)
  --listen ADDR:PORT  /healthz, /readyz, /metrics (default: 127.0.0.1:9466)

Peers
  --probe-port N      UDP port at which agents ask each other over the overlay whether they answer, the same on all nodes
                      (default: 9467); 0: they do not ask
  --probe-interval S  seconds from one round to the next, in which 64 peers are asked at most (default: 30)
`,
  uninstall: `podwire uninstall - takes the overlay away, or a bridge

Usage
  podwire uninstall [--force] [--vni N] [--state-dir DIR] [--conf-dir DIR] [--bin-dir DIR] [--lib-dir DIR] [--library DIR]
  podwire uninstall --bridge NAME

  Removes the device, its routes, the nf_tables chain, the conflist and the executables. Delete the pods of the node first: no runtime
  can delete one whose conflist and executables are gone. While pods run it names them, touches nothing and ends with status 1. Then
  end the agent, for while one runs it refuses, too.

  With --bridge only that bridge goes, with the interfaces of its VLANs: no DEL of a pod takes it away. It stays if anything is on
  it, which is named.

Options
  --force          although pods run: says afterwards how they can be deleted, and what deletes by hand what they leave
  --vni N          the agent's VXLAN network identifier (default: what it wrote down, else 1): the device podwire.N goes
  --state-dir DIR  where it left its state (default: /run/podwire)
  --conf-dir DIR   where its 10-podwire.conflist is (default: /etc/cni/net.d)
  --bin-dir DIR    where it put the executables (default: /opt/cni/bin); those of other programs stay
  --lib-dir DIR    and what a host may lack (default: ../lib/podwire beside them)
  --library DIR    where the runtime's library keeps what pods are called (default: /var/lib/cni/results)
  --bridge NAME    this bridge, and nothing of the overlay
`,
  explain: `podwire explain - what an error code means

Usage
  podwire explain         all codes
  podwire explain CODE    one of them, with what to do
`,
  version: `podwire version - versions

Usage
  podwire version
`,
}
PAGES.help = PAGES['']!

/** The page of a command or a plugin; without a word the first. Errors: Usage. */
export function help(args: string[]): string {
  const [word = ''] = parse(args, {}, 1).positionals
  if (Object.hasOwn(PAGES, word)) return PAGES[word]!
  const plugin = word.replace(/^podwire-/, '')
  if (Object.hasOwn(PLUGINS, plugin)) return pluginPage(plugin)
  const words = [...Object.keys(PAGES).filter(Boolean), ...Object.keys(PLUGINS)]
  throw new Usage(`there is no page ${JSON.stringify(word)}${didYouMean(word, words) || '.'} Pages: ${words.join(', ')}.`)
}
