# What is checked, part by part, in the order of e2e-cluster.sh.

AGENT=(-n kube-system -l app.kubernetes.io/name=podwire)
declare -A pod host port address4 address6 # of the workload, by node

# Before podwire: the nodes are there and wait for a network.
before_podwire() {
  local node
  for node in a b; do within 60 registered $node || { not_ok "node $node does not register: $(tail -3 "$cluster/$node/kubelet.log")"; exit 1; }; done
  within 30 waits_for_network a
  does 'without podwire a node is not ready, for want of a network' waits_for_network a
  like 'node a has networks of both families for its pods' "$(cidrs a)" ' fd00:10:244:'
  for node in a b; do traces $node >"$cluster/$node.before"; done
}
waits_for_network() { kubectl get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].message}' | grep 'cni plugin not initialized'; }

# traces NODE: all that podwire and pods could leave on a node. (Forwarding stays on; anycast addresses come with it.)
traces() {
  on "$1" bash -c '
    ip -br link; ip -br addr
    ip -4 route show table all; ip -6 route show table all | grep -vE "^(fe80|multicast|anycast)"
    nft list tables | grep -vE "ip6? (nat|filter|mangle)$"
    find /etc/cni /opt/cni /run/podwire -type f 2>/dev/null'
}

# import NODE: as an operator would with an archive.
import() { on "$1" ctr -n k8s.io images import - <"$image"; }

apply_manifest() {
  local start node
  for node in a b; do does "the image is imported on $node" import $node; done
  is 'under the name that the manifest says' "$(on a ctr -n k8s.io images ls -q | grep podwire | grep -v sha256)" "$(sed -n 's/^ *image: //p' conf/podwire.yaml | sort -u)"
  start=$SECONDS
  does 'the manifest is applied' apply
  if within 90 ready a b; then ok 'the nodes become ready by it'; else
    not_ok 'the nodes do not become ready'
    agents_say
    exit 1
  fi
  echo "# ready $((SECONDS - start)) s after kubectl apply"
  does 'and the agents' kubectl rollout status -n kube-system daemonset/podwire --timeout=8s
}
apply() { kubectl apply -f - <conf/podwire.yaml; }
agents_say() {
  kubectl describe pods "${AGENT[@]}" | tail -20
  kubectl logs "${AGENT[@]}" --all-containers --tail 20
}

# agent NODE: its process, as the node counts.
agent() { on "$1" pgrep -of '/podwire .*agent$'; }
agent_pod() { kubectl get pods "${AGENT[@]}" --field-selector "spec.nodeName=$1" -o 'jsonpath={.items[0].metadata.name}'; }
agent_ready() { on "$1" curl -sf -m 2 http://127.0.0.1:9466/readyz; }

as_the_manifest_says() {
  local status agent account=system:serviceaccount:kube-system:podwire
  agent=$(agent a)
  status=$(on a cat "/proc/$agent/status")
  is 'the agent has CAP_NET_ADMIN and no other capability' "$(sed -n 's/^CapEff:\s*//p' <<<"$status")" 0000000000001000
  is 'may not gain privileges' "$(sed -n 's/^NoNewPrivs:\s*//p' <<<"$status")" 1
  is 'is filtered by seccomp' "$(sed -n 's/^Seccomp:\s*//p' <<<"$status")" 2
  like 'has a root that is read-only' "$(on a awk '$5 == "/" { print $6 }' "/proc/$agent/mountinfo")" ro,
  is 'forwards IPv4, which it switched on' "$(on a cat /proc/sys/net/ipv4/ip_forward)" 1
  is 'and IPv6' "$(on a cat /proc/sys/net/ipv6/conf/all/forwarding)" 1
  is 'its ServiceAccount may list nodes' "$(kubectl auth can-i list nodes --as $account 2>/dev/null)" yes
  is 'not change them' "$(kubectl auth can-i patch nodes --as $account 2>/dev/null)" no
  is 'nor their status' "$(kubectl auth can-i patch nodes --subresource status --as $account 2>/dev/null)" no
  is 'nor see pods' "$(kubectl auth can-i list pods -A --as $account 2>/dev/null)" no
  like 'the liveness probe is answered on the loopback' "$(on a curl -s -m 2 http://127.0.0.1:9466/healthz)" ok
  does_not 'and not on the node'"'"'s address' on a curl -s -m 2 http://192.0.2.11:9466/healthz
}

workload() {
  local start=$SECONDS
  kubectl apply -f - <scripts/e2e-cluster/workload.yaml >/dev/null
  does 'pods on every node are ready' within 90 rolled_out
  echo "# after $((SECONDS - start)) s"
  learn
}
rolled_out() { local name; for name in pods ports hosts; do kubectl rollout status daemonset/$name --timeout=5s || return 1; done; }

# learn: names and addresses of the pods that run by now.
learn() {
  local app node name addresses
  while read -r app node name addresses; do
    case $app in
      pods) pod[$node]=$name; read -r "address4[$node]" "address6[$node]" <<<"$addresses" ;;
      hosts) host[$node]=$name ;;
      ports) port[$node]=$name ;;
    esac
  done < <(kubectl get pods -o json | jq -r '.items[] | select(.metadata.deletionTimestamp == null and .status.phase == "Running") |
    "\(.metadata.labels.app) \(.spec.nodeName) \(.metadata.name) \([.status.podIPs[].ip] | join(" "))"')
}

