#!/usr/bin/env bash
# Real clients start the plugins of dist/bin, each on a pretend machine (namespaces of its own), and packets are sent
# between pods, their node and an outside:
#
#   ./scripts/e2e.sh [ctr] [cri] [cri-ports] [podman] [podman-ports] [cnitool] [cnitool-lists] [change-over]
#
# all of them without arguments. ctr and cri run with the containerd that is installed and with those of Debian 13 and
# unstable, unpacked beside; change-over starts the reference's plugins, too. Needs root. Downloads and work files are kept in
# ${XDG_CACHE_HOME:-~/.cache}/podwire-e2e. PODWIRE_BIN names another dist/bin.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
. scripts/e2e/lib.sh

helps "$@"
clients='ctr cri cri-ports podman podman-ports cnitool cnitool-lists change-over'
[ $# -gt 0 ] || set -- $clients
for client; do
  case " $clients " in *" $client "*) ;; *) wrong "$client is no client: expected one of $clients" ;; esac
done
[ "$(id -u)" = 0 ] || { echo "the clients need root: sudo $0 $*" >&2; exit 1; }
mkdir -p "$cache"
exec {lock}>"$cache/lock"
flock -n "$lock" || { echo "another run is under way: $cache/lock is locked" >&2; exit 1; }

# What the clients need and is not there yet.
prepare() {
  need unshare:util-linux ip:iproute2 nft:nftables conntrack:conntrack ps:procps jq:jq curl:curl containerd:containerd runc:runc podman:podman
  packages
  [ -x "$bin/podwire" ] || step 'building the executable' bash scripts/build-sea.sh
  fetch image
  case " $* " in *' ctr '* | *' cri'*) fetch containerd; fetch containerd-1.7 ;; esac
  case " $* " in *' cri'* | *' change-over '*) fetch grpc ;; esac
  case " $* " in *' cnitool'* | *' change-over '*) fetch cnitool ;; esac
  case " $* " in *' change-over '*) fetch reference ;; esac
}

fetch() { [ -e "$cache/$1/.complete" ] || step "getting $1" bash scripts/e2e/fetch.sh "$1"; }

# One client's script; one that ends before its end has failed.
with() {
  echo "# $*"
  bash "scripts/e2e/$1.sh" "${@:2}" || not_ok "$*: ended early, exit status $?"
}

# What of this machine the pretend ones could have changed.
host() {
  ip -br link
  ip netns list
  cut -d' ' -f2 /proc/mounts | grep -F "$cache" || :
  find /sys/fs/cgroup -maxdepth 2 -name podwire-e2e
  nft list tables
}

prepare "$@"
cgroups_gone # of a run that was killed
{
  before=$(host)
  for client; do
    case $client in
      ctr | cri | cri-ports) for programs in /usr/bin /opt/e2e/containerd{-1.7,}/usr/bin; do with "$client" $programs; done ;;
      *) with "$client" ;;
    esac
  done
  same 'this machine is as it was' "$before" host
} | count
