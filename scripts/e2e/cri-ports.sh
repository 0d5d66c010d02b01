# hostPort of Kubernetes' pods and their bandwidth, as kubelet passes them to containerd's CRI: by one entry of ptp, and by
# kind's list of plugins. Who has a port, has it; a plugin that is killed leaves none. Argument: where containerd is.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/containerd.sh"

machine
containerd_up "$1"
ctr -n k8s.io image import /opt/e2e/image/image.tar >/dev/null
. "$(dirname "$0")/cri-calls.sh"

namespace() { status "$1" | jq -r '.info.info | fromjson | .runtimeSpec.linux.namespaces[] | select(.type == "network") | .path'; }
tcp() { printf '[{"host_port": %s, "container_port": 80}]' "$1"; }

# everything GATEWAYS PLUGIN...: the same of every list.
everything() {
  local before
  run z "$(tcp 8080)" && end z # makes what pods share
  before=$(state)
  does 'a pod with host ports' run a '[{"host_port": 8080, "container_port": 80}, {"host_port": 8053, "container_port": 53, "protocol": 1}]'
  echo "# $(asked)"
  run b
  serve a && serve b
  serve_udp "$(namespace a)"
  published 8080 inside a b "$1"
  published_udp 8053 "$1"
  kept 2
  published 8080 inside a b "$1"
  published_udp 8053 "$1"
  end_udp

  does_not 'a second pod with the port is refused' run c "$(tcp 8080)"
  like 'and told who has it' "$said" "host port 8080/tcp is held by container ${pod[a]} (eth0) of network"
  is 'who still has it' "$(heard outside curl -sS -m 3 "$(who 192.0.2.1 8080)")" 192.0.2.2
  does 'one with another address of the node' run d '[{"host_port": 8081, "container_port": 80, "host_ip": "127.0.0.1"}, {"host_port": 8081, "container_port": 80, "host_ip": "2001:db8::1"}]'
  serve d
  like 'reached there' "$(heard on curl -sS -m 3 "$(who 127.0.0.1 8081)") $(heard outside curl -sS -m 3 "$(who 2001:db8::1 8081)")" '1 2001:db8::2'
  nobody 192.0.2.1 8081 outside
  nobody ::1 8081
  end a
  does 'the port is free when its pod has ended' run c "$(tcp 8080)"
  for name in b c d; do end $name; done
  same 'nothing is left' "$before" state

  # A plugin of the list is killed at some moment of its ADD; containerd sends DEL by itself.
  local plugin seconds killed=0
  for plugin in "${@:2}"; do
    for seconds in 0.004 0.008 0.012 0.016 0.02 0.03 0.05; do
      on tee "/run/kill-ADD-$plugin" <<<$seconds >/dev/null
      if run k "$(tcp 8080)" >/dev/null 2>&1; then end k; else killed=$((killed + 1)); fi
    done
    on rm "/run/kill-ADD-$plugin"
  done
  if [ $killed -gt 2 ]; then ok "$killed ADDs were killed"; else not_ok "only $killed ADDs were killed"; fi
  same 'nothing is left of them' "$before" state
  run k "$(tcp 8080)"
  on tee /run/kill-DEL-ptp <<<0.03 >/dev/null
  stop k 2>/dev/null
  on rm /run/kill-DEL-ptp
  does 'end of a pod whose DEL was killed' end k
  same 'nothing is left of it' "$before" state
}

# limited: pods l and o, of which l is limited by annotations of Kubernetes.
limited() {
  local before address name
  before=$(state)
  run l '[]' '{"kubernetes.io/ingress-bandwidth": "8M", "kubernetes.io/egress-bandwidth": "16M"}'
  run o
  for name in l o; do
    serve $name
    inside $name sh -c 'head -c 4000000 /dev/zero >/www/four' >/dev/null
  done
  about 'Mbit/s that a pod receives which is limited to 8' "$(speed l o)" 8
  about 'Mbit/s that it sends, limited to 16' "$(speed o l)" 16
  for name in l o; do end $name; done
  same 'nothing is left' "$before" state
}

# speed BY OF: Mbit/s with which a pod gets 4 MB of another, 33.5 Mbit with headers.
speed() {
  local from
  from=$(addresses "$2")
  inside "$1" sh -c 'read from _ </proc/uptime; wget -qO /dev/null "http://$0/four"; read to _ </proc/uptime; echo $from $to' "${from%% *}" | awk 'NF == 2 { printf "%.1f", 33.5 / ($2 - $1) }'
}

conflist 10-pods.conflist <<'C'
{
  "cniVersion": "1.0.0", "cniVersions": ["0.4.0", "1.0.0", "1.1.0"], "name": "pods",
  "plugins": [{
    "type": "ptp", "ipMasq": true, "capabilities": {"portMappings": true, "bandwidth": true},
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd00:77::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}
  }]
}
C
soon loaded 10.77.0.0/24
everything '10.77.0.1 fd00:77::1' ptp
limited
conflist 10-pods.conflist <conf/10-kindnet.conflist
soon loaded kindnet
echo "# $(on jq -c '[.plugins[].type]' /etc/cni/net.d/10-pods.conflist)"
everything '10.244.0.1 fd00:10:244::1' ptp portmap
is 'every DEL that was not killed succeeded' "$(on grep ^DEL /run/calls | grep -vE 'status=(0|137)')" ''