# inside NODE COMMAND...: in the node's pod. beside NODE COMMAND...: in its pod on the network of the node.
inside() { kubectl exec "${pod[$1]}" -- "${@:2}"; }
beside() { kubectl exec "${host[$1]}" -- "${@:2}"; }

# in_pod NODE COMMAND...: a program of this machine in the network of the node's pod, without the API server.
in_pod() { on "$1" nsenter "--net=$(netns "$1" "${address4[$1]}")" "${@:2}"; }
netns() { on "$1" bash -c 'for file in /run/netns/*; do nsenter "--net=$file" ip -o -4 addr | grep -qF " $0/" && echo "$file"; done' "$2"; }

# address NODE FAMILY
address() { if [ "$2" = 4 ]; then echo "${address4[$1]}"; else echo "${address6[$1]}"; fi; }
ours() { [[ $(on "$1" ip -o addr) == *" $2/"* ]]; }

# of_node WORDS NODE GOT: the address that was heard is one of the node's.
of_node() { if [ -n "$3" ] && ours "$2" "$3"; then ok "$1 ($3)"; else not_ok "$1: got ${3:-nothing}, expected an address of node $2"; fi; }

# packets_of A B: from node A and its pods to node B, its pods and the outside.
packets_of() {
  local family there node_b
  for family in 4 6; do
    there=$(address "$2" $family)
    is "IPv$family: pod on $1 to pod on $2, which sees the pod's own address" "$(heard inside "$1" wget -qO- -T 3 "$(who "$there")")" "$(address "$1" $family)"
    of_node "IPv$family: host-network pod on $1 to pod on $2, seen as the node" "$1" "$(heard beside "$1" wget -qO- -T 3 "$(who "$there")")"
    of_node "IPv$family: node $1 to pod on $2, seen as the node" "$1" "$(heard on "$1" curl -sS -m 3 "$(who "$there")")"
    node_b=$(node_address "$2" $family)
    does "IPv$family: pod on $1 to node $2" inside "$1" wget -qO- -T 3 "$(who "$node_b" 8080)"
    is "IPv$family: pod on $1 to the outside, as its node" "$(heard inside "$1" wget -qO- -T 3 "$(who "$(outside $family)")")" "$(node_address "$1" $family)"
    udp "$1" "$2" "$there" $family
    tcp "$1" "$2" "$there" $family
    largest "$1" "$2" "$there" $family
  done
}
node_address() { # NODE FAMILY
  kubectl get node "$1" -o json |
    jq -r --arg family "$2" '.status.addresses[] | select(.type == "InternalIP") | .address | select(contains(":") == ($family == "6"))'
}
outside() { if [ "$1" = 4 ]; then echo 192.0.2.1; else echo 2001:db8::1; fi; }

