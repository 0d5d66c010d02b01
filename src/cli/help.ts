// `podwire help`: what it is and what to type.

const PAGES: Record<string, string> = {
  '': `podwire - wires Linux pods

Usage
  podwire plan CONF       what ADD would do, as ip and nft lines; changes nothing
  podwire explain [CODE]  what an error code means and what to do
  podwire version         version of podwire, of Node.js and of CNI
  podwire help [COMMAND]  this page, or that of a command

As a plugin
  A container runtime starts podwire by the name of a plugin (ptp, loopback, host-local, static, or the same
  with the prefix podwire-) with CNI_COMMAND set. To install it, put the directory it is in on the runtime's
  plugin path and a configuration into /etc/cni/net.d. Then:

    CNI_PATH=dist/bin cnitool add NETWORK /run/netns/NAME
`,
  plan: `podwire plan - what ADD would do

Usage
  podwire plan CONF [--netns NAME] [--container ID] [--ifname NAME] [--json]

  CONF is the file of a network configuration or of a list of plugins, or - for standard input.
  Prints the lines that would do by hand what ADD does, in its order. Nothing is changed and nothing leased;
  the address is the one that would be next. Needs no privileges.

Options
  --netns NAME    the pod's network namespace, by name or path (default: pod)
  --container ID  container ID (default: example)
  --ifname NAME   the pod's interface (default: eth0)
  --json          the same facts as JSON
`,
  explain: `podwire explain - what an error code means

Usage
  podwire explain         all codes
  podwire explain CODE    one of them
`,
  version: `podwire version - versions

Usage
  podwire version
`,
}
PAGES.help = PAGES['']!

export const help = ([command = '']: string[]): string => (Object.hasOwn(PAGES, command) ? PAGES[command]! : PAGES['']!)
