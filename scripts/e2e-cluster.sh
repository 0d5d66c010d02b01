#!/usr/bin/env bash
# A real Kubernetes gets its network from our image and our manifest: a control plane and two nodes on pretend machines, a
# third that joins and leaves, IPv4 and IPv6, RBAC, ServiceAccounts and Pods as they are in any cluster.
#
#   ./scripts/e2e-cluster.sh          every check, and then nothing is left
#   ./scripts/e2e-cluster.sh keep     the cluster, podwire and some pods, left running for you to look at
#   ./scripts/e2e-cluster.sh down     ends that
#
# Needs root. Takes about five minutes, and 6 to 20 more the first time, when Kubernetes 1.20 is built from Debian's source. That
# is kept with all else in ${XDG_CACHE_HOME:-~/.cache}/podwire-e2e. PODWIRE_E2E_KUBERNETES names a directory with programs built
# before, PODWIRE_IMAGE another archive than dist/podwire-image.tar.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
. scripts/e2e/lib.sh
keep=
. scripts/e2e-cluster/machines.sh
. scripts/e2e-cluster/kubernetes.sh
. scripts/e2e-cluster/checks.sh

helps "$@"
case ${1:-} in '' | keep | down) ;; *) wrong "expected keep, down or nothing, not $1" ;; esac
[ $# -le 1 ] || wrong "expected one word, not $#"
[ "$(id -u)" = 0 ] || { echo "the machines need root: sudo $0 $*" >&2; exit 1; }
mkdir -p "$cache"
exec {lock}>"$cache/cluster.lock"
flock -n "$lock" || { echo "another run is under way: $cache/cluster.lock is locked" >&2; exit 1; }
case ${1:-} in
  keep) keep=yes ;;
  down) all_off; exit ;;
esac

prepare() {
  need unshare:util-linux setpriv:util-linux ps:procps jq:jq curl:curl openssl:openssl ping:iputils-ping \
    ip:iproute2 nft:nftables iptables:iptables conntrack:conntrack containerd:containerd runc:runc
  packages
  image=${PODWIRE_IMAGE:-dist/podwire-image.tar}
  [ -e "$image" ] || step 'building the image' bash scripts/build-image.sh
  [ -e "$cache/image/.complete" ] || step 'getting image' bash scripts/e2e/fetch.sh image
  [ -e "$cache/etcd/.complete" ] || step 'getting etcd' bash scripts/e2e-cluster/fetch.sh etcd
  [ -n "${PODWIRE_E2E_KUBERNETES:-}" ] || [ -e "$cache/kubernetes/.complete" ] ||
    step 'building Kubernetes, which takes 6 to 20 minutes' bash scripts/e2e-cluster/fetch.sh kubernetes
}

# What of this machine the pretend ones could have changed.
host() {
  ip -br link
  ip netns list
  cut -d' ' -f2 /proc/mounts | grep -F "$cache" || :
  find /sys/fs/cgroup -maxdepth 2 -name podwire-cluster
  nft list tables
  cat /proc/sys/{vm/overcommit_memory,vm/panic_on_oom,kernel/panic,kernel/panic_on_oops,kernel/keys/root_maxkeys,kernel/keys/root_maxbytes}
}

# say WORDS: what the next minutes are about, and when it began.
say() { echo "# $SECONDS s: $*"; }

main() {
  set +e
  say 'the API server alone: what the agent asks it, pages, resumed watches, compaction'
  ETCD=$cache/etcd/etcd KUBE_APISERVER=${PODWIRE_E2E_KUBERNETES:-$cache/kubernetes}/kube-apiserver \
    PATH=$PWD/node_modules/node-linux-$(node_arch)/bin:$PATH node_modules/.bin/tap --reporter=tap test/vxlan/kubernetes-real.test.ts | grep --line-buffered -E '^(not )?ok'
  say 'control plane: etcd, API server, controller manager, scheduler'
  wire_up
  control_plane
  say 'nodes a and b: containerd, kubelet, kube-proxy'
  node a 11
  node b 12
  before_podwire
  say 'kubectl apply -f conf/podwire.yaml'
  apply_manifest
  as_the_manifest_says
  say 'pods and Services'
  workload
  packets_of a b
  packets_of b a
  services
  say 'ports of the nodes, and limits'
  host_ports
  bandwidth
  [ -z "$keep" ] || return 0
  say 'the agent is restarted, and killed'
  restarts
  say 'what the agent made is damaged'
  damages
  pod_damages
  say 'the API server is gone for a minute'
  without_api_server
  say 'node c joins, fails, and comes again with another address'
  nodes_come_and_go
  figures
  say 'everything goes'
  the_end
}

prepare
all_off
mkdir -p "$cluster"
[ -n "$keep" ] || trap 'all_off' EXIT
{
  before=$(host)
  main
  if [ -z "$keep" ]; then
    all_off
    same 'this machine is as it was' "$before" host
  fi
} | count
[ -z "$keep" ] || cat <<E

The cluster runs. A shell on one of its machines (wire, control, a, b), and kubectl:

  nsenter -t \$(pgrep -P \$(cat $cluster/a/pid)) -m -n -p
  nsenter -t \$(pgrep -P \$(cat $cluster/control/pid)) -m -n -p /opt/kubernetes/kubectl --kubeconfig /etc/kubernetes/admin.conf get pods -A -o wide
E
