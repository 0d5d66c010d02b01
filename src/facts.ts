// The nouns. A fact is one thing that is true of the kernel when an attachment or the overlay is in place, in the words of
// iproute2 and nft; it is plain data, and show.ts says it. A plan is a list of facts in the order in which they become possible.
//
// `keep` marks what attachments share (forwarding, an nft chain, the overlay): made if absent, never taken back by one of them.
// `in: 'pod'` is the pod's network namespace; without it the one podwire was started in.

export type Place = 'pod'

/** A veth pair, both ends down: this end in the host's namespace, its alias says whose it is; the peer in the pod's. man 4 veth */
export interface Link {
  fact: 'link'
  in?: Place
  name: string
  mac: string
  /** The owner: one of somebody else's is never taken back. */
  alias: string
  /** Bytes, both ends; absent: the kernel's default, 1500. */
  mtu?: number
  peer: { name: string; mac: string }
}

/** What a link of any kind has that can be changed while it is there. man 8 ip-link, SET */
export interface LinkSettings {
  mac?: string
  /** Bytes. */
  mtu?: number
  promisc?: boolean
  allmulti?: boolean
  /** Packets. */
  txqlen?: number
}

/** What is set on a link that is there. It goes with the link. */
export interface LinkSet extends LinkSettings {
  fact: 'link set'
  in?: Place
  dev: string
  up?: true
  /** What is put back when the fact is taken back: `true` is what there is when it is made. */
  before?: true | LinkSettings
  keep?: true
}

/** A bridge. One that is there already is brought to what this says. man 8 ip-link, BRIDGE Type Support */
export interface Bridge {
  fact: 'bridge'
  name: string
  /** Bytes. */
  mtu?: number
  promisc?: true
  /** Ports have VLANs, and frames of others are dropped. */
  vlanFiltering?: true
  keep: true
}

/** A link as a port of a bridge; it goes with the link. man 8 bridge */
export interface Port {
  fact: 'port'
  dev: string
  master: string
  /** Frames may go back to where they came from. */
  hairpin?: true
  /** No frames to and from other isolated ports. */
  isolated?: true
}

/** A device, down, that queues what is redirected to it and lets it go on; its alias says whose it is. man 8 ip-link */
export interface Ifb {
  fact: 'ifb'
  name: string
  mac: string
  /** Bytes. */
  mtu?: number
  alias: string
}

/** How packets leave an interface: by a bucket of tokens that fills at a rate. Or that filters see those that come in. man 8 tc */
export type Qdisc =
  | { fact: 'qdisc'; dev: string; kind: 'ingress' }
  | {
      fact: 'qdisc'
      dev: string
      kind: 'tbf'
      /** Bytes per second. */
      rate: number
      /** Bytes that go at once. */
      burst: number
      /** Bytes that wait; what is more is dropped. */
      limit: number
      /** Other bursts and limits that do as well. */
      or?: { burst: number; limit: number }[]
    }

/** All that comes in by an interface goes to the queue of another. man 8 tc-u32, man 8 tc-mirred */
export interface Filter {
  fact: 'filter'
  dev: string
  redirect: string
}

/** VLANs of which a port of a bridge is a member, or the bridge itself. A port's go with the link. man 8 bridge */
export interface Vlans {
  fact: 'vlans'
  dev: string
  /** `dev` is the bridge: what the node itself hears of it. */
  self?: true
  vlans: VlanRange[]
  /** And of no others. */
  only?: true
  keep?: true
}

export interface VlanRange {
  vid: number
  /** The last of several. */
  end?: number
  /** Frames without a tag are of this one, and its frames leave without. */
  native?: true
}

/** A VLAN of a bridge as an interface of the node. man 8 ip-link, VLAN Type Support */
export interface Vlan {
  fact: 'vlan'
  name: string
  /** The bridge. */
  lower: string
  id: number
  keep: true
}

/** A VXLAN device that learns nothing: what it sends, and where to, is said by neigh and fdb. man 8 ip-link, VXLAN Type Support */
export interface Vxlan {
  fact: 'vxlan'
  name: string
  mac: string
  /** Bytes. */
  mtu: number
  /** VXLAN network identifier, 24 bits. */
  id: number
  /** UDP port. */
  dstport: number
  /** This node's address on the underlay. */
  local: string
  /** The interface with that address; absent if it is lo. */
  dev?: string
  keep: true
}

