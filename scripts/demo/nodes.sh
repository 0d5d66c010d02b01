# The second half of the demo: two nodes, each with an agent. A node is a process with namespaces of its own, in which its
# /run and /var/lib are its alone.

declare -A node agent # process IDs by the node's name

two_nodes() {
  title 'Two nodes, a wire between them, and no way from pod to pod'
  cat <<'PICTURE'
   node a                                          node b
   ┌──────────────────────────────────────┐        ┌──────────────────────────────────────┐
   │ pod 10.244.1.2        eth0 192.0.2.1 ┼────────┼ eth0 192.0.2.2        10.244.2.2 pod │
   │     fd00:10:244:1::2     2001:db8::1 │        │ 2001:db8::2     fd00:10:244:2::2     │
   └──────────────────────────────────────┘        └──────────────────────────────────────┘
PICTURE
  boot a
  boot b
  ip link add eth0 netns "${node[a]}" type veth peer name eth0 netns "${node[b]}"
  local at other before after
  for at in a b; do
    on $at
    run "ip addr add $(address 4 $at)/24 dev eth0; ip addr add $(address 6 $at)/64 dev eth0 nodad; ip link set eth0 up; ip netns add pod"
  done
  before=$(traces a; traces b)

  title 'The plan: what the agent of node a would do'
  on a
  run 'cat conf/peers.json'
  run 'podwire plan conf/peers.json --node a'
  expect 'ip link add podwire.1 .* mtu 1450 type vxlan id 1 dstport 8472 local 192.0.2.1 dev eth0'
  expect 'ip route add 10.244.2.0/24 via 10.244.2.0 dev podwire.1 onlink proto 119'

  title 'Agents: they make it true, install the plugins, and write the configuration for the container runtime'
  for at in a b; do on $at; agent; done
  for at in a b; do await 'node $at gets no conflist: $(tail -n 3 "$(root $at)/run/agent.log")' test -e "$(root $at)/run/cni/net.d/10-podwire.conflist"; done
  on a
  run 'cut -d" " -f2- /run/agent.log' 'ready\|conflist'
  run 'tr -d " \n" </run/cni/net.d/10-podwire.conflist; echo'

  title 'A pod on each node, wired by what the agents wrote'
  for at in a b; do
    on $at
    request "$(root $at)/run/cni/net.d/10-podwire.conflist" >"$(root $at)/run/add.json"
    run 'CNI_COMMAND=ADD /run/cni/bin/podwire </run/add.json' '"address"'
  done

  title 'Pod to pod, across: no address translation, the receiver sees the pod'
  inside b
  answers 2 "${in[@]}" ip netns exec pod
  on a
  for other in 10.244.2.2 fd00:10:244:2::2; do run "ip netns exec pod ping -c1 -W1 $other" '1 .*received'; done
  connect 10.244.2.2
  expect '^10.244.1.2$'
  connect fd00:10:244:2::2
  expect '^fd00:10:244:1::2$'

  title 'Damage, by hand, and the repair'
  damage 'ip route del 10.244.2.0/24' 'ip route show proto 119'
  damage 'ip link del podwire.1' 'ip link show podwire.1 | grep -o "link/.*"; ip route show proto 119; ip -6 route show proto 119; ip neigh show nud permanent; bridge fdb show dev podwire.1'
  damage 'nft flush ruleset' 'nft list ruleset'

  title 'The agent is killed while a pod sends 100 packets a second, and started again'
  inside a
  "${in[@]}" ip netns exec pod ping -q -c 200 -i 0.01 10.244.2.2 >/run/ping &
  local ping=$!
  sleep 0.3
  run "kill -9 ${agent[a]}"
  wait "${agent[a]}" 2>/dev/null || true
  agent
  await 'the agent of a does not come back: $(tail -n 3 "$(root a)/run/agent.log")' grep -q msg=starting "$(root a)/run/agent.log"
  wait $ping || true
  on ''
  run 'cat /run/ping' ' received'
  expect '^200 packets transmitted, 200 received'

  title 'The state of a node: podwire status'
  on a
  run 'podwire status'
  expect '^b  .* ok .* ms$'
  say 'The same without an agent, and with damage: what is wrong, and what repairs it.'
  stop
  run 'ip route del 10.244.2.0/24; ip neigh del fd00:10:244:2:: dev podwire.1'
  refused 'podwire status'
  expect '^agent *not running'
  refused 'podwire status --repair'
  run 'podwire status --repair | sh'
  refused 'podwire status'
  expect '^b  .* answered .* ago$'
  run 'ip netns exec pod ping -c1 -W1 10.244.2.2' '1 .*received'

  title 'Uninstall: nothing stays'
  for at in a b; do
    on $at
    [ $at = a ] || stop
    run 'CNI_COMMAND=DEL /run/cni/bin/podwire </run/add.json'
    run 'podwire uninstall --conf-dir /run/cni/net.d --bin-dir /run/cni/bin'
  done
  run 'ip -br link; ip route; nft list ruleset; find /run -name "*podwire*"'
  after=$(traces a; traces b)
  [ "$after" = "$before" ] || fail "something is left: $(diff <(echo "$before") <(echo "$after") || true)"
  on ''
}

