# podman with its CNI backend, which it has up to version 4: run, restart, reload, static addresses, a pod, a second network.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

machine
. "$(dirname "$0")/podman-cni.sh"

conflist 10-pods.conflist <<'C'
{
  "cniVersion": "1.0.0", "name": "pods",
  "plugins": [{
    "type": "ptp", "ipMasq": true, "capabilities": {"ips": true, "mac": true},
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd00:77::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}
  }]
}
C
conflist 20-second.conflist <<'C'
{"cniVersion": "0.4.0", "name": "second", "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "subnet": "10.77.2.0/24"}}]}
C
does 'load of an image' podman load -q -i /opt/e2e/image/image.tar
podman run --rm localhost/e2e:1 true # makes what podman keeps
before=$(state)

address() { inside "$1" ip -o -4 addr show "${2:-eth0}" | awk '{ sub("/.*", "", $4); print $4 }'; }

does 'run of a container' run a --network pods:ip=10.77.0.66,ip=fd00:77::66,mac=02:11:22:33:44:55 "${httpd[@]}"
is 'it has the address asked for' "$(address a)" 10.77.0.66
is 'and the MAC address' "$(inside a cat /sys/class/net/eth0/address)" 02:11:22:33:44:55
does 'run of another' run b --network pods:ip=10.77.0.67,ip=fd00:77::67 "${httpd[@]}"
packets inside a b '10.77.0.66 fd00:77::66' '10.77.0.67 fd00:77::67' '10.77.0.1 fd00:77::1'
is 'inspect tells the addresses' "$(podman inspect -f '{{with .NetworkSettings.Networks.pods}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}' a)" '10.77.0.66 fd00:77::66'

on rm /run/calls
does 'network reload' podman network reload a
is 'is DEL and ADD in the same namespace' "$(on sh -c 'cut -d" " -f1,2,3 /run/calls | grep -E "ADD|DEL" | sort | uniq -c' | awk '{print $2, $3, ($4 == "netns=" ? "without" : "with")}' | xargs)" 'ADD ptp with DEL ptp with'
is 'and the container reaches the outside' "$(heard inside a wget -qO- -T 3 "$(who 192.0.2.2)")" 192.0.2.1
does 'restart' podman restart -t 0 a
is 'and the container reaches the outside' "$(heard inside a wget -qO- -T 3 "$(who 2001:db8::2)")" 2001:db8::1

does 'connect to a second network' podman network connect second b
is 'makes a second interface' "$(address b eth1)" 10.77.2.2
does 'which the node reaches' on curl -sS -m 3 "$(who 10.77.2.2)"
does 'disconnect' podman network disconnect second b
is 'takes it away' "$(inside b ls /sys/class/net | xargs)" 'eth0 lo'
does 'and the first stays' on curl -sS -m 3 "$(who 10.77.0.67)"

does 'a pod' podman pod create --name p --cgroup-parent /podwire-e2e --infra-image localhost/e2e:1 --infra-command /pause
does 'a container in it' run c --pod p "${httpd[@]}"
is 'reaches the outside' "$(heard inside c wget -qO- -T 3 "$(who 192.0.2.2)")" 192.0.2.1
does 'end of the pod' podman pod rm -f -t 0 p
is 'one that ends by itself is masqueraded' "$(heard podman run --rm localhost/e2e:1 wget -qO- -T 3 "$(who 192.0.2.2)")" 192.0.2.1

does 'stop' podman stop -t 0 a
does 'removal' podman rm a
does 'removal by force' podman rm -f -t 0 b
same 'nothing is left' "$before" state
is 'every call succeeded' "$(on grep -v status=0 /run/calls)" ''