/** What an interface leaves to its hardware, by ethtool's name of it. man 8 ethtool */
export interface Feature {
  fact: 'feature'
  dev: string
  name: string
  value: 'on' | 'off'
  keep: true
}

/** A permanent neighbour: the MAC address behind an address. man 8 ip-neighbour */
export interface Neigh {
  fact: 'neigh'
  in?: Place
  dev: string
  address: string
  lladdr: string
  /** Without it the address is asked for: that it is there is a help, that it is another would be a fault. */
  optional?: true
  keep?: true
}

/** Where a VXLAN device sends frames for a MAC address. man 8 bridge */
export interface Fdb {
  fact: 'fdb'
  dev: string
  lladdr: string
  /** Address of the node on the underlay. */
  dst: string
  keep: true
}

/** An address. IPv6 ones are added without duplicate address detection (IFA_F_NODAD) unless asked for: who leased it has made sure. */
export interface Addr {
  fact: 'addr'
  in?: Place
  dev: string
  /** With prefix length: `10.1.2.3/24`. */
  address: string
  /** The kernel makes no route to the prefix (IFA_F_NOPREFIXROUTE). */
  noprefixroute?: true
  /** An IPv6 address waits for duplicate address detection. */
  dad?: true
  /** Other addresses in its network go. */
  instead?: true
  keep?: true
}

/** A route, unicast where no type is said. man 8 ip-route */
export interface Route {
  fact: 'route'
  /** That there is no such route: it is deleted, and made again when the fact is taken back. */
  absent?: true
  type?: 'local'
  in?: Place
  dev: string
  /** CIDR; `0.0.0.0/0` and `::/0` are the default routes. */
  dst: string
  via?: string
  src?: string
  onlink?: true
  /** 0 global, 253 link, 254 host. Absent: link without `via`, else global; IPv6 has none. */
  scope?: number
  /** Absent: main. */
  table?: number
  /** RTA_PRIORITY. */
  metric?: number
  /** RTAX_MTU, bytes. */
  mtu?: number
  /** RTAX_ADVMSS, bytes. */
  advmss?: number
  /** One of several to the same dst with the same metric: put behind the others instead of refused. */
  append?: true
  /** Who made it, RTPROT_*. Absent: boot, as `ip route add` says of itself. */
  proto?: number
  keep?: true
}

/** Which table says where packets from an address go. man 8 ip-rule */
export interface Rule {
  fact: 'rule'
  in: Place
  /** An address alone. */
  from: string
  table: number
}

/** A value below /proc/sys. A link's own go with the link, the host's are kept. man 8 sysctl */
export interface Sysctl {
  fact: 'sysctl'
  in?: Place
  /** With slashes, because interface names may have dots: `net/ipv4/ip_forward`. */
  key: string
  value: string
  /** Other values that do as well. */
  or?: string[]
  /**
   * Pods have their network without it: what has no such value is passed over, and one that cannot be written is noted. So does
   * `sysctl -e`, and a key with a "-" before it in man 5 sysctl.d.
   */
  optional?: true
  /** What is put back when the fact is taken back: `true` is what there is when it is made. */
  before?: true | { value: string }
  keep?: true
}

/**
 * How the kernel handles packets of an interface, where that is another's to choose and may make pods silent: nothing of
 * podwire's makes it so, ADD notes and CHECK says when it is otherwise. It is the effective value, of `all` and of the
 * interface's own. Documentation/networking/ip-sysctl.rst
 */
export type Condition =
  /** What comes in by the interface is forwarded. */
  | { fact: 'condition'; dev: string; name: 'forwarding' }
  /** Who asks by ARP for an address of the interface is answered, unless the value is one of `not`. */
  | { fact: 'condition'; in?: Place; dev: string; name: 'arp_ignore'; not: number[] }

/** Of which frames or packets a table of nf_tables is; inet where none is said. */
export type Family = 'inet' | 'bridge'

/**
 * nf_tables: podwire has a table of family inet, called podwire, in which all of the following live, and where frames are
 * looked at one of family bridge. man 8 nft
 */