udp() {
  local script=$PWD/scripts/e2e-cluster/udp.ts node size
  node=$(bash scripts/node.sh)
  in_pod "$2" timeout 20 "$node" "$script" echo &
  within 5 listens "$2"
  for size in 64 512 1232; do is "IPv$4: UDP, $size bytes from $1 to $2 and back" "$(in_pod "$1" "$node" "$script" ask "$3" $size)" $size; done
  kill $!
  on "$2" pkill -f 'udp.ts echo'
  wait $! 2>/dev/null
}
listens() { in_pod "$1" ss -lnu | grep :5353; }

tcp() {
  local sent
  sent=$(inside "$2" sh -c 'head -c 10000000 /dev/urandom >/www/ten; sha256sum </www/ten')
  is "IPv$4: TCP, 10 MB from $2 to $1" "$(inside "$1" sh -c "wget -qO- -T 10 $(who "$3" | sed 's#cgi-bin/who#ten#') | sha256sum")" "$sent"
}

# The largest packet that may not be fragmented gets through, and is as large as the overlay allows.
largest() {
  local mtu headers=28
  mtu=$(in_pod "$1" ip -j link show eth0 | jq '.[].mtu')
  [ "$4" = 4 ] || headers=48
  is "IPv$4: MTU of the pod on $1" "$mtu" 1450
  does "IPv$4: $mtu bytes from $1 to $2, whole" in_pod "$1" ping -c1 -W2 -M 'do' -s $((mtu - headers)) "$3"
}

services() {
  local family
  for family in 4 6; do
    is "IPv$family: a Service from a pod, ten times" "$(ten inside a wget -qO- -T 3 "$(who "$(kubectl get service "pods$family" -o 'jsonpath={.spec.clusterIP}')")")" 10
    is "IPv$family: a NodePort from the outside, ten times" "$(ten on wire curl -sS -m 3 "$(who "$(node_address a $family)" 3000$family)")" 10
  done
}
ten() { local i answers=0; for i in {1..10}; do "$@" >/dev/null 2>&1 && answers=$((answers + 1)); done; echo $answers; }

# A port of each node leads to a pod on it, whoever comes, beside the NodePorts of kube-proxy.
host_ports() {
  local family own
  for family in 4 6; do
    own=$(node_address a $family)
    is "IPv$family: hostPort from the outside" "$(heard on wire curl -sS -m 3 "$(who "$own" 8081)")" "$(outside $family)"
    is "IPv$family: from the other node" "$(heard on b curl -sS -m 3 "$(who "$own" 8081)")" "$(node_address b $family)"
    of_node "IPv$family: from the node itself" a "$(heard on a curl -sS -m 3 "$(who "$own" 8081)")"
    of_node "IPv$family: from the node by its loopback address" a "$(heard on a curl -sS -m 3 "$(who "$(loopback $family)" 8081)")"
    of_node "IPv$family: from a pod of the node" a "$(heard inside a wget -qO- -T 3 "$(who "$own" 8081)")"
    of_node "IPv$family: from a pod of the other node" b "$(heard inside b wget -qO- -T 3 "$(who "$own" 8081)")"
    is "IPv$family: a NodePort beside it, ten times" "$(ten on wire curl -sS -m 3 "$(who "$own" 3000$family)")" 10
  done
  like 'podwire status tells the port' "$(on a /opt/cni/bin/podwire status)" '8081/tcp'
}
loopback() { if [ "$1" = 4 ]; then echo 127.0.0.1; else echo ::1; fi; }

