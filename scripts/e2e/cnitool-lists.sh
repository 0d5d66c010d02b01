# Lists of plugins as other programs write them, driven by cnitool: nerdctl's default network, what flannel's plugin passes to
# bridge. ADD, CHECK, packets, ports, DEL.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

machine
. "$(dirname "$0")/cnitool-calls.sh"
on sysctl -qw net.bridge.bridge-nf-call-ip6tables=0 2>/dev/null # where it is 1, ::1 does not lead to pods on a bridge

# everything NETWORK ADDRESSES-OF-A ADDRESSES-OF-B GATEWAYS: the same of every list.
everything() {
  local before name
  echo "# $1: $(on jq -c '[.plugins[] | .type]' "/etc/cni/net.d/$1.conflist")"
  for name in a b; do on sh -c "ip netns add $name && ip -n $name link set lo up"; done
  tool add "$1" a >/dev/null && tool del "$1" a # makes what pods share
  before=$(state)
  capabilities='{"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}, {"hostPort": 8053, "containerPort": 53, "protocol": "udp"}]}' does "add a" tool add "$1" a
  does "add b" tool add "$1" b
  for name in a b; do inside $name httpd -p 80 -h /www; done
  serve_udp /run/netns/a
  packets inside a b "$2" "$3" "$4"
  published 8080 inside a b "$4"
  published_udp 8053 "$4"
  kept 2
  packets inside a b "$2" "$3" "$4"
  published 8080 inside a b "$4"
  end_udp
  for name in a b; do
    [ "$1" = cbr0 ] || does "check $name" tool check "$1" $name # CNI 0.3.1 has none
    does "del $name" tool del "$1" $name
    on sh -c "kill \$(ip netns pids $name)"
  done
  same 'nothing is left' "$before" state
  for name in a b; do on ip netns del $name; done
}

conflist nerdctl.conflist <<'C'
{
  "cniVersion": "1.0.0",
  "name": "nerdctl",
  "nerdctlID": "17f29b073143d8cd97b5bbe492bdeffec1c5fee55cc1fe2112c8b9335f8b6121",
  "nerdctlLabels": {"nerdctl/default-network": "true"},
  "plugins": [
    {
      "type": "bridge", "bridge": "nerdctl0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
      "ipam": {"ranges": [[{"gateway": "10.77.4.1", "subnet": "10.77.4.0/24"}], [{"gateway": "fd00:77:4::1", "subnet": "fd00:77:4::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}], "type": "host-local"}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}},
    {"type": "firewall", "ingressPolicy": "same-bridge"},
    {"type": "tuning"}
  ]
}
C
# flannel's plugin adds name, ipMasq, mtu, ipam and isGateway to its `delegate`; behind it stands portmap.
conflist cbr0.conflist <<'C'
{
  "cniVersion": "0.3.1",
  "name": "cbr0",
  "plugins": [
    {
      "name": "cbr0", "type": "bridge", "hairpinMode": true, "isDefaultGateway": true, "isGateway": true, "ipMasq": true, "mtu": 1450,
      "ipam": {"ranges": [[{"subnet": "10.77.5.0/24"}], [{"subnet": "fd00:77:5::/64"}]], "routes": [{"dst": "10.77.0.0/16"}, {"dst": "fd00:77::/56"}], "type": "host-local"}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
C
everything cbr0 '10.77.5.3 fd00:77:5::3' '10.77.5.4 fd00:77:5::4' '10.77.5.1 fd00:77:5::1'
everything nerdctl '10.77.4.3 fd00:77:4::3' '10.77.4.4 fd00:77:4::4' '10.77.4.1 fd00:77:4::1'
