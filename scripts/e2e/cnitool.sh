# cnitool, the CNI project's own client: ADD, CHECK, STATUS, GC, DEL. A pod is a namespace with a web server.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

machine
conflist 10-pods.conflist <<'C'
{
  "cniVersion": "1.1.0", "name": "pods",
  "plugins": [{
    "type": "ptp", "ipMasq": true, "capabilities": {"ips": true, "mac": true},
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd00:77::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}
  }]
}
C
conflist 20-fixed.conflist <<'C'
{
  "cniVersion": "1.1.0", "name": "fixed",
  "plugins": [
    {"type": "loopback"},
    {"type": "ptp", "ipam": {"type": "static", "addresses": [{"address": "10.77.3.9/24", "gateway": "10.77.3.1"}]}}
  ]
}
C
before=$(state)

. "$(dirname "$0")/cnitool-calls.sh"
leases() { on ls /var/lib/cni/networks/pods | grep -E '^(10|fd)' | xargs; }

for name in a b; do
  on ip netns add $name
  on ip -n $name link set lo up
  does "add $name" tool add pods $name
  inside $name httpd -p 80 -h /www
done
packets inside a b '10.77.0.2 fd00:77::2' '10.77.0.3 fd00:77::3' '10.77.0.1 fd00:77::1'
does_not 'add again is refused' tool add pods a
like 'and says why' "$said" 'interface eth0 already exists'

does 'check' tool check pods a
# Damage, and what CHECK says would repair it, typed as it says it.
while IFS= read -r damage; do
  on bash -c "$damage"
  does_not "check after $damage" tool check pods a
  on bash -c "$(sed '0,/; # /d' <<<"$said")" # cnitool: MESSAGE; DETAILS
  does 'is repaired so' tool check pods a
done <<'D'
ip -n a route del default
ip -n a -6 addr del fd00:77::2/64 dev eth0
ip -6 route del fd00:77::2
ip route del 10.77.0.2
nft delete element inet podwire masquerade_ip { 10.77.0.2 }
D
does 'status' tool status pods a
on sysctl -qw net.ipv4.ip_forward=0
does_not 'status without forwarding' tool status pods a
like 'says why' "$said" 'net/ipv4/ip_forward is 0'
on sysctl -qw net.ipv4.ip_forward=1

# Of b the namespace is gone, of c what libcni remembered as well.
on ip netns add c
tool add pods c >/dev/null
on sh -c "rm /var/lib/cni/results/pods-$(id c)-eth0"
end c
end b
does 'gc with a living' cni /opt/e2e/cnitool/gc pods "$(id a)/eth0"
is 'leaves its addresses' "$(leases)" '10.77.0.2 fd00:77::2'
is 'and its masquerading' "$(on nft list ruleset | grep -o 'comment "[^"]*"' | sort -u)" "comment \"pods/$(id a)/eth0\""
does 'which is as it was' tool check pods a
is 'and reaches the outside' "$(heard inside a wget -qO- -T 3 "$(who 192.0.2.2)")" 192.0.2.1

does 'del' tool del pods a
does 'del again' tool del pods a
end a
does 'del without a namespace' tool del pods a

on ip netns add d
capabilities='{"ips": ["10.77.0.99", "fd00:77::99"], "mac": "02:11:22:33:44:66"}' does 'add with addresses asked for' tool add pods d
is 'has them' "$(leases)" '10.77.0.99 fd00:77::99'
is 'and the MAC address' "$(on ip -n d -br link show eth0 | awk '{print $3}')" 02:11:22:33:44:66
does 'del of it' tool del pods d
does 'add with loopback and a static address' tool add fixed d
is 'which the pod has' "$(on ip -n d -4 -o addr show scope global | awk '{print $4}')" 10.77.3.9/24
does 'and the node reaches' on ping -c1 -W2 10.77.3.9
does 'check of it' tool check fixed d
does 'del of it' tool del fixed d
tool add pods d >/dev/null
end d
does 'gc without a list' tool gc pods d
is 'leaves no lease' "$(leases)" ''
same 'nothing is left' "$before" state