# Annotations of Kubernetes limit a pod, in Mbit/s.
bandwidth() {
  local name
  for name in "${port[a]}" "${pod[a]}"; do kubectl exec "$name" -- sh -c 'head -c 10000000 /dev/zero >/www/ten'; done
  about 'Mbit/s that a pod sends which is limited to 40' "$(speed "${pod[b]}" "${port[a]}")" 40
  about 'Mbit/s that it receives, limited to 20' "$(speed "${port[b]}" "${pod[a]}")" 20
}

# speed POD OF: Mbit/s with which a pod gets 10 MB, 83.8 Mbit with headers, of another.
speed() {
  local from
  from=$(kubectl get pod "$2" -o 'jsonpath={.status.podIP}')
  kubectl exec "$1" -- sh -c 'read from _ </proc/uptime; wget -qO /dev/null "http://$0/ten"; read to _ </proc/uptime; echo $from $to' "$from" | awk 'NF == 2 { printf "%.1f", 83.8 / ($2 - $1) }'
}

# flood WORDS COMMAND...: as long as the command runs, pings go from the pod on a to the one on b, 300 a second. None is
# lost; the last may be on its way.
flood() {
  local words=$1 pings=() family sent received
  shift
  for family in 4 6; do
    in_pod a ping -q -i 0.003 "$(address b $family)" >"$cluster/flood$family" 2>&1 &
    pings+=($!)
  done
  sleep 1
  "$@"
  on a pkill -INT -x ping
  wait "${pings[@]}"
  for family in 4 6; do
    read -r sent received < <(sed -nE 's/^([0-9]+) packets transmitted, ([0-9]+) received.*/\1 \2/p' "$cluster/flood$family")
    if [ "${received:-0}" -ge 300 ] && [ $((sent - received)) -le 1 ]; then ok "IPv$family: $words, and none of $sent packets is lost"; else
      not_ok "IPv$family: $words: ${received:-0} of ${sent:-0} packets came"
    fi
  done
}

restarts() {
  local before
  before=$(leases a '[0-9a-f]')
  does 'a pod that has gone without DEL leaves its addresses leased' ghost
  flood 'the agent is stopped and a new one starts' restart_agents
  does 'the new one has freed them' within 5 same_leases a '[0-9a-f]' "$before"
  flood 'the agent is killed and starts again' kill_agents
  does 'kubelet started it again, once' within 20 restarted
}
ghost() {
  on a bash -c '
    ip netns add ghost
    jq -c "{cniVersion, name} + .plugins[0]" /etc/cni/net.d/10-podwire.conflist |
      CNI_COMMAND=ADD CNI_CONTAINERID=ghost CNI_NETNS=/run/netns/ghost CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin /opt/cni/bin/podwire || exit
    ip netns del ghost
    touch -d "2 minutes ago" $(grep -l ghost -r /var/lib/cni/networks/podwire)'
}
restart_agents() {
  local start=$SECONDS old
  old=$(agent_pod a)
  kubectl delete pods "${AGENT[@]}" >/dev/null
  within 20 another_agent "$old"
  within 10 agent_ready a && within 10 agent_ready b
  echo "# all agents deleted, new ones ready $((SECONDS - start)) s later"
}
another_agent() { local now; now=$(agent_pod a) && [ -n "$now" ] && [ "$now" != "$1" ] && agent a; }
kill_agents() {
  local node old start=$SECONDS
  for node in a b; do
    old=$(agent $node)
    on $node kill -9 "$old"
    within 15 new_agent $node "$old" && within 10 agent_ready $node
  done
  echo "# both killed and ready again after $((SECONDS - start)) s"
}
new_agent() { local now; now=$(agent "$1") && [ "$now" != "$2" ]; }
restarted() { kubectl get pods "${AGENT[@]}" -o 'jsonpath={.items[*].status.containerStatuses[0].restartCount}' | grep -x '1 1'; }

