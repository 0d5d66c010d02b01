// What an operator would type: a fact in the words of ip, bridge, tc, nft and sysctl. What CHECK, `podwire plan` and `podwire status`
// print, and how an error begins.

import type { Bridge, Chain, Fact, Family, LinkSettings, Listed, Place, Route, Sysctl, VlanRange, Vxlan } from './facts.ts'
import { cidrText, network, parseCidr } from './ip.ts'

/** What an operator would type to make the fact true; several lines if it takes several, none if nothing makes it. */
export function show(fact: Fact, pod = 'pod'): string {
  switch (fact.fact) {
    case 'link':
      return lines(words('ip link add', fact.name, 'address', fact.mac, mtu(fact), 'type veth peer name', fact.peer.name, 'address', fact.peer.mac, mtu(fact), 'netns', pod), alias(fact))
    case 'link set':
      return words(ip(fact, pod), 'link set', fact.dev, fact.up && 'up', settingWords(fact))
    case 'bridge':
      return lines(
        words('ip link add', fact.name, mtu(fact), 'type bridge', fact.vlanFiltering && 'vlan_filtering 1'),
        `ip link set ${fact.name} address $(cat /sys/class/net/${fact.name}/address)`,
        fact.promisc && `ip link set ${fact.name} promisc on`,
        show(acceptNoRa(fact)),
      )
    case 'port':
      return lines(`ip link set ${fact.dev} master ${fact.master}`, (fact.hairpin || fact.isolated) && words('bridge link set dev', fact.dev, fact.hairpin && 'hairpin on', fact.isolated && 'isolated on'))
    case 'ifb':
      return lines(words('ip link add', fact.name, 'address', fact.mac, mtu(fact), 'txqueuelen 0 type ifb'), alias(fact))
    case 'qdisc':
      return fact.kind === 'ingress' ? `tc qdisc add dev ${fact.dev} ingress` : `tc qdisc add dev ${fact.dev} root handle 1: tbf rate ${fact.rate * 8}bit burst ${fact.burst} limit ${fact.limit}`
    case 'filter':
      return `tc filter add dev ${fact.dev} parent ffff: protocol all prio 1 u32 match u32 0 0 flowid 1:1 action mirred egress redirect dev ${fact.redirect}`
    case 'vlans':
      return lines(fact.only && `bridge vlan del dev ${fact.dev} vid 1-4094`, ...fact.vlans.map((range) => words('bridge vlan add dev', fact.dev, vlanWords(range), fact.self && 'self')))
    case 'vlan':
      return `ip link add link ${fact.lower} name ${fact.name} type vlan id ${fact.id}`
    case 'vxlan':
      return words('ip link add', fact.name, 'address', fact.mac, 'mtu', fact.mtu, 'type vxlan id', fact.id, 'dstport', fact.dstport, vxlanWords(fact))
    case 'feature':
      return `ethtool -K ${fact.dev} ${fact.name} ${fact.value}`
    case 'neigh':
      return `${ip(fact, pod)} neigh add ${fact.address} lladdr ${fact.lladdr} dev ${fact.dev} nud permanent`
    case 'fdb':
      return `bridge fdb add ${fact.lladdr} dev ${fact.dev} dst ${fact.dst} self permanent`
    case 'addr':
      return lines(
        fact.instead && words(ip(fact, pod), 'addr flush dev', fact.dev, 'to', cidrText(network(parseCidr(fact.address)!))),
        words(ip(fact, pod), 'addr add', fact.address, 'dev', fact.dev, fact.noprefixroute && 'noprefixroute', fact.address.includes(':') && !fact.dad && 'nodad'),
      )
    case 'route':
      return words(ip(fact, pod), family(fact.dst), 'route', fact.absent ? 'del' : fact.append ? 'append' : 'add', routeWords(fact))
    case 'rule':
      return words(ip(fact, pod), family(fact.from), `rule add from ${fact.from} table ${fact.table}`)
    case 'sysctl':
      return words(fact.in && `${netnsExec(pod)}`, fact.optional ? 'sysctl -qew' : 'sysctl -qw', word(`${fact.key}=${fact.value}`))
    case 'table':
      return `nft add table ${table(fact)}`
    case 'map':
      return `nft add ${fact.data === undefined ? 'set' : 'map'} ${table(fact)} ${fact.name} '{ type ${fact.type}${fact.data === undefined ? '' : ` : ${fact.data}`} ; }'`
    case 'set':
      return [`nft add set inet podwire ${fact.name} '{ type ${fact.type} ; flags interval ; }'`, ...(fact.elements.length > 0 ? [`nft add element inet podwire ${fact.name} '{ ${fact.elements.join(', ')} }'`] : [])].join('\n')
    case 'chain':
      return [`nft add chain ${table(fact)} ${fact.name}${base(fact)}`, ...fact.rules.map((rule) => `nft ${quoted(`add rule ${table(fact)} ${fact.name} ${rule}`)}`)].join('\n')
    case 'element':
      return `nft add element ${table(fact)} ${fact.map} '{ ${fact.key} comment "${fact.owner}"${fact.value === undefined ? '' : ` : ${fact.value}`} }'`
    case 'iptables':
      return words(fact.family === 4 ? 'iptables' : 'ip6tables', '-w', fact.rule === undefined ? '-N' : fact.first ? '-I' : '-A', fact.chain, fact.rule)
    case 'source':
      return `firewall-cmd --zone=${fact.zone} --change-source=${fact.address}`
    case 'passage':
    case 'condition':
    case 'former':
      return ''
    case 'announcement':
      return words(ip(fact, pod), 'link set', fact.dev, 'address', fact.mac)
    case 'flows':
    case 'port flows':
      return ''
  }
}

