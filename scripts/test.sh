#!/usr/bin/env bash
# All tests, on a machine with nothing installed before: npm packages, Debian's packages where root may install them, the
# executable, types, tests. One line for each file when it and those before it have ended, failures whole, then the counts.
#
#   ./scripts/test.sh             every file; as root, those that go otherwise without root's rights once more as nobody
#   ./scripts/test.sh FILE...     these files: test/ptp.test.ts
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

helps "$@"
for file; do [ -f "$file" ] || wrong "$file is no file of tests"; done

PATH=$PATH:/usr/sbin:/sbin # where an ordinary user's shell does not look for ip and nft
need unshare:util-linux ip:iproute2 nft:nftables ping:iputils-ping conntrack:conntrack jq:jq setpriv:util-linux flock:util-linux
want /usr/lib/cni/host-local:containernetworking-plugins strace:strace
packages
step 'checking types' node_modules/.bin/tsc
step 'building the executable' bash scripts/build-sea.sh

export PATH=$PWD/node_modules/node-linux-$(node_arch)/bin:$PATH
# What a test's process loads is compiled once for all of them. man: node --help, NODE_COMPILE_CACHE
export NODE_COMPILE_CACHE=$PWD/node_modules/.cache/compiled

# Disks and directories of others, signals, what needs no rights: what the kernel and libc say to an ordinary user may differ.
ORDINARY=(test/{ipam/host-local,ipam/store,faults/directory,protocol/person,status-ports,replace,demo}.test.ts)

tests() { node_modules/.bin/tap --reporter=tap "$@"; }

everything() {
  local failed=0
  tests || failed=1
  if [ "$(id -u)" = 0 ]; then as_nobody "${ORDINARY[@]}" || failed=1; fi
  return $failed
}

# as_nobody FILE...: this tree is mounted where everybody can go, for them alone, with what tap writes in memory.
as_nobody() (
  for file; do [ -f "$file" ] || { echo "not ok - $file, as nobody: there is no such file"; exit 1; }; done
  unshare --mount true || { echo '    ok - as nobody # SKIP root may not mount anything here'; exit; }
  tree=$(mktemp -d)
  trap 'rmdir "$tree"' EXIT
  chmod 755 "$tree"
  unshare --mount --propagation private bash -c '
    mount --bind . "$0" && mount -t tmpfs -o mode=1777 tap "$0/.tap" && cd "$0" || exit
    export HOME=$PWD/.tap NODE_COMPILE_CACHE=$PWD/.tap/compiled
    exec setpriv --reuid=65534 --regid=65534 --clear-groups node_modules/.bin/tap --reporter=tap "$@"' "$tree" "$@" |
    sed -u 's/^\(not \)\{0,1\}ok [0-9]* - [^ ]*/&, as nobody/'
)

if [ $# = 0 ]; then everything; else tests "$@"; fi | node --disable-warning=ExperimentalWarning scripts/tally.ts
