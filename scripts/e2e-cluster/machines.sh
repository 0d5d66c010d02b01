# The machines of the cluster and the wire between them:
#
#     wire: a bridge, 192.0.2.1/24 2001:db8::1/64, with a web server: the outside, which has no route to pods
#       │
#       ├── control  192.0.2.10/24  2001:db8::10/64    etcd, API server, controller manager, scheduler
#       ├── a        192.0.2.11/24  2001:db8::11/64    containerd, kubelet, kube-proxy
#       ├── b        192.0.2.12/24  2001:db8::12/64
#       └── c        192.0.2.13/24  2001:db8::13/64    joins, leaves, and comes again as .33
#
# A machine is network, mount and process namespaces with a disk; it ends with this script, however that ends, unless it is
# to be kept.

cluster=$cache/cluster
kubernetes=${PODWIRE_E2E_KUBERNETES:-$cache/kubernetes}

# within SECONDS COMMAND...: it succeeds within them.
within() {
  local end=$((SECONDS + $1))
  until "${@:2}" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || return 1; sleep 0.2; done
}

# boot MACHINE
boot() {
  local tied=(setpriv --pdeathsig KILL)
  [ -z "$keep" ] || tied=(setsid)
  mkdir -p "$cluster/$1/disk"
  "${tied[@]}" unshare --net --mount --pid --fork --kill-child --propagation private bash scripts/e2e-cluster/machine.sh "$1" "$cache" "$cluster/$1/disk" "$kubernetes" \
    </dev/null >"$cluster/$1/machine.log" 2>&1 {lock}>&- &
  echo $! >"$cluster/$1/pid"
  disown
  within 10 on "$1" test -e /run/up || { not_ok "machine $1 does not start: $(<"$cluster/$1/machine.log")"; exit 1; }
}

# init MACHINE: its process 1, as this machine counts.
init() {
  local pid
  pid=$(<"$cluster/$1/pid") && tr -d ' ' <"/proc/$pid/task/$pid/children"
}
runs() { [ -e "$cluster/$1/pid" ] && grep -q e2e-cluster/machine.sh "/proc/$(<"$cluster/$1/pid")/cmdline" 2>/dev/null; }

# on MACHINE COMMAND... What goes on there when this script has ended must not hold its lock.
on() { nsenter -t "$(init "$1")" -m -n -p -- env -C / "${@:2}" {lock}>&-; }

# power_off MACHINE: process 1 and with it every process, namespace and mount is gone; its disk stays.
power_off() {
  runs "$1" || return 0
  local init
  init=$(init "$1")
  kill -9 "$(<"$cluster/$1/pid")"
  within 10 gone $init
  rm "$cluster/$1/pid"
  nsenter -t "$(init wire)" -n ip link del dev "$1" 2>/dev/null || : # it went with its other end
  within 10 no_cgroups "podwire-cluster/$1"
}
gone() { [ ! -d "/proc/$1" ]; }
no_cgroups() {
  find /sys/fs/cgroup -depth \( -path "*/$1" -o -path "*/$1/*" \) -type d -exec rmdir {} + 2>/dev/null
  ! ls -d "/sys/fs/cgroup/$1" /sys/fs/cgroup/*/"$1" >/dev/null 2>&1
}

# all_off: every machine, and their disks, also of a run that was killed.
all_off() {
  local machine
  for machine in a b c control wire; do power_off $machine 2>/dev/null || :; done
  within 10 no_cgroups podwire-cluster || echo 'some cgroups of podwire-cluster stay' >&2
  rm -rf "$cluster"
}

# plug MACHINE NUMBER: its network, with that last part of the addresses.
plug() {
  nsenter -t "$(init wire)" -n ip link add name "$1" type veth peer name eth0 netns "$(init "$1")"
  nsenter -t "$(init wire)" -n ip link set dev "$1" master wire up
  on "$1" sh -c "
    ip link set eth0 up
    ip addr add 192.0.2.$2/24 dev eth0
    ip addr add 2001:db8::$2/64 dev eth0 nodad
    ip route add default via 192.0.2.1
    ip -6 route add default via 2001:db8::1"
}

wire_up() {
  boot wire
  on wire sh -c '
    ip link add wire address 02:00:5e:00:53:01 type bridge # else it changes with the machines that are plugged in
    ip link set wire up
    ip addr add 192.0.2.1/24 dev wire
    ip addr add 2001:db8::1/64 dev wire nodad
    chroot /opt/e2e/image/root httpd -p 80 -h /www'
}

# service MACHINE NAME COMMAND...: a daemon with the bare environment that systemd would give it, and a log.
service() {
  local machine=$1 name=$2
  shift 2
  on "$machine" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin sh -c 'echo $$ >"/run/$0.pid"; exec "$@"' "$name" "$@" \
    </dev/null >>"$cluster/$machine/$name.log" 2>&1 {lock}>&- &
  disown
}

# crash MACHINE NAME: ends a service as a crash would.
crash() { on "$1" sh -c "kill -9 \$(cat /run/$2.pid)"; }
