# `ctr run --cni`: containerd's own command line, which reads /etc/cni/net.d and /opt/cni/bin. Argument: where it is.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/containerd.sh"

machine
containerd_up "$1"
conflist 10-pods.conflist <<'C'
{
  "cniVersion": "1.0.0", "name": "pods",
  "plugins": [{
    "type": "ptp", "ipMasq": true,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd00:77::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}
  }]
}
C
does 'image import' ctr image import /opt/e2e/image/image.tar
before=$(state)

run() { ctr run --cni --rm --cgroup "/podwire-e2e/$1" localhost/e2e:1 "$@"; }
inside() { ctr task exec --exec-id "exec$RANDOM" "$@"; }
address() { inside "$1" ip -$2 -o addr show eth0 scope global | awk '{ sub("/.*", "", $4); print $4 }'; }
answers() { inside $1 wget -qO- http://127.0.0.1/cgi-bin/who >/dev/null 2>&1; }
httpd=(busybox httpd -f -p 80 -h /www)

# Not detached: of a detached container ctr 1.6 sends no DEL.
for name in a b; do
  run $name "${httpd[@]}" >"$cache/disk/$name.log" 2>&1 &
  soon answers $name || not_ok "$name does not run: $(<"$cache/disk/$name.log")"
done
is 'addresses of the first' "$(address a 4) $(address a 6)" '10.77.0.2 fd00:77::2'
is 'addresses of the second' "$(address b 4) $(address b 6)" '10.77.0.3 fd00:77::3'
is 'MTU of the uplink' "$(inside a cat /sys/class/net/eth0/mtu)" 1450
packets inside a b '10.77.0.2 fd00:77::2' '10.77.0.3 fd00:77::3' '10.77.0.1 fd00:77::1'
is 'one that ends by itself was masqueraded' "$(heard run c wget -qO- -T 3 "$(who 192.0.2.2)")" 192.0.2.1

for name in a b; do ctr task kill -s KILL $name; done
same 'nothing is left of them' "$before" state