/** What an operator would type where the thing is there, but otherwise. */
export function change(fact: Fact, pod = 'pod'): string {
  switch (fact.fact) {
    case 'bridge':
      return lines((mtu(fact) || fact.promisc) && words(`ip link set ${fact.name}`, mtu(fact), fact.promisc && 'promisc on'), fact.vlanFiltering && `ip link set ${fact.name} type bridge vlan_filtering 1`, show(acceptNoRa(fact)))
    case 'qdisc':
      return lines(`tc qdisc del dev ${fact.dev} ${fact.kind === 'ingress' ? 'ingress' : 'root'}`, show(fact))
    case 'filter':
      return lines(`tc filter del dev ${fact.dev} parent ffff:`, show(fact))
    case 'vxlan':
      return `ip link set ${fact.name} type vxlan id ${fact.id} ${vxlanWords(fact)}\nip link set ${fact.name} nomaster address ${fact.mac} mtu ${fact.mtu}`
    case 'condition':
      return fact.name === 'forwarding' ? `sysctl -qw net/ipv4/conf/${fact.dev}/forwarding=1` : lines(...['all', fact.dev].map((conf) => words(fact.in && netnsExec(pod), `sysctl -qw net/ipv4/conf/${conf}/arp_ignore=1`)))
    case 'neigh':
    case 'fdb':
      return show(fact, pod).replace(' add ', ' replace ')
    case 'set':
      return `nft flush set inet podwire ${fact.name}\n${show(fact)}`
    case 'route':
      return words(ip(fact, pod), family(fact.dst), 'route replace', routeWords(fact))
    case 'chain':
      return `nft flush chain ${table(fact)} ${fact.name}\n${show(fact)}`
    case 'element':
      return `nft delete element ${table(fact)} ${fact.map} '{ ${fact.key} }'\n${show(fact)}`
    default:
      return show(fact, pod)
  }
}

/** What an operator would type to take the fact back; only for facts of which the kernel has a list. */
export function undo(fact: Listed): string {
  switch (fact.fact) {
    case 'addr':
      return `ip addr del ${fact.address} dev ${fact.dev}`
    case 'neigh':
      return `ip neigh del ${fact.address} dev ${fact.dev}`
    case 'fdb':
      return `bridge fdb del ${fact.lladdr} dev ${fact.dev} dst ${fact.dst} self`
    case 'route':
      return words('ip', family(fact.dst), 'route del', routeWords(fact))
  }
}

/** Settings of a link as `ip link set` takes them. */
export function settingWords({ mac, mtu: size, promisc, allmulti, txqlen }: LinkSettings): string {
  const onOff = (value: boolean) => (value ? 'on' : 'off')
  return words(mac && `address ${mac}`, size !== undefined && `mtu ${size}`, promisc !== undefined && `promisc ${onOff(promisc)}`, allmulti !== undefined && `allmulticast ${onOff(allmulti)}`, txqlen !== undefined && `txqueuelen ${txqlen}`)
}

/** A route as `ip route show` names it, without the command. */
export function routeWords(route: Route): string {
  const { type, dst, via, dev, src, scope, table, metric, mtu, advmss, onlink, proto } = route
  const target = dst === '0.0.0.0/0' || dst === '::/0' ? 'default' : dst
  return words(type, target, via && `via ${via}`, `dev ${dev}`, table !== undefined && `table ${table}`, src && `src ${src}`, metric && `metric ${metric}`, scope !== undefined && `scope ${SCOPES[scope] ?? scope}`, mtu && `mtu ${mtu}`, advmss && `advmss ${advmss}`, onlink && 'onlink', proto !== undefined && `proto ${proto}`)
}

const SCOPES: Record<number, string> = { 0: 'global', 200: 'site', 253: 'link', 254: 'host', 255: 'nowhere' } // <linux/rtnetlink.h>

const alias = ({ name, alias: whose }: { name: string; alias: string }): string => `ip link set ${name} alias ${word(whose)}`
/** What a bridge has of its own kind: it does not listen to router advertisements. */
export const acceptNoRa = ({ name }: Bridge): Sysctl => ({ fact: 'sysctl', key: `net/ipv6/conf/${name}/accept_ra`, value: '0', optional: true, keep: true })
const vlanWords = ({ vid, end, native }: VlanRange): string => words('vid', end === undefined ? vid : `${vid}-${end}`, native && 'pvid untagged')
// What of a VXLAN device can be changed while it is there. `df inherit`: what may not be fragmented inside, may not outside.
const vxlanWords = ({ local, dev }: Vxlan): string => words(`local ${local}`, dev && `dev ${dev}`, 'nolearning df inherit')
const words = (...parts: (string | number | false | undefined)[]): string => parts.filter(Boolean).join(' ')
const lines = (...parts: (string | false | undefined)[]): string => parts.filter(Boolean).join('\n')
const ip = (fact: { in?: Place }, pod: string): string => (fact.in ? `ip -n ${pod}` : 'ip')
const family = (dst: string): string | false => dst.includes(':') && '-6'
const mtu = (link: { mtu?: number }): string | false => link.mtu !== undefined && `mtu ${link.mtu}`
const netnsExec = (pod: string): string => (pod.includes('/') ? `nsenter --net=${pod}` : `ip netns exec ${pod}`)
const base = ({ base: b }: Chain): string => (b ? ` '{ type ${b.type} hook ${b.hook} priority ${b.priority} ; policy accept ; }'` : '')
const table = ({ family: of = 'inet' }: { family?: Family }): string => `${of} podwire`
/** In quotes that keep a shell from what is special to it, if there is such a thing. */
const quoted = (text: string): string => (/["*!;{}()]/.test(text) ? `'${text}'` : text)
/** One word of a shell's. */
export const word = (text: string): string => (/^[\w@%+=:,./-]*$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`)
