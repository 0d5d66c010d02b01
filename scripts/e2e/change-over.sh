# A node changes over from the reference's plugins and back, with pods on it: pods of both reach each other, have ports side by
# side, and either deletes what the other has wired. By cnitool, with the lists of plugins that nodes have, and by containerd.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/containerd.sh"

machine
. "$(dirname "$0")/cnitool-calls.sh"
on mkdir -p /opt/reference
on mount --bind /opt/e2e/reference/usr/lib/cni /opt/reference
echo "# $(on /opt/reference/bridge --version 2>&1 | head -1)"

reference() { on env CNI_PATH=/opt/reference NETCONFPATH=/etc/cni/net.d CNI_IFNAME=eth0 "CAP_ARGS=${capabilities:-}" /opt/e2e/cnitool/cnitool "$1" "$2" "/run/netns/$3"; }
port() { printf '{"portMappings": [{"hostPort": %s, "containerPort": 80, "protocol": "tcp"}], "bandwidth": {"ingressRate": 100000000, "ingressBurst": 8000000, "egressRate": 100000000, "egressBurst": 8000000}}' "$1"; }

# Rules and links of pods, whoever made them, without counters.
rules() { on bash -c '{ nft list ruleset | grep -E "10\.77\.[0-9]+\.[0-9]+($|[^/0-9])|fd00:77:[0-9]+::[0-9]|CNI-[0-9a-f]{24}|CNI-DN-|cnitool-"; ip -br link | grep -oE "^(bwp|veth)[^ @]*"; } 2>/dev/null' | sed -E 's/counter packets [0-9]+ bytes [0-9]+ //'; }

# everything NETWORK ADDRESSES-OF-A ADDRESSES-OF-B GATEWAYS: pod a is ours, pod b the reference's.
everything() {
  echo "# $1: $(on jq -c '[.plugins[].type]' "/etc/cni/net.d/$1.conflist")"
  local name with_a
  for name in a b; do on sh -c "ip netns add $name && ip -n $name link set lo up"; done
  capabilities=$(port 8080) does 'podwire adds a' tool add "$1" a
  with_a=$(rules)
  capabilities=$(port 9090) does 'the reference adds b' reference add "$1" b
  for name in a b; do inside $name httpd -p 80 -h /www; done
  packets inside a b "$2" "$3" "$4"
  is "the port of a" "$(heard outside curl -sS -m 3 "$(who 192.0.2.1 8080)")" 192.0.2.2
  is "the port of b" "$(heard outside curl -sS -m 3 "$(who 192.0.2.1 9090)")" 192.0.2.2
  for name in a b; do on sh -c "kill \$(ip netns pids $name)"; done

  does 'podwire deletes b' tool del "$1" b
  is 'and leaves nothing of it' "$(rules)" "$with_a"
  is 'nor an address' "$(on ls "/var/lib/cni/networks/$1" | grep -E '^(10|fd)' | xargs)" "$2"
  capabilities=$(port 8080) reference del "$1" a >"$cache/said" 2>&1 ||
    like 'the reference deletes a, and says that chains of its own are not there' "$(<"$cache/said")" 'does not exist'
  capabilities=$(port 8080) does 'it succeeds, at the latest when repeated' reference del "$1" a
  is 'and leaves no address' "$(on ls "/var/lib/cni/networks/$1" | grep -E '^(10|fd)' | xargs)" ''
  like 'podwire status says that the pod of a port is gone' "$(on /opt/cni/bin/podwire status)" 'is gone: podwire gc takes it back'
  for name in a b; do on ip netns del $name; done
  does 'podwire GC' gc "$1"
  is 'takes it back' "$(rules)" ''
}

# ended POD: gone by now, or by another try.
ended() { ! status "$1" >/dev/null 2>&1 || end "$1"; }

# gc NETWORK: as docs/operations.md says, by each plugin of the list, and that nothing lives.
gc() {
  local plugin
  for plugin in $(on jq -r '.plugins[].type' "/etc/cni/net.d/$1.conflist"); do
    on jq -c ".name as \$name | .plugins[] | select(.type == \"$plugin\") + {cniVersion: \"1.1.0\", name: \$name, \"cni.dev/valid-attachments\": []}" "/etc/cni/net.d/$1.conflist" |
      on env CNI_COMMAND=GC CNI_PATH=/opt/cni/bin "/opt/cni/bin/$plugin" || return
  done
}

conflist kindnet.conflist <<'C'
{
  "cniVersion": "0.4.0", "name": "kindnet",
  "plugins": [
    {"type": "ptp", "ipMasq": true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.6.0/24"}], [{"subnet": "fd00:77:6::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
C
conflist podman.conflist <<'C'
{
  "cniVersion": "0.4.0", "name": "podman",
  "plugins": [
    {"type": "bridge", "bridge": "cni-podman0", "isGateway": true, "ipMasq": true, "hairpinMode": true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.7.0/24"}], [{"subnet": "fd00:77:7::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": true}},
    {"type": "firewall"},
    {"type": "tuning"},
    {"type": "bandwidth", "capabilities": {"bandwidth": true}}
  ]
}
C
conflist nft.conflist <<'C'
{
  "cniVersion": "0.4.0", "name": "nft",
  "plugins": [
    {"type": "bridge", "bridge": "nft0", "isGateway": true, "ipMasq": true, "ipMasqBackend": "nftables", "hairpinMode": true, "macspoofchk": true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.8.0/24"}], [{"subnet": "fd00:77:8::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}},
    {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": true}}
  ]
}
C
everything kindnet '10.77.6.2 fd00:77:6::2' '10.77.6.3 fd00:77:6::3' '10.77.6.1 fd00:77:6::1'
everything podman '10.77.7.2 fd00:77:7::2' '10.77.7.3 fd00:77:7::3' '10.77.7.1 fd00:77:7::1'
everything nft '10.77.8.2 fd00:77:8::2' '10.77.8.3 fd00:77:8::3' '10.77.8.1 fd00:77:8::1'

echo '# kindnet, by containerd'
on rm /etc/cni/net.d/{podman,nft}.conflist
containerd_up /usr/bin
ctr -n k8s.io image import /opt/e2e/image/image.tar >/dev/null
. "$(dirname "$0")/cri-calls.sh"
there() { on mount --bind /opt/reference /opt/cni/bin; }
back() { on umount /opt/cni/bin; }
there
does 'a pod of the reference, with a port' run a '[{"host_port": 8080, "container_port": 80}]'
serve a
back
does 'is reached when podwire is in its place' outside curl -sS -m 3 "$(who 192.0.2.1 8080)"
does 'ends' end a
is 'and leaves nothing' "$(rules)" ''
does "a pod of podwire's, with a port" run b '[{"host_port": 8080, "container_port": 80}]'
serve b
there
does 'is reached when the reference is in its place' outside curl -sS -m 3 "$(who 192.0.2.1 8080)"
end b 2>/dev/null || echo '# the reference fails once'
does 'and ends, at the latest when tried again' ended b
back
does 'podwire GC' gc kindnet
is 'leaves nothing' "$(rules)" ''