# boot NODE: its namespaces.
boot() {
  rm -f /run/ready && mkfifo /run/ready
  unshare -nm --propagation private bash -c 'mount -t tmpfs run /run && mkdir /run/netns && mount -t tmpfs lib /var/lib && ip link set lo up && echo >&9; exec 9>&-; exec setpriv --pdeathsig KILL sleep infinity' 9>/run/ready >/dev/null &
  node[$1]=$!
  read -r _ </run/ready || fail "node $1 does not come up"
}

# at NODE COMMAND: as typed there. In the background a command begins with "${in[@]}" itself: then its process ID is known.
at() { inside "$1"; "${in[@]}" "${@:2}"; }
inside() { in=(env "PATH=$PATH:$BIN" nsenter --target "${node[$1]}" --net --mount --wd="$PWD"); }

# A node's files, from here.
root() { echo "/proc/${node[$1]}/root"; }

# address FAMILY NODE: as conf/peers.json has it.
address() { "$NODE" -p 'JSON.parse(fs.readFileSync("conf/peers.json")).nodes.find(({ name }) => name === process.argv[1]).addresses[process.argv[2] === "4" ? 0 : 1]' "$2" "$1"; }

# Starts the agent of the node we are on.
agent() {
  prompt "podwire agent --peers conf/peers.json --node $on --conf-dir /run/cni/net.d --bin-dir /run/cni/bin 2>/run/agent.log &"
  inside "$on"
  "${in[@]}" podwire agent --peers conf/peers.json --node "$on" --conf-dir /run/cni/net.d --bin-dir /run/cni/bin 2>"$(root "$on")/run/agent.log" &
  agent[$on]=$!
}

# Ends it.
stop() {
  run "kill ${agent[$on]}"
  wait "${agent[$on]}" || fail "the agent of $on ended with status $?"
}

# damage COMMAND QUESTION: types it, and says when QUESTION has the same answer as before again, and what the agent says.
damage() {
  local question=$2 before since start
  before=$(enter "$question")
  since=$(repairs_told)
  start=${EPOCHREALTIME/./}
  run "$1"
  await 'not repaired: $(diff <(echo "$before") <(enter "$question"))' answer_is "$before" "$question"
  say "As before after $(((${EPOCHREALTIME/./} - start) / 1000)) ms, the typing included. The agent says, with the milliseconds that it took:"
  await 'the agent tells of no repair' more_repairs "$since"
  on_log "$since"
}

answer_is() { [ "$(enter "$2" 2>&1)" = "$1" ]; }
repairs_told() { grep -c msg=repaired "$(root "$on")/run/agent.log" || true; }
more_repairs() { [ "$(repairs_told)" -gt "$1" ]; }
on_log() { grep -o 'msg=repaired.*' "$(root "$on")/run/agent.log" | tail -n "+$(($1 + 1))" | sed 's/^/   /'; }

# await COMPLAINT COMMAND: until the command succeeds, a minute at most. The complaint's $(...) are of the moment at which it is made.
await() {
  local deadline=$((SECONDS + 60))
  until "${@:2}"; do
    [ $SECONDS -lt $deadline ] || eval "fail \"$1\""
    sleep 0.005
  done
}

# What an overlay could leave behind on a node. (What the kernel does on eth0 meanwhile, is not the overlay's.)
traces() {
  at "$1" bash -c '{ ip -br link; ip -br addr; ip route show table all; ip -6 route show table all; ip neigh show nud permanent; } | grep -v eth0; nft list ruleset; find /run /var/lib -name "*podwire*" ! -type d; ls -A /var/lib/cni/networks/podwire 2>/dev/null | grep -v "last_reserved\|lock"' || true
}