# What somebody else takes away, the agent puts back, with the one capability it has.
damages() {
  local damage
  while read -r damage; do
    on a sh -c "$damage" >/dev/null </dev/null
    does "repaired after: $damage" within 3 reached
  done <<'D'
ip link del podwire.1
ip link set podwire.1 down
nft delete table inet podwire
sysctl -w net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
D
}
reached() {
  local family
  for family in 4 6; do
    [ "$(heard in_pod a curl -sS -m 1 "$(who "$(address b $family)")")" = "$(address a $family)" ] || return 1
    [ "$(heard in_pod a curl -sS -m 1 "$(who "$(outside $family)")")" = "$(node_address a $family)" ] || return 1
  done
}

# What others take away of a pod on its node the agent puts back, too, by what containerd's library keeps of the pod.
pod_damages() {
  local name=default/${port[a]} end damage
  is "podwire pods has the pod's name in Kubernetes" "$(podwire a pods | awk -v pod="$name" '$1 == pod { print $NF }')" ok
  end=$(podwire a pods --json | jq -r --arg pod "$name" '.pods[] | select(.name == $pod) | .end')
  while read -r damage; do
    on a sh -c "$damage" </dev/null
    does "of a pod, repaired after: $damage" within 3 whole
  done <<D
nft delete table inet podwire
nft flush chain inet podwire hostports
ip route del $(kubectl get pod "${port[a]}" -o 'jsonpath={.status.podIP}')
ip -6 route flush dev $end proto boot
tc qdisc del dev $end root
ip link set $end down
D
}
podwire() { on "$1" /opt/cni/bin/podwire "${@:2}"; } # NODE ARGUMENT...
whole() { podwire a check >/dev/null && [ -n "$(heard on wire curl -sS -m 1 "$(who "$(node_address a 4)" 8081)")" ]; }

# Pods that kubelet starts by itself, from files, while there is no API server.
without_api_server() {
  local start=$SECONDS before late
  before=$(leases a 10.)
  crash control apiserver # when told to end, it would keep the agents' connections for a minute
  static_pod | on a tee /etc/kubernetes/manifests/late.json >/dev/null
  does 'a pod of kubelet'"'"'s own gets its network meanwhile' within 40 more_leases a "$before"
  late=$(comm -13 <(echo "$before") <(leases a 10.))
  does 'podwire status says that nothing is heard of it' within 20 status_says a ECONNREFUSED
  does 'it serves' within 10 in_pod b curl -sf -m 2 "$(who "$late")"
  is 'and is reached from the other node, which it sees' "$(heard in_pod b curl -sS -m 3 "$(who "$late")")" "${address4[b]}"
  on a rm /etc/kubernetes/manifests/late.json
  does 'it goes, and its address with it' within 90 same_leases a 10. "$before"
  while [ $((SECONDS - start)) -lt 60 ]; do sleep 1; done
  is 'after a minute pod to pod is as it was' "$(heard in_pod a curl -sS -m 3 "$(who "${address6[b]}")")" "${address6[a]}"
  does 'and the agent is ready' agent_ready a
  api_server
  does 'the API server is back, and the nodes are ready' within 60 ready a b
  start=$SECONDS
  does 'the agents hear of nodes again' within 75 watching a b
  echo "# $((SECONDS - start)) s after that; they ask less and less often, at least every 30 s"
}
watching() { local node; for node; do on "$node" curl -s http://127.0.0.1:9466/metrics | grep 'podwire_watch_state{phase="watching"} 1' || return 1; done; }
status_says() { [[ $(on "$1" /opt/cni/bin/podwire status) == *"$2"* ]]; }
leases() { on "$1" ls /var/lib/cni/networks/podwire | grep "^$2"; }
more_leases() { [ "$(leases "$1" 10. | wc -l)" -gt "$(wc -l <<<"$2")" ]; }
same_leases() { [ "$(leases "$1" "$2")" = "$3" ]; }
static_pod() {
  jq -n '{apiVersion: "v1", kind: "Pod", metadata: {name: "late", labels: {app: "late"}}, spec: {terminationGracePeriodSeconds: 1,
    containers: [{name: "httpd", image: "localhost/e2e:1", command: ["httpd", "-f", "-p", "80", "-h", "/www"]}]}}'
}

