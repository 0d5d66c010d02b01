# What the clients' scripts share: saying what is so, a pretend machine, packets, and what is left behind.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/podwire-e2e
bin=$(readlink -m "${PODWIRE_BIN:-$(dirname "${BASH_SOURCE[0]}")/../../dist/bin}")

ok() { echo "ok - $*"; }
not_ok() { echo "not ok - $*"; }
skip() { echo "skip - $*"; }

# count: passes lines on as they come (awk may wait for a block of them), then says how many were what.
count() {
  local line passed=0 failed=0 skipped=0
  while IFS= read -r line; do
    echo "$line"
    case $line in
      'ok '*) passed=$((passed + 1)) ;;
      'not ok '*) failed=$((failed + 1)) ;;
      'skip '*) skipped=$((skipped + 1)) ;;
    esac
  done
  printf '\n# %d s\n%d passed, %d failed, %d skipped\n' $SECONDS $passed $failed $skipped
  [ $failed = 0 ] && [ $passed -gt 0 ]
}

# is WORDS GOT EXPECTED
is() { if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1: got ${2:-nothing}, expected ${3:-nothing}"; fi; }

# like WORDS GOT PART: got contains the part.
like() { if [[ $2 == *"$3"* ]]; then ok "$1"; else not_ok "$1: got ${2:-nothing}, expected it to contain $3"; fi; }

# about WORDS GOT EXPECTED: within a tenth.
about() { if awk "BEGIN { exit !(${2:-0} > $3 * 0.9 && $2 < $3 * 1.1) }"; then ok "$1: $2"; else not_ok "$1: got ${2:-nothing}"; fi; }

# does WORDS COMMAND...: the command succeeds. What it printed is in $said.
does() {
  try "${@:2}" && { ok "$1"; return; }
  not_ok "$1: ${*:2} failed: $(tail -c 600 <<<"$said")"
  return 1
}

# does_not WORDS COMMAND...: it fails.
does_not() {
  try "${@:2}" || { ok "$1"; return; }
  not_ok "$1: ${*:2} did not fail: $(tail -c 600 <<<"$said")"
  return 1
}

try() {
  local status
  "$@" >"$cache/said" 2>&1
  status=$?
  said=$(<"$cache/said")
  return $status
}

# soon COMMAND...: it succeeds within ten seconds.
soon() {
  local end=$((SECONDS + 10))
  until "$@"; do [ $SECONDS -lt $end ] || return 1; sleep 0.1; done
}

# same WORDS BEFORE COMMAND...: the command soon prints what it printed before.
same() {
  local words=$1 before=$2
  shift 2
  if soon unchanged "$before" "$@"; then ok "$words"; else not_ok "$words:"; diff <(echo "$before") <("$@") | sed 's/^/    /'; return 0; fi
}
unchanged() { [ "$("${@:2}")" = "$1" ]; }

# A machine: network, mount and process namespaces of its own, on a disk that outlives it. It ends with this script,
# however that ends, because its process 1 reads what only this script can write.
machine_up() {
  mkdir -p "$cache/disk"
  coproc MACHINE { exec unshare --net --mount --pid --fork --kill-child --propagation private bash "$(dirname "${BASH_SOURCE[0]}")/machine.sh" "$cache" "$bin"; }
  local line
  read -r line <&"${MACHINE[0]}" && [ "$line" = up ] || { echo "the pretend machine does not start"; exit 1; }
  read -r init <"/proc/$MACHINE_PID/task/$MACHINE_PID/children"
}

# Pulls the plug: with process 1 every process, namespace and mount of the machine is gone; its disk stays.
machine_down() {
  [ -n "${MACHINE_PID:-}" ] || return 0
  kill -9 "$MACHINE_PID"
  wait "$MACHINE_PID" 2>/dev/null
  soon machine_gone
  soon cgroups_gone
}

machine_gone() { [ ! -d "/proc/$init" ]; }
cgroups_gone() {
  find /sys/fs/cgroup -path '*/podwire-e2e*' -depth -type d -exec rmdir {} + 2>/dev/null
  ! ls -d /sys/fs/cgroup/podwire-e2e /sys/fs/cgroup/*/podwire-e2e >/dev/null 2>&1
}

# A new machine with an empty disk, until this script ends.
machine() {
  trap 'machine_down; rm -rf "$cache/disk"' EXIT
  rm -rf "$cache/disk"
  machine_up
}

# on COMMAND...: runs it on the machine.
on() { nsenter -t $init -m -n -p -- env -C / "$@"; }

# conflist FILE <TEXT: a network's configuration, written as an operator would.
conflist() { on sh -c "cat >/etc/cni/net.d/$1"; }

# Everything on the machine that a pod could leave behind, but for whether a bridge has somebody on it just now, and what the
# kernel sends to groups. Of the nft table the elements: the rest is kept, and shared.
state() {
  on bash -c '
    ip -br link | awk "{ print \$1, \$3 }"; ip -o addr | awk "{ print \$2, \$3, \$4 }"
    ip route | sed "s, linkdown,,"; ip -6 route | sed "s, linkdown,,"; ip rule; ip -6 rule; ip netns list | cut -d" " -f1; tc qdisc
    nft list ruleset | grep comment
    { conntrack -L; conntrack -L -f ipv6; } 2>/dev/null | grep -vE "dst=(224\.|ff0)" | grep -oE "(src|dst)=(10\.|fd00:)[^ ]*"
    find /var/lib/cni /run/netns /run/cni* -type f ! -name lock ! -name "last_reserved_ip*" 2>/dev/null
    cut -d" " -f2 /proc/mounts
    ps -eo stat,args --no-headers | awk "\$1 !~ /^Z/ { \$1 = \"\"; print }" | grep -vE "^ (ps|grep|awk|bash -c|\[)"'
}

# kept NUMBER: so many pods have what they were promised, by what the client's library keeps of them; all of nf_tables and the routes
# to them are taken away, and podwire repair brings them back.
podwire() { on /opt/cni/bin/podwire "$@"; }
kept() {
  does 'podwire check has nothing to say' podwire check
  is 'podwire pods lists the pods' "$(podwire pods --json | jq '[.pods[] | select(.state == "ok")] | length')" "$1"
  on bash -c 'nft flush ruleset; ip route flush proto boot scope host; ip -6 route flush proto boot dev "$(ip -br link show type veth | grep -o "^veth[0-9a-f]\{11\}" | head -1)"'
  does_not 'what is taken away is said' podwire check
  does 'podwire repair brings it back' podwire repair
  does 'and podwire check has nothing to say' podwire check
}

# Packets. A web server in every pod, on the node and outside says whom it hears, so it is seen who was translated.
NODE=(192.0.2.1 2001:db8::1) OUTSIDE=(192.0.2.2 2001:db8::2) FAMILY=(IPv4 IPv6)

# who ADDRESS [PORT]: what to ask there. heard COMMAND...: the answer to it.
who() { case $1 in *:*) echo "http://[$1]${2:+:$2}/cgi-bin/who" ;; *) echo "http://$1${2:+:$2}/cgi-bin/who" ;; esac; }
heard() { "$@" 2>&1 | sed -E 's/[][]//g; s/^::ffff://'; }

# packets EXEC A B ADDRESSES-OF-A ADDRESSES-OF-B GATEWAYS: of pods A and B, in which `EXEC POD COMMAND...` runs something.
# The last three are lists: IPv4 and, if they have it, IPv6.
packets() {
  local exec=$1 a=$2 b=$3 of_a of_b gateway i
  read -ra of_a <<<"$4"; read -ra of_b <<<"$5"; read -ra gateway <<<"$6"
  for i in "${!of_a[@]}"; do
    is "${FAMILY[i]}: pod to pod" "$(heard $exec $a wget -qO- -T 3 "$(who ${of_b[i]})")" ${of_a[i]}
    is "${FAMILY[i]}: pod to itself" "$(heard $exec $a wget -qO- -T 3 "$(who ${of_a[i]})")" ${of_a[i]}
    is "${FAMILY[i]}: pod to node" "$(heard $exec $a wget -qO- -T 3 "$(who ${NODE[i]})")" ${of_a[i]}
    is "${FAMILY[i]}: node to pod" "$(heard on curl -sS -m 3 "$(who ${of_b[i]})")" ${gateway[i]}
    is "${FAMILY[i]}: pod to the outside, masqueraded" "$(heard $exec $b wget -qO- -T 3 "$(who ${OUTSIDE[i]})")" ${NODE[i]}
  done
}

# Ports of the node, each of which leads to a pod's web server (TCP) and to its UDP server, port 53, that serve_udp started.
LOCALHOST=(127.0.0.1 ::1)

# published PORT EXEC A B GATEWAYS: a port that leads to pod A, in which `EXEC POD COMMAND...` runs something; B is another.
published() {
  local port=$1 exec=$2 a=$3 b=$4 gateway i
  read -ra gateway <<<"$5"
  for i in "${!gateway[@]}"; do
    is "${FAMILY[i]}: port $port from the outside" "$(heard outside curl -sS -m 3 "$(who ${NODE[i]} $port)")" ${OUTSIDE[i]}
    is "${FAMILY[i]}: from the node, by its address" "$(heard on curl -sS -m 3 "$(who ${NODE[i]} $port)")" ${NODE[i]}
    is "${FAMILY[i]}: from the node, by ${LOCALHOST[i]}" "$(heard on curl -sS -m 3 "$(who ${LOCALHOST[i]} $port)")" ${gateway[i]}
    is "${FAMILY[i]}: from the pod itself" "$(heard $exec $a wget -qO- -T 3 "$(who ${NODE[i]} $port)")" ${gateway[i]}
    is "${FAMILY[i]}: from another pod" "$(heard $exec $b wget -qO- -T 3 "$(who ${NODE[i]} $port)")" ${gateway[i]}
  done
}

# published_udp PORT GATEWAYS: the same by UDP.
published_udp() {
  local port=$1 gateway i
  read -ra gateway <<<"$2"
  for i in "${!gateway[@]}"; do
    is "${FAMILY[i]}: port $port/udp from the outside" "$(heard ask ${NODE[i]} $port ip netns exec outside)" ${OUTSIDE[i]}
    is "${FAMILY[i]}: from the node, by its address" "$(heard ask ${NODE[i]} $port)" ${NODE[i]}
    is "${FAMILY[i]}: from the node, by ${LOCALHOST[i]}" "$(heard ask ${LOCALHOST[i]} $port)" ${gateway[i]}
  done
}

outside() { on ip netns exec outside "$@"; }

# asked: the ports that the last ADD with ports was given, as the client wrote them.
asked() { on sh -c 'grep -o "\"portMappings\":\[{[^]]*]" /run/asked | tail -1'; }

# nobody ADDRESS PORT [BY...]: no answer from there.
nobody() { does_not "nobody answers at $1, port $2${3:+, for $3}" "${@:3}" curl -sS -m 1 "$(who $1 $2)"; }

# ask ADDRESS PORT [BY...]: whom the UDP server there hears.
ask() { on "${@:3}" bash -c 'exec 3<>"/dev/udp/$0/$1" && echo >&3 && timeout 2 head -n1 <&3' "$1" "$2" 2>&1; }

# serve_udp NETNS: the server in a pod's namespace; end_udp: all of them.
serve_udp() {
  { on nsenter "--net=$1" "$(bash scripts/node.sh)" "$PWD/scripts/e2e/udp.ts" 53; } 2>/dev/null &
  soon answers_udp "$1"
}
answers_udp() { [ "$(heard ask 127.0.0.1 53 nsenter "--net=$1")" = 127.0.0.1 ]; }
end_udp() { on pkill -f e2e/udp.ts; }
