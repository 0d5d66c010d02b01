# podman's -p: TCP, UDP, SCTP, a range, addresses of the node, both families; `network reload` while something is under way. By
# one entry of ptp, by that of conf/ for podman, and by podman's own list of plugins.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

machine
. "$(dirname "$0")/podman-cni.sh"
podman load -q -i /opt/e2e/image/image.tar >/dev/null
on sysctl -qw net.bridge.bridge-nf-call-ip6tables=0 2>/dev/null # where it is 1, ::1 does not lead to pods on a bridge

conflist 10-pods.conflist <<'C'
{
  "cniVersion": "1.0.0", "name": "pods",
  "plugins": [{
    "type": "ptp", "ipMasq": true, "capabilities": {"ips": true, "mac": true, "portMappings": true},
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd00:77::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}
  }]
}
C
conflist 87-podman-bridge.conflist <conf/87-podman-bridge.conflist
podman network create --subnet 10.77.3.0/24 --ipv6 --subnet fd00:77:3::/64 own >/dev/null

namespace() { podman inspect -f '{{.NetworkSettings.SandboxKey}}' "$1"; }
range() { local port; for port in {8000..8005}; do heard outside curl -sS -m 3 "$(who 192.0.2.1 $port)"; done | sort | uniq -c | xargs; }

# everything NETWORK GATEWAYS: the same of every network.
everything() {
  local before sum
  echo "# $1: $(on jq -c "select(.name == \"$1\") | [.plugins[].type]" /etc/cni/net.d/{10-pods,87-podman-bridge,own}.conflist)"
  podman run --rm --network "$1" -p 8080:80 localhost/e2e:1 true # makes what pods share
  before=$(state)

  does 'run -p, TCP and UDP' run a --network "$1" -p 8080:80 -p 8053:53/udp "${httpd[@]}"
  run b --network "$1" "${httpd[@]}" >/dev/null
  serve_udp "$(namespace a)"
  published 8080 inside a b "$2"
  published_udp 8053 "$2"
  kept 2
  published 8080 inside a b "$2"
  end_udp
  does_not 'run -p of a port that is held' run c --network "$1" -p 8080:81 "${httpd[@]}"
  like 'says by whom' "$said" 'host port 8080/tcp is held by container'
  podman rm -f -t 0 c >/dev/null

  sum=$(inside a sh -c 'head -c 4000000 /dev/urandom >/www/slow; sha256sum </www/slow')
  outside curl -sS -m 20 --limit-rate 1M http://192.0.2.1:8080/slow >"$cache/disk/slow" &
  sleep 1
  does 'network reload' podman network reload a
  wait $!
  is 'a download goes on meanwhile' "$(sha256sum <"$cache/disk/slow")" "$sum"
  is 'and the port is where it was' "$(heard outside curl -sS -m 3 "$(who 192.0.2.1 8080)")" 192.0.2.2

  does 'run -p, a range and SCTP' run c --network "$1" -p 8000-8005:8000-8005 -p 9000:80/sctp localhost/e2e:1 sh -c 'for port in 8000 8001 8002 8003 8004 8005; do httpd -p $port -h /www; done; exec sleep 1000'
  is 'each port of it answers' "$(range)" '6 192.0.2.2'
  does 'run -p, addresses of the node' run d --network "$1" -p 127.0.0.1:8081:80 -p 192.0.2.1:8082:80 -p '[::1]:8083:80' -p '[2001:db8::1]:8084:80' "${httpd[@]}"
  is '127.0.0.1' "$(heard on curl -sS -m 3 "$(who 127.0.0.1 8081)")" "${2% *}"
  is '192.0.2.1' "$(heard outside curl -sS -m 3 "$(who 192.0.2.1 8082)")" 192.0.2.2
  is '::1' "$(heard on curl -sS -m 3 "$(who ::1 8083)")" "${2#* }"
  is '2001:db8::1' "$(heard outside curl -sS -m 3 "$(who 2001:db8::1 8084)")" 2001:db8::2
  nobody 192.0.2.1 8081 outside
  nobody 2001:db8::1 8083 outside
  podman rm -f -t 0 a b c d >/dev/null
  same 'nothing is left' "$before" state
}
everything pods '10.77.0.1 fd00:77::1'
everything podman '10.88.0.1 fd00:10:88::1'
everything own '10.77.3.1 fd00:77:3::1'
is 'every call succeeded, but for the port that was held' "$(on grep -v status=0 /run/calls | cut -d' ' -f1,2 | sort | uniq -c | xargs)" '1 ADD bridge 1 ADD portmap 1 ADD ptp'