nodes_come_and_go() {
  local start had
  node c 13
  does 'the image is imported on c' import c
  does 'a node joins, and gets its pod CIDRs' within 60 registered c
  start=$SECONDS
  does 'it becomes ready' within 60 ready c
  echo "# $((SECONDS - start)) s after that"
  does 'it has its pods' within 60 on_node c
  learn
  packets_of c a
  packets_of b c
  had=$(cidrs c)
  power_off c
  is 'its power fails: pods of others reach each other' "$(heard inside a wget -qO- -T 3 "$(who "${address4[b]}")")" "${address4[a]}"
  does 'node a has a route to its pods as long as it is a node' has_route a "$had"
  does 'it is no node any more' kubectl delete node c
  does 'and there is no route to its pods' within 5 has_no_route a "$had"
  node c 33
  does 'it comes again with another address and becomes ready' within 90 ready c
  is 'which is' "$(node_address c 4)" 192.0.2.33
  echo "# its networks: $had before, $(cidrs c) now"
  kubectl delete pods --field-selector spec.nodeName=c --force --grace-period=0 >/dev/null 2>&1
  does 'it has its pods again' within 90 on_node c
  learn
  packets_of c b
  packets_of a c
  does 'no address of a pod from before is leased' within 60 only_leases_of c
}
on_node() { rolled_out && kubectl get pods -l app=pods --field-selector "spec.nodeName=$1" --no-headers | grep ' 1/1 '; }
has_route() { [[ $(on "$1" ip route show root "${2%% *}") == *podwire.1* ]]; } # NODE CIDRS
has_no_route() { ! has_route "$@"; }
only_leases_of() { [ "$(leases "$1" 10. | sort)" = "$(kubectl get pods -o json --field-selector "spec.nodeName=$1" | jq -r '.items[] | select(.spec.hostNetwork | not) | .status.podIP' | sort)" ]; }

# What the agent costs here.
figures() {
  local node agent ticks
  for node in a b c; do
    agent=$(agent $node)
    ticks=$(on $node awk '{ print $14 + $15 }' "/proc/$agent/stat")
    echo "# agent on $node: $(on $node awk '/^(VmRSS|RssAnon)/ { printf "%s %d MiB, ", $1, $2 / 1024 }' "/proc/$agent/status")" \
      "CPU $((ticks * 10)) ms in $(on $node ps -o etimes= -p "$agent" | tr -d ' ') s"
  done
  echo "# agents' restarts: $(kubectl get pods "${AGENT[@]}" -o 'jsonpath={.items[*].status.containerStatuses[0].restartCount}')"
}

the_end() {
  local node
  kubectl delete -f - <scripts/e2e-cluster/workload.yaml >/dev/null
  for node in a b c; do
    does "no pod's address is left on $node" within 90 no_leases $node
    does "nor an interface" within 10 no_veths $node
    is 'nor a record of theirs in nf_tables' "$(on $node nft list table inet podwire | grep -c 'comment "podwire/')" 0
  done
  kubectl delete -f - <conf/podwire.yaml >/dev/null
  does 'the agents are gone' within 60 no_agents
  does 'and the overlay stays' on a ip link show podwire.1
  for node in a b; do
    does "podwire uninstall on $node" on $node /opt/cni/bin/podwire uninstall
    same "leaves nothing on $node" "$(<"$cluster/$node.before")" traces $node
  done
}
no_leases() { [ -z "$(leases "$1" '[0-9a-f]')" ]; }
no_veths() { [[ $(on "$1" ip -br link show type veth) != *veth* ]]; }
no_agents() { [ -z "$(kubectl get pods "${AGENT[@]}" -o name)" ] && ! agent a && ! agent b; }
