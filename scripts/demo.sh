#!/usr/bin/env bash
# What podwire does, to watch. First on one node: a pod gets its network, loses a part of it, gets that back, and goes. Then
# between two nodes (scripts/demo/nodes.sh): agents keep the overlay true, whatever is done to it. Without root, in namespaces
# of its own, so this machine stays as it is. Fails if any step does not come out as it should.
#
#   ./scripts/demo.sh [--step] [--no-build]
#
#   --step      waits for Enter before each scene, so that there is time to read
#   --no-build  takes dist/bin as it is
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
. scripts/demo/nodes.sh
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C # ip and nft are there, which not every user's PATH has
BIN=$PWD/dist/bin
NODE=$PWD/node_modules/node-linux-$(node_arch)/bin/node

main() {
  if [ "${PODWIRE_DEMO:-}" = inside ]; then demo; return; fi
  helps "$@"
  local word build=yes
  for word; do
    case $word in
      --step) export PODWIRE_DEMO_STEP=yes ;;
      --no-build) build='' ;;
      *) wrong "expected --step, --no-build or nothing, not $word" ;;
    esac
  done
  need unshare:util-linux setpriv:util-linux nsenter:util-linux ip:iproute2 nft:nftables ping:iputils-ping
  [ -d /proc/sys/net/ipv6 ] || fail 'this kernel has no IPv6, and the demo shows both families'
  case $PWD/ in /run/* | /var/lib/* | /var/run/*) fail "the demo covers /run and /var/lib with empty directories, and this clone is in $PWD: move it" ;; esac
  local how
  how=$(namespaces)
  [ -z "$build" ] || build
  [ -x "$BIN/podwire" ] || fail 'dist/bin/podwire is missing: run scripts/build-sea.sh'
  PODWIRE_DEMO=inside exec unshare "$how" --propagation private bash scripts/demo.sh
}

build() {
  [ -d node_modules ] || need npm:npm
  packages
  [ -x "$BIN/podwire" ] && [ -z "$(find src scripts/build* package-lock.json -newer "$BIN/podwire" -print -quit)" ] && return
  step 'building the executable' bash scripts/build-sea.sh
}

# Network and mount namespaces, in a user namespace where that is allowed: then no root is needed.
namespaces() {
  if unshare -rnm true 2>/dev/null; then echo -rnm
  elif unshare -nm true 2>/dev/null; then echo -nm
  else fail 'this user may not make namespaces: allow it (sysctl kernel.apparmor_restrict_unprivileged_userns=0 or kernel.unprivileged_userns_clone=1) or run the demo as root'
  fi
}

demo() {
  trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
  [ -z "${PODWIRE_DEMO_STEP:-}" ] || reader
  mount -t tmpfs run /run && mkdir /run/netns && mount -t tmpfs lib /var/lib
  one_node
  two_nodes
  printf '\nEvery step came out as it should (%d s). Next: README.md, "Install".\n' $SECONDS
}

one_node() {
  title 'A node, a pod without a network, and the outside'
  cat <<'PICTURE'
   pod                         node (here)                       outside
   ┌──────┐                    ┌──────────────────────┐          ┌──────────────┐
   │ eth0 ┼─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ┼ veth…   198.51.100.1 ┼──────────┼ 198.51.100.2 │
   └──────┘  what podwire does │          2001:db8::1 │  uplink  │ 2001:db8::2  │
                               └──────────────────────┘          └──────────────┘
PICTURE
  say 'The outside knows the node, and has no route to any pod.'
  run 'ip link set lo up; ip netns add pod; ip netns add outside'
  run 'ip link add uplink mtu 1400 type veth peer name uplink mtu 1400 netns outside'
  run 'ip addr add 198.51.100.1/24 dev uplink; ip addr add 2001:db8::1/64 dev uplink nodad; ip link set uplink up'
  run 'ip -n outside addr add 198.51.100.2/24 dev uplink; ip -n outside addr add 2001:db8::2/64 dev uplink nodad; ip -n outside link set uplink up'
  run 'ip route add default via 198.51.100.2; ip -6 route add default via 2001:db8::2'
  answers 2 ip netns exec outside
  local before
  before=$(left)

  title 'The plan: what ADD would do, as lines you could type'
  say 'Computed from the configuration; nothing is changed and nothing leased.'
  run 'dist/bin/podwire plan conf/10-ptp.conflist --container demo'
  expect 'ip -n pod route add default via 10.1.2.1 dev eth0'
  expect 'nft add element inet podwire masquerade_ip6 .*fd00:1:2::2 comment "podnet/demo/eth0"'
  [ "$(left)" = "$before" ] || fail 'the plan has changed something'

  title 'ADD: the pod gets its network'
  say 'As a container runtime does it: the request is in the environment, the configuration on standard input,' \
    'the result on standard output.'
  run "export CNI_CONTAINERID=demo CNI_NETNS=/run/netns/pod CNI_IFNAME=eth0 CNI_PATH=$BIN"
  request conf/10-ptp.conflist >/run/add.json
  run 'CNI_COMMAND=ADD dist/bin/ptp </run/add.json | tee /run/result.json'
  expect '"address": "10.1.2.2/24"'
  expect '"address": "fd00:1:2::2/64"'
  expect '"mtu": 1400'
  run 'ip -n pod -br addr show eth0'
  run 'ls -A /var/lib/cni/networks/podnet'
  expect '^fd00:1:2::2$'

  title 'Packets: pod to node, node to pod'
  say 'At once, over IPv6 too: nothing waits for duplicate address detection.'
  for address in 10.1.2.1 fd00:1:2::1; do run "ip netns exec pod ping -c1 -W1 $address" '1 .*received'; done
  for address in 10.1.2.2 fd00:1:2::2; do run "ping -c1 -W1 $address" '1 .*received'; done

  title 'Masquerade: the pod connects to the outside, which answers with the address that it sees'
  connect 198.51.100.2
  expect '^198.51.100.1$'
  connect 2001:db8::2
  expect '^2001:db8::1$'
  say "Both are the node's: one map lookup, then the chain of the pod's network."
  run 'nft list table inet podwire'
  expect 'ip saddr vmap @masquerade_ip'

  title 'CHECK: is everything as ADD made it?'
  request conf/10-ptp.conflist /run/result.json >/run/check.json
  run 'CNI_COMMAND=CHECK dist/bin/ptp </run/check.json'
  say '(no output, status 0: yes)'

  title 'Damage, by hand: a route of the pod and an element of the masquerade map'
  run 'ip -n pod route del default'
  run "nft delete element inet podwire masquerade_ip6 '{ fd00:1:2::2 }'"
  refused 'ip netns exec pod ping -c1 -W1 198.51.100.2' 'unreachable'
  refused 'CNI_COMMAND=CHECK dist/bin/ptp </run/check.json | tee /run/findings.json'
  expect 'route default via 10.1.2.1 dev eth0 is missing'
  expect 'nft element fd00:1:2::2 in map inet podwire masquerade_ip6 is missing'

  title 'Repair: type what CHECK says'
  local line
  while read -r line; do run "$line"; done < <(repairs)
  run 'CNI_COMMAND=CHECK dist/bin/ptp </run/check.json'
  run 'ip netns exec pod ping -c1 -W1 198.51.100.2' '1 .*received'
  run 'ip netns exec pod ping -c1 -W1 2001:db8::2' '1 .*received'

  title 'DEL: the pod goes, and nothing of it stays'
  run 'CNI_COMMAND=DEL dist/bin/ptp </run/add.json'
  run 'CNI_COMMAND=DEL CNI_NETNS= dist/bin/ptp </run/add.json'
  say '(twice, as runtimes do, the second time without the namespace)'
  run "ip -br link; ip -n pod -br link; nft list map inet podwire masquerade_ip; ls -A /var/lib/cni/networks/podnet"
  [ "$(left)" = "$before" ] || fail "something is left: $(diff <(echo "$before") <(left) || true)"
  say 'No link, no route, no element, no lease: as before ADD. What pods share stays for the next one: the table,' \
    'forwarding, and the name of the address that was leased last.'
}

# answers COUNT COMMAND: started by COMMAND, answers TCP connections with the address that they come from, never longer than the demo.
answers() {
  local server='require("net").createServer((c) => { c.end(c.remoteAddress.replace("::ffff:", "") + "\n"); if (++n == '$1') s.close() }).listen(80, () => console.log("listening")); var n = 0'
  rm -f /run/ready && mkfifo /run/ready
  "${@:2}" setpriv --pdeathsig KILL "$NODE" -e "var s = $server" >/run/ready &
  read -r _ </run/ready || fail 'nobody listens'
}

connect() { run "ip netns exec pod bash -c 'exec 3<>/dev/tcp/$1/80; cat <&3'"; }

# request LIST [RESULT]: what a runtime writes to a plugin: its entry of the list, the list's name and newest version, the result of ADD.
request() {
  "$NODE" -e '
    const { readFileSync } = require("fs")
    const [list, prevResult] = process.argv.slice(1).map((file) => JSON.parse(readFileSync(file)))
    console.log(JSON.stringify({ ...list.plugins[0], name: list.name, cniVersion: list.cniVersions.at(-1), prevResult }))' "$@"
}

repairs() { "$NODE" -p 'JSON.parse(fs.readFileSync("/run/findings.json")).details' | grep -v '^#'; }

# Everything that a pod could leave behind. (What the kernel does on the uplink meanwhile, is not the pod's.)
left() {
  local where
  for where in '' '-n pod'; do
    ip $where -br link
    ip $where route show table all
    ip $where -6 route show table all
  done | grep -v 'dev uplink'
  nft list ruleset 2>/dev/null | grep comment || true
  find /var/lib/cni -type f ! -name lock ! -name 'last_reserved_ip.*' 2>/dev/null || true
}

# title WORDS: the next scene.
scene=0
title() {
  [ $scene = 0 ] || pause
  printf '\n%s%d. %s%s\n' "$bold" $((++scene)) "$*" "$plain"
}

# reader: where Enter comes from: the terminal, else standard input.
reader() {
  local where=/dev/tty
  { exec {enter_from}</dev/tty; } 2>/dev/null || { where='standard input' && exec {enter_from}<&0; }
  say "Step by step: each scene waits for Enter, from $where."
}

# pause: until Enter; where nobody is left to type it the demo goes on.
pause() {
  [ -n "${enter_from:-}" ] || return 0
  printf '\n   (Enter) '
  read -r _ <&"$enter_from" || { enter_from='' && printf 'nobody is there: going on'; }
}

say() { printf '   %s\n' "$@"; }

# run COMMAND [FILTER]: shows a command and what it prints (only the lines with FILTER, if given, which must be there).
run() {
  prompt "$1"
  [[ $1 == export* ]] && { eval "$1"; return; }
  out=$(enter "$1" 2>&1) || fail "it ended with status $?: $out"
  [ -z "${2:-}" ] || out=$(grep -- "$2" <<<"$out") || fail "its output lacks: $2"
  [ -z "$out" ] || sed 's/^/   /' <<<"$out"
}

# refused COMMAND [FILTER]: the same for a command that has to fail.
refused() {
  prompt "$1"
  if out=$(enter "$1" 2>&1); then fail "it should have failed: $out"; fi
  [ -z "${2:-}" ] || out=$(grep -- "$2" <<<"$out") || fail "its output lacks: $2"
  sed 's/^/   /' <<<"$out"
}

prompt() { printf '   %s%s$ %s%s\n' "$bold" "$on" "$1" "$plain"; }

# on NODE, and what follows is typed there; on '' is here.
on=''
on() { on=$1; }

enter() { if [ -z "$on" ]; then eval "$1"; else at "$on" bash -c "$1"; fi; }

# expect PATTERN: the last command printed it.
expect() { grep -q -- "$1" <<<"$out" || fail "the output lacks: $1"; }

fail() { echo "demo: $*" >&2; exit 1; }

if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi
main "$@"