export interface Table {
  fact: 'table'
  family?: Family
  keep: true
}

/** A map, or without `data` a set, whose elements are attachments'. */
export interface NftMap {
  fact: 'map'
  family?: Family
  name: string
  /** In nft's words: `inet_proto . inet_service`. */
  type: string
  /** `verdict`, or a type. */
  data?: string
  keep: true
}

/** A set of networks with all its elements: networks, or ranges `10.0.0.5-10.0.0.9`, in order and neither overlapping nor touching. */
export interface NetworkSet {
  fact: 'set'
  name: string
  type: 'ipv4_addr' | 'ipv6_addr'
  elements: string[]
  keep: true
}

/** A chain with all its rules, in nft's words (kernel/nft-rule.ts has those that are understood); `base` hooks it into the packet's way. */
export interface Chain {
  fact: 'chain'
  family?: Family
  name: string
  base?: { type: 'nat' | 'filter'; hook: 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting'; priority: string }
  rules: string[]
  /** What is in it is the operator's: one that is there is left as it is. */
  open?: true
  keep: true
}

/** An element of a map or set, in nft's words; the owner is its comment. Taken back only while the owner is still the same. */
export interface Element {
  fact: 'element'
  family?: Family
  map: string
  key: string
  /** A verdict such as `goto outside`, or data such as `10.1.2.3 . 80`. */
  value?: string
  owner: string
  /**
   * One that is somebody else's is an error and not replaced; and so is one in the map of this name, whose keys are longer or
   * shorter by a part, if one of the two keys begins with the other.
   */
  exclusive?: { map: string; keys: 'longer' | 'shorter' }
  /** Shared by those in the set of this name whose keys begin with the same part: it goes with the last of them. */
  users?: string
}

/** A chain of iptables' table filter, or a rule in it, in iptables' words: what is dropped there no other table can accept. man 8 iptables */
export interface Iptables {
  fact: 'iptables'
  family: 4 | 6
  chain: string
  rule?: string
  /** Before all rules that are there. */
  first?: true
  keep?: true
}

/**
 * What another program's plugins made for a pod in a table of theirs: chains with the rules that lead there, rules by their
 * comment or what that begins with, up to a comma. Only ever taken back.
 */
export interface Former {
  fact: 'former'
  family: 'ip' | 'ip6' | 'inet' | 'bridge'
  table: string
  chains?: string[]
  comment?: string
}

/** An address among the sources of a zone of firewalld, wherever it was before. man 5 firewalld.zone */
export interface Source {
  fact: 'source'
  /** Empty, to take it back: the one that it is in. */
  zone: string
  /** With prefix length. */
  address: string
}

/** No filter on the node drops all that is forwarded. Nothing of podwire's makes it so; CHECK says which does not. */
export interface Passage {
  fact: 'passage'
}

/**
 * Everybody on the link has heard who holds the addresses of an interface: when its MAC address is set, be it to what it is, the
 * kernel tells (sysctls arp_notify and ndisc_notify). Nothing of it stays, so there is nothing to take back or to check.
 */
export interface Announcement {
  fact: 'announcement'
  in: Place
  dev: string
  mac: string
}

/**
 * The connections that the kernel tracks for an address. Nothing makes them but traffic; they are taken back with the
 * attachment, so that the next holder of the address does not inherit them.
 */
export interface Flows {
  fact: 'flows'
  address: string
}

/**
 * Connections that are tracked to ports of the node. Those that are led elsewhere than the port is now would go on so, as long
 * as packets come: they are forgotten when it is published, those that are led to the pod when it is taken back.
 */
export interface PortFlows {
  fact: 'port flows'
  ports: { protocol: string; port: number; /** of the node; absent: any */ address?: string; /** the pod's address */ to: string }[]
}

export type Fact = Link | LinkSet | Bridge | Port | Vlans | Vlan | Ifb | Qdisc | Filter | Vxlan | Feature | Addr | Neigh | Fdb | Route | Rule | Sysctl | Table | NftMap | NetworkSet | Chain | Element | Iptables | Source | Passage | Condition | Former | Announcement | Flows | PortFlows
export type Plan = Fact[]

/** Facts that the kernel lists, so that one too many can be told. */
export type Listed = Addr | Neigh | Fdb | Route
