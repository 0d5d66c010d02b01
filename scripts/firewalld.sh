#!/usr/bin/env bash
# The plugin firewall beside the real firewalld, which the tests only have the answers of: a pod's packets and published port,
# and what a reload does. On a pretend machine (namespaces of its own) with its own message bus. Needs root.
#
#   ./scripts/firewalld.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
. scripts/e2e/lib.sh
nothing_else "$@"

if [ "${PODWIRE_FIREWALLD:-}" != inside ]; then
  [ "$(id -u)" = 0 ] || { echo "firewalld needs root: sudo $0" >&2; exit 1; }
  need unshare:util-linux ip:iproute2 nft:nftables ping:iputils-ping firewalld:firewalld dbus-daemon:dbus-daemon jq:jq
  PODWIRE_FIREWALLD=inside unshare --net --mount --pid --fork --kill-child --propagation private bash scripts/firewalld.sh | count
  exit
fi

mount -t proc proc /proc
for directory in /run /var/lib /etc/firewalld; do mount -t tmpfs tmpfs "$directory"; done
mkdir -p /run/dbus /run/netns "$cache"
echo FirewallBackend=nftables >/etc/firewalld/firewalld.conf
cat >/run/bus.conf <<'BUS'
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>
BUS
ip link set lo up
dbus-daemon --config-file=/run/bus.conf --nopidfile --fork 2>/dev/null
firewalld --nofork --nopid >/run/firewalld.log 2>&1 &
soon firewall-cmd -q --state || { cat /run/firewalld.log; exit 1; }

for name in pod other far; do ip netns add $name && ip -n $name link set lo up; done
ip link add u0 up type veth peer name eth0 netns far
ip addr add 192.0.2.1/24 dev u0
ip -n far addr add 192.0.2.2/24 dev eth0
ip -n far link set eth0 up
ip -n far route add default via 192.0.2.1

# ptp COMMAND POD NETNS KEYS: the plugin, for that pod; KEYS are added to its configuration.
ptp() {
  export CNI_COMMAND=$1 CNI_CONTAINERID=$2 CNI_NETNS=$3 CNI_IFNAME=eth0 CNI_PATH=/nowhere
  jq -n "{cniVersion: \"1.1.0\", name: \"podnet\", type: \"ptp\", ipam: {type: \"host-local\", subnet: \"10.1.1.0/24\", routes: [{dst: \"0.0.0.0/0\"}]}} + $4" |
    (exec -a ptp "$(scripts/node.sh)" --disable-warning=ExperimentalWarning src/main.ts)
}
pings() { ip netns exec pod ping -qc1 -W1 192.0.2.2; }
sources() { firewall-cmd --zone="$1" --list-sources; }
pod=/run/netns/pod
web='runtimeConfig: {portMappings: [{hostPort: 8080, containerPort: 80, protocol: "tcp"}]}'

does 'a pod without firewall gets its network' ptp ADD pod $pod '{}'
does_not 'firewalld lets it reach nobody' pings
does 'it goes' ptp DEL pod $pod '{}'
rm -rf /var/lib/cni

does 'a pod with firewall gets its network' ptp ADD pod $pod "{firewall: {}, $web}"
result=$said
does 'firewalld lets it reach the world' pings
is 'its address is a source of the zone' "$(firewall-cmd --zone=trusted --list-sources)" 10.1.1.2/32
does 'CHECK agrees' ptp CHECK pod $pod "{firewall: {}, prevResult: $result}"
ip netns exec pod "$(scripts/node.sh)" -e 'require("node:net").createServer((socket) => socket.end("pod\n")).listen(80); setTimeout(process.exit, 30000)' &
answers() { [ "$(ip netns exec far timeout 1 bash -c 'head -n1 </dev/tcp/192.0.2.1/8080')" = pod ]; }
does 'its published port is reached from outside' soon answers

does 'firewalld is reloaded' firewall-cmd --reload
does_not 'now the pod reaches nobody' pings
does_not 'CHECK finds it' ptp CHECK pod $pod "{firewall: {}, prevResult: $result}"
like 'and says what to type' "$said" 'firewall-cmd --zone=trusted --change-source=10.1.1.2/32'
does 'another pod is added' ptp ADD other /run/netns/other '{firewall: {}}'
like 'which repairs it for all' "$said" '1 are in zone trusted again'
does 'the pod reaches the world again' pings

does 'DEL' ptp DEL other /run/netns/other '{}'
does 'DEL without the namespace' ptp DEL pod '' '{}'
is 'the zone has no source' "$(firewall-cmd --zone=trusted --list-sources)" ''
