# Process 1 of a pretend machine, started by machine_up in namespaces of its own. Arguments: the cache, the plugins.
#
#     this machine                                                 outside (netns)
#     uplink 192.0.2.1/24 2001:db8::1/64, mtu 1450 ──── veth ──── eth0 192.0.2.2/24 2001:db8::2/64
#
# The outside has no route to pods, so it answers only what is masqueraded. A web server on both says whom it hears.
set -euo pipefail
cache=$1 bin=$2

# Own /run, /sys with this network's links and the real cgroups, /proc.
mount -t proc proc /proc
mkdir -p /run && mount -t tmpfs run /run
mkdir -p /run/{netns,lock,cgroup}
mount --rbind /sys/fs/cgroup /run/cgroup
mount -t sysfs sysfs /sys
mount --move /run/cgroup /sys/fs/cgroup

# The host's /etc and /opt with changes of our own, forgotten when the machine goes down.
for dir in etc opt; do
  mkdir -p /run/overlay/$dir{,.work}
  mount -t overlay overlay -o lowerdir=/$dir,upperdir=/run/overlay/$dir,workdir=/run/overlay/$dir.work /$dir
done
rm -rf /etc/cni /etc/containers /opt/cni
mkdir -p /etc/cni/net.d /etc/containers /opt/cni/{bin,lib} /opt/e2e /opt/spy
echo '{"default":[{"type":"insecureAcceptAnything"}]}' >/etc/containers/policy.json

# Our plugins, and no others anywhere.
mount --bind "$bin" /opt/cni/bin
[ ! -d "$bin/../lib" ] || mount --bind "$bin/../lib" /opt/cni/lib
for dir in /usr/lib/cni /usr/libexec/cni; do [ ! -d $dir ] || mount -t tmpfs none $dir; done

# The plugins with a note of every call in /run/calls, and of what an ADD was given in /run/asked.
cat >/opt/spy/spy <<'SPY'
#!/bin/sh
conf=$(cat)
[ "$CNI_COMMAND" != ADD ] || printf '%s\n' "$conf" >>/run/asked
kill=$(cat "/run/kill-$CNI_COMMAND-${0##*/}" 2>/dev/null) # after so many seconds
printf %s "$conf" | ${kill:+timeout -s KILL $kill} "/opt/cni/bin/${0##*/}"
status=$?
case $conf in *'"prevResult"'*) prev=yes ;; *) prev=no ;; esac
echo "$CNI_COMMAND ${0##*/} netns=$CNI_NETNS prevResult=$prev status=$status" >>/run/calls
exit $status
SPY
chmod +x /opt/spy/spy
for plugin in /opt/cni/bin/*; do ln -s spy "/opt/spy/${plugin##*/}"; done

# The disk. What lies below the directories that are hidden now is reached through /opt/e2e.
mount --bind "$cache" /opt/e2e
mount --bind "$cache/disk" /var/lib
mkdir -p /var/lib/cni

ip link set lo up
ip netns add outside
ip link add uplink mtu 1450 type veth peer name eth0 mtu 1450 netns outside
ip addr add 192.0.2.1/24 dev uplink
ip addr add 2001:db8::1/64 dev uplink nodad
ip link set uplink up
ip route add default via 192.0.2.2
ip -6 route add default via 2001:db8::2 dev uplink
ip -n outside link set lo up
ip -n outside addr add 192.0.2.2/24 dev eth0
ip -n outside addr add 2001:db8::2/64 dev eth0 nodad
ip -n outside link set eth0 up
httpd='chroot /opt/e2e/image/root httpd -p 80 -h /www'
$httpd
nsenter --net=/run/netns/outside $httpd

echo up
read -r || :
