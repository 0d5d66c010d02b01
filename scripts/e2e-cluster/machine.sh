# Process 1 of a machine of the cluster, started by boot in namespaces of its own. Arguments: its name, the cache, its disk,
# Kubernetes' programs.
set -euo pipefail
name=$1 cache=$2 disk=$3 kubernetes=$4

# Own /run, /sys with this network's links and the real cgroups, /proc.
mount -t proc proc /proc
mkdir -p /run && mount -t tmpfs run /run
mkdir -p /run/{netns,lock,cgroup}
mount --rbind /sys/fs/cgroup /run/cgroup
mount -t sysfs sysfs /sys
mount --move /run/cgroup /sys/fs/cgroup

# The host's /etc and /opt with changes of our own, kept on the disk; neither plugins nor configurations of networks.
for dir in etc opt; do
  mkdir -p "$disk/$dir"{,.work}
  mount -t overlay overlay -o "lowerdir=/$dir,upperdir=$disk/$dir,workdir=$disk/$dir.work" /$dir
done
if [ ! -e "$disk/lib" ]; then
  mkdir -p "$disk/lib/cni"
  rm -rf /etc/cni /opt/cni
fi
mkdir -p /opt/{e2e,kubernetes} /etc/kubernetes/manifests
mount --bind "$cache" /opt/e2e
mount --bind "$kubernetes" /opt/kubernetes
mount --bind "$disk/lib" /var/lib
mkdir -p /var/log/pods /var/log/containers && mount -t tmpfs log /var/log

# kubelet sets these for the whole kernel: it gets copies.
for value in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  mkdir -p "/run/sysctl/${value%/*}"
  cat "/proc/sys/$value" >"/run/sysctl/$value"
  mount --bind "/run/sysctl/$value" "/proc/sys/$value"
done

# The containers' processes are counted below a cgroup of this machine.
for controller in /sys/fs/cgroup /sys/fs/cgroup/*/; do
  [ -e "$controller/cgroup.procs" ] || continue
  mkdir -p "$controller/podwire-cluster/$name"
  if [ -e "$controller/cpuset.cpus" ]; then
    for file in cpuset.cpus cpuset.mems; do
      for below in podwire-cluster "podwire-cluster/$name"; do cat "$controller/$file" >"$controller/$below/$file"; done
    done
  fi
  if [ -s "$controller/cgroup.controllers" ]; then
    for below in . podwire-cluster "podwire-cluster/$name"; do sed 's/\</+/g' "$controller/cgroup.controllers" >"$controller/$below/cgroup.subtree_control"; done
  fi
done

ip link set lo up
touch /run/up
exec sleep infinity
